//! The listener: sockets, TLS, HTTP/1.1 and HTTP/2, and when to give up on a
//! client.

mod accept;
#[cfg(feature = "acme")]
mod acme;
mod activity;
mod client_auth;
mod connection;
mod head;
#[cfg(target_os = "linux")]
mod mapped;
mod refused_clients;
mod request;
#[cfg(target_os = "linux")]
mod sendfile;
mod stream;
mod strict;
mod tls;
mod unencrypted;

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use registry_core::{ErrorKind, Result};
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};
use tower_service::Service;

#[cfg(feature = "acme")]
pub use self::acme::Acme;
pub use self::client_auth::ClientAuth;
use self::client_auth::Vouched;
pub use self::tls::{Tls, TlsVersion};

use self::connection::{Connection, Protocol, Spoken};
#[cfg(target_os = "linux")]
use self::sendfile::SendFile;
use self::tls::CHALLENGE;
use self::unencrypted::{Unencrypted, is_unencrypted};
use crate::file_queue::FileQueue;
use crate::{Limits, Peer};

/// Serves HTTP/1.1 and HTTP/2 on any number of listeners.
///
/// It works with any `tower` service and never trusts a client's patience or
/// good will: see the listener's half of [`Limits`]. An HTTP/1.1 request that
/// can be read in two ways is answered with 400 before the service sees it. On
/// plain connections, HTTP/2 needs prior knowledge; with TLS it is negotiated.
///
/// ```no_run
/// # async fn run<S, B>(service: S) -> Result<(), Box<dyn std::error::Error>>
/// # where
/// #     S: tower_service::Service<http::Request<hyper::body::Incoming>, Response = http::Response<B>>
/// #         + Clone + Send + 'static,
/// #     S::Future: Send,
/// #     S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
/// #     B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
/// #     B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
/// # {
/// use registry_http::{Server, Tls};
/// use tokio::net::TcpListener;
///
/// let tls = Tls::open("registry.crt", "registry.key")?;
/// Server::builder()
///     .listen(TcpListener::bind("127.0.0.1:5000").await?, service.clone())
///     .listen_tls(TcpListener::bind("[::]:5443").await?, &tls, service)?
///     .shutdown_when(async { /* ... a signal arrives */ })
///     .run()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Server {
    protocol: Protocol,
    listeners: Vec<Listen>,
    shutdown: Shutdown,
    fresh: Vec<Tls>,
}

/// A listener at work: how many connections it had to cut off in the end.
type Listening = Pin<Box<dyn Future<Output = usize> + Send>>;
type Listen = Box<dyn FnOnce(Protocol, Stop) -> Listening + Send>;
type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Says when to stop.
type Stop = watch::Receiver<bool>;

async fn told_to_stop(stop: &mut Stop) {
    // Without anybody left to say so, it is time too.
    drop(stop.wait_for(|stop| *stop).await.map(|_| ()));
}

/// Serves `service` on `listener` with the default [`Limits`], until the
/// future is dropped.
///
/// # Errors
///
/// As [`Server::run`].
pub async fn serve<S, B>(listener: TcpListener, service: S) -> Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    Server::builder().listen(listener, service).run().await
}

impl Server {
    /// A server without listeners.
    pub fn builder() -> Self {
        Self {
            protocol: Protocol::new(Limits::default()),
            listeners: Vec::new(),
            shutdown: Box::pin(std::future::pending()),
            fresh: Vec::new(),
        }
    }

