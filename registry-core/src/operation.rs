//! The request as a value.
//!
//! A request is understood once, from the right end of its path, into an
//! [`Operation`]. Who may do it, which handler serves it, what is measured and
//! what a client sends all follow from this one value.

mod parse;
mod path;
mod query;
mod render;

use http::Method;

use crate::{
    Action, Algorithm, Digest, Need, PageRequest, Reference, ReferrerFilter, RepositoryName,
    Result, Tag, UploadId,
};

/// What a client asks of a registry.
///
/// Each operation has one meaning and each request at most one operation: what
/// is decided about the value is decided about the request.
///
/// ```
/// use http::Method;
/// use registry_core::{Action, Operation};
///
/// let operation = Operation::parse(&Method::GET, "/v2/team/app/manifests/latest", None)?;
/// assert_eq!(operation.name(), "get_manifest");
///
/// let need = operation.need().expect("it works in a repository");
/// assert_eq!(need.repository.as_str(), "team/app");
/// assert_eq!(need.actions, Action::Pull.into());
/// # Ok::<(), registry_core::Error>(())
/// ```
///
/// Distribution specification, "Endpoints".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Does this host speak the protocol, and does it know me?
    Ping,
    /// List repositories.
    ListRepositories {
        /// The part wanted.
        page: PageRequest,
    },
    /// Ask about a blob.
    StatBlob {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
    },
    /// Fetch a blob.
    GetBlob {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
    },
    /// Remove a blob.
    DeleteBlob {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
    },
    /// Start an upload.
    BeginUpload {
        /// Where.
        repository: RepositoryName,
        /// The algorithm that the client announces.
        algorithm: Option<Algorithm>,
    },
    /// Push a blob in a single request.
    PushBlob {
        /// Where.
        repository: RepositoryName,
        /// The digest of the body.
        digest: Digest,
    },
    /// Take a blob over from another repository.
    MountBlob {
        /// Where to.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
        /// Where from; anywhere if absent.
        from: Option<RepositoryName>,
    },
    /// Ask where an upload stands.
    UploadStatus {
        /// Where.
        repository: RepositoryName,
        /// Which.
        id: UploadId,
    },
    /// Add bytes to an upload.
    AppendUpload {
        /// Where.
        repository: RepositoryName,
        /// Which.
        id: UploadId,
    },
    /// End an upload.
    FinishUpload {
        /// Where.
        repository: RepositoryName,
        /// Which.
        id: UploadId,
        /// The digest of the whole blob.
        digest: Digest,
    },
    /// Give an upload up.
    CancelUpload {
        /// Where.
        repository: RepositoryName,
        /// Which.
        id: UploadId,
    },
    /// Ask about a manifest.
    StatManifest {
        /// Where.
        repository: RepositoryName,
        /// Which.
        reference: Reference,
    },
    /// Fetch a manifest.
    GetManifest {
        /// Where.
        repository: RepositoryName,
        /// Which.
        reference: Reference,
    },
    /// Push a manifest.
    PutManifest {
        /// Where.
        repository: RepositoryName,
        /// Its tag or digest.
        reference: Reference,
        /// More tags for it; only with a digest.
        tags: Vec<Tag>,
    },
    /// Remove a manifest or a tag.
    DeleteManifest {
        /// Where.
        repository: RepositoryName,
        /// Which.
        reference: Reference,
    },
    /// List tags.
    ListTags {
        /// Where.
        repository: RepositoryName,
        /// The part wanted.
        page: PageRequest,
    },
    /// List the manifests that are about another one.
    ListReferrers {
        /// Where.
        repository: RepositoryName,
        /// The other one.
        subject: Digest,
        /// Which of them.
        filter: ReferrerFilter,
        /// The part wanted.
        page: PageRequest,
    },
}

impl Operation {
    /// Understands a request.
    ///
    /// `path` and `query` are what the request line holds, not decoded; `path`
    /// starts at `/v2`. Names may contain words such as `blobs` and
    /// `manifests`, so the path is read from its right end. Each segment is
    /// decoded after splitting: an encoded slash never makes another path.
    /// Query parameters that aren't known are ignored.
    ///
    /// A mount whose source can't be a repository becomes
    /// [`BeginUpload`](Self::BeginUpload): the client uploads the blob. How
    /// many tags a push may carry is up to the registry's
    /// [rules](crate::ManifestRules::max_tags).
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if the protocol has no such
    /// path and [`Unsupported`](crate::ErrorKind::Unsupported) if it has it for
    /// [other methods](Self::allowed_methods).
    ///
    /// [`NameInvalid`](crate::ErrorKind::NameInvalid),
    /// [`DigestInvalid`](crate::ErrorKind::DigestInvalid) (also if a digest is
    /// required and missing), [`TagInvalid`](crate::ErrorKind::TagInvalid),
    /// [`PageInvalid`](crate::ErrorKind::PageInvalid) and
    /// [`RequestInvalid`](crate::ErrorKind::RequestInvalid) if a part breaks
    /// its grammar. What can't exist isn't there: a malformed tag in a pull or
    /// deletion is [`ManifestUnknown`](crate::ErrorKind::ManifestUnknown), a
    /// malformed session [`UploadUnknown`](crate::ErrorKind::UploadUnknown).
    pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Result<Self> {
        parse::parse(method, path, query)
    }

