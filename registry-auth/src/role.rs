//! Roles: actions under one name.

use std::borrow::Cow;
use std::fmt;

use registry_core::{Action, Actions, ErrorKind, Result};

/// A set of actions that has a name. Each of these has all that the one before
/// has, but for the auditor.
///
/// [Others](Self::new) can stand in [sentences](crate::Rules::sentence) once
/// [they are known](crate::Rules::role).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    name: Cow<'static, str>,
    actions: Cow<'static, [Action]>,
}

impl Role {
    /// Sees that repositories exist, and pulls.
    pub const READER: Self = Self {
        name: Cow::Borrowed("reader"),
        actions: Cow::Borrowed(&[Action::List, Action::Pull]),
    };

    /// Also pushes, and moves tags.
    pub const WRITER: Self = Self {
        name: Cow::Borrowed("writer"),
        actions: Cow::Borrowed(&[Action::List, Action::Pull, Action::Push, Action::Overwrite]),
    };

    /// Also deletes.
    pub const MAINTAINER: Self = Self {
        name: Cow::Borrowed("maintainer"),
        actions: Cow::Borrowed(&[
            Action::List,
            Action::Pull,
            Action::Push,
            Action::Overwrite,
            Action::Delete,
        ]),
    };

    /// Does everything, which includes managing.
    pub const ADMIN: Self = Self {
        name: Cow::Borrowed("admin"),
        actions: Cow::Borrowed(&Action::ALL),
    };

    /// Sees that repositories exist and how they are managed, and not what they
    /// hold.
    pub const AUDITOR: Self = Self {
        name: Cow::Borrowed("auditor"),
        actions: Cow::Borrowed(&[Action::List, Action::Audit]),
    };

    /// All that are ready-made.
    pub const ALL: [Self; 5] = [
        Self::READER,
        Self::WRITER,
        Self::MAINTAINER,
        Self::ADMIN,
        Self::AUDITOR,
    ];

    /// One that may do `actions`.
    ///
    /// # Errors
    ///
    /// [`RequestInvalid`](ErrorKind::RequestInvalid) if it has no name, or one that
    /// means a ready-made role, or nothing that it may do.
    pub fn new(name: impl Into<Cow<'static, str>>, actions: impl Into<Actions>) -> Result<Self> {
        let (name, actions) = (name.into(), actions.into());
        let singular = name.strip_suffix('s').unwrap_or(&name);
        let wrong = |reason: String| Err(ErrorKind::RequestInvalid.error(reason));
        if name.is_empty() {
            wrong("the name of a role is missing".to_owned())
        } else if Self::ALL
            .iter()
            .any(|role| role.name == name || role.name == singular)
        {
            wrong(format!(
                "the role `{singular}` is ready-made; choose another name"
            ))
        } else if actions.is_empty() {
            wrong(format!(
                "the role `{name}` may do nothing; list its actions"
            ))
        } else {
            Ok(Self {
                name,
                actions: actions.iter().collect(),
            })
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it may do.
    pub fn actions(&self) -> Actions {
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
        f.write_str(&self.name)
    }
}
