//! The contract of [`Registry`] as tests, and what it takes to write more of
//! them. Needs the feature `testkit`.
//!
//! [`registry_suite!`](crate::registry_suite) makes a test of every clause of
//! the contract, for anything that implements [`Registry`]. The clauses are
//! also functions of the modules here, to be called one by one. They take a
//! registry that nobody else uses, and panic where it breaks the contract.
//!
//! ```
//! use registry_core::testkit::{ImageBuilder, pull_blob, trusted};
//! use registry_core::{Access, Registry};
//!
//! /// Any test may push an image and look at it.
//! async fn an_image_can_be_pulled(registry: &dyn Registry) {
//!     let access: Access = trusted("team/app");
//!     let image = ImageBuilder::new("hello").build();
//!     image.push(registry, &access, &["latest"]).await;
//!     for layer in image.blobs() {
//!         let digest = registry_core::Algorithm::Sha256.digest(layer);
//!         assert_eq!(pull_blob(registry, &access, &digest).await, *layer);
//!     }
//! }
//! ```

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test kit reports by panicking"
)]

pub mod anonymous_mounts;
pub mod blobs;
pub mod catalog;
pub mod deletions;
pub mod denials;
mod image;
pub mod manifests;
pub mod mounts;
pub mod records;
pub mod referrers;
mod suite;
pub mod tags;
pub mod uploads;

pub use image::{ImageBuilder, Package};

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;

use crate::{
    Access, Actions, Actor, Algorithm, Blob, BlobBody, Chunk, Digest, Error, ErrorKind, Need,
    OpenOptions, Page, PageRequest, Reference, Registry, RequestOrigin, Result, UploadOptions,
};

/// A registry to test, and what has to live as long, such as a directory.
pub trait Fixture {
    /// The registry.
    fn registry(&self) -> &dyn Registry;
}

impl<R: Registry> Fixture for R {
    fn registry(&self) -> &dyn Registry {
        self
    }
}

impl<R: Registry, G> Fixture for (R, G) {
    fn registry(&self) -> &dyn Registry {
        &self.0
    }
}

/// Every right in the repository `name`.
pub fn trusted(name: &str) -> Access {
    Access::trusted(name.parse().expect("a repository name"))
}

/// Every right in the repository `name` for whoever is called `who`, by a program
/// that calls itself `program`.
pub fn acting(name: &str, who: Option<&str>, program: &str) -> Access {
    let need = Need {
        repository: name.parse().expect("a repository name"),
        actions: Actions::ALL,
        tags: Vec::new(),
    };
    let request = RequestOrigin {
        user_agent: Some(program.to_owned()),
        ..RequestOrigin::default()
    };
    let actor = Actor {
        name: who.map(str::to_owned),
        request: Some(request),
    };
    Access::granted(&need, Actions::ALL, Arc::new(actor)).expect("what is needed is granted")
}

/// A tag or digest as a reference.
pub fn reference(text: &str) -> Reference {
    text.parse().expect("a reference")
}

/// `size` bytes that look random and follow from `seed`.
pub fn content(seed: &str, size: usize) -> Bytes {
    let mut content = Vec::with_capacity(size.next_multiple_of(64));
    for block in 0_u64.. {
        if content.len() >= size {
            break;
        }
        let name = format!("{seed}/{block}");
        content.extend_from_slice(Algorithm::Sha512.digest(name.as_bytes()).hash());
    }
    content.truncate(size);
    content.into()
}

/// Pushes a blob in one piece, named by its SHA-256.
pub async fn push_blob(registry: &dyn Registry, access: &Access, content: &Bytes) -> Digest {
    let digest = Algorithm::Sha256.digest(content);
    let upload = registry
        .begin_upload(access, UploadOptions::default())
        .await
        .expect("an upload begins");
    let chunk = Chunk::from_bytes(content.clone());
    let pushed = registry
        .finish_upload(access, &upload.id, &digest, Some(chunk))
        .await
        .expect("an upload ends");
    assert_eq!(pushed.digest, digest);
    assert_eq!(pushed.size, content.len() as u64);
    digest
}

/// Pulls a whole blob.
pub async fn pull_blob(registry: &dyn Registry, access: &Access, digest: &Digest) -> Bytes {
    let blob = registry
        .open_blob(access, digest, OpenOptions::default())
        .await
        .expect("the blob opens");
    assert_eq!(blob.digest, *digest);
    assert_eq!(blob.range, 0..blob.size);
    read(blob).await
}

/// The bytes of an opened blob. Reads files on the thread it is called on.
pub async fn read(blob: Blob) -> Bytes {
    let size = usize::try_from(blob.range.end - blob.range.start).expect("a size");
    let bytes = match blob.body {
        BlobBody::Bytes(bytes) => bytes,
        BlobBody::Stream(stream) => stream
            .try_fold(Vec::new(), |mut all, bytes| async move {
                all.extend_from_slice(&bytes);
                Ok(all)
            })
            .await
            .expect("the stream goes on to its end")
            .into(),
        BlobBody::File(slice) => {
            let mut all =
                vec![0; usize::try_from(slice.range.end - slice.range.start).expect("a size")];
            let mut filled = 0;
            while filled < all.len() {
                let at = slice.range.start + filled as u64;
                let count = slice
                    .file
                    .read_at(&mut all[filled..], at)
                    .expect("the file can be read");
                assert_ne!(count, 0, "the file is shorter than promised");
                filled += count;
            }
            all.into()
        }
        BlobBody::Redirect(_) => panic!("the registry sends the client elsewhere"),
    };
    assert_eq!(bytes.len(), size, "the body has the length of its range");
    bytes
}

/// The error of a result that must be one of this kind.
#[track_caller]
pub fn refused<T: Debug>(result: Result<T>, kind: ErrorKind) -> Error {
    match result {
        Ok(value) => panic!("this should be refused as {kind:?}, but is {value:?}"),
        Err(error) => {
            assert_eq!(error.kind(), kind, "{error:?}");
            error
        }
    }
}

/// All items of a list, read in pages of at most `limit`.
///
/// `page` reads one page. No page may hold more than `limit`, go back, or be an
/// empty continuation.
pub async fn all_pages<T, F>(limit: Option<usize>, mut page: impl FnMut(PageRequest) -> F) -> Vec<T>
where
    F: Future<Output = Result<Page<T>>>,
{
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let request = PageRequest {
            limit,
            after: after.clone(),
        };
        let found = page(request).await.expect("a page");
        assert!(
            limit.is_none_or(|limit| found.items.len() <= limit),
            "a page holds more than was asked for"
        );
        assert!(
            after.is_none() || !found.items.is_empty(),
            "the list says that it goes on, but doesn't"
        );
        all.extend(found.items);
        let Some(next) = found.next else {
            return all;
        };
        assert!(
            after.as_ref().is_none_or(|after| *after < next),
            "the list goes back to {next}"
        );
        after = Some(next);
    }
}
