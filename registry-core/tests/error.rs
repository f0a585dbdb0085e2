//! What an error says of itself.

use std::io;
use std::num::ParseIntError;

use registry_core::{Error, ErrorKind};

/// What a program prints whose `main` ends with this error.
fn shown(error: &Error) -> String {
    format!("{error:?}")
}

#[test]
fn a_program_that_ends_with_an_error_shows_its_sentence_and_its_causes() {
    let error = ErrorKind::Unavailable.error("the data in x can't be used; choose another place");
    assert_eq!(
        shown(&error),
        "the data in x can't be used; choose another place"
    );

    let number: ParseIntError = "x".parse::<u8>().unwrap_err();
    let inner = Error::internal("the lock can't be read", number);
    let error = error.with_source(io::Error::other(inner));
    assert_eq!(
        shown(&error),
        "the data in x can't be used; choose another place\n\nCaused by:\n    \
         the lock can't be read\n    invalid digit found in string"
    );
}

#[test]
fn the_parts_of_an_error_can_be_seen() {
    let shown = format!("{:#?}", ErrorKind::BlobUnknown.error("push it"));
    assert!(shown.contains("kind: BlobUnknown"), "{shown}");
    assert!(shown.contains("push it"), "{shown}");
}
