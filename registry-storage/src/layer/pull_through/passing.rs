//! A blob on its way through: to the client that asked, and into the local
//! registry.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use registry_core::{
    Access, ByteStream, Chunk, Digest, ErrorKind, Registry, Result, UploadOptions,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::downloads::Download;

/// How many pieces of a blob may wait for the client, and as many for the local
/// registry.
const WAITING: usize = 4;

/// For how long in all a client may hold up others that wait for the same blob.
/// Then one of them fetches it anew.
const PATIENCE: Duration = Duration::from_secs(5);

/// A blob on its way through.
pub(super) struct Passing<L> {
    pub(super) local: L,
    pub(super) access: Access,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl<L: Registry> Passing<L> {
    /// Begins to pass `stream` on; returns the client's end of it.
    ///
    /// The client sets the pace. If it leaves, that goes on only for those who
    /// wait for the download.
    pub(super) fn start(self, stream: ByteStream, download: Option<Download>) -> ByteStream {
        let (client, pieces) = mpsc::channel(WAITING);
        let size = self.size;
        tokio::spawn(async move {
            let (to_local, from_stream) = mpsc::channel(WAITING);
            let pump = Pump {
                client: Some(client),
                local: Some(to_local),
                download,
                patience: PATIENCE,
            };
            let (filled, download) = tokio::join!(self.fill(from_stream), pump.run(stream));
            if let Err(error) = filled {
                tracing::debug!(repository = %self.access.repository(), digest = %self.digest, %error,
                    "a pulled blob was not kept");
            }
            if let Some(download) = download {
                download.done();
            }
        });
        received(pieces, size)
    }

    /// Pushes what comes through `pieces` to the local registry. A stream that
    /// broke off is shorter than announced, and refused.
    async fn fill(&self, pieces: mpsc::Receiver<Bytes>) -> Result<()> {
        let Self {
            local,
            access,
            digest,
            size,
        } = self;
        let options = UploadOptions::default().algorithm(Some(digest.algorithm()));
        let upload = local.begin_upload(access, options).await?;
        let next = |mut pieces: mpsc::Receiver<Bytes>| async move {
            let bytes = pieces.recv().await?;
            Some((Ok(bytes), pieces))
        };
        let chunk = Chunk {
            start: None,
            length: Some(*size),
            body: futures::stream::unfold(pieces, next).boxed(),
        };
        let finished = local
            .finish_upload(access, &upload.id, digest, Some(chunk))
            .await;
        match finished {
            Ok(_) => Ok(()),
            Err(error) => {
                // A wrong digest has ended the upload already.
                let _ = local.cancel_upload(access, &upload.id).await;
                Err(error)
            }
        }
    }
}

/// What moves the pieces, and where to.
struct Pump {
    client: Option<mpsc::Sender<Result<Bytes>>>,
    local: Option<mpsc::Sender<Bytes>>,
    download: Option<Download>,
    patience: Duration,
}

impl Pump {
    /// Moves everything. Returns the download if it came to its end, not if
    /// nobody was left to go on for.
    async fn run(mut self, mut stream: ByteStream) -> Option<Download> {
        while let Some(bytes) = stream.next().await {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error) => {
                    if let Some(client) = &self.client {
                        let _ = client.send(Err(error)).await;
                    }
                    break;
                }
            };
            self.serve(bytes.clone()).await;
            let is_awaited = self.download.as_ref().is_some_and(Download::is_awaited);
            if self.client.is_none() && !(is_awaited && self.local.is_some()) {
                return None;
            }
            if let Some(local) = &self.local
                && local.send(bytes).await.is_err()
            {
                // A local registry that gave up is no reason to fail the pull.
                self.local = None;
            }
        }
        self.download
    }

    /// Waits until the client takes the next piece, if there is a client.
    async fn serve(&mut self, bytes: Bytes) {
        let Some(client) = &self.client else {
            return;
        };
        let place = loop {
            let Some(download) = &self.download else {
                break client.reserve().await;
            };
            let begun = Instant::now();
            match timeout(self.patience, client.reserve()).await {
                Ok(place) => {
                    if download.is_awaited() {
                        self.patience = self.patience.saturating_sub(begun.elapsed());
                    }
                    break place;
                }
                Err(_) if download.is_awaited() => self.download = None,
                Err(_) => self.patience = PATIENCE,
            }
        };
        if place.map(|place| place.send(Ok(bytes))).is_err() {
            self.client = None;
        }
    }
}

/// The client's end: it fails if fewer than `size` bytes come.
fn received(pieces: mpsc::Receiver<Result<Bytes>>, size: u64) -> ByteStream {
    let next = |(mut pieces, left): (mpsc::Receiver<Result<Bytes>>, u64)| async move {
        match pieces.recv().await {
            Some(Ok(bytes)) => {
                let left = left.saturating_sub(bytes.len() as u64);
                Ok(Some((bytes, (pieces, left))))
            }
            Some(Err(error)) => Err(error),
            None if left > 0 => Err(ErrorKind::Unavailable
                .error("the blob is shorter than it should be; pull it again")),
            None => Ok(None),
        }
    };
    futures::stream::try_unfold((pieces, size), next).boxed()
}
