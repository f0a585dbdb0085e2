//! Gates: a last word on what may be pushed, pulled, moved or deleted.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Access, Deletion, Descriptor, Digest, PutManifest, Reference, RepositoryName, Result, Tag,
};

/// What is about to happen, in the repository of the [`Access`].
///
/// One change may be asked about several times: to push a manifest with two tags that
/// point elsewhere is a [`Push`](Self::Push) and two times
/// [`MoveTag`](Self::MoveTag), and all have to be admitted.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub enum Admission<'a> {
    /// A blob was pushed and isn't part of the repository yet.
    PushBlob {
        /// Which.
        digest: &'a Digest,
        /// Its size, where that is known by then.
        size: Option<u64>,
    },
    /// A blob of another repository is to be part of this one, too.
    MountBlob {
        /// Which.
        digest: &'a Digest,
        /// Where it is, if that is known by then.
        source: Option<&'a RepositoryName>,
    },
    /// A manifest was pushed and isn't stored yet.
    Push(&'a PutManifest),
    /// A tag is to point to another manifest, which is pushed.
    MoveTag {
        /// Which.
        tag: &'a Tag,
        /// Where it points.
        from: &'a Digest,
        /// Where it is to point.
        to: &'a Digest,
    },
    /// A manifest was asked for and found, and isn't served yet.
    Pull {
        /// What was asked for.
        reference: &'a Reference,
        /// What was found.
        descriptor: &'a Descriptor,
    },
    /// Something is to be removed.
    Delete(&'a Deletion),
    /// A tag is to go: by itself, with its manifest, or with the repository.
    RemoveTag {
        /// Which.
        tag: &'a Tag,
        /// Where it points.
        digest: &'a Digest,
    },
    /// The repository is to be deleted as a whole.
    DeleteRepository,
}

/// Decides, beyond access control, whether something may happen: because a
/// signature is missing, a scan found a vulnerability, or a rule of the house
/// says so.
///
/// [`Gated`](crate::Gated) asks it before any registry. The engine of
/// `registry-storage`, given it by `EngineBuilder::gate`, asks it about every change,
/// whichever way that comes, and what it is told of tags is what is committed.
///
/// Ways to remove and to move things are several, so match what is to be kept: a
/// gate that keeps a tag looks at [`MoveTag`](Admission::MoveTag) and
/// [`RemoveTag`](Admission::RemoveTag), however that comes about.
///
/// ```
/// use async_trait::async_trait;
/// use registry_core::{Access, Admission, ErrorKind, Gate, Result};
///
/// /// Releases stay, and stay what they are.
/// #[derive(Debug)]
/// struct KeepReleases;
///
/// #[async_trait]
/// impl Gate for KeepReleases {
///     async fn admit(&self, _: &Access, admission: Admission<'_>) -> Result<()> {
///         match admission {
///             Admission::MoveTag { tag, .. } | Admission::RemoveTag { tag, .. }
///                 if tag.as_str().starts_with('v') =>
///             {
///                 Err(ErrorKind::Denied.error("releases are kept; choose another tag"))
///             }
///             _ => Ok(()),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait Gate: fmt::Debug + Send + Sync + 'static {
    /// Lets it happen, or says why not. It may be asked the same again before it
    /// happens, when others were faster.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied) with a reason for the
    /// client, or any other error if the gate can't decide: then it doesn't
    /// happen either.
    async fn admit(&self, access: &Access, admission: Admission<'_>) -> Result<()>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<G: Gate + ?Sized> Gate for Arc<G> {
    async fn admit(&self, access: &Access, admission: Admission<'_>) -> Result<()> {
        (**self).admit(access, admission).await
    }
}
