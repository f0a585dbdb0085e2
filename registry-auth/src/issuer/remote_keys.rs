//! Keys that an issuer publishes, and that are fetched again now and then.

use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, CACHE_CONTROL, HeaderMap};
use http::{Request, StatusCode, Uri};
use registry_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::timeout;

use super::certificates::DatedKeys;
use crate::Fetch;
use crate::fetch::check_url;
#[cfg(feature = "workload")]
use crate::jwt::Json;
use crate::jwt::KeySet;

/// The longest document that is read, in bytes.
const DOCUMENT_MAX: usize = 256 << 10;

/// How long keys are good before they are fetched again, if the issuer says less
/// or nothing, and if it says more.
const AGE_LEAST: Duration = Duration::from_mins(5);
const AGE_MOST: Duration = Duration::from_hours(1);

/// How long keys are good if the issuer can't be asked.
const STALE: Duration = Duration::from_hours(24);

/// The time between two attempts to fetch them. Whoever sends tokens that name
/// keys nobody has causes no more than this.
const BETWEEN: Duration = Duration::from_mins(1);

/// How long somebody waits for keys that are being fetched.
const WAIT: Duration = Duration::from_secs(2);

/// The keys of one issuer. They are fetched when somebody asks for them.
#[derive(Debug)]
pub(super) struct RemoteKeys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    fetch: Arc<dyn Fetch>,
    state: Mutex<State>,
}

/// Where the keys are.
#[derive(Debug)]
enum Source {
    At(Uri),
    /// Where the issuer says, in this document.
    #[cfg(feature = "workload")]
    SaidIn {
        document: Uri,
        issuer: String,
    },
}

#[derive(Debug, Default)]
struct State {
    known: Option<Known>,
    /// When they were asked for last.
    tried: Option<SystemTime>,
    /// Whether that came to nothing.
    failed: bool,
    /// Ends when what is being fetched is there, or nobody fetches any more.
    running: Option<watch::Receiver<()>>,
}

#[derive(Debug)]
struct Known {
    /// What they were read from.
    document: Vec<u8>,
    keys: Arc<Vec<DatedKeys>>,
    since: SystemTime,
    age: Duration,
}

impl RemoteKeys {
    /// Those in the document at `url`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if the URL isn't one of `https`, or of this
    /// machine.
    pub(super) fn at(url: &str, fetch: Arc<dyn Fetch>) -> Result<Self> {
        Ok(Self::new(Source::At(check_url(url)?), fetch))
    }

    /// Those that `issuer` says are its own (OpenID Connect Discovery 1.0).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if the issuer isn't a URL of `https`, or of
    /// this machine, or has a query.
    #[cfg(feature = "workload")]
    pub(super) fn of_issuer(issuer: &str, fetch: Arc<dyn Fetch>) -> Result<Self> {
        if issuer.contains(['?', '#']) {
            return Err(ErrorKind::RequestInvalid
                .error("an issuer whose address has a query can't be asked for its keys"));
        }
        let base = issuer.trim_end_matches('/');
        let source = Source::SaidIn {
            document: check_url(&format!("{base}/.well-known/openid-configuration"))?,
            issuer: issuer.to_owned(),
        };
        Ok(Self::new(source, fetch))
    }

    fn new(source: Source, fetch: Arc<dyn Fetch>) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Inner {
            source,
            fetch,
            state,
        }))
    }

    /// The keys to check a token with at `now`; none if there are none to be had.
    pub(super) async fn current(&self, now: SystemTime) -> Option<Arc<Vec<DatedKeys>>> {
        let awaited = {
            let mut state = self.0.lock();
            if let Some(known) = state.known.as_ref().filter(|known| !known.is_due(now)) {
                return Some(Arc::clone(&known.keys));
            }
            let serves = state.known.as_ref().is_some_and(|known| known.serves(now));
            let waits = !(serves && state.failed);
            self.0.fetch_at(now, &mut state).filter(|_| waits)
        };
        wait(awaited).await;
        let state = self.0.lock();
        let serving = state.known.as_ref().filter(|known| known.serves(now));
        serving.map(|known| Arc::clone(&known.keys))
    }

    /// Other keys than `old`, among which somebody looked for one in vain.
    pub(super) async fn after(
        &self,
        old: &Arc<Vec<DatedKeys>>,
        now: SystemTime,
    ) -> Option<Arc<Vec<DatedKeys>>> {
        let awaited = {
            let mut state = self.0.lock();
            match state.newer(old) {
                Some(newer) => return Some(newer),
                None => self.0.fetch_at(now, &mut state),
            }
        };
        wait(awaited).await;
        self.0.lock().newer(old)
    }
}

impl State {
    fn newer(&self, old: &Arc<Vec<DatedKeys>>) -> Option<Arc<Vec<DatedKeys>>> {
        let keys = &self.known.as_ref()?.keys;
        (!Arc::ptr_eq(old, keys)).then(|| Arc::clone(keys))
    }
}

impl Known {
    fn is_due(&self, now: SystemTime) -> bool {
        since(self.since, now) >= self.age
    }

    fn serves(&self, now: SystemTime) -> bool {
        since(self.since, now) < STALE
    }
}

