//! All clauses as tests.

/// Makes a test of every clause of the contract of
/// [`Registry`](crate::Registry).
///
/// The second argument is evaluated anew in each test, in an asynchronous
/// context. It gives a registry that nobody else uses, or a pair of one and of
/// something that has to live as long. The crate that calls this macro needs
/// `tokio` with the features `macros` and `rt`.
///
/// ```
/// # mod engine {
/// #     #[derive(Debug)] pub struct MyRegistry;
/// #     impl registry_core::Registry for MyRegistry {}
/// #     impl MyRegistry { pub async fn open() -> Self { Self } }
/// # }
/// use engine::MyRegistry;
///
/// registry_core::registry_suite!(my_registry, MyRegistry::open().await);
/// # fn main() {}
/// ```
///
/// A registry that doesn't do everything names the groups it does, which are
/// the modules of [`testkit`](crate::testkit):
///
/// ```
/// # #[derive(Debug)] struct Mirror;
/// # impl registry_core::Registry for Mirror {}
/// registry_core::registry_suite!(mirror, Mirror, [blobs, manifests]);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! registry_suite {
    ($name:ident, $registry:expr) => {
        $crate::registry_suite!(
            $name,
            $registry,
            [
                anonymous_mounts,
                blobs,
                catalog,
                deletions,
                denials,
                manifests,
                mounts,
                referrers,
                tags,
                uploads,
            ]
        );
    };
    ($name:ident, $registry:expr, [$($group:ident),* $(,)?]) => {
        mod $name {
            $(
                mod $group {
                    #[allow(unused_imports)]
                    use super::super::*;

                    $crate::registry_clauses!($group, $registry);
                }
            )*
        }
    };
}

/// The clauses of each group.
#[doc(hidden)]
#[macro_export]
macro_rules! registry_clauses {
    (anonymous_mounts, $registry:expr) => {
        $crate::registry_clauses!(@ anonymous_mounts, $registry,
            a_blob_is_found_where_the_caller_may_look
            what_the_caller_may_not_see_is_not_found
        );
    };
    (blobs, $registry:expr) => {
        $crate::registry_clauses!(@ blobs, $registry,
            a_pushed_blob_comes_back_as_it_was
            an_empty_blob_is_a_blob
            a_range_is_the_part_asked_for
            a_range_outside_the_content_is_refused
            an_unknown_blob_is_unknown
            a_blob_of_one_repository_is_invisible_in_another
            known_content_still_has_to_be_sent
            each_algorithm_names_a_blob_of_its_own
        );
    };
    (catalog, $registry:expr) => {
        $crate::registry_clauses!(@ catalog, $registry,
            pages_of_repositories_add_up
            what_stays_is_listed_once_while_others_come
            only_what_may_be_seen_is_counted
            a_list_goes_on_behind_any_position
            a_page_of_none_is_empty
        );
    };
    (deletions, $registry:expr) => {
        $crate::registry_clauses!(@ deletions, $registry,
            deleting_a_tag_leaves_the_manifest
            a_tag_is_deleted_where_it_is_expected
            deleting_a_manifest_takes_its_tags
            other_repositories_keep_theirs
            what_is_gone_can_not_be_deleted
            what_is_gone_can_be_pushed_again
        );
    };
    (denials, $registry:expr) => {
        $crate::registry_clauses!(@ denials, $registry,
            pulling_needs_the_right_to
            listing_needs_the_right_to
            pushing_needs_the_right_to
            deleting_needs_the_right_to
            mounting_needs_the_right_to_pull_from_the_source
            no_more_than_the_right_is_needed
        );
    };
    (manifests, $registry:expr) => {
        $crate::registry_clauses!(@ manifests, $registry,
            a_manifest_comes_back_byte_for_byte
            a_manifest_keeps_the_type_it_was_pushed_with
            an_unknown_manifest_is_unknown
            a_manifest_of_one_repository_is_invisible_in_another
            a_push_names_any_number_of_tags
            a_tag_moves_to_the_last_push
            a_manifest_may_be_named_by_sha512
            missing_content_is_named
            some_content_may_be_absent
            moving_a_tag_needs_the_right_to
            a_push_may_have_a_condition
            only_one_of_many_gets_a_tag_that_must_be_absent
        );
    };
    (mounts, $registry:expr) => {
        $crate::registry_clauses!(@ mounts, $registry,
            a_mounted_blob_belongs_to_the_repository
            what_the_source_lacks_is_not_mounted
        );
    };
    (referrers, $registry:expr) => {
        $crate::registry_clauses!(@ referrers, $registry,
            a_subject_lists_what_is_about_it
            a_subject_need_not_exist
            artifact_types_filter
            pages_of_referrers_add_up
            a_deleted_referrer_is_not_listed
        );
    };
    (tags, $registry:expr) => {
        $crate::registry_clauses!(@ tags, $registry,
            pages_of_tags_add_up
            tags_that_are_not_shown_are_left_out
            pages_of_names_that_begin_others_add_up
            what_stays_is_listed_once_while_others_come
            a_list_goes_on_behind_any_position
            a_page_of_none_is_empty
            an_unknown_repository_has_no_list
            a_manifest_without_tag_is_not_listed
        );
    };
    (uploads, $registry:expr) => {
        $crate::registry_clauses!(@ uploads, $registry,
            chunks_make_one_blob
            an_upload_tells_where_it_stands
            a_chunk_out_of_order_changes_nothing
            a_cancelled_upload_is_gone
            an_unknown_upload_is_unknown
            an_upload_belongs_to_its_repository
            an_upload_belongs_to_who_began_it
            a_wrong_digest_ends_the_upload
            an_upload_ends_with_any_algorithm
            a_repeated_end_succeeds
            an_upload_goes_on_after_an_interruption
            a_chunk_of_the_wrong_length_changes_nothing
            many_may_push_the_same_blob_at_once
        );
    };
    (@ $group:ident, $registry:expr, $($clause:ident)*) => {
        $(
            #[tokio::test]
            async fn $clause() {
                let fixture = $registry;
                let registry = $crate::testkit::Fixture::registry(&fixture);
                $crate::testkit::$group::$clause(registry).await;
            }
        )*
    };
}
