//! What the contract says of manifests, tags, uploads and events.

use std::time::SystemTime;

use registry_core::{
    Descriptor, Digest, Event, EventAction, EventTarget, MediaType, Reference, Tag,
};

use super::history::uploads;
use super::make::{
    Commit, allowed, digest, manifest, manifest_record, moment, name, put_manifest, refused, tag,
    upload,
};
use crate::{Change, MetadataStore, Requirement};

/// The same manifest by either name, as it was pushed.
pub async fn a_manifest_is_found_by_digest_and_by_tag(store: &dyn MetadataStore) {
    store
        .put([put_manifest("a", 1, 7), tag("a", "v1", 1)])
        .await;
    let found = manifest(store, "a", 1).await.unwrap();
    assert_eq!(found, manifest_record(1, 7));
    let reference = Reference::Tag("v1".parse().unwrap());
    let by_tag = store.manifest(&name("a"), &reference).await.unwrap();
    assert_eq!(by_tag, Some(found));
    let other = Reference::Tag("v2".parse().unwrap());
    assert_eq!(store.manifest(&name("a"), &other).await.unwrap(), None);
    assert_eq!(store.manifest(&name("b"), &reference).await.unwrap(), None);
    let present = |number| Requirement::ManifestPresent {
        repository: name("a"),
        digest: digest(number),
    };
    allowed(store, present(1)).await;
    refused(store, present(2)).await;
}

/// A type may be required of a manifest that may be absent.
pub async fn a_manifest_has_the_type_required_or_is_absent(store: &dyn MetadataStore) {
    store.put([put_manifest("a", 1, 7)]).await;
    let only_as = |repository, number, media_type: MediaType| Requirement::ManifestOnlyAs {
        repository: name(repository),
        digest: digest(number),
        media_type,
    };
    let own = manifest_record(1, 7).media_type;
    assert_ne!(own, MediaType::DOCKER_MANIFEST);
    allowed(store, only_as("a", 1, own)).await;
    refused(store, only_as("a", 1, MediaType::DOCKER_MANIFEST)).await;
    allowed(store, only_as("a", 2, MediaType::DOCKER_MANIFEST)).await;
    allowed(store, only_as("b", 1, MediaType::DOCKER_MANIFEST)).await;
    let gone = Change::DeleteManifest {
        repository: name("a"),
        digest: digest(1),
    };
    store.put([gone]).await;
    allowed(store, only_as("a", 1, MediaType::DOCKER_MANIFEST)).await;
}

fn referring(repository: &str, number: u8, references: &[u8]) -> Change {
    let references = references.iter().copied().map(digest).collect();
    Change::PutManifest {
        repository: name(repository),
        manifest: manifest_record(number, 7),
        references,
        referrer: None,
    }
}

/// What any manifest of any repository refers to is referenced, itself too.
pub async fn references_last_as_long_as_a_manifest(store: &dyn MetadataStore) {
    let unreferenced = |number| Requirement::Unreferenced {
        digest: digest(number),
    };
    store
        .put([referring("a", 1, &[2, 3, 3]), referring("b", 1, &[2])])
        .await;
    for number in [1, 2, 3] {
        refused(store, unreferenced(number)).await;
    }
    store.put([referring("a", 1, &[4])]).await;
    allowed(store, unreferenced(3)).await;
    for number in [1, 2, 4] {
        refused(store, unreferenced(number)).await;
    }
    let delete = |repository| Change::DeleteManifest {
        repository: name(repository),
        digest: digest(1),
    };
    store.put([delete("b")]).await;
    allowed(store, unreferenced(2)).await;
    refused(store, unreferenced(1)).await;
    store.put([delete("a")]).await;
    allowed(store, unreferenced(1)).await;
    allowed(store, unreferenced(4)).await;
}

