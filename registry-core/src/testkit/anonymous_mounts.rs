//! What a registry promises about mounts from anywhere.

use std::sync::Arc;

use crate::testkit::{content, pull_blob, push_blob, refused, trusted};
use crate::{Algorithm, CatalogAccess, ErrorKind, MountSource, Registry, Visibility};

fn sees(name: &'static str) -> CatalogAccess {
    let visible = Visibility::Only(Arc::new(move |repository| repository.as_str() == name));
    CatalogAccess::granted(visible, Arc::default())
}

/// Content of a repository that the caller may see is found.
pub async fn a_blob_is_found_where_the_caller_may_look(registry: &dyn Registry) {
    let to = trusted("team/other");
    let blob = content("found", 1000);
    let digest = push_blob(registry, &trusted("team/hidden"), &blob).await;
    push_blob(registry, &trusted("team/app"), &blob).await;
    let mounted = registry
        .mount_blob(&to, &digest, MountSource::Anywhere(&sees("team/app")))
        .await
        .expect("a mount")
        .expect("the blob is found");
    assert_eq!((mounted.digest, mounted.size), (digest, 1000));
    assert!(pull_blob(registry, &to, &digest).await == blob);
}

/// What the caller may not see isn't found, so nobody learns that it exists.
pub async fn what_the_caller_may_not_see_is_not_found(registry: &dyn Registry) {
    let to = trusted("team/other");
    let digest = push_blob(registry, &trusted("team/hidden"), &content("secret", 1000)).await;
    let unknown = Algorithm::Sha256.digest(b"unknown");
    for digest in [digest, unknown] {
        let mounted = registry
            .mount_blob(&to, &digest, MountSource::Anywhere(&sees("team/app")))
            .await
            .expect("a mount isn't refused");
        assert_eq!(mounted, None);
        refused(
            registry.stat_blob(&to, &digest).await,
            ErrorKind::BlobUnknown,
        );
    }
}
