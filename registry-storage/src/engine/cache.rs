//! Manifests in memory.
//!
//! Only bytes are kept, by the digest that names them for ever. Whether a
//! repository holds a manifest is asked of the metadata every time.

use bytes::Bytes;
use moka::sync::Cache;
use registry_core::Digest;

/// The largest manifest that is kept. The cache gives memory back a while after
/// it has dropped something, so a few large ones would take many times its
/// size; they are rare, and the system keeps their files in memory.
const LARGEST: usize = 128 << 10;

/// Recently used manifests, up to a number of bytes.
#[derive(Debug)]
pub(super) struct ManifestCache(Cache<Digest, Bytes>);

impl ManifestCache {
    pub(super) fn new(bytes: u64) -> Self {
        let weigh = |_: &Digest, manifest: &Bytes| {
            u32::try_from(manifest.len().saturating_add(size_of::<Digest>())).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(bytes).weigher(weigh).build())
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Bytes> {
        self.0.get(digest)
    }

    /// Keeps a manifest. It is copied, so that a small part of a large buffer
    /// doesn't keep the whole.
    pub(super) fn insert(&self, digest: Digest, manifest: &Bytes) {
        if manifest.len() <= LARGEST {
            self.0.insert(digest, Bytes::copy_from_slice(manifest));
        }
    }
}