/// Its tags go with a manifest, others stay.
pub async fn a_deleted_manifest_takes_its_tags_with_it(store: &dyn MetadataStore) {
    store
        .put([put_manifest("a", 1, 7), put_manifest("a", 2, 7)])
        .await;
    store
        .put([tag("a", "v1", 1), tag("a", "v2", 2), tag("a", "v3", 1)])
        .await;
    store.put([tag("a", "v4", 1), tag("a", "v4", 2)]).await;
    for (number, limit, expected) in [
        (1, 9, &["v1", "v3"][..]),
        (1, 1, &["v1"]),
        (1, 0, &[]),
        (2, 9, &["v2", "v4"]),
        (3, 9, &[]),
    ] {
        let tags = store.tags_of(&name("a"), &digest(number), limit).await;
        let tags = tags.unwrap();
        let tags: Vec<_> = tags.iter().map(Tag::as_str).collect();
        assert_eq!(tags, expected, "{number} {limit}");
    }
    let elsewhere = store.tags_of(&name("b"), &digest(1), 9).await.unwrap();
    assert_eq!(elsewhere, []);
    let with = |repository, tags: &[&str], more| Requirement::TaggedWith {
        repository: name(repository),
        digest: digest(1),
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
        more,
    };
    for (tags, more) in [(&["v1", "v3"][..], false), (&["v1"], true), (&[], true)] {
        allowed(store, with("a", tags, more)).await;
        refused(store, with("a", tags, !more)).await;
        refused(store, with("b", tags, more)).await;
    }
    for tags in [&["v3"][..], &["v1", "v2"], &["v1", "v3", "v4"]] {
        refused(store, with("a", tags, true)).await;
        refused(store, with("a", tags, false)).await;
    }
    allowed(store, with("b", &[], false)).await;
    let at_most = |repository, tags| Requirement::TagsAtMost {
        repository: name(repository),
        tags,
    };
    refused(store, at_most("a", 3)).await;
    allowed(store, at_most("a", 4)).await;
    allowed(store, at_most("b", 0)).await;
    let delete = Change::DeleteManifest {
        repository: name("a"),
        digest: digest(1),
    };
    store.put([delete]).await;
    let left = store.tags(&name("a"), None, 9).await.unwrap().unwrap();
    let left: Vec<_> = left.iter().map(|(tag, _)| tag.as_str()).collect();
    assert_eq!(left, ["v2", "v4"]);
    let usage = store.repository(&name("a")).await.unwrap().unwrap().usage;
    assert_eq!((usage.manifests, usage.tags), (1, 2));
}

/// No tag points to nothing.
pub async fn a_tag_needs_its_manifest(store: &dyn MetadataStore) {
    store
        .put([put_manifest("b", 1, 7), tag("a", "v1", 1)])
        .await;
    assert_eq!(store.repository(&name("a")).await.unwrap(), None);
    store
        .put([put_manifest("a", 2, 7), tag("a", "v1", 1)])
        .await;
    assert_eq!(store.tags(&name("a"), None, 9).await.unwrap(), Some(vec![]));
}

/// Requirements see where a tag points, and since when is kept.
pub async fn a_tag_moves(store: &dyn MetadataStore) {
    let put = |number, at| Change::PutTag {
        repository: name("a"),
        tag: "v1".parse().unwrap(),
        digest: digest(number),
        at: moment(at),
    };
    let is = |number| Requirement::TagIs {
        repository: name("a"),
        tag: "v1".parse().unwrap(),
        digest: digest(number),
    };
    let absent = || Requirement::TagAbsent {
        repository: name("a"),
        tag: "v1".parse().unwrap(),
    };
    allowed(store, absent()).await;
    refused(store, is(1)).await;
    store
        .put([put_manifest("a", 1, 7), put_manifest("a", 2, 7)])
        .await;
    for (number, at, since) in [(1, 5, 5), (1, 6, 5), (2, 7, 7), (1, 8, 8)] {
        store.put([put(number, at)]).await;
        let tags = store.tags(&name("a"), None, 9).await.unwrap().unwrap();
        assert_eq!(tags.len(), 1);
        assert_eq!(tags[0].1.digest, digest(number));
        assert_eq!(tags[0].1.moved_at, moment(since));
        allowed(store, is(number)).await;
        refused(store, is(3 - number)).await;
        refused(store, absent()).await;
    }
    let delete = Change::DeleteTag {
        repository: name("a"),
        tag: "v1".parse().unwrap(),
    };
    store.put([delete.clone(), delete]).await;
    allowed(store, absent()).await;
}

/// Tags that start with others, and any cursor.
pub async fn tags_are_listed_in_the_order_of_bytes(store: &dyn MetadataStore) {
    let ordered = ["0.1.2", "0.1.20", "1", "1-a", "1.0", "A", "_", "a"];
    store
        .put([put_manifest("a", 1, 7), put_manifest("b", 1, 7)])
        .await;
    for text in ordered.iter().rev() {
        store.put([tag("a", text, 1)]).await;
    }
    store.put([tag("b", "other", 1)]).await;
    for limit in 1..=9 {
        let mut listed: Vec<String> = Vec::new();
        loop {
            let after = listed.last().cloned();
            let page = store.tags(&name("a"), after.as_deref(), limit).await;
            let page = page.unwrap().unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page.iter().map(|(tag, _)| tag.to_string()));
        }
        assert_eq!(listed, ordered);
    }
    let page = store.tags(&name("a"), Some("0.1.2/"), 1).await.unwrap();
    assert_eq!(page.unwrap()[0].0.as_str(), "0.1.20");
}

