//! API keys, of robots and of users.

use std::collections::BTreeMap;
use std::time::SystemTime;

use http::{Response, StatusCode};
use registry_auth::{
    AccessControl, ApiKey, Keys, ManagementGrant, NewKey, Principal, Robot, Secret,
};
use registry_core::{ErrorKind, PageRequest, Result};
use serde::Serialize;

use super::document::{MadeKey, RequestedKey, ShownKey, scopes, time};
use super::{answer, clamp};
use crate::Body;

#[derive(Serialize)]
struct ListedKeys {
    keys: Vec<ShownKey>,
    /// Where the list goes on (`?last=`).
    next: Option<String>,
}

pub(super) async fn list(
    keys: &Keys,
    owner: &Principal,
    page: &PageRequest,
) -> Result<Response<Body>> {
    let found = keys.list(owner, clamp(page)).await?;
    let listed = ListedKeys {
        keys: found.items.into_iter().map(ShownKey::from).collect(),
        next: found.next,
    };
    answer(StatusCode::OK, &listed)
}

/// Whoever makes a key for a robot could use it.
pub(super) async fn create_for_robot(
    keys: &Keys,
    access: &AccessControl,
    grant: &ManagementGrant,
    owner: &Principal,
    robot: &Robot,
    new: RequestedKey,
) -> Result<Response<Body>> {
    let covered = new.scopes.as_deref().map(scopes).transpose()?;
    grant.require_giving(owner, covered.as_ref())?;
    let new = requested(access, new, grant.at()).await?;
    show(owner, keys.create_for_robot(robot, new, grant.at()).await?)
}

pub(super) async fn create(
    keys: &Keys,
    access: &AccessControl,
    owner: &Principal,
    new: RequestedKey,
    now: SystemTime,
) -> Result<Response<Body>> {
    let new = requested(access, new, now).await?;
    show(owner, keys.create(owner, new, now).await?)
}

async fn requested(access: &AccessControl, new: RequestedKey, now: SystemTime) -> Result<NewKey> {
    let expires_at = new.expires_at.as_deref().map(time).transpose()?;
    if expires_at.is_some_and(|end| end <= now) {
        return Err(ErrorKind::RequestInvalid.error("a key must end later than now"));
    }
    let scopes = new.scopes.as_deref().map(scopes).transpose()?;
    let epochs = match &scopes {
        Some(scopes) => access.epochs_of(scopes).await?,
        None => BTreeMap::new(),
    };
    Ok(NewKey {
        label: new.label,
        scopes,
        expires_at,
        epochs,
    })
}

fn show(owner: &Principal, (key, secret): (ApiKey, Secret)) -> Result<Response<Body>> {
    let made = MadeKey {
        key: key.into(),
        user: owner.to_string(),
        secret: secret.expose(),
    };
    answer(StatusCode::CREATED, &made)
}
