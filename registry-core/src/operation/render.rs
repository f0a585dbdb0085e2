//! From an operation to a request.

use http::Method;

use crate::operation::query::Target;
use crate::{Algorithm, Operation, PageRequest, RepositoryName};

/// The method, and the path with its query.
pub(super) fn render(operation: &Operation) -> (Method, String) {
    let (method, target) = match operation {
        Operation::Ping => (Method::GET, Target::new("/v2/".to_owned())),
        Operation::ListRepositories { page } => (
            Method::GET,
            paged(Target::new("/v2/_catalog".to_owned()), page),
        ),
        Operation::StatBlob { repository, digest } => {
            (Method::HEAD, at(repository, "blobs", digest))
        }
        Operation::GetBlob { repository, digest } => (Method::GET, at(repository, "blobs", digest)),
        Operation::DeleteBlob { repository, digest } => {
            (Method::DELETE, at(repository, "blobs", digest))
        }
        Operation::BeginUpload {
            repository,
            algorithm,
        } => (
            Method::POST,
            at(repository, "blobs/uploads", "")
                .optional("digest-algorithm", algorithm.map(Algorithm::as_str)),
        ),
        Operation::PushBlob { repository, digest } => (
            Method::POST,
            at(repository, "blobs/uploads", "").parameter("digest", &digest.to_string()),
        ),
        Operation::MountBlob {
            repository,
            digest,
            from,
        } => (
            Method::POST,
            at(repository, "blobs/uploads", "")
                .parameter("mount", &digest.to_string())
                .optional("from", from.as_ref().map(RepositoryName::as_str)),
        ),
        Operation::UploadStatus { repository, id } => {
            (Method::GET, at(repository, "blobs/uploads", id))
        }
        Operation::AppendUpload { repository, id } => {
            (Method::PATCH, at(repository, "blobs/uploads", id))
        }
        Operation::FinishUpload {
            repository,
            id,
            digest,
        } => (
            Method::PUT,
            at(repository, "blobs/uploads", id).parameter("digest", &digest.to_string()),
        ),
        Operation::CancelUpload { repository, id } => {
            (Method::DELETE, at(repository, "blobs/uploads", id))
        }
        Operation::StatManifest {
            repository,
            reference,
        } => (Method::HEAD, at(repository, "manifests", reference)),
        Operation::GetManifest {
            repository,
            reference,
        } => (Method::GET, at(repository, "manifests", reference)),
        Operation::PutManifest {
            repository,
            reference,
            tags,
        } => (
            Method::PUT,
            tags.iter()
                .fold(at(repository, "manifests", reference), |target, tag| {
                    target.parameter("tag", tag.as_str())
                }),
        ),
        Operation::DeleteManifest {
            repository,
            reference,
        } => (Method::DELETE, at(repository, "manifests", reference)),
        Operation::ListTags { repository, page } => {
            (Method::GET, paged(at(repository, "tags", "list"), page))
        }
        Operation::ListReferrers {
            repository,
            subject,
            filter,
            page,
        } => (
            Method::GET,
            paged(
                filter.artifact_types.iter().fold(
                    at(repository, "referrers", subject),
                    |target, artifact_type| target.parameter("artifactType", artifact_type),
                ),
                page,
            ),
        ),
    };
    (method, target.into_text())
}

/// No part of a path needs an escape: their grammars see to it.
fn at(repository: impl std::fmt::Display, kind: &str, last: impl std::fmt::Display) -> Target {
    Target::new(format!("/v2/{repository}/{kind}/{last}"))
}

fn paged(target: Target, page: &PageRequest) -> Target {
    let limit = page.limit.map(|limit| limit.to_string());
    target.optional("n", limit.as_deref()).optional(
        "last",
        page.after.as_deref().filter(|after| !after.is_empty()),
    )
}
