//! What can go wrong, in the terms of the protocol.
//!
//! An [`Error`] is a kind that says what the caller can do, a sentence that
//! says it in words, and the source. The code of the OCI distribution
//! specification follows from the kind; the HTTP status is the HTTP crate's
//! business.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::{Digest, Tag};

/// The result of a registry operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed, coarse enough to act upon.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A repository name breaks the grammar.
    NameInvalid,
    /// There is no such repository.
    NameUnknown,
    /// A tag breaks the grammar.
    TagInvalid,
    /// A digest breaks the grammar, names an algorithm that isn't supported,
    /// or doesn't match the content.
    DigestInvalid,
    /// The length of the content differs from the announced one.
    SizeInvalid,
    /// The repository holds no such blob.
    BlobUnknown,
    /// The blob is larger than the registry accepts.
    BlobTooLarge,
    /// The upload can't go on as asked; the session stays as it was.
    UploadInvalid,
    /// There is no such upload in this repository.
    UploadUnknown,
    /// A chunk doesn't start where the upload stands, or another request is
    /// writing to it. The session stays usable.
    UploadOutOfOrder,
    /// The repository holds no such manifest.
    ManifestUnknown,
    /// The manifest breaks the rules of its media type.
    ManifestInvalid,
    /// The manifest is larger than the registry accepts.
    ManifestTooLarge,
    /// The manifest refers to content that the repository doesn't hold.
    ManifestBlobUnknown,
    /// A range lies outside the content.
    RangeInvalid,
    /// A page size or cursor can't be understood.
    PageInvalid,
    /// A request carries more tags than the registry accepts.
    TooManyTags,
    /// Nobody, or nobody known, is asking.
    Unauthorized,
    /// The caller is known and may not do this.
    Denied,
    /// A condition set by the caller doesn't hold.
    PreconditionFailed,
    /// This registry doesn't do that.
    Unsupported,
    /// The caller should slow down.
    TooManyRequests,
    /// There is no such resource at all.
    NotFound,
    /// The request can't be understood.
    RequestInvalid,
    /// The client stopped sending, or was too slow.
    RequestIncomplete,
    /// The registry can't answer now; later it may.
    Unavailable,
    /// Stored content no longer matches its digest.
    Corrupt,
    /// A defect or an unexpected failure on the registry's side.
    Internal,
}

impl ErrorKind {
    /// The error code that clients see.
    ///
    /// The specification allows fourteen codes in answers of the 4xx class;
    /// kinds it has no code for take the nearest one. `UNAVAILABLE` and
    /// `UNKNOWN` appear only with the 5xx class.
    ///
    /// Distribution specification, "Error codes".
    pub const fn code(self) -> &'static str {
        match self {
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown | Self::NotFound => "NAME_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::SizeInvalid | Self::BlobTooLarge => "SIZE_INVALID",
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::UploadInvalid
            | Self::UploadOutOfOrder
            | Self::RangeInvalid
            | Self::RequestIncomplete => "BLOB_UPLOAD_INVALID",
            Self::UploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::ManifestInvalid
            | Self::ManifestTooLarge
            | Self::TagInvalid
            | Self::TooManyTags => "MANIFEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            // Not `DENIED`, on which clients tell their users to log in, and
            // not `BLOB_UPLOAD_INVALID`, on which some send the same again.
            Self::Unsupported
            | Self::PageInvalid
            | Self::RequestInvalid
            | Self::PreconditionFailed => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unavailable => "UNAVAILABLE",
            Self::Corrupt | Self::Internal => "UNKNOWN",
        }
    }

    /// Whether the failure is the registry's, not the caller's.
    pub const fn is_server_fault(self) -> bool {
        matches!(self, Self::Unavailable | Self::Corrupt | Self::Internal)
    }

    /// The error of this kind with the sentence `reason`.
    pub fn error(self, reason: impl Into<String>) -> Error {
        Error::new(self, reason)
    }
}

/// How much of a malformed text an error repeats, in bytes.
const MALFORMED_MAX: usize = 255;

/// What an error carries besides its sentence.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorDetail {
    /// Where an upload stands: the number of bytes received so far.
    Offset(u64),
    /// Content that a manifest refers to and the repository doesn't hold.
    Missing(Vec<Digest>),
    /// The size in bytes of the content that a range missed.
    Size(u64),
    /// The most that is accepted: bytes or items, as the kind says.
    Limit(u64),
    /// The tag that exists, and that the caller may not move.
    Fixed(Tag),
    /// What breaks its grammar, as it was given.
    Malformed {
        /// What it was to be, such as `tag`.
        part: &'static str,
        /// Its beginning, up to 255 bytes.
        text: String,
    },
}

/// A failed operation.
///
/// The sentence is in lower case, has no full stop, says what to do, and is
/// shown to clients: it never holds a secret, a path or another tenant's name.
/// Only what fails to open, of which no client hears, names its path. The source
/// is for logs only.
///
/// ```
/// use registry_core::ErrorKind;
///
/// let error = ErrorKind::BlobUnknown.error("push the blob before the manifest");
/// assert_eq!(error.kind().code(), "BLOB_UNKNOWN");
/// assert_eq!(error.to_string(), "push the blob before the manifest");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    reason: String,
    detail: Option<ErrorDetail>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    retry_after: Option<Duration>,
}

impl Error {
    /// An error of `kind` with the sentence `reason`.
    pub fn new(kind: ErrorKind, reason: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            reason: reason.into(),
            detail: None,
            source: None,
            retry_after: None,
        }))
    }

    /// A failure on the registry's side, with its cause.
    pub fn internal(
        reason: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::new(ErrorKind::Internal, reason).with_source(source)
    }

    /// The error of an operation that a registry doesn't offer.
    pub fn unsupported(operation: &str) -> Self {
        Self::new(
            ErrorKind::Unsupported,
            format!("this registry does not support {operation}"),
        )
    }

    /// The same error with its cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error with what a client needs to go on.
    pub fn with_detail(mut self, detail: ErrorDetail) -> Self {
        self.0.detail = Some(detail);
        self
    }

    /// The same error, about `text` that was to be a `part`, such as `tag`.
    pub fn about(self, part: &'static str, text: &str) -> Self {
        let end = text.floor_char_boundary(MALFORMED_MAX);
        let text = text.get(..end).unwrap_or_default().to_owned();
        self.with_detail(ErrorDetail::Malformed { part, text })
    }

    /// The same error with the time after which a retry may succeed.
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Why it failed.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What it carries besides its sentence.
    pub fn detail(&self) -> Option<&ErrorDetail> {
        self.0.detail.as_ref()
    }

    /// When a retry may succeed, if known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.reason)
    }
}

/// The sentence and its causes, one a line: what a `main` that returns an error
/// shows. `{:#?}` has the parts.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            f.write_str(&self.0.reason)?;
            let mut cause = self.source();
            if cause.is_some() {
                f.write_str("\n\nCaused by:")?;
            }
            while let Some(error) = cause {
                write!(f, "\n    {error}")?;
                cause = error.source();
            }
            return Ok(());
        }
        let mut debug = f.debug_struct("Error");
        debug
            .field("kind", &self.0.kind)
            .field("reason", &self.0.reason);
        if let Some(detail) = &self.0.detail {
            debug.field("detail", detail);
        }
        if let Some(source) = &self.0.source {
            debug.field("source", source);
        }
        debug.finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind, kind.code().to_ascii_lowercase().replace('_', " "))
    }
}
