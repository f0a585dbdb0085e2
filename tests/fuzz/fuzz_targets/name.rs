#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use registry_core::{MediaType, Reference, RepositoryName, Tag, UploadId};

fn has_one_spelling<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

fuzz_target!(|text: &str| {
    has_one_spelling::<RepositoryName>(text);
    has_one_spelling::<Tag>(text);
    has_one_spelling::<Reference>(text);
    has_one_spelling::<MediaType>(text);
    has_one_spelling::<UploadId>(text);
});
