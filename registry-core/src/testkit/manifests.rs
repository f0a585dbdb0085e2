//! What a registry promises about manifests and the tags that point to them.

use serde_json::json;

use crate::testkit::{ImageBuilder, Package, content, push_blob, reference, refused, trusted};
use crate::{
    Access, Action, Algorithm, Digest, ErrorDetail, ErrorKind, MediaType, PageRequest,
    Precondition, Reference, ReferrerFilter, Registry,
};

/// Checks that `found` leads to `package`, exactly.
async fn serves(registry: &dyn Registry, access: &Access, found: &Reference, package: &Package) {
    let manifest = registry
        .get_manifest(access, found)
        .await
        .expect("the manifest");
    assert_eq!(manifest, *package.manifest(), "{found}");
    let descriptor = registry.resolve(access, found).await.expect("the manifest");
    assert_eq!(descriptor, package.descriptor(), "{found}");
}

/// Checks that nothing is there.
async fn lacks(registry: &dyn Registry, access: &Access, found: &Reference) {
    refused(
        registry.resolve(access, found).await,
        ErrorKind::ManifestUnknown,
    );
    refused(
        registry.get_manifest(access, found).await,
        ErrorKind::ManifestUnknown,
    );
}

async fn tag_of(registry: &dyn Registry, access: &Access, tag: &str) -> Option<Digest> {
    match registry.resolve(access, &reference(tag)).await {
        Ok(found) => Some(found.digest),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ManifestUnknown);
            None
        }
    }
}

/// Bytes and media type of every kind of manifest, by tag and by digest.
pub async fn a_manifest_comes_back_byte_for_byte(registry: &dyn Registry) {
    let access = trusted("team/app");
    let odd = ImageBuilder::new("odd");
    let config = push_blob(registry, &access, &content("config", 10)).await;
    let document = json!({
        "layers": [],
        "schemaVersion": 2,
        "x-unknown": { "é": [1.50, null] },
        "config": { "size": 10, "digest": config, "mediaType": "application/x-config", "x": 1 },
    });
    for (tag, package) in [
        (
            "image",
            ImageBuilder::new("image").annotation("k", "v").build(),
        ),
        ("docker", ImageBuilder::new("docker").docker().build()),
        (
            "index",
            Package::index(vec![odd.clone().build(), odd.layer("more").build()], None),
        ),
        ("empty-index", Package::index(Vec::new(), None)),
        (
            "untyped",
            Package::new(&MediaType::OCI_MANIFEST, &document, Vec::new(), Vec::new()),
        ),
    ] {
        let pushed = package.push(registry, &access, &[tag]).await;
        assert_eq!(pushed.descriptor, package.descriptor());
        assert_eq!(pushed.subject, None);
        serves(registry, &access, &reference(tag), &package).await;
        serves(registry, &access, &package.reference(), &package).await;
    }
}

/// A manifest that doesn't tell its type can't be pushed as another one, by any
/// name and whatever the caller may do: it would cease to be about its subject,
/// and its tags would lead to something else.
pub async fn a_manifest_keeps_the_type_it_was_pushed_with(registry: &dyn Registry) {
    let access = trusted("team/app");
    let image = ImageBuilder::new("image").build();
    image.push(registry, &access, &[]).await;
    let config = push_blob(registry, &access, &content("config", 10)).await;
    let document = json!({
        "schemaVersion": 2,
        "config": { "mediaType": "application/x-config", "digest": config, "size": 10 },
        "layers": [],
        "subject": image.descriptor(),
    });
    let typed = |media_type| Package::new(&media_type, &document, Vec::new(), Vec::new());
    let package = typed(MediaType::OCI_MANIFEST);
    let other = typed(MediaType::DOCKER_MANIFEST);
    package.push(registry, &access, &["signature"]).await;
    let limited = access.limited([Action::Pull, Action::Push]);
    for access in [&access, &limited] {
        for tags in [&[][..], &["signature"], &["free"]] {
            let pushed = registry.put_manifest(access, other.put(tags)).await;
            refused(pushed, ErrorKind::ManifestInvalid);
        }
    }
    serves(registry, &access, &package.reference(), &package).await;
    serves(registry, &access, &reference("signature"), &package).await;
    assert_eq!(tag_of(registry, &access, "free").await, None);
    let subject = image.manifest().digest;
    let (filter, page) = (ReferrerFilter::default(), PageRequest::default());
    let listed = registry.referrers(&access, &subject, filter, page).await;
    assert_eq!(listed.expect("a list").items.len(), 1);
    // The same again is no change.
    package.push(registry, &limited, &["again"]).await;
}

