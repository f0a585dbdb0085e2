//! However many tokens are shown, they take little memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]
// Only Linux says without ado how much memory a process uses.
#![cfg(target_os = "linux")]

#[path = "common/ahead.rs"]
#[expect(dead_code, reason = "the clock is the system's")]
mod ahead;
#[path = "common/sender.rs"]
mod sender;
#[path = "token_server/support.rs"]
#[expect(dead_code, reason = "little of it is needed here")]
mod support;

use http::Method;
use registry_auth::AccessControl;
use registry_core::ErrorKind;

use crate::support::{People, ann, ask, basic, bearer, issue, registry};

/// How much more a flood may take, in KiB. Twice 2 MiB are kept of nobody's, twice 4 of
/// all others.
const MORE: usize = 12 << 10;

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.unwrap().trim().trim_end_matches(" kB");
    words.parse().unwrap()
}

/// Gets many tokens for `repositories` each, and shows them.
async fn flood(access: &AccessControl, authorization: Option<&str>, repositories: usize) {
    for number in 0..1500 {
        let names =
            (0..repositories).map(|of| format!("repository:public/{number:0200}/{of}:pull"));
        let query = format!("scope={}", names.collect::<Vec<_>>().join("+"));
        let token = issue(access, authorization, &query).await.unwrap();
        ask(access, Some(&bearer(&token)), Method::GET, "/v2/")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn no_flood_of_tokens_takes_much_memory() {
    let access = registry(&People::of([ann()]));
    let login = basic("ann", "ann");
    for (authorization, most) in [(None, 20), (Some(&*login), 40)] {
        let before = resident();
        flood(&access, authorization, most).await;
        let more = resident().saturating_sub(before);
        assert!(more < MORE, "{more} KiB for {authorization:?}");
    }
}

#[tokio::test]
async fn without_a_login_a_token_is_for_few_repositories() {
    let access = registry(&People::of([ann()]));
    let query = |many: usize| {
        let names = (0..many).map(|number| format!("scope=repository:public/{number}:pull"));
        names.collect::<Vec<_>>().join("&")
    };
    issue(&access, None, &query(20)).await.unwrap();
    let refusal = issue(&access, None, &query(21)).await.unwrap_err();
    assert_eq!(refusal.error.kind(), ErrorKind::RequestInvalid);
    assert!(refusal.error.to_string().contains("or log in"));
    // Nor is it for more where it is bought with another one.
    let nobodys = issue(&access, None, &query(20)).await.unwrap();
    let refusal = issue(&access, Some(&bearer(&nobodys)), &query(21)).await;
    assert_eq!(refusal.unwrap_err().error.kind(), ErrorKind::RequestInvalid);
    let login = basic("ann", "ann");
    issue(&access, Some(&login), &query(100)).await.unwrap();
}
