//! Random histories over a world so small that everything meets everything.

use std::time::{Duration, SystemTime};

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use registry_core::{
    Algorithm, Descriptor, Digest, Event, EventAction, EventTarget, MediaType, RepositoryName, Tag,
    UploadId, UploadOwner,
};

use crate::{
    Batch, BlobKey, BlobRecord, BlobState, Change, ManifestRecord, RepositoryIdentity, Requirement,
    UploadRecord,
};

/// The repositories of the world. Two start with the name of a third, and
/// their order as bytes isn't that of their components.
pub(super) fn names() -> Vec<RepositoryName> {
    ["a", "a-b", "a/b"].map(|name| name.parse().unwrap()).into()
}

/// The tags of the world, one of which starts with another.
pub(super) fn tags() -> Vec<Tag> {
    ["1.0", "1.0-a", "latest"]
        .map(|tag| tag.parse().unwrap())
        .into()
}

/// The digests of the world, under both algorithms.
pub(super) fn digests() -> Vec<Digest> {
    let both = [Algorithm::Sha256, Algorithm::Sha512];
    let of = |content: &[u8]| both.map(|algorithm| algorithm.digest(content));
    [of(b"0"), of(b"1"), of(b"2")].concat()
}

/// The uploads of the world, which are also its generations.
pub(super) fn uploads() -> Vec<UploadId> {
    (1..=3)
        .map(|byte| UploadId::from_random([byte; 16]))
        .collect()
}

/// The moment `milliseconds` after the world began.
pub(super) fn moment(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        + Duration::from_secs(1_700_000_000)
        + Duration::from_millis(milliseconds)
}

fn name() -> impl Strategy<Value = RepositoryName> {
    select(names())
}

fn tag() -> impl Strategy<Value = Tag> {
    select(tags())
}

fn digest() -> impl Strategy<Value = Digest> {
    select(digests())
}

fn upload() -> impl Strategy<Value = UploadId> {
    select(uploads())
}

fn at() -> impl Strategy<Value = SystemTime> {
    (0..20_u64).prop_map(moment)
}

fn size() -> impl Strategy<Value = u64> {
    0..100_u64
}

fn key() -> impl Strategy<Value = BlobKey> {
    (digest(), upload()).prop_map(|(digest, generation)| BlobKey { digest, generation })
}

fn content() -> impl Strategy<Value = BlobRecord> {
    let state = prop_oneof![
        4 => Just(BlobState::Live),
        1 => at().prop_map(|at| BlobState::Condemned { at }),
    ];
    (key(), size(), state, at()).prop_map(|(key, size, state, touched_at)| BlobRecord {
        key,
        size,
        state,
        touched_at,
    })
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    (
        digest(),
        size(),
        option::of("[a-z]{1,3}"),
        vec(("[a-z]", "[a-z]{0,3}"), 0..3),
    )
        .prop_map(|(digest, size, artifact_type, annotations)| {
            let mut descriptor = Descriptor::new(MediaType::OCI_MANIFEST, digest, size);
            descriptor.artifact_type = artifact_type;
            descriptor.annotations = annotations.into_iter().collect();
            descriptor
        })
}

fn media_type() -> impl Strategy<Value = MediaType> {
    select(vec![
        MediaType::OCI_MANIFEST,
        MediaType::OCI_INDEX,
        "application/x.own+json".parse().unwrap(),
    ])
}

fn put_manifest() -> impl Strategy<Value = Change> {
    let manifest = (digest(), media_type(), size(), option::of(digest()), at()).prop_map(
        |(digest, media_type, size, subject, pushed_at)| ManifestRecord {
            digest,
            media_type,
            size,
            subject,
            pushed_at,
        },
    );
    (
        name(),
        manifest,
        vec(digest(), 0..4),
        option::of(descriptor()),
    )
        .prop_map(
            |(repository, manifest, references, referrer)| Change::PutManifest {
                repository,
                manifest,
                references,
                referrer,
            },
        )
}

fn put_upload() -> impl Strategy<Value = Change> {
    (
        upload(),
        name(),
        option::of(any::<u8>()),
        0..3_u64,
        vec(any::<u8>(), 0..4),
        at(),
    )
        .prop_map(|(id, repository, owner, offset, hasher, active_at)| {
            Change::PutUpload(UploadRecord {
                id,
                repository,
                owner: owner.map(|byte| UploadOwner::from_bytes([byte; 32])),
                offset,
                hasher,
                active_at,
                incarnation: UploadId::from_random([9; 16]),
            })
        })
}

