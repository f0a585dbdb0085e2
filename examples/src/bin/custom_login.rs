//! A registry that asks the program's own users: developers push to `library`
//! and `team`, and everybody who is known pulls from `library`, such as the user
//! `guest`, who is in no group.
//!
//! `.anonymous("library/**", &[Pull])` would not do: Docker, podman and crane ask
//! `GET /v2/` once how to log in, and with passwords that means a login for
//! everything.
//!
//! `cargo run --bin custom_login 127.0.0.1:5000`, then
//! `docker login 127.0.0.1:5000` as `ann` with the password that it prints: one that
//! stood here would be known to everybody.

use std::error::Error;

use registry_auth::{AccessControl, Login, Principal, Rules};
use registry_core::Action::{Delete, Overwrite, Pull, Push};
use registry_core::{Randomness, SystemRandomness};
use registry_examples::say;
use registry_http::RegistryService;
use registry_storage::Engine;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = registry_examples::listen().await?;

    // Where the program would ask its own database.
    let secret = format!("{:032x}", u128::from_ne_bytes(SystemRandomness.bytes()?));
    say(&format!("the password of ann and of guest is {secret}"));
    let login = Login::new(move |user, password| {
        let is_ann = user == "ann" && password.matches(&secret);
        let is_guest = user == "guest" && password.matches(&secret);
        async move {
            if is_ann {
                Some(Principal::new(user).member_of("developers"))
            } else {
                is_guest.then(|| Principal::new(user))
            }
        }
    });
    let everything = &[Pull, Push, Overwrite, Delete];
    let rules = Rules::new()
        .signed_in("library/**", &[Pull])
        .group("developers", "library/**", everything)
        .group("developers", "team/**", everything);

    let registry = RegistryService::new(Engine::memory())
        .access(AccessControl::new(rules).authenticator(login));
    registry_http::serve(listener, registry).await?;
    Ok(())
}
