//! Logins by a directory: a real OpenLDAP server, started by each test with entries of its own.
//!
//! Where `slapd` is missing, a test says so, and fails under `REGISTRY_TESTS_REQUIRE_TOOLS=1`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a step that fails is the test's result"
)]

mod program;
#[path = "../canaries/secrets.rs"]
#[expect(
    dead_code,
    reason = "tokens and keys are planted by the canaries alone"
)]
mod secrets;
mod slapd;

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use base64::Engine;
use futures::future::join_all;
use http::{HeaderMap, HeaderValue};
use registry_auth::{
    AccessControl, Authenticator, GuardLimits, Ldap, LdapBuilder, Principal, Rules, Secret, Sender,
    Standing,
};
use registry_core::{Action, Clock, RequestOrigin, SystemClock};
use tokio::time::Instant;

use crate::slapd::{SEARCHER, SEARCHER_PASSWORD, Slapd};

const PEOPLE: &str = "ou=people,dc=example,dc=org";
const GROUPS: &str = "ou=groups,dc=example,dc=org";

/// Such as most would write it.
fn usual(url: String) -> LdapBuilder {
    Ldap::builder(url)
        .bind(SEARCHER, Secret::new(SEARCHER_PASSWORD))
        .base(PEOPLE)
        .groups(GROUPS, "(member={dn})", "cn")
        .timeout(Duration::from_secs(30))
}

/// With the users of a directory and nobody to slow down whoever guesses.
fn access(ldap: LdapBuilder) -> AccessControl {
    AccessControl::new(Rules::new().signed_in("**", &[Action::Pull]))
        .authenticator(ldap.build().unwrap())
        .guard(GuardLimits::NONE)
}

/// Who that is, or the kind of the error and all that is said about it.
async fn login(access: &AccessControl, user: &str, password: &str) -> Result<Principal, String> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("Basic {pair}")).unwrap();
    headers.insert("authorization", value);
    let sender = Sender::new(&headers, RequestOrigin::default());
    match access.identify(&sender).await {
        Ok(principal) => Ok(principal.expect("somebody")),
        Err(refusal) => Err(format!("{:?} {refusal:?}", refusal.error.kind())),
    }
}

fn is_unauthorized(answer: &Result<Principal, String>) -> bool {
    answer
        .as_ref()
        .is_err_and(|error| error.starts_with("Unauthorized "))
}

fn is_unavailable(answer: &Result<Principal, String>) -> bool {
    answer
        .as_ref()
        .is_err_and(|error| error.starts_with("Unavailable "))
}

/// A clock that is set forward by hand.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<Mutex<Duration>>);