fn event() -> impl Strategy<Value = Event> {
    (
        at(),
        name(),
        digest(),
        option::of(name()),
        option::of("[a-z]{1,3}"),
    )
        .prop_map(|(at, repository, digest, from, actor)| Event {
            id: "an event".to_owned(),
            at,
            action: EventAction::Mount,
            repository,
            target: EventTarget::Blob { digest, size: 1 },
            from,
            actor,
        })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => content().prop_map(Change::PutContent),
        2 => (digest(), at()).prop_map(|(digest, at)| Change::Touch { digest, at }),
        1 => (digest(), at()).prop_map(|(digest, at)| Change::Condemn { digest, at }),
        1 => key().prop_map(|key| Change::ForgetContent { key }),
        4 => (name(), digest(), size()).prop_map(|(repository, digest, size)| {
            Change::LinkBlob { repository, digest, size }
        }),
        1 => (name(), digest()).prop_map(|(repository, digest)| {
            Change::UnlinkBlob { repository, digest }
        }),
        4 => put_manifest(),
        1 => (name(), digest()).prop_map(|(repository, digest)| {
            Change::DeleteManifest { repository, digest }
        }),
        4 => (name(), tag(), digest(), at()).prop_map(|(repository, tag, digest, at)| {
            Change::PutTag { repository, tag, digest, at }
        }),
        1 => (name(), tag()).prop_map(|(repository, tag)| Change::DeleteTag { repository, tag }),
        1 => (name(), at()).prop_map(|(repository, at)| {
            Change::DeleteRepository { repository, at }
        }),
        1 => (name(), 0..4_u64, at()).prop_map(|(repository, number, at)| {
            Change::PutEpoch { repository, number, at }
        }),
        2 => put_upload(),
        1 => upload().prop_map(|id| Change::DeleteUpload { id }),
        2 => event().prop_map(Change::Emit),
        1 => (0..10_u64).prop_map(|sequence| Change::Acknowledge { sequence }),
        1 => (0..5_u64).prop_map(|events| Change::LimitOutbox { events }),
        1 => at().prop_map(|to| Change::AdvanceClock { to }),
    ]
}

fn requirement() -> impl Strategy<Value = Requirement> {
    prop_oneof![
        (name(), 1..6_u64).prop_map(|(repository, identity)| Requirement::RepositoryIs {
            repository,
            identity: RepositoryIdentity(identity),
        }),
        (name(), 0..4_u64)
            .prop_map(|(repository, number)| Requirement::EpochIs { repository, number }),
        (name(), 0..300_u64)
            .prop_map(|(repository, bytes)| Requirement::UsageAtMost { repository, bytes }),
        (name(), tag()).prop_map(|(repository, tag)| Requirement::TagAbsent { repository, tag }),
        (name(), tag(), digest()).prop_map(|(repository, tag, digest)| Requirement::TagIs {
            repository,
            tag,
            digest,
        }),
        (name(), digest(), btree_set(tag(), 0..3), any::<bool>()).prop_map(
            |(repository, digest, tags, more)| Requirement::TaggedWith {
                repository,
                digest,
                tags: tags.into_iter().collect(),
                more,
            }
        ),
        (name(), 0..4_u64)
            .prop_map(|(repository, tags)| Requirement::TagsAtMost { repository, tags }),
        digest().prop_map(|digest| Requirement::ContentAbsent { digest }),
        key().prop_map(|key| Requirement::ContentIs { key }),
        key().prop_map(|key| Requirement::ContentCondemned { key }),
        (name(), digest())
            .prop_map(|(repository, digest)| Requirement::BlobLinked { repository, digest }),
        (name(), digest())
            .prop_map(|(repository, digest)| Requirement::ManifestPresent { repository, digest }),
        (name(), digest(), media_type()).prop_map(|(repository, digest, media_type)| {
            Requirement::ManifestOnlyAs {
                repository,
                digest,
                media_type,
            }
        }),
        digest().prop_map(|digest| Requirement::Unreferenced { digest }),
        (digest(), at()).prop_map(|(digest, at)| Requirement::NotTouchedSince { digest, at }),
        (name(), upload(), 0..3_u64).prop_map(|(repository, id, offset)| Requirement::UploadAt {
            repository,
            id,
            offset,
        }),
        (name(), 0..3_u64)
            .prop_map(|(repository, count)| Requirement::UploadsBelow { repository, count }),
    ]
}

/// A batch that may or may not be applied, depending on what came before it.
pub fn batch() -> impl Strategy<Value = Batch> {
    let require = prop_oneof![3 => vec(requirement(), 0..1), 2 => vec(requirement(), 1..3)];
    (require, vec(change(), 0..6), any::<bool>()).prop_map(|(require, changes, durable)| Batch {
        require,
        changes,
        durable,
    })
}

/// Up to `length` batches, one after the other.
pub fn history(length: usize) -> impl Strategy<Value = Vec<Batch>> {
    vec(batch(), 1..=length)
}