/// By subject, in order, with what the listing needs.
pub async fn referrers_are_listed_for_their_subject(store: &dyn MetadataStore) {
    let put = |number: u8, subject: Option<u8>, listed: bool| {
        let mut manifest = manifest_record(number, 7);
        manifest.subject = subject.map(digest);
        let mut descriptor = Descriptor::new(MediaType::OCI_MANIFEST, digest(number), 7);
        descriptor.artifact_type = Some(format!("application/x.{number}"));
        descriptor
            .annotations
            .insert("number".to_owned(), number.to_string());
        Change::PutManifest {
            repository: name("a"),
            manifest,
            references: Vec::new(),
            referrer: listed.then_some(descriptor),
        }
    };
    for number in 1..6 {
        store.put([put(number, Some(9), true)]).await;
    }
    store
        .put([
            put(6, Some(8), true),
            put(7, None, true),
            put(8, Some(9), false),
        ])
        .await;
    let mut ordered: Vec<_> = (1..6).map(digest).collect();
    ordered.sort();
    let mut listed = Vec::new();
    loop {
        let page = store
            .referrers(&name("a"), &digest(9), listed.last(), 2, usize::MAX)
            .await;
        let page = page.unwrap();
        assert!(page.items.len() <= 2);
        for descriptor in page.items {
            let number = &descriptor.annotations["number"];
            assert_eq!(
                descriptor.artifact_type,
                Some(format!("application/x.{number}"))
            );
            listed.push(descriptor.digest);
        }
        assert_eq!(page.next.is_some(), listed.len() < ordered.len());
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(listed, ordered);
    allowed(store, Requirement::Unreferenced { digest: digest(9) }).await;

    let delete = Change::DeleteManifest {
        repository: name("a"),
        digest: ordered[0],
    };
    store.put([delete, put(6, Some(9), true)]).await;
    let page = store
        .referrers(&name("a"), &digest(9), None, 9, usize::MAX)
        .await
        .unwrap()
        .items;
    assert_eq!(page.len(), 5);
    let page = store
        .referrers(&name("a"), &digest(8), None, 9, usize::MAX)
        .await
        .unwrap()
        .items;
    assert_eq!(page, []);
    let page = store
        .referrers(&name("b"), &digest(9), None, 9, usize::MAX)
        .await
        .unwrap()
        .items;
    assert_eq!(page, []);
}

/// Of referrers with large annotations no more are read than asked for.
pub async fn referrers_are_read_within_a_number_of_bytes(store: &dyn MetadataStore) {
    let put = |number: u8| {
        let mut manifest = manifest_record(number, 7);
        manifest.subject = Some(digest(9));
        let mut descriptor = Descriptor::new(MediaType::OCI_MANIFEST, manifest.digest, 7);
        let note = "x".repeat(100_000);
        descriptor.annotations.insert("note".to_owned(), note);
        Change::PutManifest {
            repository: name("a"),
            manifest,
            references: Vec::new(),
            referrer: Some(descriptor),
        }
    };
    store.put([1, 2, 3, 4, 5, 6, 7].map(put)).await;
    for (max_bytes, most) in [(0, 1), (99_999, 1), (250_000, 2), (350_000, 3)] {
        let mut listed: Vec<Digest> = Vec::new();
        loop {
            let after = listed.last();
            let page = store
                .referrers(&name("a"), &digest(9), after, 100, max_bytes)
                .await
                .unwrap();
            assert!((1..=most).contains(&page.items.len()), "{max_bytes}");
            listed.extend(page.items.iter().map(|referrer| referrer.digest));
            let Some(next) = page.next else {
                break;
            };
            assert_eq!(Some(next), listed.last().map(ToString::to_string));
        }
        let mut ordered: Vec<_> = (1..8).map(digest).collect();
        ordered.sort();
        assert_eq!(listed, ordered);
    }
}

/// One writer gets on with an upload; the others learn that they don't.
pub async fn an_upload_is_fenced_by_its_offset(store: &dyn MetadataStore) {
    let id = uploads()[0];
    let at = |repository: &str, offset| Requirement::UploadAt {
        repository: name(repository),
        id,
        offset,
    };
    refused(store, at("a", 0)).await;
    store.put([upload("a", 1, 0, 1)]).await;
    assert_eq!(store.repository(&name("a")).await.unwrap(), None);
    allowed(store, at("a", 0)).await;
    refused(store, at("b", 0)).await;
    store.put([upload("a", 1, 5, 2)]).await;
    refused(store, at("a", 0)).await;
    allowed(store, at("a", 5)).await;
    let record = store.upload(&id).await.unwrap().unwrap();
    assert_eq!((record.offset, record.active_at), (5, moment(2)));
    store
        .put([Change::DeleteUpload { id }, Change::DeleteUpload { id }])
        .await;
    refused(store, at("a", 5)).await;
    assert_eq!(store.upload(&id).await.unwrap(), None);
}

/// Counted by repository, found by idleness.
pub async fn uploads_are_counted_and_found_when_idle(store: &dyn MetadataStore) {
    let below = |repository: &str, count| Requirement::UploadsBelow {
        repository: name(repository),
        count,
    };
    refused(store, below("a", 0)).await;
    allowed(store, below("a", 1)).await;
    store
        .put([
            upload("a", 1, 0, 30),
            upload("a", 2, 0, 10),
            upload("a-b", 3, 0, 20),
        ])
        .await;
    refused(store, below("a", 2)).await;
    allowed(store, below("a", 3)).await;
    let idle = async |since: SystemTime, limit| {
        let idle = store.idle_uploads(since, limit).await.unwrap();
        let ids = uploads();
        let place = |id| ids.iter().position(|other| *other == id).unwrap() + 1;
        idle.iter()
            .map(|upload| place(upload.id))
            .collect::<Vec<_>>()
    };
    assert_eq!(idle(moment(31), 9).await, [2, 3, 1]);
    assert_eq!(idle(moment(31), 2).await, [2, 3]);
    assert_eq!(idle(moment(30), 9).await, [2, 3]);
    store.put([upload("a", 2, 1, 40)]).await;
    assert_eq!(idle(moment(31), 9).await, [3, 1]);
}

fn emit(number: u8) -> Change {
    Change::Emit(Event {
        id: number.to_string(),
        at: moment(number.into()),
        action: EventAction::Push,
        repository: name("a"),
        target: EventTarget::Blob {
            digest: digest(number),
            size: 5,
        },
        from: None,
        actor: Some("somebody".to_owned()),
    })
}

fn ids(entries: &[crate::OutboxEntry]) -> Vec<&str> {
    let events = entries.iter().map(|entry| entry.event.as_ref().unwrap());
    events.map(|event| event.id.as_str()).collect()
}

/// In the order of commits, until they are acknowledged; no place twice.
pub async fn events_wait_in_the_order_of_commits(store: &dyn MetadataStore) {
    store.put([emit(1), emit(2)]).await;
    store.put([emit(3)]).await;
    let waiting = store.outbox(2).await.unwrap();
    assert_eq!(ids(&waiting), ["1", "2"]);
    assert_eq!(waiting[0].event.as_ref().unwrap().at, moment(1));
    let sequence = waiting[1].sequence;
    store.put([Change::Acknowledge { sequence }]).await;
    let waiting = store.outbox(9).await.unwrap();
    assert_eq!(ids(&waiting), ["3"]);
    let last = waiting[0].sequence;
    store
        .put([Change::Acknowledge { sequence: last }, emit(4)])
        .await;
    let waiting = store.outbox(9).await.unwrap();
    assert_eq!(ids(&waiting), ["4"]);
    assert_eq!([last, waiting[0].sequence], [sequence + 1, sequence + 2]);
}

/// However many wait, and whatever was acknowledged.
pub async fn the_outbox_keeps_the_newest_events(store: &dyn MetadataStore) {
    let limit = |events| Change::LimitOutbox { events };
    store.put([limit(0)]).await;
    store.put([emit(1), emit(2), limit(2)]).await;
    let waiting = store.outbox(9).await.unwrap();
    assert_eq!(ids(&waiting), ["1", "2"]);
    let first = waiting[0].sequence;
    store.put([emit(3), emit(4), limit(2)]).await;
    let waiting = store.outbox(9).await.unwrap();
    assert_eq!(ids(&waiting), ["3", "4"]);
    assert_eq!(waiting[0].sequence, first + 2);
    store
        .put([Change::Acknowledge {
            sequence: first + 3,
        }])
        .await;
    store.put([emit(5), limit(2)]).await;
    assert_eq!(ids(&store.outbox(9).await.unwrap()), ["5"]);
    store.put([limit(0)]).await;
    assert_eq!(store.outbox(9).await.unwrap(), []);
}

/// Whatever moment is recorded after another.
pub async fn the_clock_never_moves_back(store: &dyn MetadataStore) {
    assert_eq!(store.clock().await.unwrap(), None);
    for (to, clock) in [(5, 5), (3, 5), (9, 9), (9, 9)] {
        store.put([Change::AdvanceClock { to: moment(to) }]).await;
        assert_eq!(store.clock().await.unwrap(), Some(moment(clock)));
    }
}
