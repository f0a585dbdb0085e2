//! What the contract says of stored bytes, blobs and repositories.

use registry_core::{ErrorKind, RepositoryEpoch, Usage};

use super::make::{
    Commit, allowed, conflict, content, delete_repository, digest, link, manifest, moment, name,
    put_manifest, refused, tag, unconditional, upload,
};
use crate::{
    Batch, BlobState, Change, CommitError, MetadataStore, RepositoryIdentity, Requirement,
};

/// Nothing is there before something was put there.
pub async fn a_fresh_store_holds_nothing(store: &dyn MetadataStore) {
    store.check().await.unwrap();
    assert_eq!(store.repositories(None, 10).await.unwrap(), []);
    assert_eq!(store.contents(None, 10).await.unwrap(), []);
    assert_eq!(store.outbox(10).await.unwrap(), []);
    assert_eq!(store.tags(&name("a"), None, 10).await.unwrap(), None);
    let uploads = store.idle_uploads(moment(1000), 10).await.unwrap();
    assert_eq!(uploads, []);
}

/// A blob or a manifest makes a repository; the next one finds it.
pub async fn a_repository_comes_into_being_with_its_first_content(store: &dyn MetadataStore) {
    store.put([content(1, 1, 5), link("a", 1, 5)]).await;
    store.put([put_manifest("b", 2, 7)]).await;
    let a = store.repository(&name("a")).await.unwrap().unwrap();
    let b = store.repository(&name("b")).await.unwrap().unwrap();
    assert_ne!(a.identity, b.identity);
    store.put([put_manifest("a", 3, 7)]).await;
    let again = store.repository(&name("a")).await.unwrap().unwrap();
    assert_eq!(again.identity, a.identity);
    assert_eq!(store.repository(&name("c")).await.unwrap(), None);
}

/// What becomes empty is still there, with its identity.
pub async fn a_repository_stays_when_it_becomes_empty(store: &dyn MetadataStore) {
    store
        .put([put_manifest("a", 1, 7), tag("a", "v1", 1)])
        .await;
    let before = store.repository(&name("a")).await.unwrap().unwrap();
    let delete = Change::DeleteManifest {
        repository: name("a"),
        digest: digest(1),
    };
    store.put([delete]).await;
    let after = store.repository(&name("a")).await.unwrap().unwrap();
    assert_eq!(after.identity, before.identity);
    let usage = Usage {
        repositories: 1,
        ..Usage::default()
    };
    assert_eq!(after.usage, usage);
    assert_eq!(store.tags(&name("a"), None, 9).await.unwrap(), Some(vec![]));
}

/// A grant for the old repository must not open the new one.
pub async fn a_recreated_repository_has_another_identity(store: &dyn MetadataStore) {
    let mut given = Vec::new();
    for _ in 0..3 {
        store.put([put_manifest("a", 1, 7)]).await;
        let record = store.repository(&name("a")).await.unwrap().unwrap();
        assert!(!given.contains(&record.identity));
        given.push(record.identity);
        store.put([delete_repository("a", 0)]).await;
        assert_eq!(store.repository(&name("a")).await.unwrap(), None);
    }
    store.put([put_manifest("a", 1, 7)]).await;
    let is = |identity| Requirement::RepositoryIs {
        repository: name("a"),
        identity,
    };
    refused(store, is(given[0])).await;
    let record = store.repository(&name("a")).await.unwrap().unwrap();
    allowed(store, is(record.identity)).await;
    refused(store, is(RepositoryIdentity(u64::MAX))).await;
}

/// A grant for a name whose repository is yet to come must open that one, and
/// none that follows it. Only deletions count, not what is emptied.
pub async fn each_deletion_begins_another_epoch(store: &dyn MetadataStore) {
    let epoch = async |of| store.epoch(&name(of)).await.unwrap();
    let after = |number, at| RepositoryEpoch {
        number,
        since: Some(moment(at)),
    };
    // There is none to delete.
    store.put([delete_repository("a", 9)]).await;
    assert_eq!(epoch("a").await, RepositoryEpoch::default());
    store.put([content(1, 1, 5), link("a", 1, 5)]).await;
    let unlink = Change::UnlinkBlob {
        repository: name("a"),
        digest: digest(1),
    };
    store.put([unlink]).await;
    assert_eq!(epoch("a").await, RepositoryEpoch::default());
    store.put([delete_repository("a", 5)]).await;
    assert_eq!(epoch("a").await, after(1, 5));
    store.put([put_manifest("a", 2, 7)]).await;
    assert_eq!(epoch("a").await, after(1, 5));
    // By a clock that jumped back.
    store.put([delete_repository("a", 3)]).await;
    assert_eq!(epoch("a").await, after(2, 5));
    for (number, at) in [(1, 2), (7, 8), (3, 6)] {
        let put = Change::PutEpoch {
            repository: name("a"),
            number,
            at: moment(at),
        };
        store.put([put]).await;
    }
    assert_eq!(epoch("a").await, after(7, 8));
    for other in ["a/b", "a-b", "b"] {
        assert_eq!(epoch(other).await, RepositoryEpoch::default());
    }
}

