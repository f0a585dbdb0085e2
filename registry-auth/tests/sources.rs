//! Several authenticators beside each other, and who answers for whom.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
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

/// A login that knows no groups, before two directories of the program's own.
fn access() -> AccessControl {
    let rules = Rules::new()
        .sentence("group web may pull web/*")
        .sentence("group root may pull root/*");
    let login = Login::new(|_, password| async move { password.matches("login") });
    AccessControl::new(rules.check().unwrap())
        .authenticator(login)
        .authenticator(Team {
            password: "web",
            group: "web",
        })
        .authenticator(Team {
            password: "root",
            group: "root",
        })
        .tokens(TokenServer::ephemeral().unwrap())
}

#[tokio::test]
async fn nobody_answers_for_those_of_another() {
    let access = access();
    for (password, source, may) in [
        ("login", "custom", [false, false]),
        ("web", "custom-2", [true, false]),
        ("root", "custom-3", [false, true]),
    ] {
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
