//! Robots, and the keys that they log in with.

use std::io::Write;
use std::process::ExitCode;
use std::time::SystemTime;

use jiff::Timestamp;
use registry_auth::{ApiKey, Keys, NewKey, Principal, Robot, RobotChange};
use registry_core::{Clock, ErrorKind, PageRequest, Result, Scopes, SystemClock};
use serde_json::{Value, json};

use super::answer_with;
use super::place::Data;
use crate::command_line::{KeyCommand, Owner, Place, RobotCommand};
use crate::problem::{Failure, sentence};
use crate::runtime;
use crate::setup;

/// How many are asked for at once.
const PAGE: usize = 1000;

/// The command that lists robots.
const ROBOTS: &str = "robot list";

/// Does what `registry auth robot` is told to.
pub(super) fn robot(command: RobotCommand) -> Result<ExitCode, Failure> {
    let change = |disabled| RobotChange {
        disabled: Some(disabled),
        ..RobotChange::default()
    };
    match command {
        RobotCommand::Create {
            name,
            groups,
            description,
            place,
        } => with_new_keys(&place, &place.new_data()?, async |keys| {
            let change = RobotChange {
                description: Some(description),
                groups: Some(groups.into_iter().collect()),
                ..RobotChange::default()
            };
            let robot = keys.create_robot(&name, change, SystemClock.now()).await?;
            Ok(shown(&place, &[robot], robot_as_json, robot_as_line))
        }),
        RobotCommand::List { place } => with_keys(&place, ROBOTS, async |keys| {
            let mut robots = Vec::new();
            let mut page = PageRequest::first(PAGE);
            loop {
                let found = keys.robots(page).await?;
                robots.extend(found.items);
                match found.next {
                    Some(next) => page = PageRequest::first(PAGE).after(Some(next)),
                    None => break,
                }
            }
            Ok(shown(&place, &robots, robot_as_json, robot_as_line))
        }),
        RobotCommand::Disable { name, place } => with_keys(&place, ROBOTS, async |keys| {
            let robot = keys.change_robot(&name, change(true)).await?;
            Ok(shown(&place, &[robot], robot_as_json, robot_as_line))
        }),
        RobotCommand::Enable { name, place } => with_keys(&place, ROBOTS, async |keys| {
            let robot = keys.change_robot(&name, change(false)).await?;
            Ok(shown(&place, &[robot], robot_as_json, robot_as_line))
        }),
        RobotCommand::Delete { name, place } => with_keys(&place, ROBOTS, async |keys| {
            keys.delete_robot(&name).await?;
            Ok(if place.json {
                format!("{:#}\n", json!({"name": name, "deleted": true}))
            } else {
                format!("the robot {name} was deleted, and its keys are refused\n")
            })
        }),
    }
}

/// Does what `registry auth key` is told to.
pub(super) fn key(command: KeyCommand) -> Result<ExitCode, Failure> {
    match command {
        KeyCommand::Create {
            robot,
            label,
            expires,
            scopes,
            place,
        } => with_new_keys(&place, &place.data()?, async |keys| {
            let now = SystemClock.now();
            let scopes = scopes.iter().map(String::as_str);
            let new = NewKey {
                label,
                scopes: (scopes.len() > 0)
                    .then(|| Scopes::parse_exactly(scopes))
                    .transpose()?,
                expires_at: expires,
                // The storage may be in use by a server: the time of the key tells.
                ..NewKey::default()
            };
            let (key, secret) = keys.create(&Principal::robot(&robot), new, now).await?;
            Ok(if place.json {
                let mut document = key_as_json(&key);
                if let Some(members) = document.as_object_mut() {
                    members.insert("secret".into(), secret.expose().into());
                    members.insert("user".into(), format!("robot${robot}").into());
                }
                format!("{document:#}\n")
            } else {
                // Beside the output, so that a script gets the key alone.
                let _ = writeln!(
                    std::io::stderr(),
                    "This is the password of `robot${robot}`; it isn't shown again."
                );
                format!("{}\n", secret.expose())
            })
        }),
        KeyCommand::List { owner, place } => with_keys(&place, ROBOTS, async |keys| {
            if !owner.user && keys.robot(&owner.name).await?.is_none() {
                let reason = format!("there is no robot `{}`", owner.name);
                return Err(ErrorKind::NotFound.error(reason));
            }
            let page = PageRequest::first(PAGE);
            let found = keys.list(&owner.principal(), page).await?;
            Ok(shown(&place, &found.items, key_as_json, key_as_line))
        }),
        KeyCommand::Revoke { owner, id, place } => {
            let user = if owner.user { " --user" } else { "" };
            let list = format!("key list {}{user}", owner.name);
            with_keys(&place, &list, async |keys| {
                let owner = owner.principal();
                keys.revoke(&owner, &id).await?;
                Ok(if place.json {
                    let owner = owner.to_string();
                    format!("{:#}\n", json!({"owner": owner, "revoked": true}))
                } else {
                    format!("a key of {owner} was revoked\n")
                })
            })
        }
    }
}

