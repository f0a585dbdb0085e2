#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_core::Scopes;

fuzz_target!(|text: &str| {
    let scopes = Scopes::parse(text.split('\n'));
    let written = scopes.to_string();
    assert_eq!(Scopes::parse([written.as_str()]), scopes, "{written}");
});
