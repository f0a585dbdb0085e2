//! A connection to a directory: one request at a time.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::ber::{self, Length};
use super::message::{self, Answer, Entry, Outcome, Request, SIZE_LIMIT, SUCCESS, Search};
use super::server::{Server, Transport};

/// The longest message that is read. One holds an entry with the few attributes
/// that were asked for.
const MESSAGE_MAX: usize = 256 << 10;

/// How many messages an answer may have besides its entries: references to other
/// directories.
const REFERENCES_MAX: u32 = 1000;

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection. One that failed, or on which an answer is outstanding, is of no
/// use any more.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    last: u32,
    /// How the certificate was checked, if it was.
    trust: Option<Arc<ClientConfig>>,
    /// Whether it is logged in to search.
    pub(super) may_search: bool,
}

/// Why a request wasn't answered, as far as operators need to know.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection can't be made, or broke.
    Broken(io::Error),
    /// The directory doesn't speak LDAP, or not as it should.
    Confused(&'static str),
    /// The directory refuses.
    Refused(&'static str, Outcome),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) => write!(f, "the connection failed: {error}"),
            Self::Confused(reason) => f.write_str(reason),
            Self::Refused(what, Outcome { code, message }) => {
                write!(f, "the directory refuses {what}: result {code} {message}")
            }
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<ber::Malformed> for Failure {
    fn from(_: ber::Malformed) -> Self {
        Self::Confused("the directory sends what isn't LDAP")
    }
}

impl Connection {
    /// Connects, over TLS if that was asked for.
    pub(super) async fn open(server: &Server) -> Result<Self, Failure> {
        let stream = connect(server).await?;
        stream.set_nodelay(true)?;
        let Some(trust) = server.trust().await else {
            return Ok(Self::over(stream, None));
        };
        let stream: Box<dyn Stream> = match &server.transport {
            Transport::Plain | Transport::Tls(_) => Box::new(stream),
            Transport::StartTls(_) => {
                let mut plain = Self::over(stream, None);
                let answer = plain.ask(&message::start_tls()).await?;
                match answer {
                    Answer::Extended(outcome) if outcome.code == SUCCESS => {}
                    Answer::Extended(outcome) => {
                        return Err(Failure::Refused("to start TLS", outcome));
                    }
                    _ => {
                        return Err(Failure::Confused(
                            "the directory doesn't answer what it was asked",
                        ));
                    }
                }
                // Nothing was read that somebody could have added before the
                // handshake: messages are read to their last byte and no further.
                plain.stream
            }
        };
        let stream = secure(stream, server, &trust).await?;
        Ok(Self::over(stream, Some(trust)))
    }

    /// Whether the certificate was checked by `trust`, or needs no check.
    pub(super) fn is_trusted_by(&self, trust: Option<&Arc<ClientConfig>>) -> bool {
        match (&self.trust, trust) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        }
    }

    fn over(stream: impl Stream + 'static, trust: Option<Arc<ClientConfig>>) -> Self {
        Self {
            stream: Box::new(stream),
            last: 0,
            trust,
            may_search: false,
        }
    }

    /// Logs in and says what came of it.
    pub(super) async fn bind(&mut self, name: &str, password: &str) -> Result<Outcome, Failure> {
        self.may_search = false;
        match self.ask(&message::bind(name, password)).await? {
            Answer::Bind(outcome) => Ok(outcome),
            _ => Err(Failure::Confused(
                "the directory doesn't answer what it was asked",
            )),
        }
    }

    /// The entries that are found, and whether that is all of them.
    pub(super) async fn search(
        &mut self,
        search: &Search<'_>,
    ) -> Result<(Vec<Entry>, bool), Failure> {
        self.send(&message::search(search)).await?;
        let mut entries = Vec::new();
        let mut left = search.most.saturating_add(REFERENCES_MAX);
        while let Some(rest) = left.checked_sub(1) {
            left = rest;
            match self.receive().await? {
                Answer::Entry(entry) => entries.push(entry),
                Answer::Reference => {}
                Answer::SearchDone(Outcome { code: SUCCESS, .. }) => {
                    return Ok((entries, true));
                }
                Answer::SearchDone(Outcome {
                    code: SIZE_LIMIT, ..
                }) => return Ok((entries, false)),
                Answer::SearchDone(outcome) => return Err(Failure::Refused("a search", outcome)),
                _ => {
                    return Err(Failure::Confused(
                        "the directory doesn't answer what it was asked",
                    ));
                }
            }
        }
        Err(Failure::Confused(
            "the directory sends more than it was asked for",
        ))
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer, Failure> {
        self.send(request).await?;
        self.receive().await
    }

    async fn send(&mut self, request: &Request) -> Result<(), Failure> {
        // Zero is for what the directory says unasked.
        self.last = self
            .last
            .checked_add(1)
            .ok_or(Failure::Confused("the connection is too old"))?;
        self.stream
            .write_all(&message::numbered(self.last, request))
            .await?;
        self.stream.flush().await?;
        Ok(())
    }

    async fn receive(&mut self) -> Result<Answer, Failure> {
        if self.stream.read_u8().await? != ber::SEQUENCE {
            return Err(ber::Malformed.into());
        }
        let length = match ber::length(self.stream.read_u8().await?)? {
            Length::Is(length) => length,
            Length::InNext(count) => {
                let mut bytes = [0; 8];
                let bytes = bytes.get_mut(..count).ok_or(ber::Malformed)?;
                self.stream.read_exact(bytes).await?;
                ber::long_length(bytes)?
            }
        };
        if length > MESSAGE_MAX {
            return Err(Failure::Confused(
                "the directory sends a message of more than 256 KiB",
            ));
        }
        let mut content = vec![0; length];
        self.stream.read_exact(&mut content).await?;
        match message::read(&content)? {
            (number, answer) if number == self.last => Ok(answer),
            (0, _) => Err(Failure::Confused("the directory ends the connection")),
            _ => Err(Failure::Confused("the directory answers something else")),
        }
    }
}

async fn connect(server: &Server) -> Result<TcpStream, Failure> {
    let mut last = None;
    for address in lookup_host((server.host.as_str(), server.port)).await? {
        if !may_connect(server, address) {
            last = Some(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "its address isn't of this machine, and passwords would be sent in clear text; use TLS",
            ));
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    let nowhere = || io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    Err(Failure::Broken(last.unwrap_or_else(nowhere)))
}

/// What `localhost` means is up to somebody else.
fn may_connect(server: &Server, address: SocketAddr) -> bool {
    !matches!(server.transport, Transport::Plain) || address.ip().to_canonical().is_loopback()
}

async fn secure(
    stream: impl Stream + 'static,
    server: &Server,
    tls: &Arc<ClientConfig>,
) -> Result<impl Stream + 'static, Failure> {
    let name = ServerName::try_from(server.host.clone()).map_err(|_| {
        Failure::Confused("the directory's host is no name that a certificate can have")
    })?;
    let connector = TlsConnector::from(Arc::clone(tls));
    Ok(connector.connect(name, stream).await?)
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("may_search", &self.may_search)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Server, may_connect};
    use crate::ldap::trust::Authorities;

    #[test]
    fn no_password_leaves_the_machine_in_clear_text_whatever_localhost_means() {
        let plain = Server::new("ldap://localhost", false, Authorities::System).unwrap();
        let tls = Server::new("ldaps://localhost", false, Authorities::System).unwrap();
        let started = Server::new("ldap://localhost", true, Authorities::System).unwrap();
        for (address, is_here) in [
            ("127.0.0.1:389", true),
            ("127.1.2.3:389", true),
            ("[::1]:389", true),
            ("[::ffff:127.0.0.1]:389", true),
            ("10.0.0.1:389", false),
            ("0.0.0.0:389", false),
            ("[::ffff:10.0.0.1]:389", false),
            ("[fe80::1]:389", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(may_connect(&plain, address), is_here, "{address}");
            assert!(may_connect(&tls, address) && may_connect(&started, address));
        }
    }
}
