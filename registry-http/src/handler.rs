//! From an operation to an answer: one file for each kind of resource.

mod blob;
mod catalog;
mod confirmation;
#[cfg(feature = "management")]
pub(crate) mod management;
mod manifest;
mod ping;
mod referrer;
mod tag;
#[cfg(feature = "token")]
pub(crate) mod token;
mod upload;

use std::sync::OnceLock;

use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, Response};
use registry_auth::{Grant, Refusal};
use registry_core::{
    Access, Action, ByteStream, CatalogAccess, Error, ErrorDetail, ErrorKind, Need, Operation,
    PageRequest, Result,
};

use self::confirmation::{Confirmed, Withdrawn};
use crate::answer_memory::Hold;
use crate::overload::Capacity;
use crate::request_body::RequestBody;
use crate::service::Settings;
use crate::{Body, Peer};

/// A request that may go on.
pub(crate) struct Request<'r> {
    /// How the service is set up.
    pub(crate) settings: &'r Settings,
    /// Everything about the request but its body.
    pub(crate) parts: &'r Parts,
    /// What it asks for.
    pub(crate) operation: &'r Operation,
    /// What it was granted.
    pub(crate) grant: &'r Grant,
    withdrawn: OnceLock<Withdrawn>,
}

impl<'r> Request<'r> {
    /// The request for `operation`, to which that was granted.
    pub(crate) fn new(
        settings: &'r Settings,
        parts: &'r Parts,
        operation: &'r Operation,
        grant: &'r Grant,
    ) -> Self {
        Self {
            settings,
            parts,
            operation,
            grant,
            withdrawn: OnceLock::new(),
        }
    }

    /// Why it is refused after all, if it is.
    pub(crate) fn withdrawn(&self) -> Option<Refusal> {
        self.withdrawn.get().and_then(Withdrawn::take)
    }

    /// What may still be done in the operation's repository, once its body is there.
    async fn confirm(&self) -> Result<Access> {
        let confirmed = self.grant.confirm(self.operation).await;
        let confirmed = confirmed.map_err(|refusal| self.refusals().withdraw(refusal))?;
        let target = confirmed.target;
        target.ok_or_else(|| ErrorKind::Denied.error("nothing is granted in this repository"))
    }

    /// Whether what was granted still is, after a change failed for want of the
    /// repository: where that was deleted in between, a token is told that it is no good
    /// any more, as before.
    pub(crate) async fn require_same_repository(&self, error: &Error) -> Result<(), Refusal> {
        let is_bound = self.grant.target.iter().chain(&self.grant.source);
        let mut is_bound = is_bound.filter(|access| access.epoch().is_some());
        if error.kind() == ErrorKind::NameUnknown && is_bound.next().is_some() {
            Box::pin(self.grant.confirm(self.operation)).await?;
        }
        Ok(())
    }

    /// What the rules have to say about a tag that could not be moved.
    pub(crate) fn reason(&self, error: &Error) -> Option<Error> {
        let (Some(ErrorDetail::Fixed(tag)), Some(target)) = (error.detail(), &self.grant.target)
        else {
            return None;
        };
        self.grant.reason(&Need {
            repository: target.repository().clone(),
            actions: Action::Overwrite.into(),
            tags: vec![tag.clone()],
        })
    }

    fn refusals(&self) -> &Withdrawn {
        self.withdrawn.get_or_init(Withdrawn::default)
    }

    /// The same body, which ends only if what it is for may still be done.
    fn confirmed(&self, body: ByteStream) -> ByteStream {
        let (grant, operation) = (self.grant.clone(), self.operation.clone());
        let withdrawn = self.refusals().clone();
        Box::pin(Confirmed::new(body, grant, operation, withdrawn))
    }

