//! The first byte tells whether the rest is a saved state, or content that is
//! hashed with a pause at the place that the second byte gives.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_core::{Algorithm, Hasher};

fuzz_target!(|input: &[u8]| {
    let algorithm = match input {
        [0, state @ ..] => {
            if let Ok(mut hasher) = Hasher::resume(state) {
                assert_eq!(hasher.state(), state);
                hasher.update(&[7; 300]);
                hasher.finish();
            }
            return;
        }
        [1, ..] => Algorithm::Sha256,
        _ => Algorithm::Sha512,
    };
    let [_, pause, content @ ..] = input else {
        return;
    };
    let (start, end) = content.split_at(usize::from(*pause).min(content.len()));
    let mut hasher = Hasher::new(algorithm);
    hasher.update(start);
    let mut hasher = Hasher::resume(&hasher.state()).unwrap();
    hasher.update(end);
    assert_eq!(hasher.finish().digest(), algorithm.digest(content));
});
