//! Asking a service of the operator's own what it has to say.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode, Uri};
use registry_core::{Action, Actions, Error, ErrorKind, RepositoryName, Result, Tag};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use crate::fetch::check_url;
use crate::kept_secret::KeptSecret;
use crate::remembered::{Memory, Remembered};
use crate::shares::Shares;
use crate::{Decision, Fetch, Principal, PrincipalKind, Question, Review, Secret};

/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 << 10;

/// How many questions are open at once.
const OPEN_MAX: usize = 64;

/// The longest time for which an answer is remembered.
const REMEMBERED_MAX: Duration = Duration::from_mins(1);

/// How many answers are remembered at least.
const REMEMBERED: usize = 4096;

/// How many bytes they take at most, in each of two generations.
const REMEMBERED_BYTES: usize = 8 << 20;

/// The longest reason that clients are shown, in characters.
const REASON_MAX: usize = 256;

/// What signs the question, as the webhooks of GitHub do.
const SIGNATURE: &str = "x-hub-signature-256";

/// Asks a service whether an operation may go on, in the form that Open Policy
/// Agent knows: a `POST` of
///
/// ```json
/// {"input": {"user": "ann", "kind": "user", "groups": ["web"], "claims": {},
///   "actions": ["push"], "repository": "web/shop", "tags": ["v1"],
///   "address": "192.0.2.1", "time": 1790000000}}
/// ```
///
/// is answered by
///
/// ```json
/// {"result": {"deny": true, "reason": "shops are frozen until Monday"}}
/// ```
///
/// `kind` is `user`, `robot`, `workload` or `anonymous`; `user` is its name, and null for anonymous callers, as is an address that isn't known;
/// `time` is in seconds since 1970. An `allow` that is false denies as `deny` does; an answer with
/// neither leaves it to the [policies](crate::Policy). Both are about the actions that were asked
/// for, or about those in `actions`, such as `["push", "overwrite"]`. Only those
/// who may pull or list there read the reason.
///
/// No answer, one with another status than 200, and one without a `result` are
/// errors: the operation doesn't go on, and the client gets 503. At most 64
/// questions are open at once, shared as a [`FairReview`](crate::FairReview) does.
pub struct Webhook {
    uri: Uri,
    fetch: Arc<dyn Fetch>,
    secret: Option<KeptSecret>,
    remember: Duration,
    remembered: Remembered<(Decision, SystemTime)>,
    shares: Shares,
}

impl Webhook {
    /// Asks the service at `url`; the questions are brought there by `fetch`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if the URL isn't one of `https`, or of this
    /// machine.
    pub fn new(url: &str, fetch: impl Fetch) -> Result<Self> {
        Ok(Self {
            uri: check_url(url)?,
            fetch: Arc::new(fetch),
            secret: None,
            remember: Duration::ZERO,
            remembered: Remembered::new(REMEMBERED, REMEMBERED_BYTES),
            shares: Shares::new(OPEN_MAX),
        })
    }

    /// Signs each question with `secret`, so that the service knows who asks:
    /// `X-Hub-Signature-256` is `sha256=` and the HMAC of the body in hexadecimal.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if it is empty.
    pub fn secret(mut self, secret: Secret) -> Result<Self> {
        if secret.expose().is_empty() {
            return Err(ErrorKind::RequestInvalid
                .error("the secret of the webhook is empty; nobody would have to know it"));
        }
        self.secret = Some(KeptSecret::given(secret));
        Ok(self)
    }

    /// The same with the secret in the file at `path`, without the line break at its end.
    /// It is read at once, and anew within about a second when it changes; while it is
    /// missing, empty or isn't text, the secret from before stays.
    ///
    /// # Errors
    ///
    /// If it can't be read, is empty or isn't text.
    pub fn secret_file(mut self, path: impl Into<PathBuf>) -> Result<Self> {
        self.secret = Some(KeptSecret::file("secret of the webhook", path.into())?);
        Ok(self)
    }

    /// Doesn't ask the same again for so long, a minute at most.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if it is longer.
    pub fn remember(mut self, time: Duration) -> Result<Self> {
        if time > REMEMBERED_MAX {
            return Err(ErrorKind::RequestInvalid
                .error("answers of the webhook can be remembered for a minute at most"));
        }
        self.remember = time;
        Ok(self)
    }

    async fn ask(
        &self,
        question: &Question<'_>,
        input: &Input<'_>,
        actions: Actions,
    ) -> Result<Decision> {
        let body = input.to_json()?;
        let mut request = Request::post(&self.uri)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json");
        if let Some(secret) = &self.secret {
            request = request.header(SIGNATURE, signature(&*secret.current().await, &body)?);
        }
        let request = request
            .body(body)
            .map_err(|source| Error::internal("a question can't be sent", source))?;
        let _turn = self.shares.turn(question).await?;
        let answer = self.fetch.fetch(request, ANSWER_MAX).await?;
        if answer.status() != StatusCode::OK {
            let status = answer.status().as_u16();
            return Err(unusable(&format!("the answer is {status}")));
        }
        let answer: Answer = serde_json::from_slice(answer.body())
            .map_err(|source| unusable("the answer isn't a result").with_source(source))?;
        answer.result.decision(actions)
    }
}

