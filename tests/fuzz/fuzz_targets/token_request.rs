//! What a token server is asked: a query or a form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_auth::{TOKEN_REQUEST_MAX, TokenRequest};
use registry_core::ErrorKind;

fuzz_target!(|form: &[u8]| {
    if let Err(error) = TokenRequest::from_form(form) {
        assert_eq!(error.kind(), ErrorKind::RequestInvalid);
    } else {
        assert!(form.len() <= TOKEN_REQUEST_MAX);
        // Whoever reads it as a query understands the same scopes, or that it says
        // something twice.
        let text = std::str::from_utf8(form).expect("a form is text");
        let _ = TokenRequest::from_query(text);
    }
    if let Ok(token) = TokenRequest::token_to_revoke(form) {
        assert!(!token.expose().is_empty());
        assert!(!format!("{token:?}").contains(token.expose()) || token.expose().len() < 10);
    }
});
