//! The contract of [`Records`] as tests.
//!
//! Each function takes records that nobody else uses, and panics where they break
//! the contract. [`records_suite!`](crate::records_suite) makes a test of each.

use std::time::{Duration, UNIX_EPOCH};

use futures::future::join_all;

use super::{all_pages, refused};
use crate::{Clock, ErrorKind, Expected, PageRequest, RECORD_VALUE_MAX, Records, SystemClock};

/// A record comes back as it was written, and is gone once it is removed.
pub async fn a_record_comes_back_as_it_was(records: &dyn Records) {
    assert_eq!(records.get("a/b").await.expect("an answer"), None);
    for value in [Vec::new(), vec![0, 255, b'\n'], vec![7; RECORD_VALUE_MAX]] {
        let version = records
            .put("a/b", Expected::Any, value.clone(), None)
            .await
            .expect("it is written");
        let record = records.get("a/b").await.expect("an answer");
        let record = record.expect("the record");
        assert_eq!((record.key.as_str(), record.version), ("a/b", version));
        assert_eq!((record.value, record.expires_at), (value, None));
    }
    let removed = records.remove("a/b", Expected::Any).await;
    assert!(removed.expect("an answer"));
    let removed = records.remove("a/b", Expected::Any).await;
    assert!(!removed.expect("an answer"));
    assert_eq!(records.get("a/b").await.expect("an answer"), None);
}

/// What isn't as expected is left as it is.
pub async fn what_is_not_as_expected_stays(records: &dyn Records) {
    let put = async |expected, value: &[u8]| records.put("k", expected, value.to_vec(), None).await;
    let first = put(Expected::Absent, b"1").await.expect("it was absent");
    refused(
        put(Expected::Absent, b"2").await,
        ErrorKind::PreconditionFailed,
    );
    let second = put(Expected::Version(first), b"2")
        .await
        .expect("it was that");
    assert!(second > first);
    for expected in [Expected::Version(first), Expected::Absent] {
        refused(put(expected, b"3").await, ErrorKind::PreconditionFailed);
        let removed = records.remove("k", expected).await;
        refused(removed, ErrorKind::PreconditionFailed);
    }
    let record = records.get("k").await.expect("an answer");
    assert_eq!(record.expect("the record").value, b"2");
    let removed = records.remove("k", Expected::Version(second)).await;
    assert!(removed.expect("it was that"));
    // The version of a record that is gone is no other's.
    refused(
        put(Expected::Version(second), b"4").await,
        ErrorKind::PreconditionFailed,
    );
    let third = put(Expected::Absent, b"4").await.expect("it was absent");
    assert!(third > second);
}

/// Of many who expect the same, one succeeds.
pub async fn one_of_64_writers_wins(records: &dyn Records) {
    let version = records
        .put("k", Expected::Absent, Vec::new(), None)
        .await
        .expect("it is written");
    let tries = (0..64).map(|number| async move {
        let value = vec![number];
        let written = records.put("k", Expected::Version(version), value, None);
        written.await.is_ok().then_some(number)
    });
    let winners: Vec<u8> = join_all(tries).await.into_iter().flatten().collect();
    let record = records.get("k").await.expect("an answer");
    assert_eq!(winners, record.expect("the record").value);
    assert_eq!(winners.len(), 1);
}

/// Lists are in the order of keys, whatever the size of their pages.
pub async fn lists_are_in_order(records: &dyn Records) {
    for key in ["b/2", "a/1", "b/10", "b/1", "b", "c/1", "b/ä"] {
        let written = records.put(key, Expected::Absent, key.into(), None).await;
        written.expect("it is written");
    }
    for limit in [None, Some(1), Some(2), Some(100)] {
        let page = |page: PageRequest| records.list("b/", page);
        let found = all_pages(limit, page).await;
        let keys: Vec<&str> = found.iter().map(|record| &*record.key).collect();
        assert_eq!(keys, ["b/1", "b/10", "b/2", "b/ä"], "{limit:?}");
        assert!(
            found
                .iter()
                .all(|record| record.value == record.key.as_bytes())
        );
    }
    let none = records.list("b/", PageRequest::first(0)).await;
    assert!(none.expect("a page").items.is_empty());
    let other = records.list("d/", PageRequest::default()).await;
    let other = other.expect("a page");
    assert_eq!((other.items.len(), other.next), (0, None));
}

/// What has expired isn't there.
pub async fn what_has_expired_is_not_there(records: &dyn Records) {
    let now = SystemClock.now();
    let later = now.checked_add(Duration::from_hours(1)).expect("a time");
    // Whole seconds are kept exactly.
    let seconds = later.duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let later = UNIX_EPOCH + Duration::from_secs(seconds);
    for (key, expires_at) in [("a", UNIX_EPOCH), ("b", later)] {
        let written = records
            .put(key, Expected::Any, Vec::new(), Some(expires_at))
            .await;
        written.expect("it is written");
    }
    assert_eq!(records.get("a").await.expect("an answer"), None);
    let record = records.get("b").await.expect("an answer");
    assert_eq!(record.expect("the record").expires_at, Some(later));
    let all = records.list("", PageRequest::default()).await;
    assert_eq!(all.expect("a page").items.len(), 1);
    assert!(!records.remove("a", Expected::Any).await.expect("an answer"));
    let again = records.put("a", Expected::Absent, Vec::new(), None).await;
    again.expect("nothing is there");
}

/// What can't be a record is refused.
pub async fn what_can_not_be_kept_is_refused(records: &dyn Records) {
    let long = "k".repeat(513);
    for key in ["", "a\nb", "a\0", &long] {
        let written = records.put(key, Expected::Any, Vec::new(), None).await;
        refused(written, ErrorKind::RequestInvalid);
    }
    let large = vec![0; RECORD_VALUE_MAX + 1];
    let written = records.put("k", Expected::Any, large, None).await;
    refused(written, ErrorKind::RequestInvalid);
    assert_eq!(records.get("k").await.expect("an answer"), None);
}

/// Makes a test of every clause of the contract of
/// [`Records`](crate::Records).
///
/// The second argument is evaluated anew in each test, in an asynchronous
/// context. It gives a pair: records that nobody else uses, and what has to live
/// as long. The crate that calls this macro needs `tokio` with the features
/// `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! records_suite {
    ($name:ident, $records:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::records_suite!(@ $records,
                a_record_comes_back_as_it_was
                what_is_not_as_expected_stays
                one_of_64_writers_wins
                lists_are_in_order
                what_has_expired_is_not_there
                what_can_not_be_kept_is_refused
            );
        }
    };
    (@ $records:expr, $($clause:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $clause() {
                let (records, _fixture) = $records;
                $crate::testkit::records::$clause(&records).await;
            }
        )*
    };
}