/// What was granted for a repository, or for the one yet to come, must change none
/// that came to its name later.
pub async fn an_epoch_can_be_required(store: &dyn MetadataStore) {
    let is = |of, number| Requirement::EpochIs {
        repository: name(of),
        number,
    };
    allowed(store, is("a", 0)).await;
    refused(store, is("a", 1)).await;
    store.put([put_manifest("a", 1, 7)]).await;
    allowed(store, is("a", 0)).await;
    store.put([delete_repository("a", 5)]).await;
    refused(store, is("a", 0)).await;
    allowed(store, is("a", 1)).await;
    store.put([put_manifest("a", 1, 7)]).await;
    refused(store, is("a", 0)).await;
    allowed(store, is("a", 1)).await;
    allowed(store, is("b", 0)).await;
    // It is about what is there before the batch.
    let batch = Batch {
        require: vec![is("a", 1)],
        changes: vec![delete_repository("a", 6)],
        durable: true,
    };
    store.commit(batch.clone()).await.unwrap();
    assert!(matches!(
        store.commit(batch).await,
        Err(CommitError::Conflict(Requirement::EpochIs { .. }))
    ));
}

/// All that is the repository's goes; what others have too stays.
pub async fn a_deleted_repository_takes_its_own_with_it(store: &dyn MetadataStore) {
    store
        .put([content(1, 1, 5), link("a", 1, 5), link("b", 1, 5)])
        .await;
    store
        .put([put_manifest("a", 2, 7), put_manifest("b", 2, 7)])
        .await;
    store
        .put([put_manifest("a", 3, 7), tag("a", "v1", 2)])
        .await;
    store
        .put([upload("a", 1, 0, 5), upload("b", 2, 0, 5)])
        .await;
    store.put([delete_repository("a", 0)]).await;

    assert_eq!(store.blob(&name("a"), &digest(1)).await.unwrap(), None);
    assert_eq!(manifest(store, "a", 2).await, None);
    assert_eq!(store.tags(&name("a"), None, 9).await.unwrap(), None);
    let holders = store.holders(&digest(1), None, 9).await.unwrap();
    assert_eq!(holders, [name("b")]);
    let ids = super::history::uploads();
    assert_eq!(store.upload(&ids[0]).await.unwrap(), None);
    assert!(store.upload(&ids[1]).await.unwrap().is_some());
    assert!(store.content(&digest(1)).await.unwrap().is_some());
    assert!(manifest(store, "b", 2).await.is_some());
    let unreferenced = |number| Requirement::Unreferenced {
        digest: digest(number),
    };
    refused(store, unreferenced(2)).await;
    allowed(store, unreferenced(3)).await;

    store.put([put_manifest("a", 4, 1)]).await;
    assert_eq!(store.tags(&name("a"), None, 9).await.unwrap(), Some(vec![]));
    assert_eq!(manifest(store, "a", 2).await, None);
    assert_eq!(store.blob(&name("a"), &digest(1)).await.unwrap(), None);
}

/// As bytes, not by component: `a-b` comes before `a/b`.
pub async fn repositories_are_listed_in_the_order_of_bytes(store: &dyn MetadataStore) {
    let ordered = ["a", "a-b", "a.b", "a/b", "a0", "ab", "b"];
    for repository in ordered.iter().rev() {
        store.put([put_manifest(repository, 1, 7)]).await;
    }
    for limit in 1..=8 {
        let mut listed: Vec<String> = Vec::new();
        loop {
            let after = listed.last().cloned();
            let page = store.repositories(after.as_deref(), limit).await.unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page.iter().map(|record| record.name.to_string()));
        }
        assert_eq!(listed, ordered);
    }
    let page = store.repositories(Some("a-zz"), 1).await.unwrap();
    assert_eq!(page[0].name, name("a.b"));
}

