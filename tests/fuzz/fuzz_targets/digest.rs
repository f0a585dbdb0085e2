#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_core::Digest;

fuzz_target!(|text: &str| {
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        let again = Digest::from_hash(digest.algorithm(), digest.hash());
        assert_eq!(again.unwrap(), digest);
    }
});
