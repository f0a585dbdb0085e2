//! From a request to an operation.

use http::Method;

use crate::operation::path::{Kind, Resource};
use crate::operation::query::{Single, single, values};
use crate::{
    Algorithm, Digest, Error, ErrorKind, Operation, PageRequest, Reference, ReferrerFilter,
    RepositoryName, Result, Tag,
};

/// Understands a request.
pub(super) fn parse(method: &Method, path: &str, query: Option<&str>) -> Result<Operation> {
    let resource = Resource::parse(path).ok_or_else(|| {
        ErrorKind::NotFound
            .error("the registry has nothing at this path; see the specification")
            .about("path", path)
    })?;
    let kind = resource.kind;
    if !kind.methods().contains(method) {
        return Err(wrong_method(kind));
    }
    let repository = match kind {
        Kind::Base => return Ok(Operation::Ping),
        Kind::Catalog => return page(query).map(|page| Operation::ListRepositories { page }),
        _ => resource.repository()?,
    };
    let last = resource.last.as_str();
    let operation = match (kind, method) {
        (Kind::Tags, _) => Operation::ListTags {
            repository,
            page: page(query)?,
        },
        (Kind::Referrers, _) => Operation::ListReferrers {
            repository,
            subject: last.parse()?,
            filter: filter(query)?,
            page: page(query)?,
        },
        (Kind::Uploads, _) => start_upload(repository, query)?,
        (Kind::Upload, &Method::PATCH) => Operation::AppendUpload {
            repository,
            id: last.parse()?,
        },
        (Kind::Upload, &Method::PUT) => Operation::FinishUpload {
            repository,
            id: last.parse()?,
            digest: digest(query, "digest")?.ok_or_else(|| {
                ErrorKind::DigestInvalid
                    .error("add the digest of the whole blob as ?digest=")
                    .about("digest", "")
            })?,
        },
        (Kind::Upload, &Method::DELETE) => Operation::CancelUpload {
            repository,
            id: last.parse()?,
        },
        (Kind::Upload, _) => Operation::UploadStatus {
            repository,
            id: last.parse()?,
        },
        (Kind::Blob, &Method::HEAD) => Operation::StatBlob {
            repository,
            digest: last.parse()?,
        },
        (Kind::Blob, &Method::DELETE) => Operation::DeleteBlob {
            repository,
            digest: last.parse()?,
        },
        (Kind::Blob, _) => Operation::GetBlob {
            repository,
            digest: last.parse()?,
        },
        (_, &Method::PUT) => put_manifest(repository, last, query)?,
        (_, &Method::HEAD) => Operation::StatManifest {
            repository,
            reference: existing(last)?,
        },
        (_, &Method::DELETE) => Operation::DeleteManifest {
            repository,
            reference: existing(last)?,
        },
        _ => Operation::GetManifest {
            repository,
            reference: existing(last)?,
        },
    };
    Ok(operation)
}

/// Doesn't repeat the method: `HEAD` is answered as `GET` is.
fn wrong_method(kind: Kind) -> Error {
    let methods: Vec<&str> = kind.methods().iter().map(Method::as_str).collect();
    ErrorKind::Unsupported
        .error(format!(
            "the method is not supported here; use {}",
            methods.join(" or ")
        ))
        .about("allowed", &methods.join(","))
}

/// The reference of a manifest that should exist. None exists under a
/// malformed tag, so asking for it is no mistake: clients try tags that are
/// too long.
fn existing(reference: &str) -> Result<Reference> {
    reference.parse().map_err(|error: Error| {
        if error.kind() == ErrorKind::TagInvalid {
            ErrorKind::ManifestUnknown
                .error("there is no such manifest; check the tag")
                .about("tag", reference)
        } else {
            error
        }
    })
}

