//! Content digests: the names of bytes, and the proof that bytes have them.
//!
//! Image specification, "Digests". `sha256` and `sha512` are supported; any
//! other algorithm is refused, since a registry can't vouch for content that
//! it can't verify.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Sha256, Sha512};

use crate::{Error, ErrorKind, Result};

/// A registered hash algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Algorithm {
    /// SHA-256, which every registry supports.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name used in digests and in the `digest-algorithm` parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of a hash, in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The digest of `content`.
    pub fn digest(self, content: &[u8]) -> Digest {
        let mut hasher = Hasher::new(self);
        hasher.update(content);
        hasher.finish().digest()
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(ErrorKind::DigestInvalid
                .error("the digest algorithm is not supported; use sha256 or sha512")
                .about("digest-algorithm", name)),
        }
    }
}

/// The name of content: an algorithm and the hash it gives.
///
/// The same bytes under two algorithms have two digests, which are never
/// equal. Upper-case hexadecimal digits are refused.
///
/// ```
/// use registry_core::{Algorithm, Digest};
///
/// let digest = Algorithm::Sha256.digest(b"{}");
/// let text = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
/// assert_eq!(digest.to_string(), text);
/// assert_eq!(text.parse::<Digest>()?, digest);
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// The hash, followed by zeros up to the longest one.
    hash: [u8; 64],
}

impl Digest {
    /// The digest with this `hash`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::DigestInvalid`] if the hash hasn't the algorithm's length.
    pub fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Result<Self> {
        let mut padded = [0; 64];
        match padded.get_mut(..hash.len()) {
            Some(start) if hash.len() == algorithm.size() => start.copy_from_slice(hash),
            _ => {
                return Err(ErrorKind::DigestInvalid
                    .error("the hash does not have the length of its algorithm"));
            }
        }
        Ok(Self {
            algorithm,
            hash: padded,
        })
    }

    /// The algorithm that gave the hash.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash: as many bytes as the algorithm gives.
    pub fn hash(&self) -> &[u8] {
        let (hash, _) = self.hash.split_at(self.algorithm.size());
        hash
    }

    /// The hash in lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |value: u8| char::from(*DIGITS.get(usize::from(value)).unwrap_or(&b'0'));
        self.hash()
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
            .collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            ErrorKind::DigestInvalid
                .error("the digest is malformed; write algorithm:hexadecimal in lower case")
                .about("digest", text)
        };
        let (algorithm, encoded) = text.split_once(':').ok_or_else(invalid)?;
        let algorithm: Algorithm = algorithm
            .parse()
            .map_err(|error: Error| error.about("digest", text))?;
        if encoded.len() != algorithm.size().saturating_mul(2) {
            return Err(invalid());
        }
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit & 15),
            // The low half of 'a' is 1.
            b'a'..=b'f' => Some((digit & 15).wrapping_add(9)),
            _ => None,
        };
        let mut hash = [0; 64];
        for (byte, pair) in hash.iter_mut().zip(encoded.as_bytes().chunks_exact(2)) {
            let &[high, low] = pair else {
                return Err(invalid());
            };
            let (high, low) = nibble(high).zip(nibble(low)).ok_or_else(invalid)?;
            *byte = high << 4 | low;
        }
        Ok(Self { algorithm, hash })
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The proof that some bytes were hashed: their digest and their number.
///
/// Only a [`Hasher`] makes one, so a store that asks for it can't be handed
/// content that nobody verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    digest: Digest,
    size: u64,
}

impl Verified {
    /// The digest of the bytes.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The number of bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The same proof, if it is about the content named `expected`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::DigestInvalid`] if the bytes have another digest.
    pub fn expect(self, expected: &Digest) -> Result<Self> {
        if self.digest == *expected {
            Ok(self)
        } else {
            Err(ErrorKind::DigestInvalid
                .error("the content does not match the digest; send it again"))
        }
    }
}

/// Hashes content as it passes by.
///
/// Its state can be saved and resumed, so that an upload that pauses, or moves
/// to another process, never reads its bytes twice.
///
/// ```
/// use registry_core::{Algorithm, Hasher};
///
/// let mut hasher = Hasher::new(Algorithm::Sha256);
/// hasher.update(b"hello ");
/// let mut hasher = Hasher::resume(&hasher.state())?;
/// hasher.update(b"world");
/// assert_eq!(hasher.finish().digest(), Algorithm::Sha256.digest(b"hello world"));
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Hasher {
    state: State,
    size: u64,
}

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// The version of the layout that [`Hasher::state`] writes: the version, the
/// algorithm, the number of bytes as eight big-endian bytes, then the state.
const STATE_VERSION: u8 = 1;

