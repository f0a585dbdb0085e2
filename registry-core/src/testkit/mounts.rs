//! What a registry promises about mounts from a named repository.

use crate::testkit::{content, pull_blob, push_blob, refused, trusted};
use crate::{Algorithm, Deletion, ErrorKind, MountSource, Registry};

/// A mounted blob is the repository's own, even when the source forgets it.
pub async fn a_mounted_blob_belongs_to_the_repository(registry: &dyn Registry) {
    let (from, to) = (trusted("team/app"), trusted("team/other"));
    let blob = content("mounted", 1000);
    let digest = push_blob(registry, &from, &blob).await;
    for _ in 0..2 {
        let mounted = registry
            .mount_blob(&to, &digest, MountSource::Repository(&from))
            .await
            .expect("a mount")
            .expect("the blob is there");
        assert_eq!((mounted.digest, mounted.size), (digest, 1000));
    }
    registry
        .delete(&from, Deletion::Blob(digest))
        .await
        .expect("the source forgets it");
    assert!(pull_blob(registry, &to, &digest).await == blob);
}

/// What the named repository doesn't hold has to be uploaded, whoever else
/// holds it.
pub async fn what_the_source_lacks_is_not_mounted(registry: &dyn Registry) {
    let (holder, empty, to) = (
        trusted("team/app"),
        trusted("team/empty"),
        trusted("team/other"),
    );
    let digest = push_blob(registry, &holder, &content("held", 1000)).await;
    push_blob(registry, &empty, &content("else", 1000)).await;
    let unknown = Algorithm::Sha256.digest(b"unknown");
    for (from, digest) in [
        (&empty, digest),
        (&to, digest),
        (&trusted("team/nowhere"), digest),
        (&holder, unknown),
    ] {
        let mounted = registry
            .mount_blob(&to, &digest, MountSource::Repository(from))
            .await
            .expect("a mount isn't refused");
        assert_eq!(mounted, None);
        refused(
            registry.stat_blob(&to, &digest).await,
            ErrorKind::BlobUnknown,
        );
    }
}
