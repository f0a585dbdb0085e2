//! Uploads to a remote registry.

mod sending;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderValue, Method, header};
use registry_core::{
    Access, Action, Chunk, Descriptor, Digest, Error, ErrorDetail, ErrorKind, Operation,
    Randomness, RepositoryName, Result, SystemRandomness, Upload, UploadId, UploadOptions,
    UploadOwner,
};
use reqwest::Response;
use url::Url;

use self::sending::{Watched, plausible};
use super::RemoteRegistry;
use super::authorization::Payload;
use super::failure::{failure, upload_offset};
use super::outbound::Outbound;

/// What finds an upload: so it is there for nobody but its owner, and in no other
/// repository, and nobody else keeps it from being forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct UploadKey {
    repository: RepositoryName,
    owner: UploadOwner,
    id: UploadId,
}

impl UploadKey {
    fn of(access: &Access, id: &UploadId) -> Self {
        Self {
            repository: access.repository().clone(),
            owner: UploadOwner::of(access.actor()),
            id: *id,
        }
    }
}

/// An upload as the remote registry knows it.
#[derive(Debug)]
pub(super) struct RemoteUpload {
    /// Where to go on; the registry may name another place each time.
    location: Mutex<Url>,
    /// How many bytes the registry is known to have.
    offset: AtomicU64,
    /// Whether it has no more: nothing was sent since that nobody answered for.
    certain: AtomicBool,
}

impl RemoteUpload {
    fn location(&self) -> Url {
        let location = self.location.lock().unwrap_or_else(PoisonError::into_inner);
        location.clone()
    }

    fn offset(&self) -> u64 {
        self.offset.load(Ordering::Relaxed)
    }

    fn is_certain(&self) -> bool {
        self.certain.load(Ordering::Relaxed)
    }

    fn set_certain(&self, certain: bool) {
        self.certain.store(certain, Ordering::Relaxed);
    }

    /// Takes over where the registry says that the upload goes on, and what it
    /// has. `Range: 0-0` means nothing as well as one byte: what is known
    /// already tells which.
    fn update(&self, answer: &Response) -> Result<()> {
        if answer.headers().contains_key(header::LOCATION) {
            let location = location(answer)?;
            *self.location.lock().unwrap_or_else(PoisonError::into_inner) = location;
        }
        match upload_offset(answer.headers()) {
            Some(0) => {
                let known = self.offset.fetch_min(1, Ordering::Relaxed);
                self.certain.fetch_and(known <= 1, Ordering::Relaxed);
            }
            Some(offset) => {
                self.offset.store(offset, Ordering::Relaxed);
                self.set_certain(true);
            }
            None => {}
        }
        Ok(())
    }
}

impl RemoteRegistry {
    pub(super) async fn begin_upload(
        &self,
        access: &Access,
        options: UploadOptions,
    ) -> Result<Upload> {
        access.require(Action::Push)?;
        let operation = Operation::BeginUpload {
            repository: access.repository().clone(),
            algorithm: options.algorithm,
        };
        let answer = self.ask(&operation, HeaderMap::new()).await?;
        let location = location(&answer)?;
        let id = match named_id(&location) {
            Some(id) => id,
            None => UploadId::from_random(SystemRandomness.bytes()?),
        };
        let upload = RemoteUpload {
            location: Mutex::new(location),
            offset: AtomicU64::new(0),
            certain: AtomicBool::new(true),
        };
        let key = UploadKey::of(access, &id);
        self.inner.uploads.insert(key, Arc::new(upload));
        Ok(Upload { id, offset: 0 })
    }

    pub(super) async fn upload(&self, access: &Access, id: &UploadId) -> Result<Upload> {
        access.require(Action::Push)?;
        let key = UploadKey::of(access, id);
        let upload = self.find(&key)?;
        let operation = Operation::UploadStatus {
            repository: access.repository().clone(),
            id: *id,
        };
        let (url, headers) = (upload.location(), HeaderMap::new());
        let answer = self
            .request_at(&operation, Method::GET, url, headers, Payload::Empty)
            .await?;
        upload.update(&self.accepted(&operation, &key, answer).await?)?;
        Ok(Upload {
            id: *id,
            offset: upload.offset(),
        })
    }

    pub(super) async fn append_upload(
        &self,
        access: &Access,
        id: &UploadId,
        chunk: Chunk,
    ) -> Result<Upload> {
        access.require(Action::Push)?;
        let operation = Operation::AppendUpload {
            repository: access.repository().clone(),
            id: *id,
        };
        let key = UploadKey::of(access, id);
        let upload = self.find(&key)?;
        self.send_chunk(access, &operation, id, chunk).await?;
        // It may have been forgotten meanwhile.
        self.inner.uploads.insert(key, Arc::clone(&upload));
        Ok(Upload {
            id: *id,
            offset: upload.offset(),
        })
    }

    pub(super) async fn finish_upload(
        &self,
        access: &Access,
        id: &UploadId,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        access.require(Action::Push)?;
        // It may have ended well before, and only the answer was lost.
        let key = UploadKey::of(access, id);
        if let Err(unknown) = self.find(&key) {
            let size = self.blob_size(access.repository(), digest).await;
            return size
                .map(|size| Descriptor::blob(*digest, size))
                .map_err(|_| unknown);
        }
        let operation = Operation::FinishUpload {
            repository: access.repository().clone(),
            id: *id,
            digest: *digest,
        };
        let last = last.unwrap_or_else(|| Chunk::from_bytes(""));
        let finished = self.send_chunk(access, &operation, id, last).await;
        if matches!(&finished, Err(error) if error.kind() == ErrorKind::DigestInvalid) {
            self.inner.uploads.invalidate(&key);
        }
        let size = finished?;
        self.inner.uploads.invalidate(&key);
        let size = match size {
            Some(size) => size,
            None => self.blob_size(access.repository(), digest).await?,
        };
        Ok(Descriptor::blob(*digest, size))
    }

