//! A server for tests.

use std::error::Error as StdError;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower_service::Service;

use registry_core::Registry;

use crate::{Limits, RegistryService, Server};

/// A server on a free port of the loopback interface, inside the process. It
/// stops when it is dropped.
#[derive(Debug)]
pub struct TestServer {
    address: SocketAddr,
    running: JoinHandle<registry_core::Result<()>>,
}

impl TestServer {
    /// Serves `registry` to everybody.
    ///
    /// # Panics
    ///
    /// If no port is to be had.
    pub async fn start(registry: impl Registry) -> Self {
        Self::with_service(RegistryService::new(registry)).await
    }

    /// Serves any service.
    ///
    /// # Panics
    ///
    /// If no port is to be had.
    pub async fn with_service<S, B>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self::with_limits(service, Limits::default()).await
    }

    /// Serves any service within `limits`.
    ///
    /// # Panics
    ///
    /// If no port is to be had.
    pub async fn with_limits<S, B>(service: S, limits: Limits) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (listener, address) = bind().await;
        let server = Server::builder().limits(limits).listen(listener, service);
        Self {
            address,
            running: tokio::spawn(server.run()),
        }
    }

    /// Where it listens, such as `127.0.0.1:41234`: the host part of an image's
    /// name.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Where it listens, as a URL without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

#[allow(
    clippy::expect_used,
    reason = "a test that can't start its server has failed"
)]
async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port on the loopback interface");
    let address = listener.local_addr().expect("a bound listener's address");
    (listener, address)
}
