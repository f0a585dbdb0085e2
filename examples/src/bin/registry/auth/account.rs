//! What the account of a robot says to what the robot may do.

use std::path::PathBuf;

use registry_auth::{Keys, Principal, Robot};
use registry_examples::configuration::{Configuration, Storage};

use super::place;
use crate::problem::Failure;
use crate::setup;

/// Where the accounts of robots are.
pub(super) enum Accounts {
    /// Below this data directory.
    Below(PathBuf),
    /// Nobody said.
    Unsaid,
    /// Where only the server, or another service, reaches them.
    Elsewhere,
}

/// What is known of the account of a robot.
pub(super) enum Account {
    Known(Robot),
    /// There is none, as somebody looked.
    Missing,
    /// Nobody looked; this is to be said.
    NotRead(&'static str),
}

impl Accounts {
    /// Those of the data directory that was named, if one was.
    pub(super) fn of_root(root: Option<PathBuf>) -> Result<Self, Failure> {
        Ok(match root {
            Some(root) => {
                place::require(&root)?;
                place::require_data_or_nothing(&root)?;
                Self::Below(root)
            }
            None => Self::Unsaid,
        })
    }

    /// Those of a server that is configured like this, unless a directory was named.
    pub(super) fn or_of(self, configuration: &Configuration) -> Self {
        match (self, &configuration.storage) {
            (Self::Below(root), _) => Self::Below(root),
            (_, Storage::Filesystem(root)) if configuration.auth.keys => Self::Below(root.clone()),
            _ => Self::Elsewhere,
        }
    }

    /// What is known of the robot called `name`.
    pub(super) async fn account(self, name: &str) -> Result<Account, Failure> {
        let root = match self {
            Self::Below(root) => root,
            Self::Unsaid => {
                return Ok(Account::NotRead(
                    "; of its groups, only those given with `--group` count here: its account is \
                     read with `--root DIRECTORY` or `--config CONFIG`",
                ));
            }
            Self::Elsewhere => {
                return Ok(Account::NotRead(
                    "; of its groups, only those given with `--group` count here: its account \
                     can't be read",
                ));
            }
        };
        // A question makes nothing where no server was yet.
        if !setup::has_records(&root) {
            return Ok(Account::Missing);
        }
        let found = Keys::new(setup::records(&root)?).robot(name).await?;
        Ok(found.map_or(Account::Missing, Account::Known))
    }
}

impl Account {
    /// The robot, in the groups that its account is in.
    pub(super) fn with_groups(&self, robot: Principal) -> Principal {
        match self {
            Self::Known(known) => {
                let groups = known.groups.iter().cloned();
                groups.fold(robot, Principal::member_of)
            }
            Self::Missing | Self::NotRead(_) => robot,
        }
    }

    /// Why the robot may do nothing, whatever the rules say.
    pub(super) fn nothing(&self) -> Option<&'static str> {
        match self {
            Self::Known(known) => known.disabled.then_some("it is disabled"),
            Self::Missing => Some("there is no such robot"),
            Self::NotRead(_) => None,
        }
    }

    /// What to say behind an answer that knows less than the server.
    pub(super) fn doubt(&self) -> Option<&'static str> {
        match self {
            Self::NotRead(words) => Some(words),
            Self::Known(_) | Self::Missing => None,
        }
    }
}
