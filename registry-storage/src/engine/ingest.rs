//! Taking a body in: bytes are hashed on one thread while another writes them.

use std::mem;

use bytes::{Buf, Bytes};
use futures::StreamExt;
use registry_core::{Chunk, Error, ErrorDetail, ErrorKind, Hasher, Result};
use tokio::task::JoinHandle;

use super::session::Session;
use crate::StagedBlob;
use crate::portion::Portion;
use crate::recycled::Part;

/// Bodies up to this size are hashed on the spot: that takes less time than
/// changing threads.
const HASH_HERE: usize = 64 << 10;

/// An upload with more bytes than this is a large one, whose bytes are moved to
/// recycled memory.
const LARGE: u64 = 128 << 10;

/// How a body ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// As announced.
    Complete,
    /// It broke off; what came before counts.
    Interrupted(Error),
    /// It can't be accepted, and none of it counts.
    Refused(Error),
}

/// Adds the bytes of `chunk` to the staged ones.
///
/// Returns the hasher behind the bytes that count.
///
/// # Errors
///
/// Those of the store. The client's errors are an [`Ending`].
pub(super) async fn ingest(
    chunk: Chunk,
    staged: &mut dyn StagedBlob,
    hasher: Hasher,
    max_size: Option<u64>,
    portion: Portion,
    session: &Session,
) -> Result<(Hasher, Ending)> {
    let before = hasher.clone();
    let room = max_size.map(|max| max.saturating_sub(hasher.size()));
    if let Some(room) = room
        && chunk.length.is_some_and(|length| length > room)
    {
        return Ok((before, Ending::Refused(too_large(max_size))));
    }
    let mut intake = Intake::new(staged, hasher, portion);
    let mut received = 0_u64;
    let mut body = chunk.body;
    let ending = loop {
        let next = tokio::select! {
            biased;
            () = session.stopped() => break Ending::Refused(cancelled()),
            next = body.next() => next,
        };
        match next {
            None => break Ending::Complete,
            Some(Err(error)) => break Ending::Interrupted(error),
            Some(Ok(bytes)) => {
                received = received.saturating_add(bytes.len() as u64);
                if room.is_some_and(|room| received > room) {
                    break Ending::Refused(too_large(max_size));
                }
                if chunk.length.is_some_and(|length| received > length) {
                    break Ending::Refused(wrong_length());
                }
                intake.take(bytes).await?;
            }
        }
    };
    match ending {
        Ending::Complete if chunk.length.is_some_and(|length| received != length) => {
            Ok((before, Ending::Refused(wrong_length())))
        }
        Ending::Refused(error) => Ok((before, Ending::Refused(error))),
        ending => Ok((intake.finish().await?, ending)),
    }
}

fn wrong_length() -> Error {
    ErrorKind::SizeInvalid.error("the body does not have the announced length; send it again")
}

fn cancelled() -> Error {
    ErrorKind::UploadUnknown.error("the upload was cancelled; start again")
}

fn too_large(max_size: Option<u64>) -> Error {
    let error = ErrorKind::BlobTooLarge.error("the blob is larger than this registry accepts");
    match max_size {
        Some(max_size) => error.with_detail(ErrorDetail::Limit(max_size)),
        None => error,
    }
}

/// Where bytes go.
struct Intake<'s> {
    staged: &'s mut dyn StagedBlob,
    hashing: Hashing,
    portion: Portion,
    /// Those that came last, on their way to more.
    part: Option<Part>,
    /// How many bytes of the upload there are.
    size: u64,
}

impl<'s> Intake<'s> {
    fn new(staged: &'s mut dyn StagedBlob, hasher: Hasher, portion: Portion) -> Self {
        Self {
            staged,
            size: hasher.size(),
            hashing: Hashing::new(hasher),
            portion,
            part: None,
        }
    }

    async fn take(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            if self.part.is_none() && self.size >= LARGE {
                self.part = self.portion.part(self.size);
            }
            let Some(part) = &mut self.part else {
                self.size = self.size.saturating_add(bytes.len() as u64);
                return self.pass_on(bytes).await;
            };
            let taken = part.fill(&bytes);
            self.size = self.size.saturating_add(taken as u64);
            if part.is_full() {
                self.pass_part_on().await?;
            }
            bytes.advance(taken);
        }
        Ok(())
    }

    async fn pass_part_on(&mut self) -> Result<()> {
        match self.part.take() {
            Some(part) => self.pass_on(part.freeze()).await,
            None => Ok(()),
        }
    }

    async fn pass_on(&mut self, bytes: Bytes) -> Result<()> {
        let portion = self.portion.size();
        self.hashing.update(bytes.clone(), portion).await?;
        self.staged.write(bytes).await
    }

    /// Returns the hasher behind all bytes.
    async fn finish(mut self) -> Result<Hasher> {
        self.pass_part_on().await?;
        self.hashing.finish().await
    }
}

/// A hasher that works on another thread when it pays.
struct Hashing {
    state: State,
    batch: Vec<Bytes>,
    size: usize,
}

#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it for each upload, and it moves seldom"
)]
enum State {
    Here(Hasher),
    There(JoinHandle<Hasher>),
    /// Only between two states.
    Moving,
}

impl Hashing {
    fn new(hasher: Hasher) -> Self {
        Self {
            state: State::Here(hasher),
            batch: Vec::new(),
            size: 0,
        }
    }

    /// Hashes `bytes` soon: when there are about as many as a `portion`. Waits
    /// while the batch before is being hashed, so no more than two batches are
    /// ever in memory.
    async fn update(&mut self, bytes: Bytes, portion: usize) -> Result<()> {
        self.size = self.size.saturating_add(bytes.len());
        self.batch.push(bytes);
        if self.size >= portion {
            self.send().await?;
        }
        Ok(())
    }

    /// Hands the batch to another thread, once that has done the one before.
    async fn send(&mut self) -> Result<()> {
        let mut hasher = self.hasher().await?;
        let batch = mem::take(&mut self.batch);
        self.size = 0;
        self.state = State::There(tokio::task::spawn_blocking(move || {
            for bytes in batch {
                hasher.update(&bytes);
            }
            hasher
        }));
        Ok(())
    }

    async fn finish(mut self) -> Result<Hasher> {
        if self.size > HASH_HERE {
            self.send().await?;
        }
        let mut hasher = self.hasher().await?;
        for bytes in &self.batch {
            hasher.update(bytes);
        }
        Ok(hasher)
    }

    async fn hasher(&mut self) -> Result<Hasher> {
        match mem::replace(&mut self.state, State::Moving) {
            State::Here(hasher) => Ok(hasher),
            State::There(task) => task
                .await
                .map_err(|source| Error::internal("hashing was interrupted", source)),
            State::Moving => Err(ErrorKind::Internal.error("hashing was interrupted before")),
        }
    }
}