/// How long ago `then` was. A clock that was set back tells nothing: then it was
/// too long ago.
fn since(then: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or(Duration::MAX)
}

async fn wait(running: Option<watch::Receiver<()>>) {
    if let Some(mut running) = running {
        // Nobody sends anything: it ends when whoever fetches is done.
        let _ = timeout(WAIT, running.changed()).await;
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to fetch the keys, unless somebody is at it, or was too short a
    /// while ago. What is returned ends with that.
    fn fetch_at(
        self: &Arc<Self>,
        now: SystemTime,
        state: &mut State,
    ) -> Option<watch::Receiver<()>> {
        let running = state.running.as_ref();
        if let Some(running) = running.filter(|running| running.has_changed().is_ok()) {
            return Some(running.clone());
        }
        if state.tried.is_some_and(|tried| since(tried, now) < BETWEEN) {
            return None;
        }
        state.tried = Some(now);
        let (working, running) = watch::channel(());
        state.running = Some(running.clone());
        let inner = Arc::clone(self);
        // A task of its own: whoever asked may go away.
        tokio::spawn(async move {
            let found = inner.fetch().await;
            inner.settle(found, now);
            drop(working);
        });
        Some(running)
    }

    fn settle(&self, found: Result<(Vec<u8>, KeySet, Duration)>, since: SystemTime) {
        let mut state = self.lock();
        state.failed = found.is_err();
        match found {
            Ok((document, keys, age)) => {
                let same = state.known.take();
                let same = same.filter(|known| known.document == document);
                // What was verified with the same keys needn't be again.
                let keys = match same {
                    Some(known) => known.keys,
                    None => Arc::new(vec![DatedKeys::always(keys)]),
                };
                state.known = Some(Known {
                    document,
                    keys,
                    since,
                    age,
                });
            }
            Err(error) => {
                tracing::warn!(
                    uri = %self.source.uri(),
                    %error,
                    cause = error.source().map(tracing::field::display),
                    "the keys of an issuer can't be fetched; those from before are good for a day"
                );
            }
        }
    }

    /// The keys, as they were written and as they were read, and how long they are
    /// good.
    async fn fetch(&self) -> Result<(Vec<u8>, KeySet, Duration)> {
        let keys = match &self.source {
            Source::At(uri) => uri.clone(),
            #[cfg(feature = "workload")]
            Source::SaidIn { document, issuer } => {
                let (_, description) = self.document(document).await?;
                let keys = keys_of(&description, issuer)?;
                // Who is far away knows nothing of what is on this machine.
                if keys.scheme() != document.scheme() {
                    return Err(unusable("its description says that they are without TLS"));
                }
                keys
            }
        };
        let (headers, document) = self.document(&keys).await?;
        let keys = KeySet::parse_jwks(&document)?;
        Ok((document, keys, age(&headers)))
    }

    async fn document(&self, uri: &Uri) -> Result<(HeaderMap, Vec<u8>)> {
        let request = Request::get(uri)
            .header(ACCEPT, "application/json, application/jwk-set+json")
            .body(Vec::new())
            .map_err(|source| Error::internal("a request can't be made", source))?;
        let (head, body) = self.fetch.fetch(request, DOCUMENT_MAX).await?.into_parts();
        // Whoever fetches promised this, but it may be somebody else's.
        if body.len() > DOCUMENT_MAX {
            return Err(unusable("the document is longer than 256 KiB"));
        }
        match head.status {
            StatusCode::OK => Ok((head.headers, body)),
            status => Err(unusable(&format!(
                "{uri} answers {} and no document",
                status.as_u16()
            ))),
        }
    }
}

impl Source {
    /// The document to begin with.
    fn uri(&self) -> &Uri {
        match self {
            Self::At(uri) => uri,
            #[cfg(feature = "workload")]
            Self::SaidIn { document, .. } => document,
        }
    }
}

fn unusable(reason: &str) -> Error {
    ErrorKind::Unavailable.error(format!("the keys of the issuer can't be had: {reason}"))
}

/// Where the keys of `issuer` are, as it says itself.
#[cfg(feature = "workload")]
fn keys_of(document: &[u8], issuer: &str) -> Result<Uri> {
    let description = Json::parse(document)
        .map_err(|source| unusable("its description isn't acceptable JSON").with_source(source))?;
    let text = |name: &str| description.as_object()?.get(name)?.as_text();
    // Else one issuer could vouch with the keys of another.
    if text("issuer") != Some(issuer) {
        return Err(unusable("its description is one of another issuer"));
    }
    let keys = text("jwks_uri").ok_or_else(|| unusable("its description names no keys"))?;
    check_url(keys).map_err(|source| {
        unusable("its description says that they are where nobody may be asked").with_source(source)
    })
}

/// How long an answer may be kept.
fn age(headers: &HeaderMap) -> Duration {
    let values = headers.get_all(CACHE_CONTROL).iter();
    let mut directives = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let said = directives.find_map(|directive| {
        let (name, value) = directive.trim().split_once('=')?;
        let is_age = name.eq_ignore_ascii_case("max-age");
        let seconds: u64 = value.trim_matches('"').parse().ok().filter(|_| is_age)?;
        Some(Duration::from_secs(seconds))
    });
    said.unwrap_or_default().clamp(AGE_LEAST, AGE_MOST)
}
