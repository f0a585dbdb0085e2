//! A registry with people, and how it is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use registry_auth::{
    AccessControl, Authenticator, Caller, Credentials, Grant, Principal, Refusal, Rules, Sender,
    Standing, TokenAnswer, TokenRequest, TokenServer, wrong_credentials,
};
use registry_core::{Action, ErrorKind, Operation, RequestOrigin, Result};
use serde_json::Value;

#[allow(unused_imports, reason = "not all who use this move the clock")]
pub(crate) use crate::ahead::Ahead;
pub(crate) use crate::sender::{basic, headers};

/// People whose passwords are their names, and who come and go.
#[derive(Debug, Clone, Default)]
pub(crate) struct People(Arc<Mutex<BTreeMap<String, Principal>>>);

impl People {
    pub(crate) fn of(people: impl IntoIterator<Item = Principal>) -> Self {
        let new = Self::default();
        people.into_iter().for_each(|person| new.put(person));
        new
    }

    pub(crate) fn put(&self, person: Principal) {
        let name = person.to_string();
        self.0.lock().unwrap().insert(name, person);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.0.lock().unwrap().remove(name);
    }
}

#[async_trait]
impl Authenticator for People {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Credentials::Basic { user, password } = caller.credentials else {
            return Ok(None);
        };
        match self.0.lock().unwrap().get(user) {
            Some(person) if password.matches(user) => Ok(Some(person.clone())),
            _ => Err(wrong_credentials()),
        }
    }

    fn source(&self) -> &'static str {
        "people"
    }

    async fn standing(&self, principal: &Principal) -> Result<Standing> {
        let people = self.0.lock().unwrap();
        let person = people.get(&principal.to_string());
        Ok(person.map_or(Standing::Gone, |person| Standing::Current(person.clone())))
    }
}

pub(crate) fn rules() -> Rules {
    Rules::new()
        .anonymous("public/*", &[Action::Pull])
        .signed_in("public/*", &[Action::Pull, Action::Push, Action::Overwrite])
        .user("ann", "team/*", &[Action::Pull, Action::Push])
        .group("ops", "ops/*", &[Action::Pull])
}

pub(crate) fn ann() -> Principal {
    Principal::new("ann").member_of("ops").with_stamp([1; 16])
}

pub(crate) fn registry(people: &People) -> AccessControl {
    AccessControl::new(rules())
        .authenticator(people.clone())
        .tokens(TokenServer::ephemeral().unwrap())
}

pub(crate) fn bearer(answer: &TokenAnswer) -> String {
    format!("Bearer {}", answer.token.expose())
}

pub(crate) async fn issue(
    access: &AccessControl,
    authorization: Option<&str>,
    query: &str,
) -> Result<TokenAnswer, Refusal> {
    let headers = headers(authorization);
    let sender = Sender::new(&headers, RequestOrigin::default());
    let request = TokenRequest::from_query(query).unwrap();
    access.issue(&sender, &request).await
}

pub(crate) async fn ask(
    access: &AccessControl,
    authorization: Option<&str>,
    method: Method,
    target: &str,
) -> Result<Grant, Refusal> {
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)));
    let operation = Operation::parse(&method, path, query).unwrap();
    let headers = headers(authorization);
    let sender =
        Sender::new(&headers, RequestOrigin::default()).base(Some("https://registry.example"));
    access.authorize(&sender, &operation).await
}

/// The claims of a token, as whoever doesn't check it reads them.
pub(crate) fn claims(answer: &TokenAnswer) -> Value {
    let payload = answer.token.expose().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

pub(crate) fn challenge(answer: Result<Grant, Refusal>) -> String {
    let refusal = answer.expect_err("refused");
    assert_eq!(refusal.error.kind(), ErrorKind::Unauthorized);
    refusal.challenge.unwrap().to_str().unwrap().to_owned()
}

pub(crate) const ASKS: &str =
    r#"Bearer realm="https://registry.example/v2/token",service="registry""#;

/// The form that exchanges a token, with more behind it.
pub(crate) fn exchange_form(token: &str, more: &str) -> String {
    format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={token}\
         &subject_token_type=urn:ietf:params:oauth:token-type:access_token{more}"
    )
}
