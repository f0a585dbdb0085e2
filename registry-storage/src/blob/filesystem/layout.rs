//! Where things are below the store's directory.
//!
//! ```text
//! blobs/<algorithm>/<first two digits>/<hexadecimal digest>.<generation>
//! staging/<upload>
//! ```
//!
//! Nothing that a client sends becomes part of a path. Sorted by name, files
//! are in the order of their keys.

use std::path::{Path, PathBuf};

use registry_core::{Algorithm, Digest, UploadId};

use crate::BlobKey;

/// The algorithms, in the order of the keys.
pub(super) const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// How many directories hold blobs.
pub(super) const FAN_OUT: usize = ALGORITHMS.len() * 256;

/// The store's own directory.
pub(super) fn root() -> &'static Path {
    Path::new(".")
}

/// The directory that the store's own is in.
pub(super) fn above() -> &'static Path {
    Path::new("..")
}

pub(super) fn blobs() -> &'static Path {
    Path::new("blobs")
}

pub(super) fn staging() -> &'static Path {
    Path::new("staging")
}

/// The name under which the store tries what the system can do.
pub(super) fn probe() -> PathBuf {
    staging().join("probe")
}

pub(super) fn algorithm(algorithm: Algorithm) -> PathBuf {
    blobs().join(algorithm.as_str())
}

/// The directory of all digests that start with `first`.
pub(super) fn fan_out(of: Algorithm, first: u8) -> PathBuf {
    algorithm(of).join(format!("{first:02x}"))
}

/// The directory that a key's file is in.
pub(super) fn directory(key: &BlobKey) -> PathBuf {
    fan_out(key.digest.algorithm(), first(key))
}

pub(super) fn blob(key: &BlobKey) -> PathBuf {
    directory(key).join(format!("{}.{}", key.digest.hex(), key.generation))
}

pub(super) fn staged(upload: &UploadId) -> PathBuf {
    staging().join(upload.to_string())
}

/// Which of all the fan-out directories a key's file is in.
pub(super) fn position(key: &BlobKey) -> usize {
    let before = ALGORITHMS
        .iter()
        .take_while(|algorithm| **algorithm != key.digest.algorithm());
    before
        .count()
        .saturating_mul(256)
        .saturating_add(usize::from(first(key)))
}

/// The first byte of a key's digest.
pub(super) fn first(key: &BlobKey) -> u8 {
    key.digest.hash().first().copied().unwrap_or_default()
}

/// The key of a file in a fan-out directory; none if the store didn't put it
/// there.
pub(super) fn key(algorithm: Algorithm, first_byte: u8, name: &str) -> Option<BlobKey> {
    let (hex, generation) = name.split_once('.')?;
    let digest: Digest = format!("{algorithm}:{hex}").parse().ok()?;
    let generation = generation.parse().ok()?;
    let key = BlobKey { digest, generation };
    (first(&key) == first_byte).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> BlobKey {
        BlobKey {
            digest: Algorithm::Sha256.digest(b"{}"),
            generation: UploadId::from_random([7; 16]),
        }
    }

    #[test]
    fn a_key_has_one_path_and_comes_back_from_it() {
        let path = blob(&example());
        assert_eq!(
            path,
            Path::new(
                "blobs/sha256/44/44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\
                 .07070707-0707-4707-8707-070707070707"
            )
        );
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        assert_eq!(key(Algorithm::Sha256, 0x44, name), Some(example()));
    }

    #[test]
    fn foreign_names_are_no_keys() {
        let path = blob(&example());
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        let foreign = [
            String::new(),
            "lost+found".to_owned(),
            name.to_uppercase(),
            format!("{name}~"),
            name.replace('-', ""),
            name.replace("44136f", "../../"),
        ];
        for name in foreign {
            assert_eq!(key(Algorithm::Sha256, 0x44, &name), None, "{name}");
        }
        assert_eq!(key(Algorithm::Sha256, 0x45, name), None, "wrong directory");
        assert_eq!(key(Algorithm::Sha512, 0x44, name), None, "wrong algorithm");
    }
}