    /// The methods that the protocol has for `path`, for an `Allow` header;
    /// none if it has no such path.
    pub fn allowed_methods(path: &str) -> &'static [Method] {
        path::Resource::parse(path).map_or(&[], |resource| resource.kind.methods())
    }

    /// The method, path and query that mean this operation:
    /// [`parse`](Self::parse) understands them as the same value.
    pub fn render(&self) -> (Method, String) {
        render::render(self)
    }

    /// The name of the operation, for metrics, logs and rules. It never
    /// changes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::ListRepositories { .. } => "list_repositories",
            Self::StatBlob { .. } => "stat_blob",
            Self::GetBlob { .. } => "get_blob",
            Self::DeleteBlob { .. } => "delete_blob",
            Self::BeginUpload { .. } => "begin_upload",
            Self::PushBlob { .. } => "push_blob",
            Self::MountBlob { .. } => "mount_blob",
            Self::UploadStatus { .. } => "upload_status",
            Self::AppendUpload { .. } => "append_upload",
            Self::FinishUpload { .. } => "finish_upload",
            Self::CancelUpload { .. } => "cancel_upload",
            Self::StatManifest { .. } => "stat_manifest",
            Self::GetManifest { .. } => "get_manifest",
            Self::PutManifest { .. } => "put_manifest",
            Self::DeleteManifest { .. } => "delete_manifest",
            Self::ListTags { .. } => "list_tags",
            Self::ListReferrers { .. } => "list_referrers",
        }
    }

    /// The repository it works in.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Ping | Self::ListRepositories { .. } => None,
            Self::StatBlob { repository, .. }
            | Self::GetBlob { repository, .. }
            | Self::DeleteBlob { repository, .. }
            | Self::BeginUpload { repository, .. }
            | Self::PushBlob { repository, .. }
            | Self::MountBlob { repository, .. }
            | Self::UploadStatus { repository, .. }
            | Self::AppendUpload { repository, .. }
            | Self::FinishUpload { repository, .. }
            | Self::CancelUpload { repository, .. }
            | Self::StatManifest { repository, .. }
            | Self::GetManifest { repository, .. }
            | Self::PutManifest { repository, .. }
            | Self::DeleteManifest { repository, .. }
            | Self::ListTags { repository, .. }
            | Self::ListReferrers { repository, .. } => Some(repository),
        }
    }

    /// What its target repository must grant; `None` if it works in none.
    ///
    /// Asking where an upload stands and giving it up are parts of pushing.
    /// Whether a push may also move a tag that exists is known only to the
    /// registry, so [`Overwrite`](Action::Overwrite) isn't needed here.
    pub fn need(&self) -> Option<Need> {
        let (repository, action) = match self {
            Self::Ping | Self::ListRepositories { .. } => return None,
            Self::StatBlob { repository, .. }
            | Self::GetBlob { repository, .. }
            | Self::StatManifest { repository, .. }
            | Self::GetManifest { repository, .. } => (repository, Action::Pull),
            Self::ListTags { repository, .. } | Self::ListReferrers { repository, .. } => {
                (repository, Action::List)
            }
            Self::BeginUpload { repository, .. }
            | Self::PushBlob { repository, .. }
            | Self::MountBlob { repository, .. }
            | Self::UploadStatus { repository, .. }
            | Self::AppendUpload { repository, .. }
            | Self::FinishUpload { repository, .. }
            | Self::CancelUpload { repository, .. }
            | Self::PutManifest { repository, .. } => (repository, Action::Push),
            Self::DeleteBlob { repository, .. } | Self::DeleteManifest { repository, .. } => {
                (repository, Action::Delete)
            }
        };
        Some(Need {
            repository: repository.clone(),
            actions: action.into(),
            tags: self.tags(),
        })
    }

    /// What the source repository of a mount must grant; `None` if the
    /// operation names none.
    pub fn source_need(&self) -> Option<Need> {
        let Self::MountBlob {
            from: Some(repository),
            ..
        } = self
        else {
            return None;
        };
        Some(Need {
            repository: repository.clone(),
            actions: Action::Pull.into(),
            tags: Vec::new(),
        })
    }

    /// The tags it names, each once.
    fn tags(&self) -> Vec<Tag> {
        let mut named = match self {
            Self::PutManifest { tags, .. } => tags.clone(),
            _ => Vec::new(),
        };
        if let Self::StatManifest { reference, .. }
        | Self::GetManifest { reference, .. }
        | Self::PutManifest { reference, .. }
        | Self::DeleteManifest { reference, .. } = self
            && let Reference::Tag(tag) = reference
            && !named.contains(tag)
        {
            named.push(tag.clone());
        }
        named
    }
}
