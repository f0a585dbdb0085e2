//! Policies: what may they do?

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use registry_core::{Actions, RepositoryName, RequestOrigin, Tag};

use crate::Principal;

/// What a policy is asked.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who asks; absent if anonymous.
    pub principal: Option<&'a Principal>,
    /// The repository concerned. Whether it exists is no part of the question.
    pub repository: &'a RepositoryName,
    /// The tags concerned: what isn't allowed for each of them isn't allowed.
    pub tags: &'a [Tag],
    /// Where the request came from.
    pub origin: &'a RequestOrigin,
}

impl<'a> Question<'a> {
    /// What `principal` may do in `repository` as a whole.
    pub fn new(
        principal: Option<&'a Principal>,
        repository: &'a RepositoryName,
        origin: &'a RequestOrigin,
    ) -> Self {
        Self {
            principal,
            repository,
            tags: &[],
            origin,
        }
    }
}

/// What a policy answers: what it allows, and what it denies and why. About
/// everything else it abstains.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    allowed: Actions,
    denied: Actions,
    reason: Option<Cow<'static, str>>,
}

impl Decision {
    /// Leaves it to others.
    pub const ABSTAIN: Self = Self {
        allowed: Actions::NONE,
        denied: Actions::NONE,
        reason: None,
    };

    /// Allows `actions`, unless somebody denies them.
    pub fn allow(actions: impl Into<Actions>) -> Self {
        Self {
            allowed: actions.into(),
            ..Self::ABSTAIN
        }
    }

    /// Denies `actions`, whoever allows them. `reason` is shown to callers who
    /// may pull from the repository: in lower case, saying what to do.
    pub fn deny(actions: impl Into<Actions>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            denied: actions.into(),
            reason: Some(reason.into()),
            ..Self::ABSTAIN
        }
    }

    /// Both decisions together; the first reason stays.
    pub fn and(self, other: Self) -> Self {
        Self {
            allowed: self.allowed | other.allowed,
            denied: self.denied | other.denied,
            reason: self.reason.or(other.reason),
        }
    }

    /// What may be done: allowed and not denied.
    pub fn granted(&self) -> Actions {
        self.allowed
            .iter()
            .filter(|action| !self.denied.contains((*action).into()))
            .collect()
    }

    /// Why any of `actions` is denied, if it is.
    pub fn reason(&self, actions: Actions) -> Option<&str> {
        let concerned = !self.denied.intersection(actions).is_empty();
        self.reason.as_deref().filter(|_| concerned)
    }
}

/// Decides what may be done.
///
/// It is asked for every request and for every name in a listing, so it is
/// quick and doesn't wait for anything: what has to be fetched about somebody
/// is fetched by the [`Authenticator`](crate::Authenticator).
pub trait Policy: fmt::Debug + Send + Sync + 'static {
    /// What it has to say about `question`.
    fn decide(&self, question: &Question<'_>) -> Decision;

    /// Whether somebody may gain anything by saying who they are. If so,
    /// clients are asked to log in before they start.
    fn rewards_login(&self) -> bool {
        true
    }

    /// Whether everybody may do everything everywhere.
    fn is_open(&self) -> bool {
        false
    }
}

#[deny(clippy::missing_trait_methods)]
impl<P: Policy + ?Sized> Policy for Arc<P> {
    fn decide(&self, question: &Question<'_>) -> Decision {
        (**self).decide(question)
    }

    fn rewards_login(&self) -> bool {
        (**self).rewards_login()
    }

    fn is_open(&self) -> bool {
        (**self).is_open()
    }
}

/// Everybody may do everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open;

impl Policy for Open {
    fn decide(&self, _: &Question<'_>) -> Decision {
        Decision::allow(Actions::ALL)
    }

    fn rewards_login(&self) -> bool {
        false
    }

    fn is_open(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use registry_core::{Action, Actions};

    use super::Decision;

    #[test]
    fn a_denial_wins_in_either_order() {
        let allow = Decision::allow(Actions::ALL);
        let deny = Decision::deny(Action::Delete, "ask the release team");
        for both in [allow.clone().and(deny.clone()), deny.and(allow)] {
            assert!(!both.granted().contains(Action::Delete.into()));
            assert!(both.granted().contains([Action::Pull, Action::Push].into()));
            assert_eq!(
                both.reason(Action::Delete.into()),
                Some("ask the release team")
            );
            assert_eq!(both.reason(Action::Pull.into()), None);
        }
    }

    #[test]
    fn abstaining_grants_nothing() {
        assert_eq!(
            Decision::ABSTAIN.and(Decision::ABSTAIN).granted(),
            Actions::NONE
        );
    }
}
