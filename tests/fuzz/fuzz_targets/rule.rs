//! A sentence that may be a rule.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_auth::Rule;

fuzz_target!(|text: &str| {
    match text.parse::<Rule>() {
        Ok(rule) => {
            let written = rule.to_string();
            assert_eq!(written.parse::<Rule>().unwrap(), rule, "{written}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