impl Watch {
    fn forward(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Watch {
    fn now(&self) -> SystemTime {
        SystemClock.now() + *self.0.lock().unwrap()
    }
}

#[tokio::test]
async fn users_log_in_with_their_passwords_and_have_their_groups() {
    let Some(slapd) = Slapd::start() else { return };
    let access = access(usual(slapd.url()));
    let ann = login(&access, "ann", "ann-secret").await.unwrap();
    assert_eq!(ann.name(), "ann");
    assert_eq!(ann.source(), "ldap");
    assert_eq!(ann.groups().collect::<Vec<_>>(), ["release", "web"]);
    let ben = login(&access, "ben", "ben-secret").await.unwrap();
    assert_eq!(ben.groups().collect::<Vec<_>>(), ["web"]);
    for (user, password) in [
        ("ann", "ben-secret"),
        ("ann", "ann-secret "),
        ("nobody", "ann-secret"),
    ] {
        assert!(
            is_unauthorized(&login(&access, user, password).await),
            "{user}"
        );
    }
    // What OpenLDAP takes for the same name isn't the same to rules.
    for user in ["ANN", "Ann"] {
        let known = login(&access, user, "ann-secret").await;
        assert!(is_unauthorized(&known), "{user}");
    }
}

#[tokio::test]
async fn an_empty_password_is_refused() {
    // A login without a password succeeds there, as one of nobody.
    let Some(mut slapd) = Slapd::start_with("allow bind_anon_dn bind_anon_cred") else {
        return;
    };
    let access = access(usual(slapd.url()));
    for user in ["ann", "locked", "nobody"] {
        assert!(is_unauthorized(&login(&access, user, "").await), "{user}");
    }
    assert!(!slapd.log().contains("BIND"), "it wasn't asked");
    assert!(login(&access, "ann", "ann-secret").await.is_ok());
    // Nor does an entry without a password let anybody in.
    assert!(is_unauthorized(&login(&access, "locked", "x").await));
}

#[tokio::test]
async fn what_a_user_is_called_is_never_part_of_the_question() {
    let Some(slapd) = Slapd::start() else { return };
    let access = access(usual(slapd.url()));
    let names = [
        "*",
        "an*",
        "a?n",
        "ann)(uid=*",
        "*)(uid=*))(|(uid=*",
        "ann)(|(cn=*",
        "ann)(!(cn=x",
        "\\61nn",
        "\\2a",
        "uid=ann,ou=people,dc=example,dc=org",
        "ann,ou=people,dc=example,dc=org",
        "{user}",
        "{dn}",
        "ann\\00",
    ];
    let answers = names.map(|user| login(&access, user, "ann-secret"));
    for (user, answer) in names.iter().zip(join_all(answers).await) {
        assert!(is_unauthorized(&answer), "{user}: {answer:?}");
    }
    // A name of such characters is a name.
    let odd = login(&access, "a*(b)\\c", "odd-secret").await.unwrap();
    assert_eq!(odd.name(), "a*(b)\\c");
}

#[tokio::test]
async fn exactly_one_entry_with_one_name_is_a_user() {
    let Some(mut slapd) = Slapd::start() else {
        return;
    };
    let access_by_uid = access(usual(slapd.url()));
    for (user, password) in [
        ("twin", "twin-secret"),
        ("first", "two-secret"),
        ("second", "two-secret"),
    ] {
        let answer = login(&access_by_uid, user, password).await;
        assert!(is_unauthorized(&answer), "{user}: {answer:?}");
    }
    assert_eq!(slapd.logins("cn=two names,ou=people,dc=example,dc=org"), 0);
    // What finds a user by something else doesn't let it have two names.
    let by_mail = || usual(slapd.url()).filter("(|(uid={user})(mail={user}))");
    let access_by_both = access(by_mail());
    assert!(login(&access_by_both, "ann", "ann-secret").await.is_ok());
    let answer = login(&access_by_both, "ann@example.org", "ann-secret").await;
    assert!(is_unauthorized(&answer), "{answer:?}");
    let access_by_mail = access(by_mail().name_attribute("mail"));
    let ann = login(&access_by_mail, "ann@example.org", "ann-secret")
        .await
        .unwrap();
    assert_eq!(ann.name(), "ann@example.org");
}

#[tokio::test]
async fn an_unknown_user_looks_like_a_wrong_password() {
    let Some(slapd) = Slapd::start() else { return };
    let access = access(usual(slapd.url()));
    let mut answers = Vec::new();
    for (user, password) in [
        ("ann", "wrong"),
        ("nobody", "wrong"),
        ("locked", "wrong"),
        ("twin", "wrong"),
    ] {
        let started = Instant::now();
        answers.push(login(&access, user, password).await.unwrap_err());
        // However soon it is known.
        assert!(started.elapsed() >= Duration::from_secs(1), "{user}");
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:#?}"
    );
}

#[tokio::test]
async fn what_was_found_right_is_not_asked_again_for_a_minute() {
    let Some(mut slapd) = Slapd::start() else {
        return;
    };
    let watch = Watch::default();
    let access = access(usual(slapd.url()).clock(watch.clone()));
    let ann = "uid=ann,ou=people,dc=example,dc=org";
    for _ in 0..3 {
        assert!(login(&access, "ann", "ann-secret").await.is_ok());
        assert!(is_unauthorized(&login(&access, "ann", "wrong").await));
    }
    // Those that were wrong are asked about each time.
    assert_eq!(slapd.logins(ann), 4);
    watch.forward(Duration::from_secs(61));
    assert!(login(&access, "ann", "ann-secret").await.is_ok());
    assert_eq!(slapd.logins(ann), 5);
}

#[tokio::test]
async fn a_change_of_groups_acts_within_a_minute() {
    let Some(slapd) = Slapd::start() else { return };
    let watch = Watch::default();
    let ldap = Arc::new(usual(slapd.url()).clock(watch.clone()).build().unwrap());
    let access = AccessControl::new(Rules::new()).authenticator(Arc::clone(&ldap));
    let ann = login(&access, "ann", "ann-secret").await.unwrap();
    assert!(ann.is_member_of("release"));
    let Standing::Current(before) = ldap.standing(&ann).await.unwrap() else {
        panic!("ann is there");
    };
    assert!(before.is_member_of("release"));
    assert_eq!(before.stamp(), ann.stamp());

    slapd.change(
        "dn: cn=release,ou=groups,dc=example,dc=org\nchangetype: modify\nreplace: member\n\
         member: uid=ben,ou=people,dc=example,dc=org\n",
    );
    watch.forward(Duration::from_secs(61));
    let ann = login(&access, "ann", "ann-secret").await.unwrap();
    assert_eq!(ann.groups().collect::<Vec<_>>(), ["web"]);
    let Standing::Current(after) = ldap.standing(&ann).await.unwrap() else {
        panic!("ann is there");
    };
    assert_eq!(after.groups().collect::<Vec<_>>(), ["web"]);

    // Somebody of the same name is somebody else.
    slapd.change(
        "dn: uid=ann,ou=people,dc=example,dc=org\nchangetype: delete\n\n\
         dn: uid=ann,ou=people,dc=example,dc=org\nchangetype: add\nobjectClass: inetOrgPerson\n\
         uid: ann\ncn: Ann\nsn: A\nuserPassword: new-secret\n",
    );
    watch.forward(Duration::from_secs(61));
    let Standing::Current(other) = ldap.standing(&ann).await.unwrap() else {
        panic!("another ann is there");
    };
    assert_ne!(other.stamp(), ann.stamp());
    assert!(is_unauthorized(&login(&access, "ann", "ann-secret").await));
    slapd.change("dn: uid=ann,ou=people,dc=example,dc=org\nchangetype: delete\n");
    watch.forward(Duration::from_secs(61));
    assert_eq!(ldap.standing(&ann).await.unwrap(), Standing::Gone);
    assert_eq!(
        ldap.standing(&Principal::robot("ben")).await.unwrap(),
        Standing::Gone
    );
    assert_eq!(
        ldap.standing(&Principal::new("b*")).await.unwrap(),
        Standing::Gone
    );
}

#[tokio::test]
async fn passwords_go_over_tls_that_the_given_authority_vouches_for() {
    // It takes nothing in clear text.
    let Some(slapd) = Slapd::start_with("security ssf=64 simple_bind=64") else {
        return;
    };
    let authority = std::fs::read(slapd.authority()).unwrap();
    let clear = login(&access(usual(slapd.url())), "ann", "ann-secret").await;
    assert!(is_unavailable(&clear), "{clear:?}");
    let started = usual(slapd.url())
        .start_tls()
        .certificates(authority.clone());
    assert!(login(&access(started), "ann", "ann-secret").await.is_ok());
    let whole = usual(slapd.tls_url()).certificates(authority);
    assert!(login(&access(whole), "ann", "ann-secret").await.is_ok());

    // Whom nobody vouches for isn't told any password.
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    for ldap in [
        usual(slapd.url()).start_tls(),
        usual(slapd.tls_url()),
        usual(slapd.url())
            .start_tls()
            .certificates(other.cert.pem()),
        usual(slapd.tls_url()).certificates(other.cert.pem()),
    ] {
        let answer = login(&access(ldap), "ann", "ann-secret").await;
        assert!(is_unavailable(&answer), "{answer:?}");
    }
}

#[tokio::test]
async fn without_a_directory_there_is_no_answer_but_the_one_before() {
    let Some(mut slapd) = Slapd::start() else {
        return;
    };
    let access = access(usual(slapd.url()));
    assert!(login(&access, "ann", "ann-secret").await.is_ok());
    slapd.stop();
    assert!(is_unavailable(&login(&access, "ben", "ben-secret").await));
    assert!(login(&access, "ann", "ann-secret").await.is_ok());
    // Connections from before are made anew.
    slapd.start_again();
    assert!(login(&access, "ben", "ben-secret").await.is_ok());
}

#[tokio::test]
async fn a_directory_that_lets_nobody_search_is_no_answer() {
    let Some(slapd) = Slapd::start() else { return };
    let wrong = usual(slapd.url()).bind(SEARCHER, Secret::new("wrong"));
    let elsewhere = usual(slapd.url()).base("dc=example,dc=com");
    for ldap in [wrong, elsewhere] {
        let answer = login(&access(ldap), "ann", "ann-secret").await;
        assert!(is_unavailable(&answer), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_shares_four_connections() {
    let Some(mut slapd) = Slapd::start() else {
        return;
    };
    let access = access(usual(slapd.url()));
    let logins = (0..40).map(|number| {
        let access = access.clone();
        tokio::spawn(async move {
            let (user, password) = if number % 2 == 0 {
                ("ann", "ann-secret")
            } else {
                ("ben", "ben-secret")
            };
            login(&access, user, password)
                .await
                .unwrap()
                .name()
                .to_owned()
        })
    });
    for (number, name) in join_all(logins).await.into_iter().enumerate() {
        assert_eq!(name.unwrap(), if number % 2 == 0 { "ann" } else { "ben" });
    }
    let accepted = slapd.log().matches(" ACCEPT from ").count();
    assert!((1..=4).contains(&accepted), "{accepted} connections");
}
