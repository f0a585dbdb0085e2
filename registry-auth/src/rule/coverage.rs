//! Whether what one rule is about is all in another.

use std::time::SystemTime;

use registry_core::{Action, Actions};

use super::{Rule, Who};
use crate::{Effect, Pattern};

impl Rule {
    pub(crate) fn allows(&self, action: Action) -> bool {
        self.effect == Effect::Allow && self.actions.contains(Actions::from(action))
    }

    /// Whether it doesn't ask where somebody comes from.
    pub(crate) fn is_from_anywhere(&self) -> bool {
        self.networks.is_empty()
    }

    /// Whether it held until some time before `now`.
    pub(crate) fn is_over(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|end| end <= now)
    }

    pub(crate) fn except_for(&self) -> &[Who] {
        &self.except
    }

    /// Whether it holds wherever and whenever `other` does in the repositories
    /// of `pattern`, whomever both are about.
    pub(crate) fn holds_where(&self, other: &Self, pattern: &Pattern) -> bool {
        let has_tags = self.tags.is_empty()
            || !other.tags.is_empty() && other.tags.iter().all(|tag| self.tags.contains(tag));
        self.repositories.iter().any(|own| own.covers(pattern))
            && has_tags
            && self.except.iter().all(|who| other.except.contains(who))
            && (self.networks.is_empty() || self.networks == other.networks)
            && (self.times.is_empty() || self.times == other.times)
            && (self.until.is_none() || self.until == other.until)
    }
}

impl Who {
    /// Whether all of `other` are among these, as far as it shows without
    /// knowing who is in which groups.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anyone, _)
            | (
                Self::SignedIn,
                Self::SignedIn | Self::Robots | Self::User(_) | Self::Robot(_) | Self::Group(_),
            )
            | (Self::Robots, Self::Robot(_)) => true,
            (
                Self::Workload { issuer, claims },
                Self::Workload {
                    issuer: of_other,
                    claims: others,
                },
            ) => issuer == of_other && claims.iter().all(|claim| others.contains(claim)),
            _ => self == other,
        }
    }
}