    /// Answers it.
    pub(crate) async fn handle(&self, body: RequestBody) -> Result<Response<Body>> {
        self.require_pushes()?;
        match self.operation {
            Operation::Ping => Ok(ping::ping()),
            Operation::ListRepositories { page } => {
                self.hold(|| Box::pin(catalog::list(self, page))).await
            }
            Operation::StatBlob { digest, .. } => blob::stat(self, digest).await,
            Operation::GetBlob { digest, .. } => blob::get(self, digest).await,
            Operation::DeleteBlob { digest, .. } => blob::delete(self, digest).await,
            Operation::BeginUpload { algorithm, .. } => upload::begin(self, *algorithm).await,
            Operation::PushBlob { digest, .. } => upload::push(self, digest, body).await,
            Operation::MountBlob { digest, from, .. } => {
                upload::mount(self, digest, from.as_ref()).await
            }
            Operation::UploadStatus { id, .. } => upload::status(self, id).await,
            Operation::AppendUpload { id, .. } => upload::append(self, id, body).await,
            Operation::FinishUpload { id, digest, .. } => {
                upload::finish(self, id, digest, body).await
            }
            Operation::CancelUpload { id, .. } => upload::cancel(self, id).await,
            Operation::StatManifest { reference, .. } => manifest::stat(self, reference).await,
            Operation::GetManifest { reference, .. } => {
                self.hold(|| Box::pin(manifest::get(self, reference))).await
            }
            Operation::PutManifest {
                reference, tags, ..
            } => manifest::put(self, reference, tags, body).await,
            Operation::DeleteManifest { reference, .. } => manifest::delete(self, reference).await,
            Operation::ListTags { page, .. } => self.hold(|| Box::pin(tag::list(self, page))).await,
            Operation::ListReferrers {
                subject,
                filter,
                page,
                ..
            } => {
                self.hold(|| Box::pin(referrer::list(self, subject, filter, page)))
                    .await
            }
        }
    }

    /// The answer that `make` gives, with memory for as long as the client takes to
    /// read it. It is made again if there was none: what waits occupies none.
    async fn hold<'m>(
        &self,
        make: impl Fn() -> BoxFuture<'m, Result<Response<Body>>>,
    ) -> Result<Response<Body>> {
        let (capacity, peer) = (&self.settings.capacity, self.peer());
        let mut deadline = None;
        let mut waited_for: Option<Hold> = None;
        loop {
            let mut answer = make().await?;
            let Some(size) = answer.body().occupies() else {
                return Ok(answer);
            };
            // It may have changed meanwhile.
            let hold = waited_for
                .take()
                .filter(|hold| hold.room() >= size)
                .or_else(|| capacity.hold_answer(size, peer));
            if let Some(hold) = hold {
                answer.body_mut().hold(hold);
                return Ok(answer);
            }
            drop(answer);
            let deadline = *deadline.get_or_insert_with(Capacity::answer_deadline);
            waited_for = Some(capacity.wait_to_answer(size, peer, deadline).await?);
        }
    }

    fn headers(&self) -> &'r HeaderMap {
        &self.parts.headers
    }

    fn peer(&self) -> Option<Peer> {
        self.parts.extensions.get().copied()
    }

    /// What may be done in the operation's repository.
    fn access(&self) -> Result<&'r Access> {
        let grant = self.grant.target.as_ref();
        grant.ok_or_else(|| ErrorKind::Denied.error("nothing was granted in this repository"))
    }

    /// Which repositories may be seen.
    fn catalog(&self) -> Result<&'r CatalogAccess> {
        let grant = self.grant.catalog.as_ref();
        grant.ok_or_else(|| ErrorKind::Denied.error("seeing repositories was not granted"))
    }

    /// Refuses to take anything where that is switched off, and to say how far a
    /// push has come.
    fn require_pushes(&self) -> Result<()> {
        let is_push = |need: Need| need.actions.contains(Action::Push.into());
        if self.settings.pushes || !self.operation.need().is_some_and(is_push) {
            Ok(())
        } else {
            Err(ErrorKind::Unsupported.error("this registry is read-only; push to another one"))
        }
    }

    /// Refuses to delete where that is switched off.
    fn require_deletes(&self) -> Result<()> {
        if self.settings.deletes {
            Ok(())
        } else {
            Err(ErrorKind::Unsupported.error("deleting is switched off in this registry"))
        }
    }
}

/// The part of a list that is asked for, with at most `max` items.
fn clamp(page: &PageRequest, max: usize) -> PageRequest {
    PageRequest::default()
        .limit(Some(page.limit.map_or(max, |limit| limit.min(max))))
        .after(page.after.clone())
}