/// Each blob and manifest once in each repository, however often it is put.
pub async fn usage_counts_what_a_repository_holds(store: &dyn MetadataStore) {
    store.put([content(1, 1, 5), content(2, 1, 6)]).await;
    for _ in 0..2 {
        store
            .put([link("a", 1, 5), link("a", 2, 6), link("b", 1, 5)])
            .await;
        store
            .put([put_manifest("a", 3, 7), tag("a", "v1", 3)])
            .await;
        store.put([tag("a", "v2", 3)]).await;
    }
    let record = store.repository(&name("a")).await.unwrap().unwrap();
    let usage = Usage {
        repositories: 1,
        blobs: 2,
        manifests: 1,
        tags: 2,
        bytes: 18,
    };
    assert_eq!(record.usage, usage);
    let unlink = Change::UnlinkBlob {
        repository: name("a"),
        digest: digest(1),
    };
    store.put([unlink.clone(), unlink]).await;
    let record = store.repository(&name("a")).await.unwrap().unwrap();
    assert_eq!((record.usage.blobs, record.usage.bytes), (1, 13));
}

/// A link to bytes that aren't there, or no longer, isn't made.
pub async fn a_link_needs_live_bytes(store: &dyn MetadataStore) {
    store.put([link("a", 1, 5)]).await;
    assert_eq!(store.repository(&name("a")).await.unwrap(), None);
    store.put([content(1, 1, 5)]).await;
    assert_eq!(store.blob(&name("a"), &digest(1)).await.unwrap(), None);
    store.put([condemn(1), link("a", 1, 5)]).await;
    assert_eq!(store.holders(&digest(1), None, 9).await.unwrap(), []);
}

fn condemn(number: u8) -> Change {
    Change::Condemn {
        digest: digest(number),
        at: moment(50),
    }
}

/// Condemned bytes are in no repository, and absent for whoever asks.
pub async fn condemned_bytes_are_absent(store: &dyn MetadataStore) {
    store
        .put([content(1, 1, 5), link("a", 1, 5), link("b", 1, 5)])
        .await;
    let record = store.content(&digest(1)).await.unwrap().unwrap();
    let linked = || Requirement::BlobLinked {
        repository: name("a"),
        digest: digest(1),
    };
    let is = Requirement::ContentIs { key: record.key };
    let absent = || Requirement::ContentAbsent { digest: digest(1) };
    let condemned = Requirement::ContentCondemned { key: record.key };
    allowed(store, linked()).await;
    allowed(store, is.clone()).await;
    refused(store, absent()).await;
    refused(store, condemned.clone()).await;

    store.put([condemn(1)]).await;
    assert_eq!(store.blob(&name("a"), &digest(1)).await.unwrap(), None);
    assert_eq!(store.holders(&digest(1), None, 9).await.unwrap(), []);
    let usage = store.repository(&name("a")).await.unwrap().unwrap().usage;
    assert_eq!((usage.blobs, usage.bytes), (0, 0));
    let record = store.content(&digest(1)).await.unwrap().unwrap();
    assert_eq!(record.state, BlobState::Condemned { at: moment(50) });
    refused(store, linked()).await;
    refused(store, is).await;
    allowed(store, absent()).await;
    allowed(store, condemned).await;
}

/// A delete that comes late can't hit bytes that were pushed again.
pub async fn bytes_pushed_again_are_others(store: &dyn MetadataStore) {
    store.put([content(1, 1, 5), condemn(1)]).await;
    let old = store.content(&digest(1)).await.unwrap().unwrap().key;
    store.put([content(1, 2, 5), link("a", 1, 5)]).await;
    refused(store, Requirement::ContentCondemned { key: old }).await;
    store.put([Change::ForgetContent { key: old }]).await;
    let record = store.blob(&name("a"), &digest(1)).await.unwrap().unwrap();
    assert_ne!(record.key, old);
    let key = record.key;
    store.put([Change::ForgetContent { key }]).await;
    assert_eq!(store.content(&digest(1)).await.unwrap(), None);
    assert_eq!(store.holders(&digest(1), None, 9).await.unwrap(), []);
}

