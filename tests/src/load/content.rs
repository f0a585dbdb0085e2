//! Bytes made from a seed.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// The length after which content repeats. No power of two, so that bytes that end up in a wrong place show.
const PERIOD: usize = 65_521;

/// Bytes that a seed and a size describe, so that nobody has to keep them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    seed: u64,
    size: u64,
    digest: String,
}

impl Content {
    /// The content of `size` bytes that belongs to `seed`.
    pub fn new(seed: u64, size: u64) -> Self {
        let mut sum = Summed::new();
        let mut reader = Self::bytes(seed, size);
        let mut buffer = vec![0; PERIOD];
        loop {
            let read = reader.read(&mut buffer).expect("reading from memory");
            if read == 0 {
                break;
            }
            sum.add(buffer.get(..read).expect("what was read"));
        }
        Self {
            seed,
            size,
            digest: sum.digest(),
        }
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its SHA-256 digest.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The bytes from `start` on, at most `length` of them.
    pub fn read(&self, start: u64, length: u64) -> impl Read + use<> {
        let mut bytes = Self::bytes(self.seed, self.size);
        bytes.position = start.min(self.size);
        bytes.end = start.saturating_add(length).min(self.size);
        bytes
    }

    fn bytes(seed: u64, size: u64) -> Bytes {
        let mut period = vec![0; PERIOD];
        fastrand::Rng::with_seed(seed).fill(&mut period);
        Bytes {
            period,
            position: 0,
            end: size,
        }
    }
}

struct Bytes {
    period: Vec<u8>,
    position: u64,
    end: u64,
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() && self.position < self.end {
            let left =
                usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
            let start =
                usize::try_from(self.position.rem_euclid(PERIOD as u64)).unwrap_or_default();
            let source = self.period.get(start..).unwrap_or_default();
            let target = buffer.get_mut(filled..).unwrap_or_default();
            let count = source.len().min(target.len()).min(left);
            for (to, from) in target.chunks_mut(count).zip(source.chunks(count)).take(1) {
                to.copy_from_slice(from);
            }
            filled = filled.saturating_add(count);
            self.position = self.position.saturating_add(count as u64);
        }
        Ok(filled)
    }
}

/// The SHA-256 digest of bytes, as the registry spells it.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Counts and hashes what comes in pieces.
pub(super) struct Summed {
    hasher: Sha256,
    size: u64,
}

impl Summed {
    pub(super) fn new() -> Self {
        Self {
            hasher: Sha256::new(),
            size: 0,
        }
    }

    pub(super) fn add(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
        self.size = self.size.saturating_add(piece.len() as u64);
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn digest(self) -> String {
        format!("sha256:{}", hex(&self.hasher.finalize()))
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_put_together_are_the_whole() {
        let content = Content::new(7, 200_000);
        let mut whole = Vec::new();
        content.read(0, u64::MAX).read_to_end(&mut whole).unwrap();
        assert_eq!(whole.len(), 200_000);
        assert_eq!(digest_of(&whole), content.digest());

        let mut pieces = Vec::new();
        for (start, length) in [(0, 1), (1, 65_536), (65_537, 100_000), (165_537, 99_999)] {
            content
                .read(start, length)
                .read_to_end(&mut pieces)
                .unwrap();
        }
        assert_eq!(pieces, whole);
    }

    #[test]
    fn another_seed_is_other_content() {
        assert_ne!(Content::new(1, 100).digest(), Content::new(2, 100).digest());
    }
}
