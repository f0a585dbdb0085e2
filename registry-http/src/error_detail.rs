//! What an error is about, for programs: the detail of its body.
//!
//! A detail repeats what the client asked for, or says a limit. It is the same
//! whether or not what was asked for exists.
//!
//! It is a text such as `name=team/app tag=latest`, as in the specification,
//! whose clients read nothing else: parts with their values, of which only the
//! last can hold a space. Where rights are lacking it is a list of them, by
//! custom of the Docker registry.

use std::fmt::Display;

use registry_core::{Digest, Error, ErrorDetail, ErrorKind, Operation, Reference};
use serde_json::{Value, json};

/// The text of a detail as it grows.
#[derive(Debug, Default)]
pub(crate) struct Parts(String);

impl Parts {
    /// The same text with one more part.
    pub(crate) fn with(mut self, part: &str, value: impl Display) -> Self {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(part);
        self.0.push('=');
        self.0.push_str(&value.to_string());
        self
    }

    /// The detail, if there is anything to say.
    pub(crate) fn detail(self) -> Option<Value> {
        (!self.0.is_empty()).then_some(Value::String(self.0))
    }
}

/// The details of an error, one for each entry of its body.
pub(crate) fn details(error: &Error, operation: Option<&Operation>) -> Vec<Option<Value>> {
    let kind = error.kind();
    if kind.is_server_fault() {
        return vec![None];
    }
    if let ErrorKind::Unauthorized | ErrorKind::Denied = kind {
        return vec![operation.map(rights)];
    }
    if let Some(ErrorDetail::Missing(digests)) = error.detail()
        && !digests.is_empty()
    {
        let missing = |digest: &Digest| Parts::default().with("digest", digest).detail();
        return digests.iter().map(missing).collect();
    }
    let subject = operation.map_or_else(Parts::default, subject);
    let parts = match error.detail() {
        Some(ErrorDetail::Offset(offset)) => subject.with("offset", offset),
        Some(ErrorDetail::Size(size)) => subject.with("size", size),
        Some(ErrorDetail::Limit(limit)) => subject.with("max", limit),
        Some(ErrorDetail::Malformed { part, text }) => subject.with(part, text),
        _ => subject,
    };
    vec![parts.detail()]
}

/// What an operation is about, in the words of the Docker registry.
fn subject(operation: &Operation) -> Parts {
    let mut subject = Parts::default();
    if let Some(repository) = operation.repository() {
        subject = subject.with("name", repository);
    }
    match operation {
        Operation::StatBlob { digest, .. }
        | Operation::GetBlob { digest, .. }
        | Operation::DeleteBlob { digest, .. }
        | Operation::PushBlob { digest, .. }
        | Operation::MountBlob { digest, .. } => subject.with("digest", digest),
        Operation::UploadStatus { id, .. }
        | Operation::AppendUpload { id, .. }
        | Operation::CancelUpload { id, .. } => subject.with("upload", id),
        Operation::FinishUpload { id, digest, .. } => {
            subject.with("upload", id).with("digest", digest)
        }
        Operation::StatManifest { reference, .. }
        | Operation::GetManifest { reference, .. }
        | Operation::PutManifest { reference, .. }
        | Operation::DeleteManifest { reference, .. } => match reference {
            Reference::Tag(tag) => subject.with("tag", tag),
            Reference::Digest(digest) => subject.with("revision", digest),
        },
        Operation::ListReferrers { subject: about, .. } => subject.with("digest", about),
        _ => subject,
    }
}

/// The rights that an operation needs, as the Docker registry lists them.
fn rights(operation: &Operation) -> Value {
    let right = |kind: &str, name: &str, action: &str| json!({"Type": kind, "Class": "", "Name": name, "Action": action});
    if let Operation::ListRepositories { .. } = operation {
        return json!([right("registry", "catalog", "*")]);
    }
    let needs = operation.need().into_iter().chain(operation.source_need());
    let rights = needs.flat_map(|need| {
        let name = need.repository;
        let actions = need.actions.iter();
        actions.map(move |action| right("repository", name.as_str(), action.as_str()))
    });
    rights.collect()
}