/// What nobody pushed isn't there, in a known or unknown repository.
pub async fn an_unknown_manifest_is_unknown(registry: &dyn Registry) {
    let access = trusted("team/app");
    let image = ImageBuilder::new("known").build();
    image.push(registry, &access, &["known"]).await;
    for access in [access, trusted("team/nowhere")] {
        lacks(registry, &access, &reference("unknown")).await;
        let digest = Algorithm::Sha256.digest(b"unknown");
        lacks(registry, &access, &digest.into()).await;
    }
}

/// Knowing a digest opens nothing.
pub async fn a_manifest_of_one_repository_is_invisible_in_another(registry: &dyn Registry) {
    let (owner, other) = (trusted("team/app"), trusted("team/other"));
    let image = ImageBuilder::new("secret").build();
    image.push(registry, &owner, &["latest"]).await;
    let own = ImageBuilder::new("own").build();
    own.push(registry, &other, &[]).await;
    lacks(registry, &other, &image.reference()).await;
    lacks(registry, &other, &reference("latest")).await;
}

/// One push, many tags; a repeated push changes nothing.
pub async fn a_push_names_any_number_of_tags(registry: &dyn Registry) {
    let access = trusted("team/app");
    let image = ImageBuilder::new("tagged").build();
    image.push(registry, &access, &[]).await;
    serves(registry, &access, &image.reference(), &image).await;
    for _ in 0..2 {
        let pushed = image.push(registry, &access, &["a", "b", "c"]).await;
        let mut tags: Vec<_> = pushed.tags.iter().map(ToString::to_string).collect();
        tags.sort_unstable();
        assert_eq!(tags, ["a", "b", "c"]);
        for tag in ["a", "b", "c"] {
            serves(registry, &access, &reference(tag), &image).await;
        }
    }
}

/// A tag that moves leaves the old manifest behind.
pub async fn a_tag_moves_to_the_last_push(registry: &dyn Registry) {
    let access = trusted("team/app");
    let (old, new) = (
        ImageBuilder::new("old").build(),
        ImageBuilder::new("new").build(),
    );
    old.push(registry, &access, &["latest"]).await;
    new.push(registry, &access, &["latest"]).await;
    serves(registry, &access, &reference("latest"), &new).await;
    serves(registry, &access, &old.reference(), &old).await;
}

/// A SHA-512 is as good a name, also behind a tag.
pub async fn a_manifest_may_be_named_by_sha512(registry: &dyn Registry) {
    let access = trusted("team/app");
    let image = ImageBuilder::new("long")
        .build()
        .named_by(Algorithm::Sha512);
    image.push(registry, &access, &["latest"]).await;
    serves(registry, &access, &image.reference(), &image).await;
    serves(registry, &access, &reference("latest"), &image).await;
    let other = Algorithm::Sha256.digest(&image.manifest().bytes);
    lacks(registry, &access, &other.into()).await;
}

/// What is missing is named, all of it, and nothing is stored.
pub async fn missing_content_is_named(registry: &dyn Registry) {
    let access = trusted("team/app");
    let image = ImageBuilder::new("incomplete").layer("second").build();
    // Content of other repositories doesn't count.
    image.push(registry, &trusted("team/other"), &[]).await;
    push_blob(registry, &access, &image.blobs()[1]).await;

    let put = registry.put_manifest(&access, image.put(&["latest"])).await;
    let error = refused(put, ErrorKind::ManifestBlobUnknown);
    let Some(ErrorDetail::Missing(missing)) = error.detail() else {
        panic!("{error:?}");
    };
    let mut missing = missing.clone();
    missing.sort_unstable();
    let mut expected =
        [&image.blobs()[0], &image.blobs()[2]].map(|blob| Algorithm::Sha256.digest(blob));
    expected.sort_unstable();
    assert_eq!(missing, expected);
    lacks(registry, &access, &image.reference()).await;
    lacks(registry, &access, &reference("latest")).await;

    let index = Package::index(vec![image.clone()], None);
    let put = registry.put_manifest(&access, index.put(&[])).await;
    let error = refused(put, ErrorKind::ManifestBlobUnknown);
    let missing = ErrorDetail::Missing(vec![image.manifest().digest]);
    assert_eq!(error.detail(), Some(&missing));
}

