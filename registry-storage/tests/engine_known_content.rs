//! What others hold costs as much as what nobody holds.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use registry_core::testkit::{push_blob, trusted};
use registry_core::{
    Actor, Algorithm, ByteRange, CatalogAccess, Chunk, Deletion, Descriptor, Digest, ErrorKind,
    ManifestRules, MountSource, OpenOptions, Page, PutManifest, Reference, Registry,
    RepositoryEpoch, RepositoryName, Result, Tag, UploadId, UploadOptions, Visibility,
};
use registry_storage::testkit::{BlobCall, FaultyBlobs};
use registry_storage::{
    Batch, BlobRecord, CommitError, Engine, ManifestRecord, MemoryBlobs, MemoryMetadata,
    MetadataStore, OutboxEntry, RepositoryRecord, TagRecord, UploadRecord,
};

/// A store that notes what is asked of it, in order.
#[derive(Debug, Clone, Default)]
struct Noted {
    store: Arc<MemoryMetadata>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Noted {
    fn note(&self, asked: impl Into<String>) -> &MemoryMetadata {
        self.asked.lock().unwrap().push(asked.into());
        &self.store
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// What a change is called, whatever it is about.
fn kind(change: &impl std::fmt::Debug) -> String {
    let text = format!("{change:?}");
    let kind = text.split(|char: char| !char.is_alphanumeric()).next();
    kind.unwrap().to_owned()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MetadataStore for Noted {
    async fn check(&self) -> Result<()> {
        self.note("check").check().await
    }

    async fn close(&self) -> Result<()> {
        self.note("close").close().await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let changes: Vec<_> = batch.changes.iter().map(kind).collect();
        let (required, durable) = (batch.require.len(), batch.durable);
        let asked = format!("commit {required} {changes:?} {durable}");
        self.note(asked).commit(batch).await
    }

    async fn repository(&self, name: &RepositoryName) -> Result<Option<RepositoryRecord>> {
        self.note("repository").repository(name).await
    }

    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        self.note("epoch").epoch(repository).await
    }

    async fn repositories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepositoryRecord>> {
        self.note("repositories").repositories(after, limit).await
    }

    async fn content(&self, digest: &Digest) -> Result<Option<BlobRecord>> {
        self.note("content").content(digest).await
    }

    async fn contents(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobRecord>> {
        self.note("contents").contents(after, limit).await
    }

    async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<BlobRecord>> {
        self.note("blob").blob(repository, digest).await
    }

    async fn holders(
        &self,
        digest: &Digest,
        after: Option<&RepositoryName>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>> {
        self.note("holders").holders(digest, after, limit).await
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ManifestRecord>> {
        self.note("manifest").manifest(repository, reference).await
    }

    async fn manifests(
        &self,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<ManifestRecord>> {
        let store = self.note("manifests");
        store.manifests(repository, after, limit).await
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<(Tag, TagRecord)>>> {
        self.note("tags").tags(repository, after, limit).await
    }

    async fn tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<Tag>> {
        self.note("tags_of")
            .tags_of(repository, digest, limit)
            .await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        after: Option<&Digest>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Page<Descriptor>> {
        let store = self.note("referrers");
        store
            .referrers(repository, subject, after, limit, max_bytes)
            .await
    }

    async fn upload(&self, id: &UploadId) -> Result<Option<UploadRecord>> {
        self.note("upload").upload(id).await
    }

    async fn uploads(
        &self,
        repository: &RepositoryName,
        after: Option<&UploadId>,
        limit: usize,
    ) -> Result<Vec<UploadRecord>> {
        self.note("uploads").uploads(repository, after, limit).await
    }

    async fn idle_uploads(
        &self,
        idle_since: SystemTime,
        limit: usize,
    ) -> Result<Vec<UploadRecord>> {
        self.note("idle_uploads")
            .idle_uploads(idle_since, limit)
            .await
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.note("outbox").outbox(limit).await
    }

    async fn clock(&self) -> Result<Option<SystemTime>> {
        self.note("clock").clock().await
    }
}

/// What somebody asks who has only a repository of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Stat,
    Open,
    OpenPart,
    MountFromAnywhere,
    MountFromItself,
    FinishWithNothing,
    FinishWithOther,
    Refer,
    Delete,
    Push,
    PushInParts,
}

const WAYS: [Way; 11] = [
    Way::Stat,
    Way::Open,
    Way::OpenPart,
    Way::MountFromAnywhere,
    Way::MountFromItself,
    Way::FinishWithNothing,
    Way::FinishWithOther,
    Way::Refer,
    Way::Delete,
    Way::Push,
    Way::PushInParts,
];

const OWN: &str = "team/app";

fn image(config: &Digest) -> PutManifest {
    const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
    let bytes = format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","layers":[],"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":64}}}}"#
    );
    let reference = Reference::Tag("v1".parse().unwrap());
    let media_type = Some(IMAGE.parse().unwrap());
    PutManifest::new(
        reference,
        media_type,
        bytes.into(),
        &ManifestRules::default(),
    )
    .unwrap()
}

async fn ask(engine: &Engine, way: Way, content: &Bytes) -> Result<()> {
    let own = trusted(OWN);
    let digest = Algorithm::Sha256.digest(content);
    let finish = async |begun: Option<Bytes>, rest: Option<Bytes>| {
        let upload = engine.begin_upload(&own, UploadOptions::default()).await?;
        if let Some(begun) = begun {
            let chunk = Chunk::from_bytes(begun);
            engine.append_upload(&own, &upload.id, chunk).await?;
        }
        let rest = rest.map(Chunk::from_bytes);
        let finished = engine.finish_upload(&own, &upload.id, &digest, rest).await;
        finished.map(drop)
    };
    match way {
        Way::Stat => engine.stat_blob(&own, &digest).await.map(drop),
        Way::Open => {
            let opened = engine.open_blob(&own, &digest, OpenOptions::default());
            opened.await.map(drop)
        }
        Way::OpenPart => {
            let part = OpenOptions::default().range(Some(ByteRange::Last(1)));
            engine.open_blob(&own, &digest, part).await.map(drop)
        }
        Way::MountFromAnywhere => {
            let own_name = own.repository().clone();
            let visible = Visibility::Only(Arc::new(move |name| *name == own_name));
            let visible = CatalogAccess::granted(visible, Arc::new(Actor::default()));
            let from = MountSource::Anywhere(&visible);
            let mounted = engine.mount_blob(&own, &digest, from).await?;
            assert_eq!(mounted, None);
            Ok(())
        }
        Way::MountFromItself => {
            let from = MountSource::Repository(&own);
            let mounted = engine.mount_blob(&own, &digest, from).await?;
            assert_eq!(mounted, None);
            Ok(())
        }
        Way::FinishWithNothing => finish(None, None).await,
        Way::FinishWithOther => finish(None, Some(vec![0; content.len()].into())).await,
        Way::Refer => engine.put_manifest(&own, image(&digest)).await.map(drop),
        Way::Delete => engine.delete(&own, Deletion::Blob(digest)).await,
        Way::Push => finish(None, Some(content.clone())).await,
        Way::PushInParts => finish(Some(content.slice(..7)), Some(content.slice(7..))).await,
    }
}

/// What comes of it, and all that the stores are asked until then, where others hold `held`
/// and `content` is asked about.
async fn work(
    way: Way,
    held: &Bytes,
    content: &Bytes,
) -> (Result<(), ErrorKind>, Vec<BlobCall>, Vec<String>) {
    let (blobs, metadata) = (FaultyBlobs::new(MemoryBlobs::new()), Noted::default());
    let engine = Engine::builder(blobs.clone(), metadata.clone()).build();
    push_blob(&engine, &trusted("secret/there"), held).await;
    push_blob(&engine, &trusted(OWN), &Bytes::from_static(b"own")).await;
    metadata.take();
    let before = blobs.calls().len();
    let answer = ask(&engine, way, content).await;
    let mut calls = blobs.calls().split_off(before);
    let mut asked = metadata.take();
    if answer.is_ok()
        && let Some(end) = asked.iter().rposition(|asked| asked.starts_with("commit"))
    {
        // One of two copies goes behind the caller's back, if it is there by now.
        let behind = asked.split_off(end.saturating_add(1));
        assert!(behind.is_empty() || behind == ["content"], "{way:?}");
        calls.retain(|call| *call != BlobCall::Delete);
    }
    (answer.map_err(|error| error.kind()), calls, asked)
}

/// Whoever knows a digest, and whoever has the bytes, learns from no amount of work whether
/// others hold them.
#[tokio::test]
async fn s_03_what_others_hold_takes_the_work_of_what_nobody_holds() {
    let secret = Bytes::from(vec![1; 64]);
    let other = Bytes::from(vec![2; 64]);
    for way in WAYS {
        let known = work(way, &secret, &secret).await;
        let new = work(way, &other, &secret).await;
        assert_eq!(known, new, "{way:?}");
        let pushes = matches!(way, Way::Push | Way::PushInParts);
        let mounts = matches!(way, Way::MountFromAnywhere | Way::MountFromItself);
        let (answer, calls, asked) = known;
        assert_eq!(answer.is_ok(), pushes || mounts, "{way:?} {answer:?}");
        // The test would see nothing if it noted nothing.
        assert!(!asked.is_empty(), "{way:?}");
        let stored = calls.contains(&BlobCall::Publish);
        let is_durable = asked.iter().any(|asked| asked.ends_with("true"));
        assert_eq!((stored, is_durable), (pushes, pushes), "{way:?} {asked:?}");
    }
}
