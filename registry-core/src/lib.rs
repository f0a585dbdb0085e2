//! The words and the seam of an embeddable OCI registry.
//!
//! A registry stores what containers are made of and serves it over HTTP, as
//! the OCI distribution specification says. This crate holds what all parts of
//! such a registry agree on, and does nothing by itself: no I/O, no clock, no
//! runtime. The other crates store (`registry-storage`), decide who may do what
//! (`registry-auth`) and speak HTTP (`registry-http`).
//!
//! # The words
//!
//! *Content* is bytes. It is named by its [`Digest`], which anybody can check,
//! so content never changes. A *blob* is content that a registry doesn't look
//! into: a layer of an image, say. A [`Manifest`] is content that lists other
//! content: an image, an index of images, a signature. What content is, what
//! it is called and how large it is, is a [`Descriptor`].
//!
//! A *repository* is where content is kept and may be asked for, under a
//! [`RepositoryName`]. It gives a manifest names that people remember: a
//! [`Tag`] can move, a digest can't. A [`Reference`] is one of both.
//!
//! ```
//! use registry_core::{Algorithm, Descriptor, Digest, MediaType, Reference, RepositoryName};
//!
//! let layer = b"the bytes of a layer";
//! let digest: Digest = Algorithm::Sha256.digest(layer);
//! let descriptor = Descriptor::blob(digest, layer.len() as u64);
//! assert_eq!(descriptor.media_type, MediaType::OCTET_STREAM);
//!
//! let repository: RepositoryName = "team/app".parse()?;
//! let latest: Reference = "latest".parse()?;
//! let pinned: Reference = digest.to_string().parse()?;
//! assert!(matches!(latest, Reference::Tag(_)));
//! assert!(matches!(pinned, Reference::Digest(_)));
//!
//! // Text becomes a value once, and is valid from then on.
//! assert!("Team/App".parse::<RepositoryName>().is_err());
//! assert!("sha256:12".parse::<Digest>().is_err());
//! # Ok::<(), registry_core::Error>(())
//! ```
//!
//! # From a request to a decision
//!
//! A request is parsed once into an [`Operation`], a plain value. It tells what
//! it [needs](Operation::need); whoever decides about it turns the need into an
//! [`Access`]; and no method of a registry can be called without one.
//!
//! ```
//! use std::sync::Arc;
//!
//! use http::Method;
//! use registry_core::{Access, Action, Actions, Actor, ErrorKind, Operation};
//!
//! let operation = Operation::parse(&Method::PUT, "/v2/team/app/manifests/v1", None)?;
//! let need = operation.need().expect("it works in a repository");
//! assert_eq!(need.repository.as_str(), "team/app");
//! assert_eq!(need.actions, Action::Push.into());
//!
//! let ci = Arc::new(Actor { name: Some("ci".to_owned()), request: None });
//! let access = Access::granted(&need, [Action::Pull, Action::Push].into(), Arc::clone(&ci))?;
//! assert!(access.permits(Action::Push));
//! assert!(!access.permits(Action::Overwrite));
//!
//! // A grant of less than the need is no grant.
//! let refusal = Access::granted(&need, Action::Pull.into(), ci).unwrap_err();
//! assert_eq!(refusal.kind(), ErrorKind::Denied);
//! # Ok::<(), registry_core::Error>(())
//! ```
//!
//! There is no way round it. What compiles with an access
//!
//! ```
//! use registry_core::{Access, Descriptor, Digest, Registry, Result};
//!
//! async fn ask(registry: &dyn Registry, access: &Access, digest: &Digest) -> Result<Descriptor> {
//!     registry.stat_blob(access, digest).await
//! }
//! ```
//!
//! doesn't without one:
//!
//! ```compile_fail,E0061
//! use registry_core::{Access, Descriptor, Digest, Registry, Result};
//!
//! async fn ask(registry: &dyn Registry, access: &Access, digest: &Digest) -> Result<Descriptor> {
//!     registry.stat_blob(digest).await
//! }
//! ```
//!
//! nor with a name in its place:
//!
//! ```compile_fail,E0308
//! use registry_core::{Descriptor, Digest, Registry, RepositoryName, Result};
//!
//! async fn ask(registry: &dyn Registry, access: &RepositoryName, digest: &Digest) -> Result<Descriptor> {
//!     registry.stat_blob(access, digest).await
//! }
//! ```
//!
//! An access can't be written down by hand, though these are all its fields:
//!
//! ```compile_fail,E0451
//! use std::sync::Arc;
//! use registry_core::{Access, Actions, RepositoryName};
//!
//! fn forged(repository: RepositoryName) -> Access {
//!     Access { repository, actions: Actions::ALL, tags: Default::default(), actor: Arc::default(), epoch: None }
//! }
//! ```
//!
//! nor made larger, though it may be made smaller:
//!
//! ```
//! use registry_core::{Access, Action, Actions};
//!
//! fn smaller(mut access: Access) -> Access {
//!     access = access.limited(Action::Pull);
//!     access
//! }
//! ```
//!
//! ```compile_fail,E0616
//! use registry_core::{Access, Action, Actions};
//!
//! fn enlarged(mut access: Access) -> Access {
//!     access.actions = Actions::ALL;
//!     access
//! }
//! ```
//!
//! nor come from nothing or from outside, as other values do:
//!
//! ```
//! fn from_nothing<T: Default>() -> T { T::default() }
//! let actions: registry_core::Actions = from_nothing();
//! ```
//!
//! ```compile_fail,E0277
//! fn from_nothing<T: Default>() -> T { T::default() }
//! let access: registry_core::Access = from_nothing();
//! ```
//!
//! ```
//! fn from_outside<T: serde::de::DeserializeOwned>() {}
//! from_outside::<String>();
//! ```
//!
//! ```compile_fail,E0277
//! fn from_outside<T: serde::de::DeserializeOwned>() {}
//! from_outside::<registry_core::Access>();
//! ```
//!
//! A program that uses a registry as its own store, and so decides for itself,
//! says that by name:
//!
//! ```
//! let access = registry_core::Access::trusted("team/app".parse()?);
//! # Ok::<(), registry_core::Error>(())
//! ```
//!
//! In the same way a store accepts content only with the proof that somebody
//! hashed it. A [`Hasher`] gives it, and nothing else does:
//!
//! ```
//! use registry_core::{Algorithm, Hasher, Verified};
//!
//! let mut hasher = Hasher::new(Algorithm::Sha256);
//! hasher.update(b"some content");
//! let proof: Verified = hasher.finish();
//! let proof = proof.expect(&Algorithm::Sha256.digest(b"some content"))?;
//! assert_eq!(proof.size(), 12);
//! # Ok::<(), registry_core::Error>(())
//! ```
//!
//! ```compile_fail,E0451
//! use registry_core::{Digest, Verified};
//!
//! fn forged(digest: Digest) -> Verified {
//!     Verified { digest, size: 12 }
//! }
//! ```
//!
//! ```compile_fail,E0277
//! fn from_outside<T: serde::de::DeserializeOwned>() {}
//! from_outside::<registry_core::Verified>();
//! ```
//!
//! # Everything is a registry
//!
//! [`Registry`] is the seam. The storage engine implements it, a registry
//! across the network does, and so does a layer over either. Your own needs
//! only the methods that it is about; all others answer that it doesn't do
//! that.
//!
//! ```
//! use async_trait::async_trait;
//! use bytes::Bytes;
//! use registry_core::{
//!     Access, Action, Algorithm, Blob, BlobBody, Descriptor, Digest, ErrorKind, OpenOptions,
//!     Registry, RegistryExt, ReadOnly, Result,
//! };
//!
//! /// Serves the same blob in every repository.
//! #[derive(Debug)]
//! struct Motd(Bytes);
//!
//! #[async_trait]
//! impl Registry for Motd {
//!     async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
//!         access.require(Action::Pull)?;
//!         if Algorithm::Sha256.digest(&self.0) != *digest {
//!             return Err(ErrorKind::BlobUnknown.error("there is only one blob; ask for it"));
//!         }
//!         Ok(Descriptor::blob(*digest, self.0.len() as u64))
//!     }
//!
//!     async fn open_blob(&self, access: &Access, digest: &Digest, options: OpenOptions) -> Result<Blob> {
//!         let size = self.stat_blob(access, digest).await?.size;
//!         let range = options.range.map_or(Ok(0..size), |range| range.resolve(size))?;
//!         let part = self.0.slice(range.start as usize..range.end as usize);
//!         Ok(Blob { digest: *digest, size, range, body: BlobBody::Bytes(part) })
//!     }
//! }
//!
//! # use futures::FutureExt;
//! # async {
//! let registry = Motd("hello".into()).layer(ReadOnly);
//! let access = Access::trusted("any/where".parse()?).limited(Action::Pull);
//! let digest = Algorithm::Sha256.digest(b"hello");
//! assert_eq!(registry.stat_blob(&access, &digest).await?.size, 5);
//! # Ok::<(), registry_core::Error>(())
//! # }.now_or_never().expect("nothing waits")?;
//! # Ok::<(), registry_core::Error>(())
//! ```
//!
//! The layers of this crate keep no state: [`ReadOnly`], [`Prefix`] (other
//! names), [`Route`] (several registries as one), [`Gated`] (a last word on
//! pushes, pulls and deletions) and [`Observe`] (telling others what was done).
//!
//! # Errors
//!
//! Every [`Error`] has an [`ErrorKind`], which says what the caller can do and
//! which code a client sees, and a sentence that says it in words.
//!
//! # Testing
//!
//! With the feature `testkit`, `registry_suite!` makes a test of every promise
//! that the trait makes, for any implementation.

