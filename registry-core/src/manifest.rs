//! Manifests: the bytes as pushed, and what they say.

mod document;
mod fields;
mod push;
mod reader;
mod strict;

pub use document::{Document, ManifestReference, ReferenceKind};
pub use push::{Deletion, ManifestRules, Precondition, Pushed, PutManifest, ReferrerFilter};

use bytes::Bytes;

use crate::{Descriptor, Digest, MediaType};

/// A manifest in the exact bytes that were pushed. It is never written anew:
/// its digest names these bytes and no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The media type it was pushed with.
    pub media_type: MediaType,
    /// The digest it was asked for by, or the one its tag points to.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Bytes,
}

impl Manifest {
    /// The type, digest and size.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(
            self.media_type.clone(),
            self.digest,
            self.bytes.len() as u64,
        )
    }
}
