//! The engine, bare and under each layer, keeps the contract of `Registry`.

#![allow(clippy::unwrap_used, reason = "names written here are valid")]

use async_trait::async_trait;
use registry_core::testkit::{ImageBuilder, trusted};
use registry_core::{
    Access, Admission, Blob, CatalogAccess, Chunk, Deletion, Descriptor, Digest, Epochs, Gate,
    Gated, Manifest, MountSource, Observe, OpenOptions, Page, PageRequest, Prefix, Pushed,
    PutManifest, ReadOnly, Reference, ReferrerFilter, Registry, RegistryExt, RepositoryName,
    Result, Route, Tag, Upload, UploadId, UploadOptions, registry_suite,
};
use registry_storage::{Engine, EngineOptions, MemoryBlobs, MemoryMetadata, PullThrough};

registry_suite!(memory_engine, Engine::memory());
registry_suite!(prefix_added, below("tenants/acme").await);
registry_suite!(
    prefix_stripped,
    Engine::memory()
        .layer(Prefix::strip(&name("mirror")))
        .layer(Prefix::add(&name("mirror")))
);
registry_suite!(routed, routed());
registry_suite!(gated, Engine::memory().layer(Gated::by(Open)));
registry_suite!(observed, {
    let (observe, observations) = Observe::queue(1);
    (Engine::memory().layer(observe), observations)
});

registry_suite!(read_only, {
    let engine = Engine::memory();
    Beside {
        pulls: engine.clone().layer(ReadOnly),
        pushes: engine,
    }
});
// What was pulled by its digest stays here when it is deleted there, the catalog
// has what is kept here, and pushes aren't for this layer: deletions, catalog,
// denials, mounts and uploads don't fit.
registry_suite!(
    pull_through,
    {
        let upstream = Engine::memory();
        Beside {
            pulls: PullThrough::new(sparse(), upstream.clone()),
            pushes: upstream,
        }
    },
    [blobs, manifests, referrers, tags]
);

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

/// A part of an engine that others use as well.
async fn below(prefix: &str) -> impl Registry {
    let engine = Engine::memory();
    for other in [
        "tenants",
        "tenants/acm/a",
        "tenants/acme",
        "tenants/acme-b/a",
        "z",
    ] {
        let image = ImageBuilder::new("other").build();
        image.push(&engine, &trusted(other), &["latest"]).await;
    }
    engine.layer(Prefix::add(&name(prefix)))
}

/// Three engines that share the names which the suite lists.
fn routed() -> Route {
    Route::new()
        .to(name("a"), Engine::memory())
        .to(name("a/b"), Engine::memory())
        .otherwise(Engine::memory())
}

/// Lets everything pass.
#[derive(Debug)]
struct Open;

#[async_trait]
impl Gate for Open {
    async fn admit(&self, _: &Access, _: Admission<'_>) -> Result<()> {
        Ok(())
    }
}

/// An engine that keeps manifests before what they refer to.
fn sparse() -> Engine {
    let options = EngineOptions::default().sparse_manifests(true);
    Engine::builder(MemoryBlobs::new(), MemoryMetadata::default())
        .options(options)
        .build()
}

/// A layer that takes no pushes, which go beside it.
#[derive(Debug)]
struct Beside<R> {
    pulls: R,
    pushes: Engine,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<R: Registry> Registry for Beside<R> {
    async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
        self.pulls.stat_blob(access, digest).await
    }

    async fn open_blob(
        &self,
        access: &Access,
        digest: &Digest,
        options: OpenOptions,
    ) -> Result<Blob> {
        self.pulls.open_blob(access, digest, options).await
    }

    async fn mount_blob(
        &self,
        access: &Access,
        digest: &Digest,
        source: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        self.pushes.mount_blob(access, digest, source).await
    }

    async fn begin_upload(&self, access: &Access, options: UploadOptions) -> Result<Upload> {
        self.pushes.begin_upload(access, options).await
    }

    async fn upload(&self, access: &Access, id: &UploadId) -> Result<Upload> {
        self.pushes.upload(access, id).await
    }

    async fn append_upload(&self, access: &Access, id: &UploadId, chunk: Chunk) -> Result<Upload> {
        self.pushes.append_upload(access, id, chunk).await
    }

    async fn finish_upload(
        &self,
        access: &Access,
        id: &UploadId,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        self.pushes.finish_upload(access, id, digest, last).await
    }

    async fn cancel_upload(&self, access: &Access, id: &UploadId) -> Result<()> {
        self.pushes.cancel_upload(access, id).await
    }

    async fn resolve(&self, access: &Access, reference: &Reference) -> Result<Descriptor> {
        self.pulls.resolve(access, reference).await
    }

    async fn get_manifest(&self, access: &Access, reference: &Reference) -> Result<Manifest> {
        self.pulls.get_manifest(access, reference).await
    }

    async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        self.pushes.put_manifest(access, push).await
    }

    async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        self.pushes.delete(access, what).await
    }

    async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        self.pulls.tags(access, page).await
    }

    async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        self.pulls.referrers(access, subject, filter, page).await
    }

    async fn repositories(
        &self,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        self.pulls.repositories(access, page).await
    }

    fn epochs(&self) -> Option<&dyn Epochs> {
        self.pulls.epochs()
    }
}
