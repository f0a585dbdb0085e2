//! A registry in an axum program that has sessions of its own: whoever is signed
//! in to the program is signed in to the registry.
//!
//! A page of the program asks the registry with the session's cookie. Docker has
//! no cookies, so it logs in with the session's id as the password, and only until
//! the session ends.
//!
//! `cargo run --bin axum_sessions 127.0.0.1:5000`, then, with the password that it
//! prints, `id=$(curl -s -d ann:$password 127.0.0.1:5000/sign-in)`,
//! `docker login -u ann -p $id 127.0.0.1:5000`,
//! `curl -b session=$id 127.0.0.1:5000/v2/people/ann/app/tags/list`, and
//! `curl -b session=$id -X POST 127.0.0.1:5000/sign-out`.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::map_request;
use axum::routing::post;
use axum::{Router, response::IntoResponse};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use registry_auth::{
    AccessControl, Authenticator, Caller, Credentials, Principal, Rules, Secret, Standing,
};
use registry_core::{Randomness, SystemRandomness};
use registry_examples::say;
use registry_http::{Peer, RegistryService};
use registry_storage::Engine;

/// The most sessions there are at a time.
const MOST: usize = 10_000;

/// Who is signed in, by the ids of their sessions.
#[derive(Debug, Clone, Default)]
struct Sessions(Arc<Mutex<HashMap<String, String>>>);

impl Sessions {
    fn begin(&self, user: &str) -> Option<String> {
        let mut id = String::new();
        for byte in SystemRandomness.bytes().ok()? {
            write!(id, "{byte:02x}").ok()?;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (all.len() < MOST).then(|| all.insert(id.clone(), user.to_owned()))?;
        Some(id)
    }

    fn user(&self, id: &str) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(id).cloned()
    }

    fn end(&self, id: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(id);
    }
}

/// The id in the cookie of a session.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(COOKIE)?.to_str().ok()?;
    cookies
        .split(';')
        .find_map(|cookie| cookie.trim().strip_prefix("session="))
}

#[async_trait]
impl Authenticator for Sessions {
    async fn authenticate(&self, caller: &Caller<'_>) -> registry_core::Result<Option<Principal>> {
        let found = match caller.credentials {
            Credentials::Basic { user, password } => self
                .user(password.expose())
                // Nobody guesses 128 random bits, so there is nothing to slow down: it doesn't
                // ask `caller.admit()`, as whoever checks passwords does.
                .filter(|owner| owner == user),
            Credentials::None => cookie(caller.headers).and_then(|id| self.user(id)),
            _ => None,
        };
        Ok(found.map(Principal::new))
    }

    async fn standing(&self, principal: &Principal) -> registry_core::Result<Standing> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(if all.values().any(|user| user == principal.name()) {
            Standing::Current(principal.clone())
        } else {
            Standing::Gone
        })
    }
}

/// What the pages of the program know.
#[derive(Debug, Clone)]
struct Program {
    sessions: Sessions,
    /// That of all its users: one that stood here would be known to everybody.
    password: Secret,
}

/// Where the program would look into its own table of users.
async fn sign_in(State(program): State<Program>, body: String) -> impl IntoResponse {
    let id = match body.split_once(':') {
        Some((user @ ("ann" | "ben"), password)) if program.password.matches(password) => {
            program.sessions.begin(user)
        }
        _ => None,
    };
    let Some(id) = id else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    // No other site's page sends it along. Where the program is reached over TLS, `Secure`
    // belongs there, too: `logins_over_tls` sees no cookies.
    let cookie = format!("session={id}; HttpOnly; SameSite=Strict; Path=/");
    ([(SET_COOKIE, cookie)], id).into_response()
}

async fn sign_out(State(program): State<Program>, headers: HeaderMap) {
    if let Some(id) = cookie(&headers) {
        program.sessions.end(id);
    }
}

/// Tells the registry where a request comes from: without it, no network is known, no
/// address kept to its share, and nobody who guesses passwords would have to wait.
async fn with_peer(ConnectInfo(from): ConnectInfo<SocketAddr>, mut request: Request) -> Request {
    let address = from.ip();
    request.extensions_mut().insert(Peer { address });
    request
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = registry_examples::listen().await?;
    let sessions = Sessions::default();
    let password = format!("{:032x}", u128::from_ne_bytes(SystemRandomness.bytes()?));
    say(&format!("the password of ann and ben is {password}"));
    let rules = Rules::new()
        .sentence("users are readers of public/**")
        .sentence("users are writers of people/{user}/**");
    let registry = RegistryService::new(Engine::memory())
        .access(AccessControl::new(rules).authenticator(sessions.clone()))
        .logins_over_tls(true);
    let app = Router::new()
        .route("/sign-in", post(sign_in))
        .route("/sign-out", post(sign_out))
        .with_state(Program {
            sessions,
            password: Secret::new(password),
        })
        .fallback_service(registry)
        .layer(map_request(with_peer));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}
