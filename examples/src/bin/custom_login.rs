//! A registry that asks the program's own users: developers push to `library`
//! and `team`, and everybody who is known pulls from `library`.
//!
//! For the public there is the user `guest`, whose password everybody knows.
//! `.anonymous("library/**", &[Pull])` would not do: Docker, podman and crane ask
//! `GET /v2/` once how to log in, and with passwords that means a login for
//! everything.
//!
//! `cargo run --bin custom_login 127.0.0.1:5000`, then
//! `docker login 127.0.0.1:5000` as `ann` with the password `correct horse`.

use std::error::Error;

use registry_auth::{AccessControl, Login, Principal, Rules};
use registry_core::Action::{Delete, Overwrite, Pull, Push};
use registry_http::RegistryService;
use registry_storage::Engine;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = registry_examples::listen().await?;

    // Where the program would ask its own database.
    let login = Login::new(|user, password| async move {
        match user.as_str() {
            "ann" if password.matches("correct horse") => {
                Some(Principal::new(user).member_of("developers"))
            }
            "guest" if password.matches("guest") => Some(Principal::new(user)),
            _ => None,
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
