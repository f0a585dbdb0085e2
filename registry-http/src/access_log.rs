//! The access log: one event for each request, once its answer was sent.
//!
//! The events have the target `registry::access` and the level INFO. They
//! never hold a query, nor a header but the client's name for itself: that is
//! where credentials travel. What is written like a key or token is hidden
//! wherever it stands, since people put it where it doesn't belong.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Method, StatusCode, Uri, Version};
use registry_auth::hide_secrets;
use registry_core::{Actor, Error, Operation};
use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::metrics::{End, Meter};

/// The target of the events.
const TARGET: &str = "registry::access";

/// The status of requests that the client gave up, as web servers log it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// An error with all its causes, in one line. Subscribers that write JSON know
/// only the first.
pub(crate) struct Causes<'a>(pub(crate) &'a Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cause: Option<&dyn std::error::Error> = Some(self.0);
        let mut separator = "";
        while let Some(error) = cause {
            write!(f, "{separator}{error}")?;
            separator = ": ";
            cause = error.source();
        }
        Ok(())
    }
}

/// A request and its answer, until both are over.
pub(crate) struct Exchange {
    started: Instant,
    meter: Option<Arc<Meter>>,
    status: StatusCode,
    received: u64,
    line: Option<Box<Line>>,
}

/// What is logged of a request.
struct Line {
    id: String,
    method: Method,
    uri: Uri,
    version: Version,
    user_agent: Option<HeaderValue>,
    client: Option<IpAddr>,
    endpoint: Option<Endpoint>,
    actor: Option<Arc<Actor>>,
}

impl Exchange {
    /// A request begins. What is needed for the log is kept only if there is
    /// one.
    pub(crate) fn begin(
        meter: Arc<Meter>,
        id: &str,
        parts: &Parts,
        client: Option<IpAddr>,
    ) -> Self {
        meter.begin();
        let logged = tracing::enabled!(target: TARGET, tracing::Level::INFO);
        let line = logged.then(|| {
            Box::new(Line {
                id: id.to_owned(),
                method: parts.method.clone(),
                uri: parts.uri.clone(),
                version: parts.version,
                user_agent: parts.headers.get(USER_AGENT).cloned(),
                // A listener for both kinds of addresses writes IPv4 as IPv6.
                client: client.map(|address| address.to_canonical()),
                endpoint: None,
                actor: None,
            })
        });
        Self {
            started: Instant::now(),
            meter: Some(meter),
            status: StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or_default(),
            received: 0,
            line,
        }
    }

    /// Who is asking.
    pub(crate) fn authorized(&mut self, actor: &Arc<Actor>) {
        if let Some(line) = &mut self.line {
            line.actor = Some(Arc::clone(actor));
        }
    }

    /// There is an answer, but for its body.
    pub(crate) fn answered(
        &mut self,
        status: StatusCode,
        received: u64,
        endpoint: Option<Endpoint>,
    ) {
        self.status = status;
        self.received = received;
        if let Some(line) = &mut self.line {
            line.endpoint = endpoint;
        }
    }

    /// The body of the answer can't go on.
    pub(crate) fn body_failed(&self, error: &Error) {
        let id = self.line.as_ref().map(|line| line.id.as_str());
        let error_kind = error.kind();
        let error = Causes(error);
        if error_kind.is_server_fault() {
            tracing::error!(%error, id, "an answer broke off");
        } else {
            tracing::info!(%error, id, "an answer broke off");
        }
    }

    /// Everything is over: `sent` bytes of the answer's body were taken, which
    /// was all of it if `complete`.
    pub(crate) fn finish(&mut self, sent: u64, complete: bool) {
        let Some(meter) = self.meter.take() else {
            return;
        };
        let end = End {
            status: self.status,
            duration: self.started.elapsed(),
            received: self.received,
            sent,
        };
        meter.end(&end);
        if let Some(line) = self.line.take() {
            line.write(&end, complete);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.finish(0, false);
    }
}

impl Line {
    fn write(&self, end: &End, complete: bool) {
        let endpoint = self.endpoint.as_ref();
        let operation = endpoint.and_then(Endpoint::operation);
        let repository = endpoint.and_then(Endpoint::repository);
        let repository = repository.map(|name| hide_secrets(name.as_str()));
        let reference = operation.and_then(reference);
        let actor = self.actor.as_ref().and_then(|actor| actor.name.as_deref());
        let agent = self.user_agent.as_ref();
        let agent = agent.and_then(|agent| agent.to_str().ok());
        tracing::info!(
            target: TARGET,
            id = self.id,
            method = self.method.as_str(),
            path = &*hide_secrets(self.uri.path()),
            version = ?self.version,
            status = end.status.as_u16(),
            operation = endpoint.map(Endpoint::name),
            repository = repository.as_deref(),
            reference = reference.as_deref().map(hide_secrets).as_deref(),
            received = end.received,
            sent = end.sent,
            complete,
            seconds = end.duration.as_secs_f64(),
            actor = actor.map(hide_secrets).as_deref(),
            client = self.client.map(tracing::field::display),
            user_agent = agent.map(hide_secrets).as_deref(),
        );
    }
}

/// What in its repository an operation is about.
fn reference(operation: &Operation) -> Option<String> {
    match operation {
        Operation::StatBlob { digest, .. }
        | Operation::GetBlob { digest, .. }
        | Operation::DeleteBlob { digest, .. }
        | Operation::PushBlob { digest, .. }
        | Operation::MountBlob { digest, .. }
        | Operation::FinishUpload { digest, .. }
        | Operation::ListReferrers {
            subject: digest, ..
        } => Some(digest.to_string()),
        Operation::UploadStatus { id, .. }
        | Operation::AppendUpload { id, .. }
        | Operation::CancelUpload { id, .. } => Some(id.to_string()),
        Operation::StatManifest { reference, .. }
        | Operation::GetManifest { reference, .. }
        | Operation::PutManifest { reference, .. }
        | Operation::DeleteManifest { reference, .. } => Some(reference.to_string()),
        Operation::Ping
        | Operation::ListRepositories { .. }
        | Operation::BeginUpload { .. }
        | Operation::ListTags { .. } => None,
    }
}