fn put_manifest(repository: RepositoryName, last: &str, query: Option<&str>) -> Result<Operation> {
    let reference: Reference = last.parse()?;
    let mut tags = Vec::new();
    for tag in values(query, "tag") {
        // What can't be decoded is no tag either, and is named as it was given.
        let tag: Tag = tag.unwrap_or_else(str::to_owned).parse()?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    if matches!(reference, Reference::Tag(_)) && !tags.is_empty() {
        return Err(ErrorKind::RequestInvalid
            .error("more tags need a push by digest; put the digest in the path")
            .about("tag", last));
    }
    Ok(Operation::PutManifest {
        repository,
        reference,
        tags,
    })
}

/// What a `POST` means: a mount wins over a push in one request, which wins
/// over an upload.
fn start_upload(repository: RepositoryName, query: Option<&str>) -> Result<Operation> {
    if let Some(digest) = digest(query, "mount")? {
        let from = match single(query, "from") {
            Single::Absent => Some(None),
            Single::Value(from) => from.parse().ok().map(Some),
            Single::Ambiguous(_) => None,
        };
        // Without a source that can be checked there is nothing to take over.
        // Answering an error would break clients, and searching elsewhere
        // would answer what wasn't asked.
        return Ok(match from {
            Some(from) => Operation::MountBlob {
                repository,
                digest,
                from,
            },
            None => Operation::BeginUpload {
                repository,
                algorithm: Some(digest.algorithm()),
            },
        });
    }
    if let Some(digest) = digest(query, "digest")? {
        return Ok(Operation::PushBlob { repository, digest });
    }
    Ok(Operation::BeginUpload {
        repository,
        algorithm: algorithm(query)?,
    })
}

fn digest(query: Option<&str>, name: &'static str) -> Result<Option<Digest>> {
    match single(query, name) {
        Single::Absent => Ok(None),
        Single::Value(digest) => digest.parse().map(Some),
        Single::Ambiguous(given) => Err(ErrorKind::DigestInvalid
            .error("give the digest once")
            .about(name, &given)),
    }
}

fn algorithm(query: Option<&str>) -> Result<Option<Algorithm>> {
    match single(query, "digest-algorithm") {
        Single::Absent => Ok(None),
        Single::Value(algorithm) => algorithm.parse().map(Some),
        Single::Ambiguous(given) => Err(ErrorKind::DigestInvalid
            .error("give the digest algorithm once")
            .about("digest-algorithm", &given)),
    }
}

fn page(query: Option<&str>) -> Result<PageRequest> {
    let limit = match single(query, "n") {
        Single::Absent => None,
        Single::Value(n) if !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()) => {
            // A number too large to hold asks for all there is.
            Some(n.parse().unwrap_or(usize::MAX))
        }
        Single::Value(n) | Single::Ambiguous(n) => {
            return Err(ErrorKind::PageInvalid
                .error("n must be the greatest number of items wanted, in decimal digits")
                .about("n", &n));
        }
    };
    let after = match single(query, "last") {
        Single::Absent => None,
        // Everything lies behind the empty position.
        Single::Value(last) => Some(last).filter(|last| !last.is_empty()),
        Single::Ambiguous(last) => {
            return Err(ErrorKind::PageInvalid
                .error("last must be a single item to go on after")
                .about("last", &last));
        }
    };
    Ok(PageRequest { limit, after })
}

fn filter(query: Option<&str>) -> Result<ReferrerFilter> {
    let mut artifact_types = Vec::new();
    for artifact_type in values(query, "artifactType") {
        // Media types hold no space: it stands for a `+` that wasn't encoded.
        let artifact_type = artifact_type
            .map_err(|given| {
                ErrorKind::RequestInvalid
                    .error("artifactType is malformed; encode it as UTF-8")
                    .about("artifactType", given)
            })?
            .replace(' ', "+");
        if !artifact_type.is_empty() && !artifact_types.contains(&artifact_type) {
            artifact_types.push(artifact_type);
        }
    }
    Ok(ReferrerFilter { artifact_types })
}
