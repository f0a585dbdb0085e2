//! Keys and tokens of jobs that nobody has: they are refused, and no guesses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod issuers;
#[path = "common/sender.rs"]
mod sender;

use std::net::IpAddr;

use http::Method;
use registry_auth::{
    AccessControl, Keys, Login, MemoryRecords, Rules, Secret, Sender, TokenServer, Workload,
};
use registry_core::{ErrorKind, Operation, RequestOrigin};
use serde_json::json;

use self::issuers::{Signer, Time, Web, forged, key_set};
use self::sender::{basic, headers};

const ISSUER: &str = "https://ci.example";
const HERE: &str = "192.0.2.1";
const THERE: &str = "192.0.2.2";
const ELSEWHERE: &str = "192.0.2.3";

/// A registry that knows `ann` and `ben`, whose password is `right`, keys, and the
/// jobs of an issuer.
struct World {
    time: Time,
    access: AccessControl,
}

impl World {
    fn new() -> Self {
        let (web, time) = (Web::default(), Time::default());
        web.put("https://ci.example/keys", key_set(&[&Signer::new("a")]));
        let workload = Workload::new("ci", ISSUER, "registry.example")
            .unwrap()
            .keys_url("https://ci.example/keys", web)
            .unwrap()
            .clock(time.clone());
        let people = Login::new(|user: String, password: Secret| async move {
            ["ann", "ben"].contains(&user.as_str()) & password.matches("right")
        });
        let records = MemoryRecords::new().clock(time.clone());
        let access = AccessControl::new(Rules::new().sentence("users are readers of **"))
            .authenticator(workload)
            .authenticator(people)
            .keys(Keys::new(records))
            .tokens(TokenServer::ephemeral().unwrap())
            .clock(time.clone());
        Self { time, access }
    }

    /// What comes of an attempt to log in.
    async fn knock(&self, user: &str, password: &str, address: &str) -> Result<(), ErrorKind> {
        let headers = headers(Some(&basic(user, password)));
        let origin = RequestOrigin {
            address: Some(address.parse::<IpAddr>().unwrap()),
            ..RequestOrigin::default()
        };
        let operation = Operation::parse(&Method::GET, "/v2/", None).unwrap();
        let sender = Sender::new(&headers, origin);
        let answer = self.access.authorize(&sender, &operation).await;
        answer.map(drop).map_err(|refusal| refusal.error.kind())
    }

    /// A token that says what that of a job says, and is signed by nobody.
    fn forged(&self) -> String {
        self.forged_by(ISSUER)
    }

    fn forged_by(&self, issuer: &str) -> String {
        let now = self.time.seconds();
        let claims = json!({
            "iss": issuer, "aud": "registry.example", "sub": "job",
            "iat": now, "nbf": now, "exp": now + 600,
        });
        forged("a", &claims)
    }
}

/// A key as the registry writes them, which nobody has.
fn made_up(number: u32) -> String {
    let signed = format!("rgk_{number:032x}_{}", "A".repeat(43));
    format!("{signed}_{:08x}", crc32c::crc32c(signed.as_bytes()))
}

#[tokio::test]
async fn made_up_keys_and_forged_jobs_keep_nobody_out() {
    let world = World::new();
    for number in 0..200 {
        for password in [made_up(number), world.forged()] {
            let refused = world.knock("ann", &password, HERE).await;
            assert_eq!(refused, Err(ErrorKind::Unauthorized), "{password}");
        }
    }
    for (user, address) in [("ann", HERE), ("ben", HERE), ("ann", THERE)] {
        assert_eq!(world.knock(user, "right", address).await, Ok(()), "{user}");
    }
}

#[tokio::test]
async fn no_flood_of_made_up_keys_ends_the_waiting_of_others() {
    let world = World::new();
    for number in 0..100 {
        let address = format!("198.51.100.{number}");
        let refused = world.knock("ben", "wrong", &address).await;
        assert_eq!(refused, Err(ErrorKind::Unauthorized));
    }
    let waits = Err(ErrorKind::TooManyRequests);
    assert_eq!(world.knock("ben", "right", THERE).await, waits);
    // More than there is room for where guesses are counted.
    for number in 0..70_000 {
        let user = format!("name{number}");
        let refused = world.knock(&user, &made_up(number), HERE).await;
        assert_eq!(refused, Err(ErrorKind::Unauthorized));
    }
    assert_eq!(world.knock("ben", "right", ELSEWHERE).await, waits);
}

/// Somebody checks it, as it is nothing else, and that takes work.
#[tokio::test]
async fn what_is_checked_as_a_password_is_a_guess_whatever_it_looks_like() {
    let world = World::new();
    let unknown = world.forged_by("https://other.example");
    for number in 0..50 {
        let refused = world.knock(&format!("name{number}"), &unknown, HERE).await;
        assert_eq!(refused, Err(ErrorKind::Unauthorized));
    }
    for password in ["right", &unknown] {
        let refused = world.knock("ann", password, HERE).await;
        assert_eq!(refused, Err(ErrorKind::TooManyRequests), "{password}");
    }
    // A token of a job, and a key, aren't checked as such.
    for password in [made_up(0), world.forged()] {
        let refused = world.knock("ann", &password, HERE).await;
        assert_eq!(refused, Err(ErrorKind::Unauthorized));
    }
}
