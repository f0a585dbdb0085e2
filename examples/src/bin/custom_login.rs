//! A registry that asks the program's own users: everybody pulls from `library`,
//! developers push to `team`.
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
        let known = user == "ann" && password.matches("correct horse");
        known.then(|| Principal::new(user).member_of("developers"))
    });
    let rules = Rules::new()
        .anonymous("library/**", &[Pull])
        .group("developers", "library/**", &[Pull])
        .group("developers", "team/**", &[Pull, Push, Overwrite, Delete]);

    let registry = RegistryService::new(Engine::memory())
        .access(AccessControl::new(rules).authenticator(login));
    registry_http::serve(listener, registry).await?;
    Ok(())
}