    pub(super) async fn cancel_upload(&self, access: &Access, id: &UploadId) -> Result<()> {
        access.require(Action::Push)?;
        let key = UploadKey::of(access, id);
        let upload = self.find(&key)?;
        let operation = Operation::CancelUpload {
            repository: access.repository().clone(),
            id: *id,
        };
        let (url, headers) = (upload.location(), HeaderMap::new());
        let answer = self
            .request_at(&operation, Method::DELETE, url, headers, Payload::Empty)
            .await?;
        self.accepted(&operation, &key, answer).await?;
        self.inner.uploads.invalidate(&key);
        Ok(())
    }

    /// Cancels the upload that an answer begins and nobody wants. A registry
    /// that can't cancel lets it expire.
    pub(super) async fn abandon(&self, operation: &Operation, answer: &Response) -> Result<()> {
        let (url, headers) = (location(answer)?, HeaderMap::new());
        self.request_at(operation, Method::DELETE, url, headers, Payload::Empty)
            .await
            .map(drop)
    }

    fn find(&self, key: &UploadKey) -> Result<Arc<RemoteUpload>> {
        self.inner
            .uploads
            .get(key)
            .ok_or_else(|| ErrorKind::UploadUnknown.error("there is no such upload; start again"))
    }

    /// The answer, if it is one of success.
    async fn accepted(
        &self,
        operation: &Operation,
        key: &UploadKey,
        answer: Response,
    ) -> Result<Response> {
        if answer.status().is_success() {
            return Ok(answer);
        }
        let error = failure(&self.inner.outbound, answer, operation).await;
        if error.kind() == ErrorKind::UploadUnknown {
            self.inner.uploads.invalidate(key);
        }
        Err(error)
    }

    /// Sends the next bytes of an upload. Returns how many it has then, if that
    /// is certain.
    async fn send_chunk(
        &self,
        access: &Access,
        operation: &Operation,
        id: &UploadId,
        chunk: Chunk,
    ) -> Result<Option<u64>> {
        let key = UploadKey::of(access, id);
        let upload = self.find(&key)?;
        let is_elsewhere = |offset| chunk.start.is_some_and(|start| start != offset);
        if !upload.is_certain() || is_elsewhere(upload.offset()) {
            let offset = self.upload(access, id).await?.offset;
            if is_elsewhere(offset) {
                return Err(ErrorKind::UploadOutOfOrder
                    .error("the chunk does not start where the upload stands; go on from there")
                    .with_detail(ErrorDetail::Offset(offset)));
            }
        }
        let mut url = upload.location();
        let method = match operation {
            Operation::FinishUpload { digest, .. } => {
                url.query_pairs_mut()
                    .append_pair("digest", &digest.to_string());
                Method::PUT
            }
            _ => Method::PATCH,
        };
        let (start, was_certain) = (upload.offset(), upload.is_certain());
        let chunk = plausible(start, chunk).await?;
        let mut headers = HeaderMap::new();
        let octets = HeaderValue::from_static("application/octet-stream");
        headers.insert(header::CONTENT_TYPE, octets);
        if let Some(range) = chunk_range(start, chunk.length)? {
            headers.insert(header::CONTENT_RANGE, range);
        }
        let body = Watched::default();
        let payload = if chunk.length == Some(0) {
            Payload::Bytes(bytes::Bytes::new())
        } else {
            // An upload of which something is sent isn't idle.
            let (uploads, key) = (self.inner.uploads.clone(), key.clone());
            Payload::Stream(body.clone().watch(chunk, move || drop(uploads.get(&key))))
        };
        upload.set_certain(false);
        let answer = self
            .request_at(operation, method, url, headers, payload)
            .await;
        // If the body failed, its own error says more than the broken request.
        if let Some(error) = body.failure() {
            return Err(error);
        }
        let answer = self.accepted(operation, &key, answer?).await?;
        let end = start.saturating_add(body.sent());
        upload.offset.store(end, Ordering::Relaxed);
        upload.set_certain(was_certain);
        // Once it has ended, it goes on nowhere.
        if !matches!(operation, Operation::FinishUpload { .. }) {
            upload.update(&answer)?;
        }
        Ok(Some(end).filter(|_| was_certain))
    }
}

/// `Content-Range` as the distribution specification writes it.
fn chunk_range(start: u64, length: Option<u64>) -> Result<Option<HeaderValue>> {
    let Some(last) = length.and_then(|length| start.saturating_add(length).checked_sub(1)) else {
        return Ok(None);
    };
    if length == Some(0) {
        return Ok(None);
    }
    HeaderValue::from_str(&format!("{start}-{last}"))
        .map(Some)
        .map_err(|source| Error::internal("a range can't be written as a header", source))
}

/// Where an answer says that an upload goes on.
fn location(answer: &Response) -> Result<Url> {
    let location = answer.headers().get(header::LOCATION).ok_or_else(|| {
        ErrorKind::Unavailable.error("the remote registry does not say where the upload goes on")
    })?;
    Outbound::resolve(answer.url(), location)
}

/// The identity in the last segment of an upload's address, if it is one.
fn named_id(location: &Url) -> Option<UploadId> {
    location.path_segments()?.next_back()?.parse().ok()
}
