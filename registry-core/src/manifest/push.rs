//! What is asked of a registry about manifests, and what it answers.

use bytes::Bytes;

use crate::{
    Algorithm, Descriptor, Digest, Document, ErrorDetail, ErrorKind, Manifest, MediaType,
    Reference, Result, Tag,
};

/// What a registry accepts as a manifest.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRules {
    /// The largest manifest in bytes. 4 MiB unless changed, which is what
    /// clients read.
    pub max_size: usize,
    /// The most descriptors in one manifest. 4096 unless changed.
    pub max_descriptors: usize,
    /// The deepest nesting of JSON values. 32 unless changed.
    pub max_depth: usize,
    /// The most tags in one push, with the one that it names itself. 64 unless
    /// changed.
    pub max_tags: usize,
}

impl ManifestRules {
    /// Sets the largest manifest in bytes.
    pub fn max_size(mut self, max_size: usize) -> Self {
        self.max_size = max_size;
        self
    }

    /// Sets the most descriptors in one manifest.
    pub fn max_descriptors(mut self, max_descriptors: usize) -> Self {
        self.max_descriptors = max_descriptors;
        self
    }

    /// Sets the deepest nesting of JSON values.
    pub fn max_depth(mut self, max_depth: usize) -> Self {
        self.max_depth = max_depth;
        self
    }

    /// Sets the most tags in one push.
    pub fn max_tags(mut self, max_tags: usize) -> Self {
        self.max_tags = max_tags;
        self
    }

    /// Whether a push may carry `count` tags, for those who want to know
    /// before the manifest is there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyTags`].
    pub fn check_tags(&self, count: usize) -> Result<()> {
        if count <= self.max_tags {
            return Ok(());
        }
        let error = ErrorKind::TooManyTags.error(format!(
            "there are too many tags; this registry accepts {} in one push",
            self.max_tags
        ));
        Err(error.with_detail(ErrorDetail::Limit(self.max_tags as u64)))
    }
}

impl Default for ManifestRules {
    fn default() -> Self {
        Self {
            max_size: 4 << 20,
            max_descriptors: 4096,
            max_depth: 32,
            max_tags: 64,
        }
    }
}

/// What must be true of a tag for a push to go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// The tag doesn't exist yet.
    Absent,
    /// The tag points to this manifest.
    Is(Digest),
}

/// A manifest on its way in: bytes that obey the rules of their media type,
/// the name they go by, and the tags that are to point to them.
#[derive(Debug, Clone)]
pub struct PutManifest {
    manifest: Manifest,
    document: Document,
    tags: Vec<Tag>,
    precondition: Precondition,
    rules: ManifestRules,
}

impl PutManifest {
    /// Checks a manifest as a client sent it.
    ///
    /// A tag in `reference` gives the manifest its `sha256` digest; a digest
    /// must be the one of the bytes. `media_type` is what the client said;
    /// without it the manifest's own `mediaType` counts, then its shape.
    ///
    /// Distribution specification, "Pushing manifests"; the profile of accepted
    /// documents is described at [`Document`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ManifestTooLarge`], [`ErrorKind::DigestInvalid`],
    /// [`ErrorKind::ManifestInvalid`], [`ErrorKind::TooManyTags`].
    pub fn new(
        reference: Reference,
        media_type: Option<MediaType>,
        bytes: Bytes,
        rules: &ManifestRules,
    ) -> Result<Self> {
        if bytes.len() > rules.max_size {
            let error = ErrorKind::ManifestTooLarge.error(format!(
                "the manifest is too large; this registry accepts {} bytes",
                rules.max_size
            ));
            return Err(error.with_detail(ErrorDetail::Limit(rules.max_size as u64)));
        }
        let (digest, tags) = match reference {
            Reference::Tag(tag) => (Algorithm::Sha256.digest(&bytes), vec![tag]),
            Reference::Digest(expected) => {
                let digest = expected.algorithm().digest(&bytes);
                if digest != expected {
                    return Err(ErrorKind::DigestInvalid
                        .error("the manifest does not match the digest in the path"));
                }
                (digest, Vec::new())
            }
        };
        rules.check_tags(tags.len())?;
        let document = Document::parse(&bytes, media_type, rules)?;
        let manifest = Manifest {
            media_type: document.media_type().clone(),
            digest,
            bytes,
        };
        Ok(Self {
            manifest,
            document,
            tags,
            precondition: Precondition::None,
            rules: rules.clone(),
        })
    }

    /// The same push with more tags; one that is there already is the same.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyTags`] if the rules allow less.
    pub fn with_tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Result<Self> {
        for tag in tags {
            if !self.tags.contains(&tag) {
                self.rules.check_tags(self.tags.len().saturating_add(1))?;
                self.tags.push(tag);
            }
        }
        Ok(self)
    }

    /// The same push, which goes on only if every tag is as `precondition`
    /// says.
    #[must_use]
    pub fn with_precondition(mut self, precondition: Precondition) -> Self {
        self.precondition = precondition;
        self
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it says.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The tags that are to point to it.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// What must be true of each tag.
    pub fn precondition(&self) -> Precondition {
        self.precondition
    }
}

/// The answer to a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest as stored.
    pub descriptor: Descriptor,
    /// The manifest it is about, if it names one.
    pub subject: Option<Digest>,
    /// The tags that point to it now.
    pub tags: Vec<Tag>,
}

/// What is to be removed from a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// A blob.
    Blob(Digest),
    /// A manifest and every tag that points to it.
    Manifest(Digest),
    /// A tag; the manifest stays.
    Tag {
        /// Which.
        tag: Tag,
        /// The manifest that it has to point to, if it matters; otherwise the
        /// deletion is refused with
        /// [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed).
        expected: Option<Digest>,
    },
}

impl Deletion {
    /// A tag, wherever it points to.
    pub fn tag(tag: Tag) -> Self {
        Self::Tag {
            tag,
            expected: None,
        }
    }
}

/// Which referrers are wanted.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReferrerFilter {
    /// Only those of one of these artifact types; all if there is none.
    pub artifact_types: Vec<String>,
}

impl ReferrerFilter {
    /// Sets the artifact types wanted.
    pub fn artifact_types(mut self, artifact_types: Vec<String>) -> Self {
        self.artifact_types = artifact_types;
        self
    }

    /// Whether a referrer is wanted.
    pub fn matches(&self, referrer: &Descriptor) -> bool {
        self.artifact_types.is_empty()
            || referrer
                .artifact_type
                .as_ref()
                .is_some_and(|artifact_type| self.artifact_types.contains(artifact_type))
    }
}
