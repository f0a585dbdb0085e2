//! The words and the seam of an embeddable OCI registry.

mod access;
mod blob;
mod descriptor;
mod digest;
mod environment;
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
mod registry;
#[cfg(feature = "testkit")]
pub mod testkit;
mod upload;

pub use access::{
    Access, Action, Actions, Actor, CatalogAccess, MountSource, Need, RequestOrigin, ScopeEntry,
    Scopes, Visibility,
};
pub use blob::{Blob, BlobBody, ByteRange, ByteStream, FileContent, FileSlice, OpenOptions};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, Hasher, Verified};
pub use environment::{Clock, Randomness, SystemClock, SystemRandomness};
pub use error::{Error, ErrorDetail, ErrorKind, Result};
pub use event::{Event, EventAction, EventSink, EventTarget};
pub use gate::{Admission, Gate};
pub use layer::{
    Deed, Gated, GatedRegistry, Layer, Observation, Observations, Observe, ObservedRegistry,
    Observer, Prefix, PrefixedRegistry, Queue, ReadOnly, ReadOnlyRegistry, RegistryExt, Route,
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
pub use registry::Registry;
pub use upload::{Chunk, Upload, UploadId, UploadOptions};
