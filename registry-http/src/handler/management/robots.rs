//! Robots: accounts for programs.

use http::{Response, StatusCode};
use registry_auth::{Keys, ManagementGrant, Principal, Robot, RobotChange};
use registry_core::{Error, ErrorKind, PageRequest, Result};
use serde::Serialize;

use super::document::{ChangedRobot, NewRobot, ShownRobot};
use super::{answer, clamp};
use crate::Body;

#[derive(Serialize)]
struct Robots {
    robots: Vec<ShownRobot>,
    /// Where the list goes on (`?last=`).
    next: Option<String>,
}

pub(super) async fn list(keys: &Keys, page: &PageRequest) -> Result<Response<Body>> {
    let found = keys.robots(clamp(page)).await?;
    let robots = Robots {
        robots: found.items.into_iter().map(ShownRobot::from).collect(),
        next: found.next,
    };
    answer(StatusCode::OK, &robots)
}

pub(super) async fn create(
    keys: &Keys,
    grant: &ManagementGrant,
    new: NewRobot,
) -> Result<Response<Body>> {
    let robot = principal(&new.name, new.groups.iter().map(String::as_str));
    grant.require_giving(&robot, None)?;
    let change = RobotChange {
        description: Some(new.description),
        groups: Some(new.groups),
        disabled: Some(new.disabled),
    };
    let made = keys.create_robot(&new.name, change, grant.at()).await?;
    tracing::info!(%robot, actor = %grant.principal(), "a robot was made");
    answer(StatusCode::CREATED, &ShownRobot::from(made))
}

pub(super) async fn show(keys: &Keys, name: &str) -> Result<Response<Body>> {
    let robot = keys.robot(name).await?.ok_or_else(no_robot)?;
    answer(StatusCode::OK, &ShownRobot::from(robot))
}

/// What takes from a robot is for whoever manages; what gives to it is for those
/// who may do as much. To leave a group can give, too: something may be denied to
/// it.
pub(super) async fn change(
    keys: &Keys,
    grant: &ManagementGrant,
    name: &str,
    changed: ChangedRobot,
) -> Result<Response<Body>> {
    let (_, known) = owner(keys, name).await?;
    let gives = changed
        .groups
        .as_ref()
        .is_some_and(|groups| *groups != known.groups)
        || (known.disabled && changed.disabled == Some(false));
    if gives {
        let groups = changed.groups.as_ref().unwrap_or(&known.groups);
        let robot = principal(name, groups.iter().map(String::as_str));
        grant.require_giving(&robot, None)?;
    }
    let change = RobotChange {
        description: changed.description,
        groups: changed.groups,
        disabled: changed.disabled,
    };
    let changed = keys.change_known_robot(&known, change).await?;
    answer(StatusCode::OK, &ShownRobot::from(changed))
}

/// The robot as the owner of keys, and what is known of it.
pub(super) async fn owner(keys: &Keys, name: &str) -> Result<(Principal, Robot)> {
    let robot = keys.robot(name).await?.ok_or_else(no_robot)?;
    let owner = principal(name, robot.groups.iter().map(String::as_str));
    Ok((owner, robot))
}

fn principal<'a>(name: &str, groups: impl Iterator<Item = &'a str>) -> Principal {
    groups.fold(Principal::robot(name), Principal::member_of)
}

fn no_robot() -> Error {
    ErrorKind::NotFound.error("there is no robot of this name")
}
