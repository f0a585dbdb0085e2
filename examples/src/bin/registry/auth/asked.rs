//! Whom and what the command line names.

use registry_auth::{Principal, PrincipalKind, holds_secret};
use registry_core::{Error, ErrorKind, RepositoryName, Tag};

use crate::problem::Failure;

/// Somebody; nothing is whoever isn't known.
pub(super) fn who(name: &str) -> Result<Option<Principal>, Failure> {
    if holds_secret(name) {
        return Err(usage(
            "what stands where a name belongs is written like a key or a token, which is \
             nobody's name; name its holder, and end a key with `registry auth key revoke` by its \
             id"
            .to_owned(),
        ));
    }
    Principal::named(name).map_err(|error| Failure::usage(&error))
}

/// The same job with what its token would say of it.
pub(super) fn with_claims(
    somebody: Option<Principal>,
    claims: Vec<(String, String)>,
) -> Result<Option<Principal>, Failure> {
    if claims.is_empty() {
        return Ok(somebody);
    }
    let is_job = |known: &Principal| known.kind() == PrincipalKind::Workload;
    let job = somebody.filter(is_job).ok_or_else(|| {
        usage(
            "claims are of CI jobs; name one by its issuer and its subject, such as \
             `github:repo:org/app:ref:refs/heads/main`, or by its issuer alone: `github:`"
                .to_owned(),
        )
    })?;
    let claims = claims.into_iter();
    Ok(Some(claims.fold(job, |job, (name, value)| {
        job.with_claim(name, value)
    })))
}

/// A repository, and the tag in it if there is one.
pub(super) fn place(text: &str) -> Result<(RepositoryName, Option<Tag>), Failure> {
    if let Some((_, rest)) = text.split_once("://") {
        let rest = rest.split_once('/').map_or("team/app", |(_, rest)| rest);
        return Err(usage(format!(
            "rules know repositories by their names in the registry; leave out the host, as in \
             `{rest}`"
        )));
    }
    if let Some((before, _)) = text.split_once('@') {
        return Err(usage(format!(
            "rules are about repositories and tags, not digests: what they say of a digest is \
             what they say of its repository; write `{before}`"
        )));
    }
    // A colon with a slash behind it is no tag's.
    if let Some((host, rest)) = text.split_once('/')
        && host.contains(':')
    {
        return Err(usage(format!(
            "`{host}` is a host, and rules know repositories by their names in the registry; \
             write `{rest}`"
        )));
    }
    let (repository, tag) = match text.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (text, None),
    };
    let wrong = |error: Error| Failure::usage(&error);
    let repository = repository.parse().map_err(wrong)?;
    let tag = tag.map(str::parse).transpose().map_err(wrong)?;
    Ok((repository, tag))
}

/// The part of a name that clients would take for a host.
pub(super) fn host(repository: &RepositoryName) -> Option<&str> {
    let (first, _) = repository.as_str().split_once('/')?;
    (first == "localhost" || first.contains('.')).then_some(first)
}

fn usage(reason: String) -> Failure {
    Failure::usage(&ErrorKind::RequestInvalid.error(reason))
}
