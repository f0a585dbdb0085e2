//! The base of the protocol: is this a registry, and does it know me?

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::Body;
use crate::header::{JSON, respond_json};

pub(super) fn ping() -> Response<Body> {
    respond_json(StatusCode::OK, JSON, Bytes::from_static(b"{}"))
}
