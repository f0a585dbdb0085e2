//! The contract of [`MetadataStore`], a clause at a time and as random
//! histories that a store and the reference must agree on, and a store that
//! fails when it is told to.

mod contents;
mod faulty;
mod history;
mod make;
mod manifests;
mod observation;

pub use contents::*;
pub use faulty::FaultyMetadata;
pub use history::{batch, history};
pub use manifests::*;
pub use observation::{Observation, Scope, follow, observe};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::{MemoryMetadata, MetadataStore};

/// A fresh store for one test, with what it needs to live.
pub trait MetadataFixture {
    /// The store.
    fn store(&self) -> &dyn MetadataStore;
}

impl<S: MetadataStore> MetadataFixture for S {
    fn store(&self) -> &dyn MetadataStore {
        self
    }
}

/// A store and what has to outlive it, such as a temporary directory.
impl<S: MetadataStore, K> MetadataFixture for (S, K) {
    fn store(&self) -> &dyn MetadataStore {
        &self.0
    }
}

/// A random history leads to the same answers and states as in the reference.
pub async fn a_random_history_agrees_with_the_reference(store: &dyn MetadataStore) {
    let mut random = TestRunner::deterministic();
    let reference = MemoryMetadata::new();
    for step in 0..200 {
        let batch = batch().new_tree(&mut random).unwrap().current();
        follow(store, &reference, &batch).await;
        if step % 10 == 9 {
            let expected = observe(&reference, Scope::Everything).await;
            observe(store, Scope::Everything).await.assert_is(&expected);
        }
    }
}

/// Runs the contract of [`MetadataStore`](crate::MetadataStore) on a store: a
/// module with one test for each clause.
///
/// The second argument is evaluated in each test and may wait; it gives a fresh
/// store, or a pair of a store and something that has to outlive it.
///
/// ```
/// use registry_storage::{RedbMetadata, RedbOptions};
///
/// registry_storage::metadata_store_suite!(database, {
///     let directory = tempfile::tempdir().unwrap();
///     let options = RedbOptions::default();
///     (RedbMetadata::open(directory.path(), options).await.unwrap(), directory)
/// });
/// ```
#[macro_export]
macro_rules! metadata_store_suite {
    ($name:ident, $store:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "what the store's expression needs")]
            use super::*;

            $crate::metadata_store_suite!(@clauses $store;
                a_fresh_store_holds_nothing
                a_repository_comes_into_being_with_its_first_content
                a_repository_stays_when_it_becomes_empty
                a_recreated_repository_has_another_identity
                an_epoch_can_be_required
                each_deletion_begins_another_epoch
                a_deleted_repository_takes_its_own_with_it
                repositories_are_listed_in_the_order_of_bytes
                usage_counts_what_a_repository_holds
                a_link_needs_live_bytes
                condemned_bytes_are_absent
                bytes_pushed_again_are_others
                a_touch_never_moves_back
                contents_and_holders_are_listed_in_order_and_pages
                a_batch_is_applied_as_a_whole_or_not_at_all
                usage_is_limited_behind_the_batch
                batches_at_once_are_as_one_after_the_other
                a_manifest_is_found_by_digest_and_by_tag
                a_manifest_has_the_type_required_or_is_absent
                references_last_as_long_as_a_manifest
                a_deleted_manifest_takes_its_tags_with_it
                a_tag_needs_its_manifest
                a_tag_moves
                tags_are_listed_in_the_order_of_bytes
                referrers_are_listed_for_their_subject
                referrers_are_read_within_a_number_of_bytes
                an_upload_is_fenced_by_its_offset
                uploads_are_counted_and_found_when_idle
                events_wait_in_the_order_of_commits
                the_outbox_keeps_the_newest_events
                the_clock_never_moves_back
                a_random_history_agrees_with_the_reference
            );
        }
    };
    (@clauses $store:expr; $($clause:ident)*) => {
        $(
            #[tokio::test]
            async fn $clause() {
                let fixture = $store;
                let store = $crate::testkit::metadata::MetadataFixture::store(&fixture);
                $crate::testkit::metadata::$clause(store).await;
            }
        )*
    };
}
