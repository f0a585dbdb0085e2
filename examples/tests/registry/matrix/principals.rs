//! Everybody who asks, and what they show.

use registry_tests::harness::silence::{self, PASSWORD};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use registry_auth::{AccessControl, Htpasswd, PolicyFile, TokenServer};
use registry_core::{Clock, SystemClock};
use registry_http::{RegistryService, TestServer};
use registry_storage::Engine;
use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::matrix::world::{REPOSITORIES, VAULT, World};
use crate::program::Program;

/// Whom nobody knows.
pub(crate) const ANONYMOUS: &str = "";

/// Those whose credentials are no good, for whatever reason.
pub(crate) const WRONG: &str = "wrong";

/// What somebody shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    Nothing,
    Password,
    /// A robot's key, as its password.
    Key,
    KeyAsBearer,
    /// A token that was asked for with these words.
    Token(&'static str),
}

/// Somebody who asks.
#[derive(Debug)]
pub(crate) struct Somebody {
    /// What it is called where something is wrong.
    pub(crate) label: &'static str,
    pub(crate) name: &'static str,
    pub(crate) shows: Shows,
    pub(crate) headers: Vec<String>,
}

impl Somebody {
    fn new(label: &'static str, name: &'static str, shows: Shows, header: Option<String>) -> Self {
        Self {
            label,
            name,
            shows,
            headers: header.into_iter().collect(),
        }
    }

    /// The token that it shows, or `none`.
    pub(crate) fn token(&self) -> &str {
        let mut tokens = self.headers.iter().filter_map(|header| {
            let (_, token) = header.split_once(": Bearer ")?;
            Some(token)
        });
        tokens.next().unwrap_or("none")
    }
}

/// RFC 7617.
pub(crate) fn basic(user: &str, password: &str) -> String {
    let text = STANDARD.encode(format!("{user}:{password}"));
    format!("authorization: Basic {text}")
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

/// The machine's clock, two hours behind.
#[derive(Debug)]
struct Behind;

impl Clock for Behind {
    fn now(&self) -> SystemTime {
        SystemClock.now() - Duration::from_hours(2)
    }
}

/// Asks for a token for everything in each repository that `words` say.
async fn token(address: &str, user: Option<&str>, words: &str) -> String {
    let names = REPOSITORIES.iter().map(|(name, _)| *name).chain([VAULT]);
    let scopes: Vec<_> = names
        .map(|name| format!("scope=repository:{name}:{words}"))
        .collect();
    let url = format!(
        "http://{address}/v2/token?service=registry&{}",
        scopes.join("&")
    );
    let request = Client::new().get(url);
    let request = match user {
        Some(user) => request.basic_auth(user, Some(PASSWORD)),
        None => request,
    };
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

/// A token that the same users got under the same rules from another registry: with the
/// keys of `tokens`, hours ago or now.
async fn elsewhere(program: &Program, tokens: TokenServer, is_old: bool) -> String {
    let rules = PolicyFile::open(program.path("policy.yml")).unwrap();
    let users = Htpasswd::open(program.path("users")).unwrap();
    let mut access = AccessControl::new(rules)
        .authenticator(users)
        .tokens(tokens);
    if is_old {
        access = access.clock(Behind);
    }
    let service = RegistryService::new(Engine::memory()).access(access);
    let server = TestServer::with_service(service).await;
    token(&server.host(), Some("root"), "*").await
}

/// Everybody who asks something of `world`.
pub(crate) async fn everybody(world: &mut World) -> Vec<Somebody> {
    let password = |name| Somebody::new(name, name, Shows::Password, Some(basic(name, PASSWORD)));
    let (_, key) = world.make_key("robots/bot/keys");
    let (revoked_id, revoked) = world.make_key("robots/bot/keys");
    world.manage("DELETE", &format!("robots/bot/keys/{revoked_id}"), "", 204);
    let address = world.program.address.clone();
    let of = async |user: Option<&str>, words: &str| bearer(&token(&address, user, words).await);
    let good = token(&address, Some("root"), "*").await;
    let keys = world.program.path("signing");
    let own = || TokenServer::open(&keys).unwrap();
    let program = &world.program;
    let expired = elsewhere(program, own(), true).await;
    let other_keys = TokenServer::ephemeral().unwrap();
    let foreign = elsewhere(program, other_keys, false).await;
    let fresh = elsewhere(program, own(), false).await;
    // Nothing is wrong with the expired one but its time.
    let answer = world.keeper.ask("GET", "/v2/", &[bearer(&fresh)], "");
    assert_eq!(answer.status, 200, "{answer:?}");
    // One letter of the signature is another one.
    let (claims, signature) = good.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let garbled = format!("{claims}.{other}{}", &signature[1..]);

    let wrong = |label, header| Somebody::new(label, WRONG, Shows::Nothing, Some(header));
    let holder =
        |label, name, words, header| Somebody::new(label, name, Shows::Token(words), Some(header));
    vec![
        Somebody::new("anonymous", ANONYMOUS, Shows::Nothing, None),
        wrong("wrong password", basic("root", silence::WRONG)),
        wrong("unknown user", basic("unheard-of", PASSWORD)),
        wrong("revoked key", basic("robot$bot", &revoked)),
        wrong("expired token", bearer(&expired)),
        wrong("foreign token", bearer(&foreign)),
        wrong("garbled token", bearer(&garbled)),
        password("stranger"),
        password("reader"),
        password("creator"),
        password("writer"),
        password("cleaner"),
        password("auditor"),
        password("root"),
        Somebody::new(
            "key",
            "robot$bot",
            Shows::Key,
            Some(basic("robot$bot", &key)),
        ),
        Somebody::new(
            "bearer key",
            "robot$bot",
            Shows::KeyAsBearer,
            Some(bearer(&key)),
        ),
        holder("anonymous token", ANONYMOUS, "pull", of(None, "pull").await),
        holder(
            "reader's token",
            "reader",
            "*",
            of(Some("reader"), "*").await,
        ),
        holder(
            "writer's token",
            "writer",
            "pull,push",
            of(Some("writer"), "pull,push").await,
        ),
        holder(
            "root's pull token",
            "root",
            "pull",
            of(Some("root"), "pull").await,
        ),
        holder("root's token", "root", "*", bearer(&good)),
    ]
}
