//! Manifests and tags of a remote registry.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use registry_core::{
    Access, Action, Deletion, Descriptor, Digest, Error, ErrorKind, Manifest, MediaType, Operation,
    Precondition, Pushed, PutManifest, Reference, RepositoryName, Result, Tag,
};
use reqwest::Response;

use super::RemoteRegistry;
use super::authorization::Payload;
use super::failure::{failure, read_limited};

/// The types asked for: everything, and by name what registries want to hear.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
                      application/vnd.oci.image.index.v1+json, \
                      application/vnd.docker.distribution.manifest.v2+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json, */*;q=0.5";

impl RemoteRegistry {
    pub(super) async fn resolve(
        &self,
        access: &Access,
        reference: &Reference,
    ) -> Result<Descriptor> {
        access.require(Action::Pull)?;
        self.stat(access.repository(), reference).await
    }

    /// Asks by `HEAD`. A registry that says too little is asked for the whole,
    /// as is one that says 404, which an answer without a body can't explain.
    async fn stat(&self, repository: &RepositoryName, reference: &Reference) -> Result<Descriptor> {
        let operation = Operation::StatManifest {
            repository: repository.clone(),
            reference: reference.clone(),
        };
        let answer = self.request(&operation, accept(), Payload::Empty).await?;
        let described = match answer.status() {
            StatusCode::NOT_FOUND => None,
            status if status.is_success() => described(&answer, reference)?,
            _ => return Err(failure(&self.inner.outbound, answer, &operation).await),
        };
        match described {
            Some(descriptor) => Ok(descriptor),
            None => Ok(self.fetch(repository, reference).await?.descriptor()),
        }
    }

    pub(super) async fn get_manifest(
        &self,
        access: &Access,
        reference: &Reference,
    ) -> Result<Manifest> {
        access.require(Action::Pull)?;
        self.fetch(access.repository(), reference).await
    }

    async fn fetch(&self, repository: &RepositoryName, reference: &Reference) -> Result<Manifest> {
        let operation = Operation::GetManifest {
            repository: repository.clone(),
            reference: reference.clone(),
        };
        let answer = self.ask(&operation, accept()).await?;
        let media_type = media_type(&answer)?.ok_or_else(|| {
            ErrorKind::Unavailable.error("the remote registry does not say what the manifest is")
        })?;
        let expected = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => named_digest(&answer)?,
        };
        let bytes =
            read_limited(self.inner.outbound.body(answer), self.inner.rules.max_size).await?;
        let algorithm = expected
            .map(|digest| digest.algorithm())
            .unwrap_or_default();
        let digest = algorithm.digest(&bytes);
        if expected.is_some_and(|expected| expected != digest) {
            return Err(ErrorKind::Unavailable
                .error("the remote registry sends a manifest that isn't what was asked for"));
        }
        Ok(Manifest {
            media_type,
            digest,
            bytes,
        })
    }

    pub(super) async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        access.require(Action::Push)?;
        let manifest = push.manifest();
        let digest = manifest.digest;
        let by_default = digest.algorithm() == registry_core::Algorithm::default();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, text(manifest.media_type.as_str())?);
        match push.precondition() {
            Precondition::None => {
                if !access.permits(Action::Overwrite) && self.moves_a_tag(access, &push).await? {
                    return Err(ErrorKind::Denied
                        .error("the tag exists and you may not move it; choose another one"));
                }
            }
            // A condition is about what is in the path: one tag, or a digest.
            condition => {
                // Many registries don't know the headers.
                self.check_tags(access, &push, condition).await?;
                // A header is about what is in the path: one tag, or a digest.
                if push.tags().len() <= 1 && by_default {
                    insert_condition(&mut headers, condition)?;
                }
            }
        }
        let (reference, tags) = match push.tags() {
            [tag] if by_default => (Reference::Tag(tag.clone()), &[][..]),
            tags => (Reference::Digest(digest), tags),
        };
        let answer = self
            .send_manifest(access, &push, reference, tags, headers.clone())
            .await?;
        let subject = match answer.headers().get("oci-subject") {
            Some(subject) => subject.to_str().ok().and_then(|text| text.parse().ok()),
            None => None,
        };
        // A registry that doesn't know several tags takes them one by one.
        if !answer.headers().contains_key("oci-tag") {
            for tag in tags {
                let reference = Reference::Tag(tag.clone());
                self.send_manifest(access, &push, reference, &[], headers.clone())
                    .await?;
            }
        }
        Ok(Pushed {
            descriptor: manifest.descriptor(),
            subject,
            tags: push.tags().to_vec(),
        })
    }

    pub(super) async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        access.require(Action::Delete)?;
        let repository = access.repository().clone();
        let mut headers = HeaderMap::new();
        let operation = match what {
            Deletion::Blob(digest) => Operation::DeleteBlob { repository, digest },
            Deletion::Manifest(digest) => Operation::DeleteManifest {
                repository,
                reference: digest.into(),
            },
            Deletion::Tag { tag, expected } => {
                if let Some(expected) = expected {
                    // Many registries don't know the header.
                    match self.tagged(access, &tag).await? {
                        Some(current) if current != expected => return Err(moved()),
                        _ => headers.insert(header::IF_MATCH, entity_tag(&expected)?),
                    };
                }
                Operation::DeleteManifest {
                    repository,
                    reference: tag.into(),
                }
            }
        };
        self.ask(&operation, headers).await.map(drop)
    }

    async fn send_manifest(
        &self,
        access: &Access,
        push: &PutManifest,
        reference: Reference,
        tags: &[Tag],
        headers: HeaderMap,
    ) -> Result<Response> {
        let operation = Operation::PutManifest {
            repository: access.repository().clone(),
            reference,
            tags: tags.to_vec(),
        };
        let payload = Payload::Bytes(push.manifest().bytes.clone());
        let answer = self.request(&operation, headers, payload).await?;
        if answer.status().is_success() {
            Ok(answer)
        } else {
            Err(failure(&self.inner.outbound, answer, &operation).await)
        }
    }

    /// Whether the push would point a tag elsewhere.
    async fn moves_a_tag(&self, access: &Access, push: &PutManifest) -> Result<bool> {
        for tag in push.tags() {
            let current = self.tagged(access, tag).await?;
            if current.is_some_and(|current| current != push.manifest().digest) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Checks a condition for the tags one by one. Only a registry that knows
    /// conditions keeps somebody else from moving one in between.
    async fn check_tags(
        &self,
        access: &Access,
        push: &PutManifest,
        condition: Precondition,
    ) -> Result<()> {
        for tag in push.tags() {
            let current = self.tagged(access, tag).await?;
            let holds = match condition {
                Precondition::None => true,
                Precondition::Absent => current.is_none(),
                Precondition::Is(expected) => current == Some(expected),
            };
            if !holds {
                return Err(moved());
            }
        }
        Ok(())
    }

    /// The manifest that a tag points to now.
    async fn tagged(&self, access: &Access, tag: &Tag) -> Result<Option<Digest>> {
        let reference = Reference::Tag(tag.clone());
        match self.stat(access.repository(), &reference).await {
            Ok(found) => Ok(Some(found.digest)),
            Err(error) if error.kind() == ErrorKind::ManifestUnknown => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn insert_condition(headers: &mut HeaderMap, condition: Precondition) -> Result<()> {
    match condition {
        Precondition::None => {}
        Precondition::Absent => {
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        Precondition::Is(expected) => {
            headers.insert(header::IF_MATCH, entity_tag(&expected)?);
        }
    }
    Ok(())
}

fn entity_tag(digest: &Digest) -> Result<HeaderValue> {
    text(&format!("\"{digest}\""))
}

fn moved() -> Error {
    ErrorKind::PreconditionFailed
        .error("the tag is not where the request expects it; look at it again")
}

fn accept() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
    headers
}

fn text(value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value)
        .map_err(|source| Error::internal("a header can't be written", source))
}

/// What an answer without a body tells of a manifest, if it is enough.
fn described(answer: &Response, reference: &Reference) -> Result<Option<Descriptor>> {
    let size = answer
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|size| size.to_str().ok()?.parse().ok());
    let digest = match reference {
        Reference::Digest(digest) => Some(*digest),
        Reference::Tag(_) => named_digest(answer)?,
    };
    let (Some(media_type), Some(digest), Some(size)) = (media_type(answer)?, digest, size) else {
        return Ok(None);
    };
    Ok(Some(Descriptor::new(media_type, digest, size)))
}

fn media_type(answer: &Response) -> Result<Option<MediaType>> {
    let Some(value) = answer.headers().get(header::CONTENT_TYPE) else {
        return Ok(None);
    };
    let essence = value.to_str().unwrap_or_default().split(';').next();
    let essence = essence.unwrap_or_default().trim();
    essence.parse().map(Some).map_err(|source: Error| {
        ErrorKind::Unavailable
            .error("the remote registry names a media type that can't be understood")
            .with_source(source)
    })
}

fn named_digest(answer: &Response) -> Result<Option<Digest>> {
    let Some(value) = answer.headers().get("docker-content-digest") else {
        return Ok(None);
    };
    let digest = value.to_str().unwrap_or_default().parse();
    digest.map(Some).map_err(|source: Error| {
        ErrorKind::Unavailable
            .error("the remote registry names a digest that can't be understood")
            .with_source(source)
    })
}
