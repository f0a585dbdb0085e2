//! What a registry promises about deleting.

use crate::testkit::{
    ImageBuilder, all_pages, content, pull_blob, push_blob, reference, refused, trusted,
};
use crate::{Algorithm, Deletion, ErrorKind, Registry};

/// Without its tag a manifest stays, and so do its other tags.
pub async fn deleting_a_tag_leaves_the_manifest(registry: &dyn Registry) {
    let access = trusted("team/app");
    let image = ImageBuilder::new("image").build();
    image.push(registry, &access, &["a", "b"]).await;
    registry
        .delete(&access, Deletion::tag("a".parse().expect("a tag")))
        .await
        .expect("the tag is removed");
    let found = registry.resolve(&access, &reference("a")).await;
    refused(found, ErrorKind::ManifestUnknown);
    for left in [reference("b"), image.reference()] {
        let found = registry.resolve(&access, &left).await.expect("it stays");
        assert_eq!(found, image.descriptor());
    }
}

/// A tag that moved in the meantime is not the one that was to go.
pub async fn a_tag_is_deleted_where_it_is_expected(registry: &dyn Registry) {
    let access = trusted("team/app");
    let (image, other) = (
        ImageBuilder::new("image").build(),
        ImageBuilder::new("other").build(),
    );
    image.push(registry, &access, &["a"]).await;
    let delete = |expected| Deletion::Tag {
        tag: "a".parse().expect("a tag"),
        expected: Some(expected),
    };
    let elsewhere = registry
        .delete(&access, delete(other.manifest().digest))
        .await;
    refused(elsewhere, ErrorKind::PreconditionFailed);
    let found = registry.resolve(&access, &reference("a")).await;
    assert_eq!(found.expect("it stays"), image.descriptor());
    registry
        .delete(&access, delete(image.manifest().digest))
        .await
        .expect("the tag is removed");
    let found = registry.resolve(&access, &reference("a")).await;
    refused(found, ErrorKind::ManifestUnknown);
}

/// With a manifest go its tags, and only these.
pub async fn deleting_a_manifest_takes_its_tags(registry: &dyn Registry) {
    let access = trusted("team/app");
    let (image, other) = (
        ImageBuilder::new("image").build(),
        ImageBuilder::new("other").build(),
    );
    image.push(registry, &access, &["a", "b"]).await;
    other.push(registry, &access, &["c"]).await;
    registry
        .delete(&access, Deletion::Manifest(image.manifest().digest))
        .await
        .expect("the manifest is removed");
    for gone in [image.reference(), reference("a"), reference("b")] {
        refused(
            registry.resolve(&access, &gone).await,
            ErrorKind::ManifestUnknown,
        );
        refused(
            registry.get_manifest(&access, &gone).await,
            ErrorKind::ManifestUnknown,
        );
    }
    let tags = all_pages(None, |page| registry.tags(&access, page)).await;
    assert_eq!(tags, ["c".parse().expect("a tag")]);
    for blob in image.blobs() {
        let digest = Algorithm::Sha256.digest(blob);
        assert!(pull_blob(registry, &access, &digest).await == *blob);
    }
}

/// Each repository deletes for itself.
pub async fn other_repositories_keep_theirs(registry: &dyn Registry) {
    let (access, other) = (trusted("team/app"), trusted("team/other"));
    let image = ImageBuilder::new("shared").build();
    image.push(registry, &access, &["latest"]).await;
    image.push(registry, &other, &["latest"]).await;
    let deletions = image
        .blobs()
        .iter()
        .map(|blob| Deletion::Blob(Algorithm::Sha256.digest(blob)))
        .chain([Deletion::Manifest(image.manifest().digest)]);
    for deletion in deletions {
        registry
            .delete(&access, deletion)
            .await
            .expect("it is removed");
    }
    for blob in image.blobs() {
        let digest = Algorithm::Sha256.digest(blob);
        let found = registry.stat_blob(&access, &digest).await;
        refused(found, ErrorKind::BlobUnknown);
        assert!(pull_blob(registry, &other, &digest).await == *blob);
    }
    let found = registry
        .get_manifest(&other, &reference("latest"))
        .await
        .expect("the manifest");
    assert_eq!(found, *image.manifest());
}

/// A second deletion finds nothing, nor does one where nothing ever was.
pub async fn what_is_gone_can_not_be_deleted(registry: &dyn Registry) {
    let access = trusted("team/app");
    let image = ImageBuilder::new("image").build();
    image.push(registry, &access, &["latest"]).await;
    let deletions = [
        (
            Deletion::tag("latest".parse().expect("a tag")),
            ErrorKind::ManifestUnknown,
        ),
        (
            Deletion::Manifest(image.manifest().digest),
            ErrorKind::ManifestUnknown,
        ),
        (
            Deletion::Blob(Algorithm::Sha256.digest(&image.blobs()[0])),
            ErrorKind::BlobUnknown,
        ),
    ];
    for (deletion, kind) in deletions {
        registry
            .delete(&access, deletion.clone())
            .await
            .expect("it is removed");
        for access in [&access, &trusted("team/nowhere")] {
            refused(registry.delete(access, deletion.clone()).await, kind);
        }
    }
}

/// Deleting is no ban.
pub async fn what_is_gone_can_be_pushed_again(registry: &dyn Registry) {
    let access = trusted("team/app");
    let blob = content("again", 1000);
    let image = ImageBuilder::new("again").layer(blob.clone()).build();
    let digest = Algorithm::Sha256.digest(&blob);
    for _ in 0..3 {
        image.push(registry, &access, &["latest"]).await;
        let found = registry
            .get_manifest(&access, &reference("latest"))
            .await
            .expect("the manifest");
        assert_eq!(found, *image.manifest());
        for deletion in [
            Deletion::Manifest(image.manifest().digest),
            Deletion::Blob(digest),
        ] {
            registry
                .delete(&access, deletion)
                .await
                .expect("it is removed");
        }
        push_blob(registry, &access, &blob).await;
        assert!(pull_blob(registry, &access, &digest).await == blob);
    }
}
