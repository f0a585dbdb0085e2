//! The OCI distribution protocol over HTTP: service, listener and client of an
//! embeddable registry.
//!
//! [`RegistryService`] puts any [`Registry`](registry_core::Registry) behind
//! HTTP. It is a [`tower_service::Service`] and names no web framework, so it
//! fits into any program that speaks `http` types: on its own, or under a path
//! prefix beside other routes.
//!
//! ```
//! use registry_http::RegistryService;
//! use registry_http::registry_auth::{AccessControl, Rules};
//! use registry_http::registry_core::{Action, Registry};
//!
//! fn serve(registry: impl Registry) -> RegistryService {
//!     let rules = Rules::new().anonymous("library/**", &[Action::Pull]);
//!     RegistryService::new(registry).access(AccessControl::new(rules))
//! }
//! ```
//!
//! A request is understood once, as an
//! [`Operation`](registry_core::Operation); access control decides about that
//! value, and the handler acts on the same one. Nothing of the body is read
//! before the decision. What a client may send, hold and wait for is bounded by
//! [`Limits`].
//!
//! # Features
//!
//! None is on unless asked for.
//!
//! * `server`: `serve` and `Server`, the listener for HTTP/1.1 and 2, with or without TLS.
//! * `acme`: certificates from an ACME server, such as Let's Encrypt, for the listener.
//! * `certificate`: clients that log in with certificates, a feature of
//!   `registry_auth`.
//! * `client`: registries across the network, as registries; and `HttpFetch`,
//!   by which `registry_auth` asks others.
//! * `htpasswd`: users from a password file, a feature of `registry_auth`.
//! * `issuer`: tokens of another service, a feature of `registry_auth`.
//! * `keys`: API keys and accounts for programs, a feature of `registry_auth`.
//! * `ldap`: users of a directory, a feature of `registry_auth`.
//! * `management`: robots, keys, explanations and more at `/api/v1/`.
//! * `policy`: rules from a file, a feature of `registry_auth`.
//! * `token`: short-lived tokens in place of passwords, a feature of `registry_auth`.
//! * `webhook`: decisions of a service of the operator's own, a feature of
//!   `registry_auth`.
//! * `workload`: CI jobs and other programs that another system vouches for, a
//!   feature of `registry_auth`.
//! * `testkit`: a server for tests.

mod access_log;
#[cfg(feature = "management")]
mod administration;
mod answer_memory;
mod aside;
mod body;
#[cfg(feature = "client")]
mod client;
mod conditional;
mod configured_headers;
mod content_range;
mod endpoint;
mod error_detail;
mod error_response;
mod file_body;
#[cfg_attr(
    not(all(feature = "server", target_os = "linux")),
    allow(dead_code, reason = "only a listener sends files, where it can")
)]
mod file_queue;
mod forwarded;
mod handler;
mod header;
mod limits;
mod location;
#[cfg_attr(
    not(feature = "management"),
    allow(dead_code, reason = "only the management API acts on it")
)]
mod management_operation;
mod manifest_memory;
mod metrics;
mod multipart;
mod overload;
mod patience;
mod peer;
mod places;
mod positions;
mod range;
mod request_body;
mod request_identity;
#[cfg(feature = "server")]
mod server;
mod service;
mod storage;
#[cfg(feature = "testkit")]
mod test_server;
mod this_machine;

#[cfg(feature = "management")]
pub use administration::Administration;
pub use body::Body;
#[cfg(feature = "client")]
pub use client::{HttpFetch, HttpFetchBuilder, RemoteRegistry, RemoteRegistryBuilder};
pub use ipnet::IpNet;
pub use limits::Limits;
pub use peer::Peer;
pub use registry_auth;
pub use registry_core;
#[cfg(feature = "acme")]
pub use server::Acme;
#[cfg(feature = "server")]
pub use server::{ClientAuth, Server, Tls, TlsVersion, serve};
pub use service::{RegistryService, ResponseFuture};
#[cfg(feature = "testkit")]
pub use test_server::TestServer;
