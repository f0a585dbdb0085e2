//! Plain HTTP where TLS is spoken.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::Body;
use crate::error_detail::Parts;
use crate::error_response::refuse_unread;

/// Answers every request that it should come over TLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unencrypted;

/// Whether a client begins with the name of a method, as none does that speaks TLS.
/// Nothing is taken from the connection.
pub(super) async fn is_unencrypted(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let seen = stream.peek(&mut first).await?;
    Ok(seen > 0 && first.iter().all(u8::is_ascii_uppercase))
}

impl<B> Service<Request<B>> for Unencrypted {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let sentence = "this port speaks HTTPS; write https:// in place of http://";
        let mut response = refuse_unread(StatusCode::BAD_REQUEST, sentence, Parts::default());
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
        ready(Ok(response))
    }
}