    /// Enforces `limits` in place of the default ones, on all listeners.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.protocol = self.protocol.with(limits);
        self
    }

    /// Whether to speak HTTP/2, on all listeners; by default, yes. Call it
    /// before [`listen_tls`](Self::listen_tls).
    pub fn http2(mut self, enabled: bool) -> Self {
        self.protocol.http2 = enabled;
        self
    }

    /// Serves `service` on `listener` without TLS.
    pub fn listen<S, B>(mut self, listener: TcpListener, service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.listeners.push(Box::new(move |protocol, stop| {
            Box::pin(async move {
                let limits = Arc::clone(protocol.limits());
                let connections = stop.clone();
                accept::accept(listener, &limits, stop, move |stream, address| {
                    let peer = Peer {
                        address: address.ip(),
                    };
                    let stop = connections.clone();
                    let (stream, files) = sending(stream);
                    let connection = Connection {
                        io: stream,
                        spoken: Spoken::Either,
                        files,
                        peer,
                        scheme: Scheme::HTTP,
                        certificate: None,
                    };
                    protocol.clone().serve(connection, service.clone(), stop)
                })
                .await
            })
        }));
        self
    }

    /// Serves `service` on `listener` over TLS. Who speaks plain HTTP there is told so.
    ///
    /// # Errors
    ///
    /// If TLS can't be set up.
    pub fn listen_tls<S, B>(mut self, listener: TcpListener, tls: &Tls, service: S) -> Result<Self>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let acceptor = Handshakes {
            usual: tls.config(self.protocol.http2)?,
            challenges: tls.challenges()?,
        };
        let clients = tls.clients();
        self.fresh.push(tls.clone());
        self.listeners.push(Box::new(move |protocol, stop| {
            Box::pin(async move {
                let limits = Arc::clone(protocol.limits());
                let connections = stop.clone();
                accept::accept(listener, &limits, stop, move |stream, address| {
                    let peer = Peer {
                        address: address.ip(),
                    };
                    let (protocol, service) = (protocol.clone(), service.clone());
                    let (acceptor, stop) = (acceptor.clone(), connections.clone());
                    let clients = clients.clone();
                    async move {
                        let handshake = async {
                            if is_unencrypted(&stream).await? {
                                return Ok(Err(stream));
                            }
                            let accepted = acceptor.accept(stream).await;
                            if let (Some(clients), Err(error)) = (&clients, &accepted) {
                                clients.refused().tell(peer, error);
                            }
                            accepted.map(Ok)
                        };
                        let stream =
                            match timeout(protocol.limits().tls_handshake, handshake).await?? {
                                Ok(Some(stream)) => stream,
                                // Everything is said.
                                Ok(None) => return Ok(()),
                                Err(io) => {
                                    let connection = Connection {
                                        io,
                                        spoken: Spoken::Http1,
                                        files: None,
                                        peer,
                                        scheme: Scheme::HTTP,
                                        certificate: None,
                                    };
                                    let told = protocol.serve(connection, Unencrypted, stop);
                                    // Boxed, as it is rare, and would take room in every connection.
                                    return Box::pin(told).await;
                                }
                            };
                        let (_, session) = stream.get_ref();
                        let spoken = match session.alpn_protocol() {
                            Some(b"h2") => Spoken::Http2,
                            _ => Spoken::Http1,
                        };
                        let chain = session.peer_certificates().unwrap_or_default();
                        let certificate = clients
                            .as_ref()
                            .and_then(|clients| Vouched::new(clients, chain));
                        let connection = Connection {
                            io: stream,
                            spoken,
                            files: None,
                            peer,
                            scheme: Scheme::HTTPS,
                            certificate,
                        };
                        protocol.serve(connection, service, stop).await
                    }
                })
                .await
            })
        }));
        Ok(self)
    }

    /// Stops once `signal` completes: no more connections are accepted, those
    /// at rest are closed, and requests in progress are answered.
    pub fn shutdown_when(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown = Box::pin(signal);
        self
    }

    /// Serves until told to stop, then waits for requests in progress, for at
    /// most [`Limits::drain_timeout`]. When the future is dropped, everything
    /// stops at once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if requests had to be cut off in the end.
    pub async fn run(self) -> Result<()> {
        let (stop, stopped) = watch::channel(false);
        let mut listeners = JoinSet::new();
        for listen in self.listeners {
            listeners.spawn(listen(self.protocol.clone(), stopped.clone()));
        }
        let mut fresh = JoinSet::new();
        for tls in self.fresh {
            fresh.spawn(tls.keep_fresh());
        }
        self.shutdown.await;
        stop.send_replace(true);
        let cut_off: usize = listeners.join_all().await.into_iter().sum();
        if cut_off == 0 {
            Ok(())
        } else {
            Err(ErrorKind::Unavailable.error(format!(
                "{cut_off} connections were cut off, since their requests took too long to end"
            )))
        }
    }
}

/// What is spoken over TLS before anything else.
#[derive(Clone)]
struct Handshakes {
    usual: Arc<ServerConfig>,
    /// With those who make sure whose hosts these are.
    challenges: Option<Arc<ServerConfig>>,
}

impl Handshakes {
    /// The stream within, unless everything is said once the handshake is over.
    async fn accept(self, stream: TcpStream) -> io::Result<Option<TlsStream<TcpStream>>> {
        let Some(challenges) = self.challenges else {
            return TlsAcceptor::from(self.usual).accept(stream).await.map(Some);
        };
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let spoken = start.client_hello().alpn();
        let is_challenge = spoken
            .is_some_and(|mut spoken| spoken.next() == Some(CHALLENGE) && spoken.next().is_none());
        if is_challenge {
            start.into_stream(challenges).await?.shutdown().await?;
            return Ok(None);
        }
        start.into_stream(self.usual).await.map(Some)
    }
}

/// The connection as one that sends files by itself, and where it takes them.
#[cfg(target_os = "linux")]
fn sending(stream: TcpStream) -> (SendFile, Option<FileQueue>) {
    let queue = FileQueue::default();
    (SendFile::new(stream, queue.clone()), Some(queue))
}

#[cfg(not(target_os = "linux"))]
fn sending(stream: TcpStream) -> (TcpStream, Option<FileQueue>) {
    (stream, None)
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("protocol", &self.protocol)
            .field("listeners", &self.listeners.len())
            .finish_non_exhaustive()
    }
}
