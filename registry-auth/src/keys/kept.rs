//! What is kept of robots and keys.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use registry_core::{Error, ErrorKind, Result, Scopes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ApiKey, GROUPS_MAX, Robot, RobotChange, TEXT_MAX};
use crate::{Principal, TokenIssuer, TokenLimits, holds_secret};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptRobot {
    /// Which of the robots that had this name: 16 digits.
    pub(super) id: String,
    pub(super) description: String,
    pub(super) groups: BTreeSet<String>,
    pub(super) disabled: bool,
    pub(super) created: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptKey {
    pub(super) hash: String,
    pub(super) owner: String,
    /// Which robot it is of; absent if of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) robot: Option<String>,
    pub(super) source: String,
    /// Which of the users who had this name, in 32 digits; absent if the source
    /// doesn't tell, and of robots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<String>,
    pub(super) label: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scopes: Option<String>,
    pub(super) created: u64,
    /// How many nanoseconds after that, if there are scopes: a repository may have been
    /// deleted in the same second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created_nanos: Option<u32>,
    /// How many repositories of the names in its scopes had been deleted by then, as
    /// far as that was known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) epochs: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) used: Option<u64>,
}

impl KeptRobot {
    pub(super) fn changed(mut self, change: RobotChange) -> Result<Self> {
        if let Some(description) = change.description {
            check_text(&description)?;
            self.description = description;
        }
        if let Some(groups) = change.groups {
            if groups.len() > GROUPS_MAX || groups.contains("") {
                return Err(ErrorKind::RequestInvalid
                    .error("a robot has 64 groups at most, each with a name"));
            }
            groups.iter().try_for_each(|group| check_text(group))?;
            let said_twice = |group: &String| group.starts_with("group ");
            if let Some(group) = groups.iter().find(|group| said_twice(group)) {
                let name = group.trim_start_matches("group ");
                return Err(ErrorKind::RequestInvalid.error(format!(
                    "groups are called by their names alone; write `{name}` in place of `{group}`"
                )));
            }
            self.groups = groups;
        }
        self.disabled = change.disabled.unwrap_or(self.disabled);
        Ok(self)
    }

    /// The robot as the holder of one of its keys.
    pub(super) fn principal(&self, name: &str, key: &str) -> Principal {
        let robot = self
            .groups
            .iter()
            .fold(Principal::robot(name), |robot, group| {
                robot.member_of(group.as_str())
            });
        match stamp(&self.id, key) {
            Some(stamp) => robot.with_stamp(stamp),
            None => robot,
        }
    }

    pub(super) fn shown(&self, name: &str, version: u64) -> Robot {
        Robot {
            name: name.to_owned(),
            description: self.description.clone(),
            groups: self.groups.clone(),
            disabled: self.disabled,
            created_at: time(self.created),
            version,
        }
    }

    pub(super) fn read(value: &[u8]) -> Result<Self> {
        read(value)
    }

    pub(super) fn write(&self) -> Result<Vec<u8>> {
        write(self)
    }
}

impl KeptKey {
    pub(super) fn shown(&self, id: &str, expires_at: Option<SystemTime>) -> ApiKey {
        ApiKey {
            id: id.to_owned(),
            label: self.label.clone(),
            scopes: self.scopes.as_deref().map(|scopes| Scopes::parse([scopes])),
            created_at: time(self.created),
            expires_at,
            used_at: self.used.map(time),
        }
    }

    /// What the key limits its owner to, if it does.
    pub(super) fn limits(&self) -> Result<Option<TokenLimits>> {
        let Some(scopes) = &self.scopes else {
            return Ok(None);
        };
        let scopes = Scopes::parse([scopes.as_str()]);
        let nanos = Duration::from_nanos(self.created_nanos.unwrap_or_default().into());
        let second = time(self.created);
        let created_at = second.checked_add(nanos).unwrap_or(second);
        let mut limits = TokenLimits::new(scopes, TokenIssuer::Own, created_at);
        for (repository, number) in &self.epochs {
            limits = limits.with_epoch(repository.parse()?, *number);
        }
        Ok(Some(limits))
    }

    pub(super) fn read(value: &[u8]) -> Result<Self> {
        read(value)
    }

    pub(super) fn write(&self) -> Result<Vec<u8>> {
        write(self)
    }
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Result<T> {
    serde_json::from_slice(value)
        .map_err(|source| Error::internal("what is kept of a robot or key is damaged", source))
}

fn write<T: Serialize>(kept: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(kept)
        .map_err(|source| Error::internal("a robot or key could not be kept", source))
}

/// Refuses what is too long to be shown, could not be, or must not be.
pub(super) fn check_text(text: &str) -> Result<()> {
    if text.len() > TEXT_MAX || text.contains(char::is_control) {
        return Err(ErrorKind::RequestInvalid
            .error("a label, description or group must have 128 bytes at most, in one line"));
    }
    if holds_secret(text) {
        return Err(ErrorKind::RequestInvalid.error(
            "a key or token must not be in a name, label, description or group, where it is shown; \
             leave it out, and revoke it if others may have seen it",
        ));
    }
    Ok(())
}

/// An identity as it is kept.
pub(super) fn digits(identity: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*identity))
}

/// A robot and one of its keys as the stamp of a principal: tokens that were given
/// for the key end with it.
fn stamp(robot: &str, key: &str) -> Option<[u8; 16]> {
    let number = u128::from_str_radix(&format!("{robot}{key}"), 16).ok()?;
    Some(number.to_be_bytes())
}

/// The id of the key that is in a stamp.
pub(super) fn key_id(stamp: &[u8; 16]) -> String {
    let number = u128::from_be_bytes(*stamp) & u128::from(u64::MAX);
    format!("{number:016x}")
}

pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// What of a time is behind its last whole second.
pub(super) fn nanoseconds(time: SystemTime) -> u32 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .subsec_nanos()
}

pub(super) fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It is all of both, in the order in which they stand there.
        #[test]
        fn s_19_no_two_robots_with_their_keys_have_one_stamp(robot: u64, key: u64) {
            let [robot, key] = [robot, key].map(|id| format!("{id:016x}"));
            let stamp = stamp(&robot, &key).unwrap();
            prop_assert_eq!(digits(&stamp), format!("{robot}{key}"));
            prop_assert_eq!(key_id(&stamp), key);
        }
    }
}
