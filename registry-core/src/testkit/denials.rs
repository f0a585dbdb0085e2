//! What a registry refuses to whom it wasn't granted.

use bytes::Bytes;

use crate::testkit::{
    ImageBuilder, Package, all_pages, content, pull_blob, push_blob, reference, refused, trusted,
};
use crate::{
    Access, Action, Actions, Algorithm, Chunk, Deletion, Digest, ErrorKind, MountSource,
    OpenOptions, PageRequest, ReferrerFilter, Registry, Upload, UploadOptions,
};

/// A repository with an image, a blob of its own and an open upload.
struct Scene {
    owner: Access,
    image: Package,
    upload: Upload,
}

impl Scene {
    async fn set(registry: &dyn Registry) -> Self {
        let owner = trusted("team/app");
        let image = ImageBuilder::new("guarded").build();
        image.push(registry, &owner, &["latest"]).await;
        let begun = registry
            .begin_upload(&owner, UploadOptions::default())
            .await
            .expect("an upload begins");
        let part = Chunk::from_bytes(content("part", 100));
        let upload = registry
            .append_upload(&owner, &begun.id, part)
            .await
            .expect("a chunk");
        Self {
            owner,
            image,
            upload,
        }
    }

    /// Everything but this may be done.
    fn without(&self, denied: Action) -> Access {
        let granted: Actions = Action::ALL
            .into_iter()
            .filter(|action| *action != denied)
            .collect();
        self.owner.limited(granted)
    }

    fn layer(&self) -> Digest {
        Algorithm::Sha256.digest(&self.image.blobs()[1])
    }

    /// Nothing is gone, nothing is new.
    async fn is_unchanged(&self, registry: &dyn Registry) {
        let owner = &self.owner;
        let found = registry
            .get_manifest(owner, &reference("latest"))
            .await
            .expect("the manifest");
        assert_eq!(found, *self.image.manifest());
        let layer = pull_blob(registry, owner, &self.layer()).await;
        assert!(layer == self.image.blobs()[1]);
        let upload = registry.upload(owner, &self.upload.id).await;
        assert_eq!(upload.expect("the upload"), self.upload);
        let tags = all_pages(None, |page| registry.tags(owner, page)).await;
        assert_eq!(tags, ["latest".parse().expect("a tag")]);
    }
}

/// Without the right to pull nothing can be read or asked about.
pub async fn pulling_needs_the_right_to(registry: &dyn Registry) {
    let scene = Scene::set(registry).await;
    let access = scene.without(Action::Pull);
    let (digest, kind) = (scene.layer(), ErrorKind::Denied);
    let unknown = Algorithm::Sha256.digest(b"unknown");
    for digest in [digest, unknown] {
        let options = OpenOptions::default();
        refused(registry.stat_blob(&access, &digest).await, kind);
        refused(registry.open_blob(&access, &digest, options).await, kind);
    }
    for wanted in [
        scene.image.reference(),
        reference("latest"),
        reference("unknown"),
    ] {
        refused(registry.resolve(&access, &wanted).await, kind);
        refused(registry.get_manifest(&access, &wanted).await, kind);
    }
}

/// Without the right to list nothing is, whatever may be pulled.
pub async fn listing_needs_the_right_to(registry: &dyn Registry) {
    let scene = Scene::set(registry).await;
    let access = scene.without(Action::List);
    let (page, filter) = (PageRequest::default(), ReferrerFilter::default());
    refused(
        registry.tags(&access, page.clone()).await,
        ErrorKind::Denied,
    );
    let subject = scene.image.manifest().digest;
    let referrers = registry.referrers(&access, &subject, filter, page);
    refused(referrers.await, ErrorKind::Denied);
}

