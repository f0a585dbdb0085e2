//! What a manifest says.

use std::collections::BTreeMap;

use oci_spec::image::{ImageIndex, ImageManifest};
use serde::{Deserialize, Serialize};

use crate::{Descriptor, ManifestRules, MediaType, Result};

/// What a manifest refers to something as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReferenceKind {
    /// An image's configuration: a blob.
    Config,
    /// An image's layer: a blob, unless non-distributable.
    Layer,
    /// An entry of an index that is a manifest itself.
    Manifest,
    /// An entry of an index of another type: a manifest or a blob.
    Other,
    /// The manifest that this one is about. It need not exist.
    Subject,
    /// A digest in a field that the specification doesn't know. It need not
    /// exist, but what exists is kept.
    Unknown,
}

/// Something that a manifest refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestReference {
    /// As what.
    pub kind: ReferenceKind,
    /// To what. For [`ReferenceKind::Unknown`] only the digest means something.
    pub descriptor: Descriptor,
}

/// A manifest, read strictly.
#[derive(Debug, Clone)]
pub struct Document {
    media_type: MediaType,
    content: Content,
    references: Vec<ManifestReference>,
}

#[derive(Debug, Clone)]
enum Content {
    Image(Box<ImageManifest>),
    Index(Box<ImageIndex>),
}

impl Document {
    /// Reads the bytes of a manifest.
    pub fn parse(
        bytes: &[u8],
        media_type: Option<MediaType>,
        rules: &ManifestRules,
    ) -> Result<Self> {
        let _ = (bytes, media_type, rules);
        todo!()
    }

    /// The media type.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The image manifest, if it is one.
    pub fn image(&self) -> Option<&ImageManifest> {
        match &self.content {
            Content::Image(image) => Some(image),
            Content::Index(_) => None,
        }
    }

    /// The index, if it is one.
    pub fn index(&self) -> Option<&ImageIndex> {
        match &self.content {
            Content::Image(_) => None,
            Content::Index(index) => Some(index),
        }
    }

    /// Everything it refers to, each digest and kind once.
    pub fn references(&self) -> &[ManifestReference] {
        &self.references
    }

    /// The manifest it is about.
    pub fn subject(&self) -> Option<&Descriptor> {
        self.references
            .iter()
            .find(|reference| reference.kind == ReferenceKind::Subject)
            .map(|reference| &reference.descriptor)
    }

    /// What kind of artifact it describes, as listings of referrers tell.
    pub fn artifact_type(&self) -> Option<&str> {
        todo!()
    }

    /// Its annotations.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        todo!()
    }
}
