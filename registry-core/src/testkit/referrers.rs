//! What a registry promises about the manifests that are about others.

use std::collections::BTreeMap;

use crate::testkit::{ImageBuilder, Package, all_pages, refused, trusted};
use crate::{
    Access, Algorithm, Deletion, Descriptor, Digest, ErrorKind, MediaType, PageRequest,
    ReferrerFilter, Registry,
};

async fn referrers(
    registry: &dyn Registry,
    access: &Access,
    subject: &Digest,
    artifact_types: &[&str],
) -> Vec<Descriptor> {
    let filter = ReferrerFilter {
        artifact_types: artifact_types.iter().map(ToString::to_string).collect(),
    };
    let page = |page| registry.referrers(access, subject, filter.clone(), page);
    all_pages(None, page).await
}

fn signature(subject: &Descriptor, seed: &str) -> ImageBuilder {
    ImageBuilder::new(seed)
        .subject(subject.clone())
        .artifact_type("application/x-signature")
}

/// Listed are type, size, annotations and the artifact type, which may be the
/// one of the configuration.
pub async fn a_subject_lists_what_is_about_it(registry: &dyn Registry) {
    let access = trusted("team/app");
    let image = ImageBuilder::new("subject").build();
    image.push(registry, &access, &[]).await;
    let subject = image.descriptor();
    let sbom: MediaType = "application/x-sbom".parse().expect("a media type");
    let packages = [
        signature(&subject, "signature")
            .annotation("by", "me")
            .build(),
        ImageBuilder::new("sbom")
            .subject(subject.clone())
            .config(sbom, "{}")
            .build(),
        Package::index(vec![ImageBuilder::new("child").build()], Some(&subject)),
    ];
    let [signed, listed, indexed] = &packages;
    let mut expected = vec![
        Descriptor {
            artifact_type: Some("application/x-signature".to_owned()),
            annotations: BTreeMap::from([("by".to_owned(), "me".to_owned())]),
            ..signed.descriptor()
        },
        Descriptor {
            artifact_type: Some("application/x-sbom".to_owned()),
            ..listed.descriptor()
        },
        indexed.descriptor(),
    ];
    expected.sort_by_key(|descriptor| descriptor.digest);
    for package in &packages {
        // Twice, and listed once.
        for _ in 0..2 {
            let pushed = package.push(registry, &access, &[]).await;
            assert_eq!(pushed.subject, Some(subject.digest));
        }
    }
    let found = referrers(registry, &access, &subject.digest, &[]).await;
    assert_eq!(found, expected);
    for package in &packages {
        let digest = package.manifest().digest;
        assert!(referrers(registry, &access, &digest, &[]).await.is_empty());
    }
}

/// What is about something may come before it, or without it.
pub async fn a_subject_need_not_exist(registry: &dyn Registry) {
    let access = trusted("team/app");
    let nobody = Algorithm::Sha512.digest(b"nobody");
    assert!(referrers(registry, &access, &nobody, &[]).await.is_empty());
    let subject = Descriptor::new(MediaType::OCI_MANIFEST, nobody, 10);
    let package = signature(&subject, "early").build();
    package.push(registry, &access, &[]).await;
    assert_eq!(referrers(registry, &access, &nobody, &[]).await.len(), 1);
    let other = trusted("team/other");
    assert!(referrers(registry, &other, &nobody, &[]).await.is_empty());
}

/// Types are compared exactly; several add up.
pub async fn artifact_types_filter(registry: &dyn Registry) {
    let access = trusted("team/app");
    let image = ImageBuilder::new("subject").build();
    image.push(registry, &access, &[]).await;
    for artifact_type in ["application/a", "application/a+json", "application/b"] {
        for seed in ["1", "2"] {
            ImageBuilder::new(seed)
                .subject(image.descriptor())
                .artifact_type(artifact_type)
                .build()
                .push(registry, &access, &[])
                .await;
        }
    }
    let subject = image.manifest().digest;
    for (wanted, count) in [
        (&[] as &[_], 6),
        (&["application/a"], 2),
        (&["application/a", "application/b"], 4),
        (&["application/A"], 0),
        (&["application/"], 0),
    ] {
        let found = referrers(registry, &access, &subject, wanted).await;
        assert_eq!(found.len(), count, "{wanted:?}");
        assert!(found.iter().all(|referrer| {
            let artifact_type = referrer.artifact_type.as_deref().unwrap_or_default();
            wanted.is_empty() || wanted.contains(&artifact_type)
        }));
    }
}

/// However small the pages, together they are the list.
pub async fn pages_of_referrers_add_up(registry: &dyn Registry) {
    let access = trusted("team/app");
    let image = ImageBuilder::new("subject").build();
    image.push(registry, &access, &[]).await;
    for number in 0..7 {
        let artifact_type = if number % 3 == 0 {
            "x/wanted"
        } else {
            "x/other"
        };
        ImageBuilder::new(&number.to_string())
            .subject(image.descriptor())
            .artifact_type(artifact_type)
            .build()
            .push(registry, &access, &[])
            .await;
    }
    let subject = image.manifest().digest;
    for wanted in [&[] as &[_], &["x/wanted"]] {
        let whole = referrers(registry, &access, &subject, wanted).await;
        assert_eq!(whole.len(), if wanted.is_empty() { 7 } else { 3 });
        assert!(whole.is_sorted_by_key(|referrer| referrer.digest));
        for limit in 1..=8 {
            let filter = ReferrerFilter {
                artifact_types: wanted.iter().map(ToString::to_string).collect(),
            };
            let page = |page| registry.referrers(&access, &subject, filter.clone(), page);
            assert_eq!(all_pages(Some(limit), page).await, whole, "{limit}");
        }
    }
    let page = registry
        .referrers(
            &access,
            &subject,
            ReferrerFilter::default(),
            PageRequest::first(0),
        )
        .await
        .expect("a page");
    assert_eq!((page.items, page.next), (Vec::new(), None));
}

/// What is deleted is no longer listed; what it is about may go first.
pub async fn a_deleted_referrer_is_not_listed(registry: &dyn Registry) {
    let access = trusted("team/app");
    let image = ImageBuilder::new("subject").build();
    image.push(registry, &access, &[]).await;
    let subject = image.manifest().digest;
    let first = signature(&image.descriptor(), "first").build();
    let second = signature(&image.descriptor(), "second").build();
    first.push(registry, &access, &[]).await;
    second.push(registry, &access, &[]).await;
    registry
        .delete(&access, Deletion::Manifest(first.manifest().digest))
        .await
        .expect("a referrer is removed");
    let left = || async {
        let left = referrers(registry, &access, &subject, &[]).await;
        left.into_iter()
            .map(|referrer| referrer.digest)
            .collect::<Vec<_>>()
    };
    assert_eq!(left().await, [second.manifest().digest]);
    registry
        .delete(&access, Deletion::Manifest(subject))
        .await
        .expect("the subject is removed");
    assert_eq!(left().await, [second.manifest().digest]);
    let found = registry.resolve(&access, &image.reference()).await;
    refused(found, ErrorKind::ManifestUnknown);
}
