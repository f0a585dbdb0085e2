//! What a manifest says.

use std::collections::BTreeMap;

use oci_spec::image::{ImageIndex, ImageManifest};
use serde::{Deserialize, Serialize};

use super::reader;
use super::strict::Value;
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
///
/// Accepted are the OCI image manifest and index, and Docker's schema 2
/// manifest and manifest list, under these rules:
///
/// - It is JSON in which no object repeats a key, and no key differs from one
///   that the specification knows for its object in case only. Depth and
///   number of values are bounded.
/// - Its media type is the `Content-Type` it came with, else its `mediaType`,
///   else follows from its shape. The first two never differ. A document that
///   could be read as an image and as an index is refused.
/// - `schemaVersion` is 2; schema 1 is refused, as are all other types.
/// - Every descriptor has a media type, a digest that the registry can verify
///   and a size that fits a signed 64-bit number; `data`, if there, is the
///   content described. Annotations are text.
/// - `config` is required of an image. `layers` and `manifests` may be empty,
///   `null` or absent.
/// - Unknown fields, artifact types and media types mean nothing and are fine.
///   A digest in an unknown field, or as the value of an annotation, is a
///   reference of the kind [`ReferenceKind::Unknown`].
/// - The fields of Docker's types are the ones of Docker's specification: a
///   `subject` there is an unknown field.
/// - A `config` without media type, or with an empty one, passes for
///   `application/octet-stream`: old images have it, and clients run them. In
///   the view that [`Document::image`] gives it stays empty.
///
/// Image specification, "Image Manifest", "Image Index" and "Descriptors".
///
/// ```
/// use registry_core::{Document, ManifestRules, MediaType};
///
/// let bytes = br#"{"schemaVersion": 2, "manifests": []}"#;
/// let document = Document::parse(bytes, None, &ManifestRules::default())?;
/// assert_eq!(*document.media_type(), MediaType::OCI_INDEX);
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Document {
    pub(super) media_type: MediaType,
    pub(super) content: Content,
    pub(super) references: Vec<ManifestReference>,
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Image(Box<ImageManifest>),
    Index(Box<ImageIndex>),
}

impl Document {
    /// Reads the bytes of a manifest. `media_type` is the one they came with,
    /// without parameters.
    ///
    /// The size of `bytes` isn't checked; of `rules`, `max_descriptors` and
    /// `max_depth` are. The former bounds the number of descriptors together
    /// with the number of different digests in unknown fields.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ManifestInvalid`](crate::ErrorKind::ManifestInvalid),
    /// saying what is wrong and where, such as in `layers[3].size`.
    pub fn parse(
        bytes: &[u8],
        media_type: Option<MediaType>,
        rules: &ManifestRules,
    ) -> Result<Self> {
        let value = Value::parse(bytes, rules.max_depth)?;
        reader::read(&value, media_type, rules)
    }

    /// The media type.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The image manifest, if it is one.
    ///
    /// A view for reading: it lacks unknown fields, so it must never be
    /// written back in place of the original bytes.
    pub fn image(&self) -> Option<&ImageManifest> {
        match &self.content {
            Content::Image(image) => Some(image),
            Content::Index(_) => None,
        }
    }

    /// The index, if it is one. A view for reading, as [`Document::image`].
    pub fn index(&self) -> Option<&ImageIndex> {
        match &self.content {
            Content::Image(_) => None,
            Content::Index(index) => Some(index),
        }
    }

    /// Everything it refers to, each digest and kind once.
    ///
    /// If several descriptors have the same digest and kind, the first one is
    /// kept, but one that must be present beats a non-distributable one. What
    /// is referred to otherwise isn't repeated as unknown, unless only the
    /// subject is.
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

    /// What kind of artifact it describes, as listings of referrers tell: its
    /// `artifactType`, else the media type of an image's `config`.
    ///
    /// Distribution specification, "Listing Referrers".
    pub fn artifact_type(&self) -> Option<&str> {
        let (stated, implied) = match &self.content {
            Content::Image(image) => (image.artifact_type(), Some(image.config().media_type())),
            Content::Index(index) => (index.artifact_type(), None),
        };
        stated
            .as_ref()
            .or(implied)
            .map(AsRef::as_ref)
            .filter(|artifact_type: &&str| !artifact_type.is_empty())
    }

    /// Its annotations.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }
}