impl Hasher {
    /// A hasher that has seen nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        };
        Self { state, size: 0 }
    }

    /// The algorithm in use.
    pub const fn algorithm(&self) -> Algorithm {
        match self.state {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The number of bytes seen so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Hashes the next bytes.
    pub fn update(&mut self, content: &[u8]) {
        match &mut self.state {
            State::Sha256(hasher) => hasher.update(content),
            State::Sha512(hasher) => hasher.update(content),
        }
        self.size = self.size.saturating_add(content.len() as u64);
    }

    /// The digest of all bytes seen, as proof.
    pub fn finish(self) -> Verified {
        let mut hash = [0; 64];
        let algorithm = self.algorithm();
        let copy = |hash: &mut [u8; 64], result: &[u8]| {
            for (to, from) in hash.iter_mut().zip(result) {
                *to = *from;
            }
        };
        match self.state {
            State::Sha256(hasher) => copy(&mut hash, hasher.finalize().as_slice()),
            State::Sha512(hasher) => copy(&mut hash, hasher.finalize().as_slice()),
        }
        Verified {
            digest: Digest { algorithm, hash },
            size: self.size,
        }
    }

    /// The state to go on from later. At most 256 bytes.
    pub fn state(&self) -> Vec<u8> {
        let mut state = vec![STATE_VERSION, self.algorithm() as u8];
        state.extend(self.size.to_be_bytes());
        match &self.state {
            State::Sha256(hasher) => state.extend(hasher.serialize().as_slice()),
            State::Sha512(hasher) => state.extend(hasher.serialize().as_slice()),
        }
        state
    }

    /// The hasher that saved `state`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] if the state isn't one that this version of the
    /// crate saved; the upload has to start again.
    pub fn resume(state: &[u8]) -> Result<Self> {
        let unknown = || ErrorKind::Internal.error("the saved hash state is not readable");
        let (head, rest) = state.split_first_chunk::<2>().ok_or_else(unknown)?;
        let (size, rest) = rest.split_first_chunk::<8>().ok_or_else(unknown)?;
        let size = u64::from_be_bytes(*size);
        let state = match *head {
            [STATE_VERSION, 0] if has_seen(rest, Algorithm::Sha256, size) => {
                let saved = rest.try_into().map_err(|_| unknown())?;
                State::Sha256(Sha256::deserialize(saved).map_err(|_| unknown())?)
            }
            [STATE_VERSION, 1] if has_seen(rest, Algorithm::Sha512, size) => {
                let saved = rest.try_into().map_err(|_| unknown())?;
                State::Sha512(Sha512::deserialize(saved).map_err(|_| unknown())?)
            }
            _ => return Err(unknown()),
        };
        Ok(Self { state, size })
    }
}

/// Whether a state that `sha2` saved is one after `size` bytes.
///
/// It holds the words of the hash, the number of whole blocks in little-endian
/// order, and the number of bytes behind them. `sha2` trusts these numbers, and
/// calculates with them when it finishes; more bytes than any blob has would
/// overflow there.
fn has_seen(saved: &[u8], algorithm: Algorithm, size: u64) -> bool {
    const LARGEST: u64 = 1 << 60;
    let (blocks, rest, counter) = match algorithm {
        Algorithm::Sha256 => (size / 64, size % 64, 8),
        Algorithm::Sha512 => (size / 128, size % 128, 16),
    };
    let blocks = u128::from(blocks).to_le_bytes();
    let mut expected: Vec<u8> = blocks.into_iter().take(counter).collect();
    expected.extend(u8::try_from(rest));
    size < LARGEST
        && saved
            .get(algorithm.size()..)
            .is_some_and(|numbers| numbers.starts_with(&expected))
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("algorithm", &self.algorithm())
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// The documentation's attempt to make a [`Verified`], here where its fields
/// may be used: outside it is only that right which it lacks.
#[cfg(test)]
mod tests {
    use crate as registry_core;

    #[test]
    fn only_the_missing_right_stops_what_documentation_tries() {
        use registry_core::{Digest, Verified};

        fn forged(digest: Digest) -> Verified {
            Verified { digest, size: 12 }
        }

        let digest = registry_core::Algorithm::Sha256.digest(b"");
        assert_eq!(forged(digest).digest(), digest);
    }
}