#![forbid(unsafe_code)]

mod access;
mod blob;
mod descriptor;
mod digest;
mod environment;
mod epoch;
mod error;
mod event;
mod gate;
mod layer;
mod management;
mod manifest;
mod media_type;
mod name;
mod operation;
mod page;
mod records;
mod registry;
#[cfg(feature = "testkit")]
pub mod testkit;
mod upload;

pub use access::{
    Access, Action, Actions, Actor, CatalogAccess, MountSource, Need, Reach, RequestOrigin,
    ScopeEntry, Scopes, Visibility,
};
pub use blob::{Blob, BlobBody, ByteRange, ByteStream, FileContent, FileSlice, OpenOptions};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, Hasher, Verified};
pub use environment::{Clock, Randomness, SystemClock, SystemRandomness};
pub use epoch::{Epochs, RepositoryEpoch};
pub use error::{Error, ErrorDetail, ErrorKind, Result};
pub use event::{Event, EventAction, EventSink, EventTarget};
pub use gate::{Admission, Gate};
pub use layer::{
    Deed, Gated, GatedRegistry, Layer, Observation, Observations, Observe, ObservedRegistry,
    Observer, Prefix, PrefixedRegistry, PullEvents, Pulls, Queue, ReadOnly, ReadOnlyRegistry,
    RegistryExt, Route,
};
pub use management::{Damage, Management, Usage};
pub use manifest::{
    Deletion, Document, Manifest, ManifestReference, ManifestRules, Precondition, Pushed,
    PutManifest, ReferenceKind, ReferrerFilter,
};
pub use media_type::MediaType;
pub use name::{NAME_MAX, Reference, RepositoryName, TAG_MAX, Tag};
pub use operation::Operation;
pub use page::{Page, PageRequest};
pub use records::{Expected, RECORD_KEY_MAX, RECORD_VALUE_MAX, Record, Records};
pub use registry::Registry;
pub use upload::{Chunk, Upload, UploadId, UploadOptions, UploadOwner};
