//! Asking others over HTTP, without knowing how that is done.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Request, Response};
use registry_core::Result;
#[cfg(any(feature = "issuer", feature = "webhook"))]
use registry_core::{Error, ErrorKind};

/// Sends a request and brings the answer, whatever its status.
///
/// Whatever this crate has to ask others for, such as the keys of an issuer, it
/// asks for through this. `HttpFetch` of `registry-http` is the usual one.
///
/// An implementation follows no redirects, since those lead to where nobody meant
/// to go; takes no more than `most` bytes of a body; and gives up after 10
/// seconds at the latest. Addresses can come from documents of others: it
/// connects only to where the operator wants requests to go.
#[async_trait]
pub trait Fetch: fmt::Debug + Send + Sync + 'static {
    /// What is answered to `request`.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](registry_core::ErrorKind::Unavailable) if there is no
    /// answer, if it is larger than `most` bytes, or if requests may not go
    /// there.
    async fn fetch(&self, request: Request<Vec<u8>>, most: usize) -> Result<Response<Vec<u8>>>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<F: Fetch + ?Sized> Fetch for Arc<F> {
    async fn fetch(&self, request: Request<Vec<u8>>, most: usize) -> Result<Response<Vec<u8>>> {
        (**self).fetch(request, most).await
    }
}

/// Refuses addresses whose answers somebody in between could have written: those
/// without TLS, except on this machine.
#[cfg(any(feature = "issuer", feature = "webhook"))]
pub(crate) fn check_url(url: &str) -> Result<http::Uri> {
    let refused = |reason: &str| -> Error {
        ErrorKind::RequestInvalid.error(format!("the address can't be used: {reason}"))
    };
    let uri: http::Uri = url
        .parse()
        .map_err(|source| refused("it is no URL").with_source(source))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(refused("it isn't a whole URL, such as https://host/path"));
    };
    if authority.as_str().contains('@') {
        return Err(refused("it holds a user"));
    }
    match scheme {
        "https" => Ok(uri),
        "http" if is_loopback(authority.host()) => Ok(uri),
        _ => Err(refused(
            "it must begin with https://; only on this machine http:// will do",
        )),
    }
}

#[cfg(any(feature = "issuer", feature = "webhook"))]
fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    match literal.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(all(test, any(feature = "issuer", feature = "webhook")))]
mod tests {
    use super::check_url;

    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for good in [
            "https://login.example.com/keys",
            "https://10.0.0.1:8443",
            "http://127.0.0.1:80/keys",
            "http://[::1]:80/keys",
            "http://localhost:1/keys",
        ] {
            check_url(good).unwrap();
        }
        for bad in [
            "http://login.example.com/keys",
            "http://10.0.0.1/keys",
            "http://169.254.169.254/latest/meta-data",
            "http://localhost.example.com/",
            "http://127.0.0.1.example.com/",
            "https://user@login.example.com/",
            "https://user:word@login.example.com/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "/keys",
            "login.example.com",
            "",
        ] {
            check_url(bad).expect_err(bad);
        }
    }
}