/// A clock that jumps back makes nothing look older.
pub async fn a_touch_never_moves_back(store: &dyn MetadataStore) {
    store.put([content(1, 1, 5)]).await;
    for (at, expected) in [(10, 10), (5, 10), (11, 11)] {
        let digest = digest(1);
        let at = moment(at);
        store.put([Change::Touch { digest, at }]).await;
        let record = store.content(&digest).await.unwrap().unwrap();
        assert_eq!(record.touched_at, moment(expected));
    }
    let untouched = |at| Requirement::NotTouchedSince {
        digest: digest(1),
        at: moment(at),
    };
    allowed(store, untouched(12)).await;
    refused(store, untouched(11)).await;
    store.put([condemn(1)]).await;
    refused(store, untouched(12)).await;
}

/// Listings of bytes and of their holders go on where they stopped.
pub async fn contents_and_holders_are_listed_in_order_and_pages(store: &dyn MetadataStore) {
    for number in 0..20 {
        store.put([content(number, 1, 5)]).await;
    }
    for repository in ["b", "a/b", "a-b", "a"] {
        store.put([link(repository, 1, 5)]).await;
    }
    let mut ordered: Vec<_> = (0..20).map(digest).collect();
    ordered.sort();
    let mut listed = Vec::new();
    loop {
        let page = store.contents(listed.last(), 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        listed.extend(page.iter().map(|record| record.key.digest));
    }
    assert_eq!(listed, ordered);
    let ordered = ["a", "a-b", "a/b", "b"].map(name);
    let first = store.holders(&digest(1), None, 2).await.unwrap();
    assert_eq!(first, ordered[..2]);
    let rest = store.holders(&digest(1), first.last(), 9).await.unwrap();
    assert_eq!(rest, ordered[2..]);
}

/// A batch whose requirement doesn't hold does nothing, and names it; the
/// first one if there are several.
pub async fn a_batch_is_applied_as_a_whole_or_not_at_all(store: &dyn MetadataStore) {
    let absent = |number| Requirement::ContentAbsent {
        digest: digest(number),
    };
    store.put([content(2, 1, 5), content(3, 1, 5)]).await;
    let mut batch = unconditional([content(1, 1, 5), link("a", 1, 5)]);
    batch.require = vec![absent(1), absent(3), absent(2)];
    let found = conflict(store.commit(batch.clone()).await);
    assert_eq!(found, Some(absent(3)));
    assert_eq!(store.content(&digest(1)).await.unwrap(), None);
    assert_eq!(store.repository(&name("a")).await.unwrap(), None);
    batch.require.truncate(1);
    assert_eq!(conflict(store.commit(batch).await), None);
    assert!(store.blob(&name("a"), &digest(1)).await.unwrap().is_some());
}

/// A limit on usage is about what the batch leaves behind.
pub async fn usage_is_limited_behind_the_batch(store: &dyn MetadataStore) {
    store.put([content(1, 1, 60), content(2, 1, 60)]).await;
    store.put([link("a", 1, 60)]).await;
    let at_most = |bytes| Requirement::UsageAtMost {
        repository: name("a"),
        bytes,
    };
    let mut batch = unconditional([link("a", 2, 60)]);
    batch.require = vec![at_most(100)];
    let found = conflict(store.commit(batch.clone()).await);
    assert_eq!(found, Some(at_most(100)));
    let unlink = Change::UnlinkBlob {
        repository: name("a"),
        digest: digest(1),
    };
    batch.changes.push(unlink);
    assert_eq!(conflict(store.commit(batch).await), None);
    let usage = store.repository(&name("a")).await.unwrap().unwrap().usage;
    assert_eq!(usage.bytes, 60);
}

/// However many ask at once, one gets what only one can have.
pub async fn batches_at_once_are_as_one_after_the_other(store: &dyn MetadataStore) {
    store.put([put_manifest("a", 1, 7)]).await;
    let mut batch = unconditional([tag("a", "v1", 1)]);
    batch.require = vec![Requirement::TagAbsent {
        repository: name("a"),
        tag: "v1".parse().unwrap(),
    }];
    let commits = (0..64).map(|_| store.commit(batch.clone()));
    let results = futures::future::join_all(commits).await;
    let applied = results.iter().filter(|result| result.is_ok());
    assert_eq!(applied.count(), 1);
    for result in results {
        if let Err(CommitError::Refused(error) | CommitError::Failed(error)) = result {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            panic!("the store failed: {error:?}");
        }
    }
}
