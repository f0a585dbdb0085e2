//! The file of the records, whatever is in it.

#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use registry_auth::FileRecords;
use registry_core::{Expected, PageRequest, Records};

fuzz_target!(|log: &[u8]| {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("records.log"), log).expect("a file");
    let Ok(records) = FileRecords::open(directory.path()) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        // What can be read can be written to, and is read the same again.
        let put = records.put("fuzz", Expected::Any, b"1".to_vec(), None);
        put.await.expect("it is written");
        let before = records
            .list("", PageRequest::default())
            .await
            .expect("a list");
        drop(records);
        let records = FileRecords::open(directory.path()).expect("it opens again");
        let after = records
            .list("", PageRequest::default())
            .await
            .expect("a list");
        assert_eq!(before, after);
        let read = records.get("fuzz").await.expect("an answer");
        assert_eq!(read.expect("the record").value, b"1");
    });
});
