//! Connections to a registry over which every request is sent once.

use std::io::Read;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use super::Broken;

/// The body of a request.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// How long an answer, with all of its body, may take to come.
const PATIENCE: Duration = Duration::from_mins(2);

/// How many bytes of a body are made at a time.
const PIECE: usize = 64 << 10;

/// The clients are threads that wait; one thread moves the bytes of all of them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(1).enable_io().enable_time();
    builder.build().expect("a runtime")
});

/// Opens connections to one registry and uses them again.
///
/// A request that gets no answer is never sent a second time, not even over a connection that turns out to be closed:
/// whoever counts what was acknowledged has to know what was asked for, and how often.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    host: String,
    idle: Arc<Mutex<Vec<SendRequest<Body>>>>,
}

impl Connections {
    /// To the registry at `host`, which is `address:port`.
    pub(super) fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            idle: Arc::default(),
        }
    }

    /// Sends a request and hands each piece of the answer's body to `keep`. Returns the answer's head, and whether its
    /// body came to its end.
    pub(super) fn run(
        &self,
        request: Request<Body>,
        keep: impl FnMut(&[u8]),
    ) -> Result<(Response<()>, bool), Broken> {
        RUNTIME.block_on(async {
            timeout(PATIENCE, self.exchange(request, keep))
                .await
                .map_err(|_| Broken(format!("no answer within {PATIENCE:?}")))?
                .map_err(|error| Broken(chain(error.as_ref())))
        })
    }

    async fn exchange(
        &self,
        request: Request<Body>,
        mut keep: impl FnMut(&[u8]),
    ) -> Result<(Response<()>, bool), Box<dyn std::error::Error>> {
        let mut connection = self.connection().await?;
        let answer = connection.send_request(request).await?;
        let (head, mut body) = answer.into_parts();
        let whole = read(&mut body, &mut keep).await;
        if whole {
            self.idle().push(connection);
        }
        Ok((Response::from_parts(head, ()), whole))
    }

    /// One that waits for something to do, or a new one.
    async fn connection(&self) -> Result<SendRequest<Body>, Box<dyn std::error::Error>> {
        loop {
            let Some(mut idle) = self.idle().pop() else {
                break;
            };
            // Nothing has been sent yet, so another connection is as good as this one.
            if idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        let stream = TcpStream::connect(&self.host).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = handshake(TokioIo::new(stream)).await?;
        // How it ends is told to whoever waits for an answer.
        tokio::spawn(async move {
            let _ = driver.await;
        });
        Ok(connection)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Body>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(body: &mut Incoming, keep: &mut impl FnMut(&[u8])) -> bool {
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => frame.data_ref().into_iter().for_each(|data| keep(data)),
            Err(_) => return false,
        }
    }
    true
}

/// A body of bytes that are there.
pub(super) fn whole(bytes: &[u8]) -> Body {
    let bytes = Bytes::copy_from_slice(bytes);
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that is read as it is sent, with a pause before each piece if there is one. Its length is what the request
/// announces, or else unknown to the registry until it ends.
pub(super) fn streamed(reader: impl Read + Send + 'static, pause: Option<Duration>) -> Body {
    let pieces = stream::unfold(reader, move |mut reader| async move {
        if let Some(pause) = pause {
            sleep(pause).await;
        }
        let mut piece = vec![0; PIECE];
        match reader.read(&mut piece) {
            Ok(0) => None,
            Ok(read) => {
                piece.truncate(read);
                Some((Ok(Frame::data(piece.into())), reader))
            }
            Err(error) => Some((Err(error), reader)),
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn post(body: Body) -> Request<Body> {
        Request::post("/")
            .header("content-length", 4)
            .body(body)
            .unwrap()
    }

    /// Reads a head and four bytes of body.
    fn request(from: &mut TcpStream) -> String {
        let mut text = Vec::new();
        while !text.ends_with(b"body") {
            let mut byte = [0];
            if from.read(&mut byte).unwrap() == 0 {
                break;
            }
            text.extend(byte);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_request_without_an_answer_is_not_sent_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let served = std::thread::spawn(move || {
            let (mut first, _) = listener.accept().unwrap();
            // It works once, so that the client keeps it, and then no more.
            request(&mut first);
            first
                .write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
            request(&mut first);
            drop(first);
            listener.set_nonblocking(true).unwrap();
            listener
        });
        let connections = Connections::new(&host);
        let (answer, whole_body) = connections.run(post(whole(b"body")), |_| ()).unwrap();
        assert_eq!(answer.status(), 201);
        assert!(whole_body);
        let body = streamed(&b"body"[..], None);
        connections.run(post(body), |_| ()).unwrap_err();
        let listener = served.join().unwrap();
        assert!(listener.accept().is_err(), "a second connection was opened");
    }

    #[test]
    fn a_body_shorter_than_announced_ends_in_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            request(&mut stream)
        });
        let body = streamed(&b"bo"[..], None);
        Connections::new(&host).run(post(body), |_| ()).unwrap_err();
        assert!(!served.join().unwrap().ends_with("body"));
    }
}
