//! The value of an `Authorization` header.

#![no_main]

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use registry_auth::{Credentials, Secret};

fn is_hidden(secret: &Secret) -> bool {
    format!("{secret:?}") == format!("{:?}", Secret::new("another"))
}

fuzz_target!(|value: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    match Credentials::from_headers(&headers) {
        Ok(Credentials::Basic { user, password }) => {
            assert!(!user.contains(':') && !user.contains(char::is_control));
            assert!(!password.expose().contains(char::is_control));
            assert!(is_hidden(&password));
        }
        Ok(Credentials::Bearer(token)) => {
            assert!(token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(is_hidden(&token));
        }
        Ok(_) | Err(_) => {}
    }
});
