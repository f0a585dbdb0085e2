//! Several authenticators beside each other, and who answers for whom.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "common/sender.rs"]
mod sender;

use async_trait::async_trait;
use http::Method;
use registry_auth::{
    AccessControl, Authenticator, Caller, Credentials, Login, Principal, Rules, Sender, Standing,
    TokenRequest, TokenServer,
};
use registry_core::{ErrorKind, Operation, RequestOrigin, Result};

use self::sender::{basic, headers};

/// Knows everybody by one password, as a member of one group, and can be asked about
/// whomever.
#[derive(Debug)]
struct Team {
    password: &'static str,
    group: &'static str,
}

#[async_trait]
impl Authenticator for Team {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Credentials::Basic { user, password } = caller.credentials else {
            return Ok(None);
        };
        let known = password.matches(self.password);
        Ok(known.then(|| Principal::new(user).member_of(self.group)))
    }

    async fn standing(&self, principal: &Principal) -> Result<Standing> {
        let known = Principal::new(principal.name()).member_of(self.group);
        Ok(Standing::Current(known))
    }
}

/// The same under a name of its own, which another may have, too.
#[derive(Debug)]
struct Named(Team, &'static str);

#[async_trait]
impl Authenticator for Named {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        self.0.authenticate(caller).await
    }

    fn source(&self) -> &'static str {
        self.1
    }

    async fn standing(&self, principal: &Principal) -> Result<Standing> {
        self.0.standing(principal).await
    }
}

/// A login that knows no groups, before two directories of the program's own.
fn access(names: Option<[&'static str; 2]>) -> AccessControl {
    let rules = Rules::new()
        .sentence("group web may pull web/*")
        .sentence("group root may pull root/*");
    let login = Login::new(|_, password| async move { password.matches("login") });
    let directories = [0, 1].map(|at| {
        let name = ["web", "root"][at];
        let team = Team {
            password: name,
            group: name,
        };
        (team, names.map(|names| names[at]))
    });
    let access = AccessControl::new(rules.check().unwrap()).authenticator(login);
    let access = directories
        .into_iter()
        .fold(access, |access, (team, name)| match name {
            Some(name) => access.authenticator(Named(team, name)),
            None => access.authenticator(team),
        });
    access.tokens(TokenServer::ephemeral().unwrap())
}

#[tokio::test]
async fn nobody_answers_for_those_of_another() {
    answer_for_their_own(&access(None), ["custom", "custom-2", "custom-3"]).await;
}

#[tokio::test]
async fn nobody_answers_for_those_of_another_that_is_called_the_same() {
    let same = access(Some(["directory", "directory"]));
    answer_for_their_own(&same, ["custom", "directory", "directory-2"]).await;
    // Nor is a number given that somebody has as a name.
    let numbered = access(Some(["custom-2", "custom"]));
    answer_for_their_own(&numbered, ["custom", "custom-2", "custom-3"]).await;
}

async fn answer_for_their_own(access: &AccessControl, sources: [&str; 3]) {
    let passwords = ["login", "web", "root"];
    let rights = [[false, false], [true, false], [false, true]];
    for ((password, source), may) in passwords.into_iter().zip(sources).zip(rights) {
        let shown = headers(Some(&basic("ann", password)));
        let sender = Sender::new(&shown, RequestOrigin::default());
        let known = access.identify(&sender).await.unwrap().unwrap();
        assert_eq!(known.source(), source);
        let scope = "scope=repository:web/a:pull+repository:root/a:pull";
        let request = TokenRequest::from_query(scope).unwrap();
        let token = access.issue(&sender, &request).await.unwrap().token;
        let shown_later = headers(Some(&format!("Bearer {}", token.expose())));
        for (repository, may) in ["web/a", "root/a"].into_iter().zip(may) {
            let path = format!("/v2/{repository}/manifests/latest");
            let operation = Operation::parse(&Method::GET, &path, None).unwrap();
            for shown in [&shown, &shown_later] {
                let sender = Sender::new(shown, RequestOrigin::default());
                let answer = access.authorize(&sender, &operation).await;
                let answer = answer.map(drop).map_err(|refusal| refusal.error.kind());
                let expected = if may { Ok(()) } else { Err(ErrorKind::Denied) };
                assert_eq!(answer, expected, "{password} {repository}");
            }
        }
    }
}