impl Owner {
    fn principal(&self) -> Principal {
        if self.user {
            Principal::new(&self.name)
        } else {
            Principal::robot(&self.name)
        }
    }
}

/// Opens what is kept beside the data, which has to be there. `list` is the command that
/// tells what there is.
fn with_keys(
    place: &Place,
    list: &str,
    work: impl AsyncFnOnce(&Keys) -> Result<String>,
) -> Result<ExitCode, Failure> {
    work_on(place, &place.data()?, list, work)
}

/// The same to make some, which are to be of use.
fn with_new_keys(
    place: &Place,
    data: &Data,
    work: impl AsyncFnOnce(&Keys) -> Result<String>,
) -> Result<ExitCode, Failure> {
    data.require_use_of_keys()?;
    work_on(place, data, ROBOTS, work)
}

fn work_on(
    place: &Place,
    data: &Data,
    list: &str,
    work: impl AsyncFnOnce(&Keys) -> Result<String>,
) -> Result<ExitCode, Failure> {
    let runtime = runtime::current_thread()?;
    let worked = runtime.block_on(async {
        let keys = Keys::new(setup::records(&data.root)?);
        work(&keys).await
    });
    let answer = worked.map_err(|error| {
        if error.kind() != ErrorKind::NotFound {
            return Failure::from(error);
        }
        let (sentence, flag) = (sentence(&error), place.flag());
        Failure::Other(format!(
            "{sentence}; `registry auth {list} {flag}` lists those that there are"
        ))
    })?;
    answer_with(&answer, true)
}

fn shown<T>(
    place: &Place,
    items: &[T],
    as_json: fn(&T) -> Value,
    as_line: fn(&T) -> String,
) -> String {
    if place.json {
        let items: Vec<_> = items.iter().map(as_json).collect();
        return format!("{:#}\n", Value::from(items));
    }
    let mut lines: Vec<_> = items.iter().map(as_line).collect();
    lines.push(String::new());
    lines.join("\n")
}

fn robot_as_json(robot: &Robot) -> Value {
    json!({
        "name": robot.name,
        "description": robot.description,
        "groups": robot.groups,
        "disabled": robot.disabled,
        "created_at": date(robot.created_at),
    })
}

fn robot_as_line(robot: &Robot) -> String {
    let groups: Vec<_> = robot.groups.iter().map(String::as_str).collect();
    let state = if robot.disabled {
        "disabled"
    } else {
        "enabled"
    };
    let (name, groups) = (&robot.name, groups.join(","));
    columns(&[name, state, &groups, &robot.description])
}

fn key_as_json(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "label": key.label,
        "scopes": key.scopes.as_ref().map(ToString::to_string),
        "created_at": date(key.created_at),
        "expires_at": key.expires_at.map(date),
        "used_at": key.used_at.map(date),
    })
}

fn key_as_line(key: &ApiKey) -> String {
    let or_never = |time: Option<SystemTime>| time.map_or_else(|| "never".to_owned(), date);
    let scopes = key.scopes.as_ref().map(ToString::to_string);
    columns(&[
        &key.id,
        &format!("ends {}", or_never(key.expires_at)),
        &format!("used {}", or_never(key.used_at)),
        scopes.as_deref().unwrap_or_default(),
        &key.label,
    ])
}

/// A line, which ends with the last column that holds something.
fn columns(columns: &[&str]) -> String {
    columns.join("\t").trim_end_matches('\t').to_owned()
}

/// To the second.
fn date(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(
        |_| "unknown".to_owned(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}
