//! The request as a value.
//!
//! A request is understood once, from the right end of its path, into an
//! [`Operation`]. Who may do it, which handler serves it, what is measured and
//! what a client sends all follow from this one value.

use http::Method;

use crate::{
    Action, Actions, Algorithm, Digest, Need, PageRequest, Reference, ReferrerFilter,
    RepositoryName, Result, Tag, UploadId,
};

/// What a client asks of a registry.
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
    pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Result<Self> {
        let _ = (method, path, query);
        todo!()
    }

    /// The method, path and query that mean this operation.
    pub fn render(&self) -> (Method, String) {
        todo!()
    }

    /// The name of the operation, for metrics, logs and rules.
    pub fn name(&self) -> &'static str {
        todo!()
    }

    /// The repository it works in.
    pub fn repository(&self) -> Option<&RepositoryName> {
        todo!()
    }

    /// What its target repository must grant.
    pub fn need(&self) -> Option<Need> {
        let _ = (Action::Pull, Actions::NONE);
        todo!()
    }

    /// What the source repository of a mount must grant.
    pub fn source_need(&self) -> Option<Need> {
        todo!()
    }
}
