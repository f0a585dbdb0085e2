//! Manifests in memory.
//!
//! Only bytes are kept, by the digest that names them for ever. Whether a
//! repository holds a manifest is asked of the metadata every time.

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;
use metrics::Counter;
use moka::sync::Cache;
use registry_core::Digest;

/// The largest manifest that is kept. The cache gives memory back a while after
/// it has dropped something, so a few large ones would take many times its
/// size; they are rare, and the system keeps their files in memory.
const LARGEST: usize = 128 << 10;

/// Recently used manifests, up to a number of bytes.
#[derive(Debug)]
pub(super) struct ManifestCache {
    manifests: Cache<Digest, Bytes>,
    meter: OnceLock<Meter>,
}

/// How useful the cache is, under the names that dashboards of registries
/// query.
struct Meter {
    requests: Counter,
    hits: Counter,
    errors: Counter,
}

impl ManifestCache {
    pub(super) fn new(bytes: u64) -> Self {
        let weigh = |_: &Digest, manifest: &Bytes| {
            u32::try_from(manifest.len().saturating_add(size_of::<Digest>())).unwrap_or(u32::MAX)
        };
        Self {
            manifests: Cache::builder().max_capacity(bytes).weigher(weigh).build(),
            meter: OnceLock::new(),
        }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Bytes> {
        let meter = self.meter();
        meter.requests.increment(1);
        let found = self.manifests.get(digest);
        if found.is_some() {
            meter.hits.increment(1);
        }
        found
    }

    /// Notes that what the cache hadn't couldn't be read either.
    pub(super) fn count_error(&self) {
        self.meter().errors.increment(1);
    }

    /// Keeps a manifest. It is copied, so that a small part of a large buffer
    /// doesn't keep the whole.
    pub(super) fn insert(&self, digest: Digest, manifest: &Bytes) {
        if manifest.len() <= LARGEST {
            let kept = Bytes::copy_from_slice(manifest);
            self.manifests.insert(digest, kept);
        }
    }

    /// Looked up once: the recorder that is there at the first request counts.
    fn meter(&self) -> &Meter {
        self.meter.get_or_init(Meter::new)
    }
}

impl Meter {
    fn new() -> Self {
        const REQUESTS: &str = "registry_storage_cache_requests_total";
        const HITS: &str = "registry_storage_cache_hits_total";
        const ERRORS: &str = "registry_storage_cache_errors_total";
        metrics::describe_counter!(REQUESTS, "Manifests that the cache was asked for.");
        metrics::describe_counter!(HITS, "Manifests that the cache had.");
        metrics::describe_counter!(
            ERRORS,
            "Manifests that the cache hadn't and that couldn't be read."
        );
        Self {
            requests: metrics::counter!(REQUESTS),
            hits: metrics::counter!(HITS),
            errors: metrics::counter!(ERRORS),
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}
