//! Everything that can be read of a store, to compare it with another.

use std::fmt::Debug;

use registry_core::{Digest, Reference, RepositoryName};

use super::history::{digests, moment, names, tags, uploads};
use crate::{Batch, CommitError, MetadataStore, Requirement};

/// What is to be looked at.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All there is.
    Everything,
    /// All that a rebuilt store still has: neither uploads nor events.
    Lasting,
}

/// Questions and the answers that a store gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation(Vec<(String, String)>);

impl Observation {
    fn note(&mut self, question: impl Debug, answer: impl Debug) {
        self.0
            .push((format!("{question:?}"), format!("{answer:?}")));
    }

    /// The first answers that differ, as a sentence.
    pub fn difference(&self, other: &Self) -> Option<String> {
        self.0.iter().zip(&other.0).find_map(|(mine, theirs)| {
            let (question, answer) = mine;
            (mine != theirs).then(|| {
                let theirs = &theirs.1;
                format!("{question}: {answer}, expected {theirs}")
            })
        })
    }

    /// Fails the test if `expected` differs.
    ///
    /// # Panics
    ///
    /// If any answer differs.
    pub fn assert_is(&self, expected: &Self) {
        if let Some(difference) = self.difference(expected) {
            panic!("{difference}");
        }
    }
}

/// Asks a store everything that can be asked about the world of
/// [`history`](super::history).
///
/// # Panics
///
/// If a read fails.
pub async fn observe(store: &dyn MetadataStore, scope: Scope) -> Observation {
    let mut notes = Observation::default();
    for limit in [0, 1, 2, 100] {
        let all = store.contents(None, limit).await.unwrap();
        notes.note(("contents", limit), all);
        let all = store.repositories(None, limit).await.unwrap();
        notes.note(("repositories", limit), all);
    }
    for after in ["", "a", "a-", "a-b", "a/", "a/b", "b", "~"] {
        let page = store.repositories(Some(after), 1).await.unwrap();
        notes.note(("repositories", after), page);
    }
    for digest in digests() {
        notes.note(("content", digest), store.content(&digest).await.unwrap());
        let page = store.contents(Some(&digest), 2).await.unwrap();
        notes.note(("contents", digest), page);
        let holders = store.holders(&digest, None, 2).await.unwrap();
        notes.note(("holders", digest), holders);
        for name in names() {
            let holders = store.holders(&digest, Some(&name), 1).await.unwrap();
            notes.note(("holders", digest, name), holders);
        }
    }
    for name in names() {
        observe_repository(&mut notes, store, &name).await;
    }
    if scope == Scope::Everything {
        for id in uploads() {
            notes.note(("upload", id), store.upload(&id).await.unwrap());
        }
        for limit in [0, 1, 2, 100] {
            for name in names() {
                let open = store.uploads(&name, None, limit).await.unwrap();
                notes.note(("uploads", &name, limit), open);
                for after in uploads() {
                    let open = store.uploads(&name, Some(&after), limit).await.unwrap();
                    notes.note(("uploads", &name, after, limit), open);
                }
            }
            for at in [0, 10, 20] {
                let idle = store.idle_uploads(moment(at), limit).await.unwrap();
                notes.note(("idle uploads", at, limit), idle);
            }
            let outbox = store.outbox(limit).await.unwrap();
            notes.note(("outbox", limit), outbox);
        }
        notes.note("clock", store.clock().await.unwrap());
    }
    notes
}

async fn observe_repository(
    notes: &mut Observation,
    store: &dyn MetadataStore,
    name: &RepositoryName,
) {
    let record = store.repository(name).await.unwrap();
    notes.note(("repository", name), record);
    notes.note(("epoch", name), store.epoch(name).await.unwrap());
    for limit in [0, 1, 2, 100] {
        let tags = store.tags(name, None, limit).await.unwrap();
        notes.note(("tags", name, limit), tags);
        let manifests = store.manifests(name, None, limit).await.unwrap();
        notes.note(("manifests", name, limit), manifests);
    }
    for after in ["", "1.", "1.0", "1.0-", "1.0-a", "latest", "z"] {
        let page = store.tags(name, Some(after), 1).await.unwrap();
        notes.note(("tags", name, after), page);
    }
    for tag in tags() {
        let reference = Reference::Tag(tag);
        let manifest = store.manifest(name, &reference).await.unwrap();
        notes.note(("manifest", name, reference), manifest);
    }
    for digest in digests() {
        observe_digest(notes, store, name, digest).await;
    }
}

async fn observe_digest(
    notes: &mut Observation,
    store: &dyn MetadataStore,
    name: &RepositoryName,
    digest: Digest,
) {
    let blob = store.blob(name, &digest).await.unwrap();
    notes.note(("blob", name, digest), blob);
    let reference = Reference::Digest(digest);
    let manifest = store.manifest(name, &reference).await.unwrap();
    notes.note(("manifest", name, reference), manifest);
    for limit in [0, 1, 100] {
        let tags = store.tags_of(name, &digest, limit).await.unwrap();
        notes.note(("tags of", name, digest, limit), tags);
    }
    let manifests = store.manifests(name, Some(&digest), 1).await.unwrap();
    notes.note(("manifests", name, digest), manifests);
    for after in [None, Some(digest)] {
        for (limit, max_bytes) in [(1, usize::MAX), (100, 0), (100, usize::MAX)] {
            let referrers = store
                .referrers(name, &digest, after.as_ref(), limit, max_bytes)
                .await;
            notes.note(
                ("referrers", name, digest, after, limit, max_bytes),
                referrers.unwrap(),
            );
        }
    }
}

/// Commits a batch to a store and to its reference, which must answer alike.
/// Returns the requirement that kept both from applying it, if any.
///
/// # Panics
///
/// If the answers differ, or a store fails.
pub async fn follow(
    store: &dyn MetadataStore,
    reference: &dyn MetadataStore,
    batch: &Batch,
) -> Option<Requirement> {
    let conflict = |result| match result {
        Ok(()) => None,
        Err(CommitError::Conflict(requirement)) => Some(requirement),
        Err(CommitError::Refused(error) | CommitError::Failed(error)) => {
            panic!("the store failed: {error:?}")
        }
    };
    let expected = conflict(reference.commit(batch.clone()).await);
    let found = conflict(store.commit(batch.clone()).await);
    assert_eq!(found, expected, "of {batch:#?}");
    found
}
