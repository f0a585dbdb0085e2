//! Roles: actions under one name.

use std::fmt;

use registry_core::{Action, Actions};

/// A set of actions that has a name. Each of these has all that the one before
/// has, but for the auditor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    name: &'static str,
    actions: &'static [Action],
}

impl Role {
    /// Sees that repositories exist, and pulls.
    pub const READER: Self = Self {
        name: "reader",
        actions: &[Action::List, Action::Pull],
    };

    /// Also pushes, and moves tags.
    pub const WRITER: Self = Self {
        name: "writer",
        actions: &[Action::List, Action::Pull, Action::Push, Action::Overwrite],
    };

    /// Also deletes.
    pub const MAINTAINER: Self = Self {
        name: "maintainer",
        actions: &[
            Action::List,
            Action::Pull,
            Action::Push,
            Action::Overwrite,
            Action::Delete,
        ],
    };

    /// Does everything, which includes managing.
    pub const ADMIN: Self = Self {
        name: "admin",
        actions: &Action::ALL,
    };

    /// Sees that repositories exist and how they are managed, and not what they
    /// hold.
    pub const AUDITOR: Self = Self {
        name: "auditor",
        actions: &[Action::List, Action::Audit],
    };

    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::READER,
        Self::WRITER,
        Self::MAINTAINER,
        Self::ADMIN,
        Self::AUDITOR,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// What it may do.
    pub fn actions(self) -> Actions {
        self.actions.iter().copied().collect()
    }

    /// The role that may do exactly `actions`.
    pub(crate) fn of(actions: Actions) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.actions() == actions)
    }
}

impl From<Role> for Actions {
    fn from(role: Role) -> Self {
        role.actions()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
