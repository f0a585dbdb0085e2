//! Lines of the change log or of a checkpoint. What begins with `{` gets its
//! checksum here, since no chance finds one; the rest is taken as it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_storage::testkit::change_log::{read, seal};

fn sealed(text: &[u8]) -> Vec<u8> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let sealed = lines.map(|line| {
        let json = std::str::from_utf8(line.strip_suffix(b"\n").unwrap_or(line));
        match json {
            Ok(json) if json.starts_with('{') => seal(json).into_bytes(),
            _ => line.to_owned(),
        }
    });
    sealed.flatten().collect()
}

fuzz_target!(|text: &[u8]| {
    let file = sealed(text);
    let found = read(&file).unwrap();

    // Every byte belongs to one line, in order.
    let starts: Vec<_> = found.iter().map(|line| line.start).collect();
    let ends = file.split_inclusive(|byte| *byte == b'\n');
    let expected: Vec<_> = ends
        .scan(0, |end, line| {
            let start = *end;
            *end += line.len() as u64;
            Some(start)
        })
        .collect();
    assert_eq!(starts, expected);

    // What is understood is written so that it is read the same.
    let whole: Vec<_> = found
        .iter()
        .filter_map(|line| line.json.as_deref())
        .collect();
    let written: String = whole.iter().map(|json| seal(json)).collect();
    let again = read(written.as_bytes()).unwrap();
    let again: Vec<_> = again
        .iter()
        .filter_map(|line| line.json.as_deref())
        .collect();
    assert_eq!(again, whole);

    // A changed byte spoils its own line and no other.
    if let Some(place) = text.first().map(|byte| usize::from(*byte)) {
        let mut damaged = written.into_bytes();
        if let Some(byte) = damaged
            .get_mut(place)
            .filter(|byte| !byte.is_ascii_whitespace())
        {
            *byte ^= 1;
            let left = read(&damaged).unwrap();
            let left = left.iter().filter(|line| line.json.is_some()).count();
            assert_eq!(left + 1, whole.len());
        }
    }
});
