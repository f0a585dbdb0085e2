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
    uri: Uri,
    fetch: Arc<dyn Fetch>,
    state: Mutex<State>,
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
        Ok(Self::new(check_url(url)?, fetch))
    }

    fn new(uri: Uri, fetch: Arc<dyn Fetch>) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Inner { uri, fetch, state }))
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
                    uri = %self.uri,
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
        let (headers, document) = self.document(&self.uri).await?;
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

fn unusable(reason: &str) -> Error {
    ErrorKind::Unavailable.error(format!("the keys of the issuer can't be had: {reason}"))
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
