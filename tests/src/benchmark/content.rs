//! What is pushed: random bytes that nothing can share or compress, at no cost while the clock runs.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// The random bytes every blob repeats: more than the processor's caches hold.
const BASE: usize = 64 << 20;

/// The bytes at a blob's end that make it different from all others.
const TAIL: usize = 32;

/// The most that is given to one write.
const SLICE: u64 = 1 << 20;

/// Makes blobs of one base.
#[derive(Debug)]
pub(super) struct Content {
    base: Arc<Vec<u8>>,
    random: fastrand::Rng,
    /// The hash of everything but the tail, by size: blobs of one size differ only there.
    hashed: Vec<(u64, Sha256)>,
}

/// Random bytes with a known digest.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    base: Arc<Vec<u8>>,
    tail: [u8; TAIL],
    pub(super) size: u64,
    pub(super) digest: String,
}

impl Content {
    pub(super) fn new() -> Self {
        let mut random = fastrand::Rng::new();
        let mut base = vec![0; BASE];
        random.fill(&mut base);
        Self {
            base: Arc::new(base),
            random,
            hashed: Vec::new(),
        }
    }

    /// A blob unlike any before, of at least 1 KiB.
    pub(super) fn blob(&mut self, size: u64) -> Blob {
        let mut blob = Blob {
            base: Arc::clone(&self.base),
            tail: [0; TAIL],
            size,
            digest: String::new(),
        };
        self.random.fill(&mut blob.tail);
        let mut hasher = if let Some((_, hasher)) = self.hashed.iter().find(|(of, _)| *of == size) {
            hasher.clone()
        } else {
            let mut hasher = Sha256::new();
            for slice in blob.slices(0, size - TAIL as u64) {
                hasher.update(slice);
            }
            self.hashed.push((size, hasher.clone()));
            hasher
        };
        hasher.update(blob.tail);
        blob.digest = digest_text(&hasher.finalize());
        blob
    }

    /// `count` different blobs of the same size.
    pub(super) fn blobs(&mut self, count: u32, size: u64) -> Vec<Blob> {
        (0..count).map(|_| self.blob(size)).collect()
    }

    /// The random bytes themselves.
    pub(super) fn base(&self) -> Arc<Vec<u8>> {
        Arc::clone(&self.base)
    }

    /// A number unlike any before, for names.
    pub(super) fn unique(&mut self) -> u64 {
        self.random.u64(..)
    }
}

impl Blob {
    /// `length` bytes from `offset` on, in pieces of at most 1 MiB.
    pub(super) fn slices(&self, offset: u64, length: u64) -> impl Iterator<Item = &[u8]> {
        let end = (offset + length).min(self.size);
        let body = self.size - TAIL as u64;
        let mut at = offset;
        std::iter::from_fn(move || {
            let (source, from, limit) = if at < body {
                let from = at % BASE as u64;
                let limit = (BASE as u64 - from).min(body - at);
                (self.base.as_slice(), from, limit)
            } else {
                (self.tail.as_slice(), at - body, self.size - at)
            };
            let length = SLICE.min(limit).min(end.saturating_sub(at));
            at += length;
            source
                .get(from as usize..(from + length) as usize)
                .filter(|slice| !slice.is_empty())
        })
    }
}

/// The digest of bytes at hand.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    digest_text(&Sha256::digest(bytes))
}

fn digest_text(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in hash {
        // Writing to a string doesn't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_as_long_as_said_and_has_its_digest() {
        let mut content = Content::new();
        let mut digests = std::collections::BTreeSet::new();
        for size in [1 << 10, 4096, (65 << 20) + 5, (65 << 20) + 5] {
            let blob = content.blob(size);
            let whole: Vec<u8> = blob.slices(0, size).flatten().copied().collect();
            assert_eq!(whole.len() as u64, size);
            assert_eq!(digest_of(&whole), blob.digest);
            digests.insert(blob.digest);
        }
        assert_eq!(digests.len(), 4);
    }

    #[test]
    fn chunks_make_up_the_whole() {
        let mut content = Content::new();
        let blob = content.blob(5000);
        let whole: Vec<u8> = blob.slices(0, 5000).flatten().copied().collect();
        let parts: Vec<u8> = [(0, 1700), (1700, 1700), (3400, 1600)]
            .into_iter()
            .flat_map(|(offset, length)| blob.slices(offset, length).flatten().copied())
            .collect();
        assert_eq!(parts, whole);
    }
}
