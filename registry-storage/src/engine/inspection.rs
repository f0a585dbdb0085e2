//! Reading all that is stored again, to find what is missing, damaged, or of no
//! use.

use std::collections::VecDeque;
use std::error::Error as _;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt, future};
use registry_core::{
    BlobBody, Digest, Error, ErrorKind, FileContent, FileSlice, Hasher, Reference, RepositoryName,
    Result, UploadId,
};

use super::Engine;
use super::read_back::hash_body;
use crate::{BlobKey, BlobRecord, BlobState, StoredBlob};

/// How many records are read at once.
const STEP: usize = 256;

/// How many repositories are named that hold the same damaged content.
const NAMED: usize = 10;

/// What is the matter with stored bytes.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing: they match their digest.
    Whole,
    /// A record names them, and they are not there; or a repository holds them,
    /// and no record says where they are.
    Missing,
    /// They are not what their record says: cut short, or changed.
    Damaged(String),
    /// The store failed to read them, for this reason.
    Unreadable(String),
    /// No record names them, and no repository holds them: they cost space, and nobody misses them.
    Unreferenced,
}

/// Stored bytes that were looked at.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Which. If no record says where they are, the generation is zero.
    pub key: BlobKey,
    /// How many bytes there are, or should be.
    pub size: u64,
    /// What is the matter with them.
    pub finding: Finding,
    /// The repositories that lack them because of that, in the order of their
    /// names; only the first ten.
    pub repositories: Vec<RepositoryName>,
}

/// Reads all content of an engine again: what records name, and what they
/// should name but don't.
///
/// It takes a bounded amount of memory, however much is stored. Content that is
/// pushed or deleted meanwhile may be seen or not; bytes of a push that is being
/// acknowledged may be called unreferenced.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> registry_core::Result<()> {
/// use registry_storage::{Engine, Finding};
///
/// let engine = Engine::memory();
/// let mut inspection = engine.inspect(2);
/// while let Some(inspected) = inspection.next().await? {
///     if inspected.finding != Finding::Whole {
///         println!("{}: {:?}", inspected.key.digest, inspected.finding);
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Inspection {
    findings: BoxStream<'static, Result<Inspected>>,
    read: Arc<AtomicU64>,
}

impl Inspection {
    /// What was found out next: first about content that records name, as it
    /// comes, then what none names. It may be given up and called again.
    ///
    /// # Errors
    ///
    /// Those of the stores, for all but the bytes of one content: then it can't
    /// be told what should be there.
    pub async fn next(&mut self) -> Result<Option<Inspected>> {
        self.findings.next().await.transpose()
    }

    /// How many bytes were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspection")
            .field("bytes_read", &self.bytes_read())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Begins to read all content again, so many at a time.
    pub fn inspect(&self, parallelism: usize) -> Inspection {
        let read = Arc::new(AtomicU64::new(0));
        let (engine, counter) = (self.clone(), Arc::clone(&read));
        let named = self
            .live_contents()
            .map_ok(move |record| {
                let (engine, counter) = (engine.clone(), Arc::clone(&counter));
                async move { engine.look_at(record, &counter).await }
            })
            .try_buffer_unordered(parallelism.max(1));
        Inspection {
            findings: named
                .chain(self.unrecorded())
                .chain(self.unreferenced())
                .boxed(),
            read,
        }
    }

    /// How many bytes an [inspection](Self::inspect) is about to read.
    ///
    /// # Errors
    ///
    /// Those of the metadata store.
    pub async fn stored_bytes(&self) -> Result<u64> {
        let add = async |sum: u64, record: BlobRecord| Ok(sum.saturating_add(record.size));
        self.live_contents().try_fold(0, add).await
    }

