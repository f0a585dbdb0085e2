//! What an error is about, for programs: the detail of its body.
//!
//! A detail repeats what the client asked for, or says a limit. It is the same
//! whether or not what was asked for exists.

use registry_core::{Digest, Error, ErrorDetail, ErrorKind, Operation, Reference};
use serde_json::{Map, Value, json};

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
        let missing = |digest: &Digest| Some(json!({"digest": digest}));
        return digests.iter().map(missing).collect();
    }
    let mut detail = operation.map_or_else(Map::new, subject);
    match error.detail() {
        Some(ErrorDetail::Offset(offset)) => {
            detail.insert("offset".into(), (*offset).into());
        }
        Some(ErrorDetail::Size(size)) => {
            detail.insert("size".into(), (*size).into());
        }
        Some(ErrorDetail::Limit(limit)) => {
            detail.insert("max".into(), (*limit).into());
        }
        Some(ErrorDetail::Malformed { part, text }) => {
            detail.insert((*part).into(), text.as_str().into());
        }
        _ => {}
    }
    vec![(!detail.is_empty()).then_some(Value::Object(detail))]
}

/// What an operation is about, in the words of the Docker registry.
fn subject(operation: &Operation) -> Map<String, Value> {
    let mut subject = Map::new();
    if let Some(repository) = operation.repository() {
        subject.insert("name".into(), repository.as_str().into());
    }
    match operation {
        Operation::StatBlob { digest, .. }
        | Operation::GetBlob { digest, .. }
        | Operation::DeleteBlob { digest, .. }
        | Operation::PushBlob { digest, .. }
        | Operation::MountBlob { digest, .. } => {
            subject.insert("digest".into(), digest.to_string().into());
        }
        Operation::UploadStatus { id, .. }
        | Operation::AppendUpload { id, .. }
        | Operation::CancelUpload { id, .. } => {
            subject.insert("upload".into(), id.to_string().into());
        }
        Operation::FinishUpload { id, digest, .. } => {
            subject.insert("upload".into(), id.to_string().into());
            subject.insert("digest".into(), digest.to_string().into());
        }
        Operation::StatManifest { reference, .. }
        | Operation::GetManifest { reference, .. }
        | Operation::PutManifest { reference, .. }
        | Operation::DeleteManifest { reference, .. } => {
            let part = match reference {
                Reference::Tag(_) => "tag",
                Reference::Digest(_) => "revision",
            };
            subject.insert(part.into(), reference.to_string().into());
        }
        Operation::ListReferrers { subject: about, .. } => {
            subject.insert("digest".into(), about.to_string().into());
        }
        _ => {}
    }
    subject
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
