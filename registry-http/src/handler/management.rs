//! The management API: what owners ask that no client does.
//!
//! Documents are JSON both ways. A member that isn't known is refused: it could be
//! one that should have limited something. Nothing is to be kept by caches.

mod document;
mod explain;
mod keys;
mod robots;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use registry_auth::{Keys, ManagementGrant, Principal, Sender, holds_secret};
use registry_core::{Error, ErrorKind, PageRequest, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::document::{Revocation, Rotation};
use crate::access_log::Exchange;
use crate::administration::Administration;
use crate::error_response::Failure;
use crate::header::{JSON, NO_STORE, respond_empty, respond_json};
use crate::management_operation::ManagementOperation;
use crate::places::Place;
use crate::request_body::RequestBody;
use crate::service::Settings;
use crate::{Body, Peer};

/// The largest document that is taken.
const DOCUMENT_MAX: usize = 64 << 10;

/// The most items in one answer.
const PAGE_MAX: usize = 1000;

/// A request to the management API.
pub(crate) struct Request<'r> {
    /// How the service is set up.
    pub(crate) settings: &'r Settings,
    /// Everything about the request but its body.
    pub(crate) parts: &'r Parts,
    /// What it asks for.
    pub(crate) operation: &'r ManagementOperation,
}

impl Request<'_> {
    /// Does it, if that is allowed to `sender`. Nothing of the body is read before
    /// that is decided.
    pub(crate) async fn serve(
        &self,
        sender: &Sender<'_>,
        body: Result<RequestBody>,
        exchange: &mut Exchange,
    ) -> Result<(Response<Body>, Place), Failure> {
        let Self {
            settings,
            parts,
            operation,
        } = self;
        let need = operation.need();
        let granted = settings.access.authorize_management(sender, &need).await;
        let actor = match &granted {
            Ok(grant) => Some(grant.actor()),
            Err(refusal) => refusal.actor.as_ref(),
        };
        if let Some(actor) = actor {
            exchange.authorized(actor);
        }
        let grant = granted?;
        let peer: Option<Peer> = parts.extensions.get().copied();
        let place = settings.capacity.admit_other(peer)?;
        let mut response = self.handle(&grant, body?).await?;
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        Ok((response, place))
    }

    async fn handle(
        &self,
        grant: &ManagementGrant,
        body: RequestBody,
    ) -> Result<Response<Body>, Failure> {
        use ManagementOperation as Op;
        Ok(match self.operation {
            Op::ListRobots { page } => robots::list(self.keys()?, page).await?,
            Op::CreateRobot => {
                let keys = self.keys()?;
                let (grant, new) = self.document(grant, body).await?;
                robots::create(keys, &grant, new).await?
            }
            Op::ShowRobot { robot } => robots::show(self.keys()?, robot).await?,
            Op::ChangeRobot { robot } => {
                let keys = self.keys()?;
                let (grant, changed) = self.document(grant, body).await?;
                robots::change(keys, &grant, robot, changed).await?
            }
            Op::DeleteRobot { robot } => {
                self.keys()?.delete_robot(robot).await?;
                done()
            }
            Op::ListRobotKeys { robot, page } => {
                let (owner, _) = robots::owner(self.keys()?, robot).await?;
                keys::list(self.keys()?, &owner, page).await?
            }
            Op::CreateRobotKey { robot } => {
                robots::owner(self.keys()?, robot).await?;
                let (grant, new) = self.document(grant, body).await?;
                // As it is once the body is there.
                let (owner, robot) = robots::owner(self.keys()?, robot).await?;
                let access = &self.settings.access;
                keys::create_for_robot(self.keys()?, access, &grant, &owner, &robot, new).await?
            }
            Op::RevokeRobotKey { robot, id } => {
                self.keys()?.revoke(&Principal::robot(robot), id).await?;
                done()
            }
            Op::ListKeys { page } => keys::list(self.keys()?, grant.principal(), page).await?,
            Op::CreateKey => {
                let keys = self.keys()?;
                let (grant, new) = self.document(grant, body).await?;
                let access = &self.settings.access;
                keys::create(keys, access, grant.principal(), new, grant.at()).await?
            }
            Op::RevokeKey { id } => {
                self.keys()?.revoke(grant.principal(), id).await?;
                done()
            }
            Op::Explain => {
                let keys = self.administration()?.keys.as_ref();
                let (grant, question) = self.document(grant, body).await?;
                explain::explain(&self.settings.access, keys, &grant, question).await?
            }
            Op::RevokeTokens => {
                let (grant, revocation) = self.document::<Revocation>(grant, body).await?;
                let actor = grant.principal();
                if let Some(holder) = revocation.holder()? {
                    self.settings.access.revoke_all(&holder).await?;
                    tracing::info!(%actor, %holder, "all tokens of somebody were revoked");
                } else {
                    self.settings.access.revoke_everybodys().await?;
                    tracing::info!(%actor, "all tokens of everybody were revoked");
                }
                done()
            }
            Op::RotateSigningKeys => {
                let (grant, Rotation { replace }) = self.document(grant, body).await?;
                self.settings.access.rotate_signing_keys(replace).await?;
                let actor = grant.principal();
                if replace {
                    tracing::info!(%actor, "a new key signs tokens, and the others are gone");
                } else {
                    tracing::info!(%actor, "there is another key, which signs tokens in ten minutes");
                }
                done()
            }
            Op::DeleteRepository { .. } => self.delete_repository(grant).await?,
        })
    }

    async fn delete_repository(&self, grant: &ManagementGrant) -> Result<Response<Body>, Failure> {
        if !self.settings.deletes {
            return Err(ErrorKind::Unsupported
                .error("deleting is switched off in this registry")
                .into());
        }
        let registry = self.administration()?.registry.as_ref();
        let registry = registry.ok_or_else(|| {
            ErrorKind::NotFound.error("whole repositories aren't deleted in this registry")
        })?;
        let access = grant.target();
        let access = access
            .ok_or_else(|| ErrorKind::Denied.error("nothing was granted in this repository"))?;
        if let Err(error) = registry.delete_repository(access).await {
            // Where it was deleted in between, the token that it was for is no good.
            if error.kind() == ErrorKind::NameUnknown && access.epoch().is_some() {
                grant.confirm().await?;
            }
            return Err(error.into());
        }
        let (actor, repository) = (grant.principal(), access.repository());
        tracing::info!(%actor, %repository, "a repository was deleted");
        Ok(done())
    }

    fn administration(&self) -> Result<&Administration> {
        let administration = self.settings.administration.as_ref();
        administration.ok_or_else(|| ErrorKind::NotFound.error("there is no management API here"))
    }

    fn keys(&self) -> Result<&Keys> {
        let keys = self.administration()?.keys.as_ref();
        keys.ok_or_else(|| ErrorKind::NotFound.error("there are no keys in this registry"))
    }

    /// What the body says, and what its sender may do now that all of it has come.
    async fn document<T: DeserializeOwned>(
        &self,
        grant: &ManagementGrant,
        body: RequestBody,
    ) -> Result<(ManagementGrant, T), Failure> {
        let document = self.read(body).await?;
        Ok((grant.confirm().await?, document))
    }

    /// What the body says. That it has to be called JSON keeps the forms of other
    /// sites out, which browsers send with the passwords that they know.
    async fn read<T: DeserializeOwned>(&self, body: RequestBody) -> Result<T> {
        let is_json = |value: &HeaderValue| {
            let kind = value.to_str().unwrap_or_default().split(';').next();
            kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        };
        if !self.parts.headers.get(CONTENT_TYPE).is_some_and(is_json) {
            return Err(ErrorKind::RequestInvalid
                .error("send a document with the Content-Type application/json"));
        }
        let deadline = self.settings.capacity.manifest_deadline();
        let bytes = body.small(DOCUMENT_MAX, deadline).await?;
        // A list would be taken for the members in their order, without their names.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(ErrorKind::RequestInvalid.error("the document has to be an object"));
        }
        let malformed =
            |error| ErrorKind::RequestInvalid.error(format!("the document can't be used: {error}"));
        // What it says is logged, kept and shown to others.
        if shows_secret(&serde_json::from_slice(&bytes).map_err(malformed)?) {
            return Err(ErrorKind::RequestInvalid.error(
                "there is a key or token in the document, where none belongs; name a key by its \
                 id, and whoever holds it by their name",
            ));
        }
        serde_json::from_slice(&bytes).map_err(malformed)
    }
}

/// Whether a text in the document, or the name of a member, is written like a key or
/// token. The document is small, and is read with a limit to its depth.
fn shows_secret(document: &Value) -> bool {
    match document {
        Value::String(text) => holds_secret(text),
        Value::Array(items) => items.iter().any(shows_secret),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| holds_secret(name) || shows_secret(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn done() -> Response<Body> {
    respond_empty(StatusCode::NO_CONTENT)
}

fn answer(status: StatusCode, document: &impl Serialize) -> Result<Response<Body>> {
    let document = serde_json::to_vec(document)
        .map_err(|source| Error::internal("an answer could not be written", source))?;
    Ok(respond_json(status, JSON, document))
}

fn clamp(page: &PageRequest) -> PageRequest {
    super::clamp(page, PAGE_MAX)
}