/// Without the right to push nothing can be added, nor an upload touched.
pub async fn pushing_needs_the_right_to(registry: &dyn Registry) {
    let scene = Scene::set(registry).await;
    let access = scene.without(Action::Push);
    let (id, kind) = (scene.upload.id, ErrorKind::Denied);
    let bytes = content("intruder", 100);
    let digest = Algorithm::Sha256.digest(&bytes);
    let part = || Chunk::from_bytes(bytes.clone());
    let begun = registry
        .begin_upload(&access, UploadOptions::default())
        .await;
    refused(begun, kind);
    refused(registry.upload(&access, &id).await, kind);
    refused(registry.append_upload(&access, &id, part()).await, kind);
    let finished = registry
        .finish_upload(&access, &id, &digest, Some(part()))
        .await;
    refused(finished, kind);
    refused(registry.cancel_upload(&access, &id).await, kind);

    let other = trusted("team/other");
    push_blob(registry, &other, &bytes).await;
    let source = MountSource::Repository(&other);
    refused(registry.mount_blob(&access, &digest, source).await, kind);
    let found = registry.stat_blob(&scene.owner, &digest).await;
    refused(found, ErrorKind::BlobUnknown);

    for tags in [&[] as &[_], &["new"], &["latest"]] {
        let put = registry.put_manifest(&access, scene.image.put(tags)).await;
        refused(put, kind);
    }
    scene.is_unchanged(registry).await;
}

/// Without the right to delete everything stays.
pub async fn deleting_needs_the_right_to(registry: &dyn Registry) {
    let scene = Scene::set(registry).await;
    let access = scene.without(Action::Delete);
    for deletion in [
        Deletion::tag("latest".parse().expect("a tag")),
        Deletion::Manifest(scene.image.manifest().digest),
        Deletion::Blob(scene.layer()),
        Deletion::Blob(Algorithm::Sha256.digest(b"unknown")),
    ] {
        let deleted = registry.delete(&access, deletion).await;
        refused(deleted, ErrorKind::Denied);
    }
    scene.is_unchanged(registry).await;
}

/// A mount reads from its source.
pub async fn mounting_needs_the_right_to_pull_from_the_source(registry: &dyn Registry) {
    let scene = Scene::set(registry).await;
    let (source, to) = (scene.without(Action::Pull), trusted("team/other"));
    let digest = scene.layer();
    let mounted = registry
        .mount_blob(&to, &digest, MountSource::Repository(&source))
        .await;
    refused(mounted, ErrorKind::Denied);
    let found = registry.stat_blob(&to, &digest).await;
    refused(found, ErrorKind::BlobUnknown);
}

/// Nothing needs more than it is: pulling no right to push, pushing none to
/// pull, deleting and listing neither.
pub async fn no_more_than_the_right_is_needed(registry: &dyn Registry) {
    let scene = Scene::set(registry).await;
    let only = |action: Action| scene.owner.limited(action);
    let pull = only(Action::Pull);
    let found = registry
        .get_manifest(&pull, &reference("latest"))
        .await
        .expect("a pull");
    assert_eq!(found, *scene.image.manifest());
    pull_blob(registry, &pull, &scene.layer()).await;
    let (page, filter) = (PageRequest::default(), ReferrerFilter::default());
    let list = only(Action::List);
    let tags = registry.tags(&list, page.clone()).await;
    assert_eq!(tags.expect("the tags").items.len(), 1);
    let subject = scene.image.manifest().digest;
    let referrers = registry.referrers(&list, &subject, filter, page).await;
    assert!(referrers.expect("the referrers").items.is_empty());
    let other = ImageBuilder::new("other")
        .layer(Bytes::from("more"))
        .build();
    other.push(registry, &only(Action::Push), &["new"]).await;
    for deletion in [
        Deletion::tag("new".parse().expect("a tag")),
        Deletion::Manifest(other.manifest().digest),
        Deletion::Blob(scene.layer()),
    ] {
        registry
            .delete(&only(Action::Delete), deletion)
            .await
            .expect("a deletion");
    }
}