    fn live_contents(&self) -> BoxStream<'static, Result<BlobRecord>> {
        let start = (self.clone(), None::<Digest>, true);
        let pages = stream::try_unfold(start, |(engine, after, more)| async move {
            if !more {
                return Ok::<_, Error>(None);
            }
            let page = engine.metadata().contents(after.as_ref(), STEP).await?;
            // A store that answers at once would keep others waiting.
            tokio::task::yield_now().await;
            let last = page.last().map(|record| record.key.digest);
            let more = page.len() == STEP;
            Ok(Some((page, (engine, last, more))))
        });
        let records = pages
            .map_ok(|page| stream::iter(page).map(Ok))
            .try_flatten();
        records
            .try_filter(|record| future::ready(record.state == BlobState::Live))
            .boxed()
    }

    /// What is stored and named by no record.
    fn unreferenced(&self) -> BoxStream<'static, Result<Inspected>> {
        let start = (self.clone(), None::<BlobKey>, VecDeque::new(), true);
        stream::try_unfold(
            start,
            |(engine, mut after, mut page, mut more)| async move {
                loop {
                    let Some(stored) = page.pop_front() else {
                        if !more {
                            return Ok(None);
                        }
                        page = engine.blobs().list(after, STEP).await?.into();
                        after = page.back().map(|stored: &StoredBlob| stored.key);
                        more = page.len() == STEP;
                        tokio::task::yield_now().await;
                        continue;
                    };
                    let Some(inspected) = engine.nameless(&stored).await? else {
                        continue;
                    };
                    return Ok(Some((inspected, (engine, after, page, more))));
                }
            },
        )
        .boxed()
    }

    async fn look_at(&self, record: BlobRecord, read: &Arc<AtomicU64>) -> Result<Inspected> {
        let finding = match self.hash_again(&record, read).await {
            Ok(finding) => finding,
            Err(error) => Finding::Unreadable(error.to_string()),
        };
        let repositories = match finding {
            Finding::Whole => Vec::new(),
            _ => self.repositories_with(&record.key.digest).await?,
        };
        Ok(Inspected {
            key: record.key,
            size: record.size,
            finding,
            repositories,
        })
    }

    /// Hashes stored bytes, and takes note of the outcome. A store that fails is
    /// an error.
    pub(super) async fn hash_again(
        &self,
        record: &BlobRecord,
        read: &Arc<AtomicU64>,
    ) -> Result<Finding> {
        let finding = self.compare(record, read).await?;
        match finding {
            // Somebody may have put back what was missing.
            Finding::Whole => self.inner.damages.forget(&record.key),
            _ => self.inner.damages.remember(&record.key),
        }
        Ok(finding)
    }

    async fn compare(&self, record: &BlobRecord, read: &Arc<AtomicU64>) -> Result<Finding> {
        let body = match self.open_content(record, 0..record.size).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                return Ok(if is_missing(&error) {
                    Finding::Missing
                } else {
                    Finding::Damaged(error.to_string())
                });
            }
            opened => counted(opened?, read),
        };
        let digest = record.key.digest;
        let hashed = hash_body(Hasher::new(digest.algorithm()), body).await;
        match hashed.map(|hasher| hasher.finish().expect(&digest).is_ok()) {
            Ok(true) => Ok(Finding::Whole),
            Ok(false) => Ok(Finding::Damaged(
                "the bytes no longer match the digest".to_owned(),
            )),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                Ok(Finding::Damaged(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// The first repositories that hold content, as a blob or as a manifest.
    async fn repositories_with(&self, digest: &Digest) -> Result<Vec<RepositoryName>> {
        let mut found = self.metadata().holders(digest, None, NAMED).await?;
        found.extend(self.repositories_with_manifest(digest, NAMED).await?);
        found.sort_unstable();
        found.dedup();
        found.truncate(NAMED);
        Ok(found)
    }

    /// The first repositories that hold a manifest. All are asked: only who holds
    /// a blob can be looked up.
    async fn repositories_with_manifest(
        &self,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<RepositoryName>> {
        let reference = Reference::Digest(*digest);
        let mut found = Vec::new();
        let mut after: Option<RepositoryName> = None;
        loop {
            let after_text = after.as_ref().map(RepositoryName::as_str);
            let step = self.metadata().repositories(after_text, STEP).await?;
            for repository in &step {
                let held = self.metadata().manifest(&repository.name, &reference);
                if held.await?.is_some() {
                    found.push(repository.name.clone());
                    if found.len() == limit {
                        return Ok(found);
                    }
                }
            }
            tokio::task::yield_now().await;
            match step.last() {
                Some(last) if step.len() == STEP => after = Some(last.name.clone()),
                _ => return Ok(found),
            }
        }
    }

    /// Manifests that repositories hold though no record says where their bytes
    /// are, as a rebuild can leave them that skipped damage.
    fn unrecorded(&self) -> BoxStream<'static, Result<Inspected>> {
        let start = (self.clone(), None::<RepositoryName>, true);
        let pages = stream::try_unfold(start, |(engine, after, more)| async move {
            if !more {
                return Ok::<_, Error>(None);
            }
            let after = after.as_ref().map(RepositoryName::as_str);
            let page = engine.metadata().repositories(after, STEP).await?;
            let last = page.last().map(|repository| repository.name.clone());
            let more = page.len() == STEP;
            Ok(Some((page, (engine, last, more))))
        });
        let repositories = pages
            .map_ok(|page| stream::iter(page).map(Ok::<_, Error>))
            .try_flatten();
        let engine = self.clone();
        repositories
            .map_ok(move |repository| engine.unrecorded_in(repository.name))
            .try_flatten()
            .boxed()
    }

    fn unrecorded_in(&self, repository: RepositoryName) -> BoxStream<'static, Result<Inspected>> {
        let start = (self.clone(), repository, None::<Digest>, true);
        let pages = stream::try_unfold(start, |(engine, repository, after, more)| async move {
            if !more {
                return Ok::<_, Error>(None);
            }
            let metadata = engine.metadata();
            let page = metadata
                .manifests(&repository, after.as_ref(), STEP)
                .await?;
            let mut found = Vec::new();
            for manifest in &page {
                let digest = &manifest.digest;
                if engine.live_content(digest).await?.is_some() {
                    continue;
                }
                // It is told of once.
                let first = engine.repositories_with_manifest(digest, 1).await?;
                if first.first() != Some(&repository) {
                    continue;
                }
                found.push(Inspected {
                    key: BlobKey {
                        digest: *digest,
                        generation: UploadId::from_bytes([0; 16]),
                    },
                    size: manifest.size,
                    finding: Finding::Missing,
                    repositories: engine.repositories_with(digest).await?,
                });
            }
            tokio::task::yield_now().await;
            let last = page.last().map(|manifest| manifest.digest);
            let more = page.len() == STEP;
            Ok(Some((found, (engine, repository, last, more))))
        });
        pages
            .map_ok(|page| stream::iter(page).map(Ok::<_, Error>))
            .try_flatten()
            .boxed()
    }

    /// What is to be said of stored bytes that no record names.
    async fn nameless(&self, stored: &StoredBlob) -> Result<Option<Inspected>> {
        let digest = &stored.key.digest;
        let record = self.metadata().content(digest).await?;
        if record
            .as_ref()
            .is_some_and(|record| record.key == stored.key)
        {
            return Ok(None);
        }
        let is_replaced = record.is_some_and(|record| record.state == BlobState::Live);
        let mut repositories = Vec::new();
        if !is_replaced {
            // Somebody may still miss them.
            let manifests = self.repositories_with_manifest(digest, 1).await?;
            if !manifests.is_empty() {
                // As `unrecorded` said.
                return Ok(None);
            }
            repositories = self.metadata().holders(digest, None, NAMED).await?;
        }
        Ok(Some(Inspected {
            key: stored.key,
            size: stored.size,
            finding: if repositories.is_empty() {
                Finding::Unreferenced
            } else {
                Finding::Missing
            },
            repositories,
        }))
    }
}

/// Whether content can't be opened because nothing is stored, which the error
/// of the store says.
fn is_missing(error: &Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref());
    source.is_some_and(|source: &Error| source.kind() == ErrorKind::BlobUnknown)
}

/// A body that counts what is read of it.
fn counted(body: BlobBody, read: &Arc<AtomicU64>) -> BlobBody {
    let read = Arc::clone(read);
    match body {
        BlobBody::Bytes(bytes) => {
            read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            BlobBody::Bytes(bytes)
        }
        BlobBody::File(FileSlice { file, range }) => BlobBody::File(FileSlice {
            file: Arc::new(Counted { file, read }),
            range,
        }),
        BlobBody::Stream(stream) => BlobBody::Stream(
            stream
                .inspect_ok(move |bytes| {
                    read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                })
                .boxed(),
        ),
        elsewhere => elsewhere,
    }
}

#[derive(Debug)]
struct Counted {
    file: Arc<dyn FileContent>,
    read: Arc<AtomicU64>,
}

impl FileContent for Counted {
    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.file.try_read_at(buffer, offset)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.file.read_at(buffer, offset)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