/// Layers that are fetched from elsewhere, and subjects, may be absent.
pub async fn some_content_may_be_absent(registry: &dyn Registry) {
    let access = trusted("team/app");
    let config = push_blob(registry, &access, &content("config", 10)).await;
    let absent = Algorithm::Sha256.digest(b"absent");
    let document = json!({
        "schemaVersion": 2,
        "config": { "mediaType": "application/x-config", "digest": config, "size": 10 },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "digest": absent,
            "size": 6,
            "urls": ["https://example.org/layer"],
        }],
        "subject": { "mediaType": MediaType::OCI_MANIFEST, "digest": absent, "size": 6 },
    });
    let package = Package::new(&MediaType::OCI_MANIFEST, &document, Vec::new(), Vec::new());
    let pushed = package.push(registry, &access, &[]).await;
    assert_eq!(pushed.subject, Some(absent));
    serves(registry, &access, &package.reference(), &package).await;
}

/// Who may only push adds tags and moves none, not even one among many.
pub async fn moving_a_tag_needs_the_right_to(registry: &dyn Registry) {
    let access = trusted("team/app");
    let (old, new) = (
        ImageBuilder::new("old").build(),
        ImageBuilder::new("new").build(),
    );
    old.push(registry, &access, &["taken"]).await;
    new.push_content(registry, &access).await;
    let pusher = access.limited([Action::Pull, Action::Push]);

    for tags in [&["taken"] as &[_], &["free", "taken"], &["taken", "free"]] {
        let put = registry.put_manifest(&pusher, new.put(tags)).await;
        refused(put, ErrorKind::Denied);
        assert_eq!(
            tag_of(registry, &access, "taken").await,
            Some(old.manifest().digest)
        );
        assert_eq!(tag_of(registry, &access, "free").await, None);
    }
    for (package, tags) in [(&old, &["taken"] as &[_]), (&new, &["free"])] {
        registry
            .put_manifest(&pusher, package.put(tags))
            .await
            .expect("no tag moves");
    }
    assert_eq!(
        tag_of(registry, &access, "free").await,
        Some(new.manifest().digest)
    );
}

/// A push with a condition happens only if each tag meets it.
pub async fn a_push_may_have_a_condition(registry: &dyn Registry) {
    let access = trusted("team/app");
    let packages = ["0", "1", "2"].map(|seed| ImageBuilder::new(seed).build());
    let [first, second, third] = &packages;
    for package in &packages {
        package.push_content(registry, &access).await;
    }
    let (absent, is) = (Precondition::Absent, |package: &Package| {
        Precondition::Is(package.manifest().digest)
    });
    for (package, tags, condition, holds) in [
        (first, &["a"] as &[_], is(second), false),
        (first, &["a"], absent, true),
        (second, &["a"], absent, false),
        (second, &["b", "a"], absent, false),
        (second, &["a"], is(second), false),
        (second, &["b", "a"], is(first), false),
        (second, &["a"], is(first), true),
        (third, &["a", "b"], is(second), false),
        (third, &["b", "c"], absent, true),
    ] {
        let before = [
            tag_of(registry, &access, "a").await,
            tag_of(registry, &access, "b").await,
        ];
        let put = registry
            .put_manifest(&access, package.put(tags).with_precondition(condition))
            .await;
        if holds {
            put.expect("the condition holds");
            for tag in tags {
                assert_eq!(
                    tag_of(registry, &access, tag).await,
                    Some(package.manifest().digest)
                );
            }
        } else {
            refused(put, ErrorKind::PreconditionFailed);
            let after = [
                tag_of(registry, &access, "a").await,
                tag_of(registry, &access, "b").await,
            ];
            assert_eq!(before, after, "{condition:?}");
        }
    }
}

/// Of many that want a tag only for themselves one gets it.
pub async fn only_one_of_many_gets_a_tag_that_must_be_absent(registry: &dyn Registry) {
    let access = trusted("team/app");
    let mut packages = Vec::new();
    for number in 0..8 {
        let package = ImageBuilder::new(&number.to_string()).build();
        package.push_content(registry, &access).await;
        packages.push(package);
    }
    let puts = packages.iter().map(|package| {
        let push = package.put(&["latest"]);
        registry.put_manifest(&access, push.with_precondition(Precondition::Absent))
    });
    let results = futures::future::join_all(puts).await;
    let winners: Vec<Digest> = results
        .into_iter()
        .filter_map(|result| match result {
            Ok(pushed) => Some(pushed.descriptor.digest),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
                None
            }
        })
        .collect();
    let latest = tag_of(registry, &access, "latest").await;
    assert_eq!(winners, latest.into_iter().collect::<Vec<_>>());
}
