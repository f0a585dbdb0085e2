//! S-65: a defect in a registry is one answer of 500, and not the end of anything else.

use std::collections::BTreeSet;

use async_trait::async_trait;
use http::{Method, StatusCode};
use registry_core::{
    Access, Blob, CatalogAccess, Chunk, Deletion, Descriptor, Digest, Epochs, Manifest,
    MountSource, OpenOptions, Operation, Page, PageRequest, Pushed, PutManifest, Reference,
    ReferrerFilter, Registry, RepositoryName, Result, Tag, Upload, UploadId, UploadOptions,
};
use registry_http::{Limits, RegistryService};

use crate::exchange::{get, index, pieces, request, send, sha256};

/// What a defect says, which no client hears.
const SECRET: &str = "a path on the disk";

/// Whatever it is asked, it meets a defect.
#[derive(Debug)]
struct Defective;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Registry for Defective {
    async fn stat_blob(&self, _: &Access, _: &Digest) -> Result<Descriptor> {
        panic!("{SECRET}")
    }

    async fn open_blob(&self, _: &Access, _: &Digest, _: OpenOptions) -> Result<Blob> {
        panic!("{SECRET}")
    }

    async fn mount_blob(
        &self,
        _: &Access,
        _: &Digest,
        _: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        panic!("{SECRET}")
    }

    async fn begin_upload(&self, _: &Access, _: UploadOptions) -> Result<Upload> {
        panic!("{SECRET}")
    }

    async fn upload(&self, _: &Access, _: &UploadId) -> Result<Upload> {
        panic!("{SECRET}")
    }

    async fn append_upload(&self, _: &Access, _: &UploadId, _: Chunk) -> Result<Upload> {
        panic!("{SECRET}")
    }

    async fn finish_upload(
        &self,
        _: &Access,
        _: &UploadId,
        _: &Digest,
        _: Option<Chunk>,
    ) -> Result<Descriptor> {
        panic!("{SECRET}")
    }

    async fn cancel_upload(&self, _: &Access, _: &UploadId) -> Result<()> {
        panic!("{SECRET}")
    }

    async fn resolve(&self, _: &Access, _: &Reference) -> Result<Descriptor> {
        panic!("{SECRET}")
    }

    async fn get_manifest(&self, _: &Access, _: &Reference) -> Result<Manifest> {
        panic!("{SECRET}")
    }

    async fn put_manifest(&self, _: &Access, _: PutManifest) -> Result<Pushed> {
        panic!("{SECRET}")
    }

    async fn delete(&self, _: &Access, _: Deletion) -> Result<()> {
        panic!("{SECRET}")
    }

    async fn tags(&self, _: &Access, _: PageRequest) -> Result<Page<Tag>> {
        panic!("{SECRET}")
    }

    async fn referrers(
        &self,
        _: &Access,
        _: &Digest,
        _: ReferrerFilter,
        _: PageRequest,
    ) -> Result<Page<Descriptor>> {
        panic!("{SECRET}")
    }

    async fn repositories(
        &self,
        _: &CatalogAccess,
        _: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        panic!("{SECRET}")
    }

    fn epochs(&self) -> Option<&dyn Epochs> {
        None
    }
}

#[tokio::test]
async fn s_65_a_defect_behind_any_operation_is_one_answer() {
    let content = index("a", None);
    let (blob, upload) = (
        format!("/v2/a/blobs/{}", sha256("x")),
        "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000",
    );
    let uploads = "/v2/a/blobs/uploads/";
    let digest = sha256("x");
    let requests = [
        (Method::GET, "/v2/_catalog".to_owned()),
        (Method::GET, "/v2/a/tags/list".into()),
        (Method::GET, format!("/v2/a/referrers/{digest}")),
        (Method::HEAD, blob.clone()),
        (Method::GET, blob.clone()),
        (Method::DELETE, blob),
        (Method::POST, uploads.into()),
        (Method::POST, format!("{uploads}?digest={digest}")),
        (Method::POST, format!("{uploads}?mount={digest}&from=b")),
        (Method::GET, upload.into()),
        (Method::PATCH, upload.into()),
        (Method::PUT, format!("{upload}?digest={digest}")),
        (Method::DELETE, upload.into()),
        (Method::HEAD, "/v2/a/manifests/v1".into()),
        (Method::GET, "/v2/a/manifests/v1".into()),
        (Method::PUT, "/v2/a/manifests/v1".into()),
        (Method::DELETE, "/v2/a/manifests/v1".into()),
    ];
    // One place for each kind of request: whoever met a defect gives it back.
    let limits = Limits::default()
        .max_requests(1)
        .max_uploads(1)
        .max_downloads(1);
    let service = RegistryService::new(Defective).catalog(true).limits(limits);
    let mut operations = BTreeSet::from(["ping"]);
    for (method, target) in requests {
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        operations.insert(Operation::parse(&method, path, Some(query)).unwrap().name());
        for _ in 0..2 {
            let media_type = "content-type: application/vnd.oci.image.index.v1+json";
            let body = pieces(content.clone().leak().as_bytes(), 7);
            let answer = send(&service, request(&method, &target, &[media_type], body)).await;
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            assert_eq!(answer.status, status, "{method} {target}");
            assert!(answer.has("x-request-id"), "{method} {target}");
            if method != Method::HEAD {
                assert_eq!(answer.code(), "UNKNOWN", "{method} {target}");
                let text = answer.json().to_string();
                assert!(!text.contains(SECRET), "{text}");
            }
        }
        assert_eq!(get(&service, "/v2/").await.status, StatusCode::OK);
    }
    assert_eq!(operations.len(), 18, "{operations:?}");
}