#[async_trait]
impl Review for Webhook {
    async fn review(&self, question: &Question<'_>, actions: Actions) -> Result<Decision> {
        let mut input = Input::of(question, actions);
        if self.remember.is_zero() {
            let input = input.at(question.at);
            return self.ask(question, &input, actions).await;
        }
        let fingerprint = Sha256::digest(input.to_json()?).into();
        let known = self.remembered.get(&fingerprint, question.at);
        // A clock that was set back ends it, too.
        let is_young = |since: SystemTime| {
            let age = question.at.duration_since(since);
            age.is_ok_and(|age| age < self.remember)
        };
        if let Some((decision, _)) = known.filter(|(_, since)| is_young(*since)) {
            return Ok(decision);
        }
        input = input.at(question.at);
        let decision = self.ask(question, &input, actions).await?;
        let memory = Memory {
            value: (decision.clone(), question.at),
            bytes: REASON_MAX,
            until: question
                .at
                .checked_add(self.remember)
                .unwrap_or(question.at),
        };
        self.remembered.insert(fingerprint, memory, question.at);
        Ok(decision)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

fn unusable(reason: &str) -> Error {
    ErrorKind::Unavailable.error(format!("the webhook doesn't decide: {reason}"))
}

fn signature(secret: &Secret, body: &[u8]) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .map_err(|source| Error::internal("a question can't be signed", source))?;
    mac.update(body);
    let mut header = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        // Writing into memory doesn't fail.
        let _ = write!(header, "{byte:02x}");
    }
    Ok(header)
}

#[derive(Serialize)]
struct Asked<'a> {
    input: &'a Input<'a>,
}

/// What the service gets to know.
#[derive(Serialize)]
struct Input<'a> {
    user: Option<String>,
    kind: &'static str,
    groups: Vec<&'a str>,
    claims: BTreeMap<&'a str, &'a str>,
    actions: Vec<&'static str>,
    repository: Option<&'a str>,
    tags: Vec<&'a str>,
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
}

impl<'a> Input<'a> {
    fn of(question: &Question<'a>, actions: Actions) -> Self {
        let known = question.principal;
        Self {
            user: known.map(|known| known.short().to_string()),
            kind: match known.map(Principal::kind) {
                Some(PrincipalKind::User) => "user",
                Some(PrincipalKind::Robot) => "robot",
                Some(PrincipalKind::Workload) => "workload",
                Some(PrincipalKind::Anonymous) | None => "anonymous",
            },
            groups: known.map_or_else(Vec::new, |known| known.groups().collect()),
            claims: known.map_or_else(BTreeMap::new, |known| known.claims().collect()),
            actions: actions.iter().map(Action::as_str).collect(),
            repository: question.repository.map(RepositoryName::as_str),
            tags: question.tags.iter().map(Tag::as_str).collect(),
            address: question.origin.address,
            time: None,
        }
    }

    /// Asked at `time`, which is no part of what is remembered.
    fn at(self, time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            time: Some(since.as_secs()),
            ..self
        }
    }

    fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(&Asked { input: self })
            .map_err(|source| Error::internal("a question can't be written", source))
    }
}

#[derive(Deserialize)]
struct Answer {
    result: Verdict,
}

/// What the service says. It may say more, for others.
#[derive(Deserialize)]
struct Verdict {
    #[serde(default, deserialize_with = "said")]
    allow: Option<bool>,
    #[serde(default)]
    deny: bool,
    reason: Option<String>,
    actions: Option<Vec<String>>,
}

/// What is there has to be a yes or no.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    bool::deserialize(deserializer).map(Some)
}

impl Verdict {
    fn decision(self, asked: Actions) -> Result<Decision> {
        let actions = match self.actions {
            None => asked,
            Some(words) => words
                .iter()
                .map(|word| word.parse::<Action>())
                .collect::<Result<Actions>>()
                .map_err(|source| unusable("it names no such action").with_source(source))?,
        };
        let mut decision = Decision::ABSTAIN;
        if self.allow == Some(true) {
            decision = decision.and(Decision::allow(actions));
        }
        // A policy whose `allow` is false unless something says otherwise answers so.
        if self.deny || self.allow == Some(false) {
            // It is shown to people, in an answer and a log.
            let said = self.reason.unwrap_or_default();
            let plain = said.chars().filter(|letter| !letter.is_control());
            let reason: String = plain.take(REASON_MAX).collect();
            // Whoever denies isn't taken for denying nothing.
            let denied = if actions.is_empty() { asked } else { actions };
            decision = decision.and(if reason.is_empty() {
                Decision::deny_silently(denied)
            } else {
                Decision::deny(denied, reason)
            });
        }
        Ok(decision)
    }
}
