//! Policies: what may they do?

use std::any::type_name;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use registry_core::{Action, Actions, Reach, RepositoryName, RequestOrigin, Tag};

use crate::{Principal, PrincipalKind, TokenLimits};

/// What a policy is asked.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who asks; absent if anonymous.
    pub principal: Option<&'a Principal>,
    /// The repository concerned; absent if it is the registry as a whole.
    /// Whether it exists is no part of the question.
    pub repository: Option<&'a RepositoryName>,
    /// The tags concerned: what isn't allowed for each of them isn't allowed.
    pub tags: &'a [Tag],
    /// Where the request came from.
    pub origin: &'a RequestOrigin,
    /// The time.
    pub at: SystemTime,
    /// What the caller's token, if there is one, covers. Nothing beyond it is
    /// allowed, whatever the answer.
    pub limits: Option<&'a TokenLimits>,
}

impl<'a> Question<'a> {
    /// What `principal` may do in `repository` as a whole.
    pub fn new(
        principal: Option<&'a Principal>,
        repository: &'a RepositoryName,
        origin: &'a RequestOrigin,
        at: SystemTime,
    ) -> Self {
        Self {
            repository: Some(repository),
            ..Self::registry(principal, origin, at)
        }
    }

    /// What `principal` may do with the registry as a whole.
    pub fn registry(
        principal: Option<&'a Principal>,
        origin: &'a RequestOrigin,
        at: SystemTime,
    ) -> Self {
        Self {
            principal: principal.filter(|known| known.kind() != PrincipalKind::Anonymous),
            repository: None,
            tags: &[],
            origin,
            at,
            limits: principal.and_then(Principal::limits),
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
    /// Why some of these are denied, one reason for each action.
    reasons: Vec<(Actions, Cow<'static, str>)>,
}

impl Decision {
    /// Leaves it to others.
    pub const ABSTAIN: Self = Self {
        allowed: Actions::NONE,
        denied: Actions::NONE,
        reasons: Vec::new(),
    };

    /// Allows `actions`, unless somebody denies them.
    pub fn allow(actions: impl Into<Actions>) -> Self {
        Self {
            allowed: actions.into(),
            ..Self::ABSTAIN
        }
    }

    /// Denies `actions`, whoever allows them. `reason` is shown to callers who
    /// may pull from the repository: in lower case, saying what to do. Who may not
    /// pull may not list either.
    pub fn deny(actions: impl Into<Actions>, reason: impl Into<Cow<'static, str>>) -> Self {
        let actions = hiding(actions.into());
        Self {
            reasons: vec![(actions, reason.into())],
            ..Self::deny_silently(actions)
        }
    }

    /// Denies `actions` without telling why. Who may not pull may not list either.
    pub fn deny_silently(actions: impl Into<Actions>) -> Self {
        Self {
            denied: hiding(actions.into()),
            ..Self::ABSTAIN
        }
    }

    /// Both decisions together; the first reason of each denial stays.
    pub fn and(mut self, other: Self) -> Self {
        self.allowed = self.allowed | other.allowed;
        self.denied = self.denied | other.denied;
        for (actions, reason) in other.reasons {
            let unexplained: Actions = actions
                .iter()
                .filter(|action| self.reason((*action).into()).is_none())
                .collect();
            if !unexplained.is_empty() {
                self.reasons.push((unexplained, reason));
            }
        }
        self
    }

    /// The same, with nothing allowed but what is in `actions`.
    pub(crate) fn within(self, actions: Actions) -> Self {
        Self {
            allowed: self.allowed.intersection(actions),
            ..self
        }
    }

    /// What is allowed by both, and denied by either.
    pub(crate) fn for_each(self, other: Self) -> Self {
        let allowed = self.allowed.intersection(other.allowed);
        Self {
            allowed,
            ..self.and(other)
        }
    }

    /// What is allowed, unless somebody denies it.
    pub fn allowed(&self) -> Actions {
        self.allowed
    }

    /// What is denied. Listing is among it if pulling is.
    pub fn denied(&self) -> Actions {
        self.denied
    }

    /// What may be done: allowed and not denied. Who may pull may also list, unless
    /// that is denied.
    pub fn granted(&self) -> Actions {
        let without = |denied: Actions| move |action: &Action| !denied.contains((*action).into());
        let mut granted: Actions = self.allowed.iter().filter(without(self.denied)).collect();
        if granted.contains(Action::Pull.into()) && !self.denied.contains(Action::List.into()) {
            granted = granted | Action::List.into();
        }
        granted
    }

    /// Why any of `actions` is denied, if it is and somebody said why.
    pub fn reason(&self, actions: Actions) -> Option<&str> {
        let mut reasons = self.reasons.iter();
        reasons
            .find(|(denied, _)| !denied.intersection(actions).is_empty())
            .map(|(_, reason)| reason.as_ref())
    }
}

/// What is denied with `actions`: where pulling is, lists show nothing, as they would
/// tell of what is kept from somebody.
fn hiding(actions: Actions) -> Actions {
    if actions.contains(Action::Pull.into()) {
        actions | Action::List.into()
    } else {
        actions
    }
}

/// What an [`Opinion`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It allows.
    Allow,
    /// It denies, whoever allows.
    Deny,
}

/// A part of a policy's answer, for whoever asks why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// The rule that speaks, or the policy.
    pub rule: String,
    /// Where it is written, such as `policy.yml:14`.
    pub place: Option<String>,
    /// Whether it allows or denies.
    pub effect: Effect,
    /// What it is about.
    pub actions: Actions,
    /// Why, if it says so.
    pub reason: Option<String>,
}

/// Where a policy allows, and where it denies, that repositories are listed.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Horizon {
    /// Outside of this it allows nobody to list or pull.
    pub allowed: Reach,
    /// In this it denies listing or pulling whatever there is.
    pub denied: Reach,
}

impl Default for Horizon {
    fn default() -> Self {
        Self {
            allowed: Reach::everywhere(),
            denied: Reach::nowhere(),
        }
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

    /// The parts that its [decision](Self::decide) is made of. Without parts of
    /// its own, the policy speaks as a whole.
    fn explain(&self, question: &Question<'_>) -> Vec<Opinion> {
        let decision = self.decide(question);
        let name = type_name::<Self>();
        let opinion = |effect, actions: Actions, reason: Option<&str>| Opinion {
            rule: name.rsplit("::").next().unwrap_or(name).to_owned(),
            place: None,
            effect,
            actions,
            reason: reason.map(str::to_owned),
        };
        [
            opinion(Effect::Allow, decision.allowed, None),
            opinion(
                Effect::Deny,
                decision.denied,
                decision.reason(decision.denied),
            ),
        ]
        .into_iter()
        .filter(|opinion| !opinion.actions.is_empty())
        .collect()
    }

    /// The most that it may decide about who asks `question`, elsewhere or at another
    /// time: all that may be allowed, and only what is denied whatever happens.
    fn at_most(&self, question: &Question<'_>) -> Decision {
        self.decide(question)
    }

    /// What it is sure to decide about who asks `question`, elsewhere and at any time,
    /// for what is to be handed on to `other`: only what is allowed whatever happens,
    /// and all that may be denied and isn't denied to `other` in the same way.
    #[allow(unused_variables, reason = "its name is for those who write another")]
    fn at_least(&self, question: &Question<'_>, other: &Principal) -> Decision {
        self.decide(question)
    }

    /// Where it allows, and where it denies, that repositories are listed, whichever
    /// `question` is about: how a list is made without walking through everything
    /// that the caller may not see. Without an answer, it could be anywhere.
    #[allow(unused_variables, reason = "its name is for those who write another")]
    fn horizon(&self, question: &Question<'_>) -> Horizon {
        Horizon::default()
    }

    /// Whether it could say otherwise of some tag than of `question`, as far as lists
    /// are concerned. If so, it is asked about each tag before that is listed.
    #[allow(unused_variables, reason = "its name is for those who write another")]
    fn lists_by_tag(&self, question: &Question<'_>) -> bool {
        true
    }

    /// Whether `principal` is to be treated as unknown, whatever it shows.
    #[allow(unused_variables, reason = "its name is for those who write another")]
    fn is_disabled(&self, principal: &Principal) -> bool {
        false
    }

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

    fn explain(&self, question: &Question<'_>) -> Vec<Opinion> {
        (**self).explain(question)
    }

    fn at_most(&self, question: &Question<'_>) -> Decision {
        (**self).at_most(question)
    }

    fn at_least(&self, question: &Question<'_>, other: &Principal) -> Decision {
        (**self).at_least(question, other)
    }

    fn horizon(&self, question: &Question<'_>) -> Horizon {
        (**self).horizon(question)
    }

    fn lists_by_tag(&self, question: &Question<'_>) -> bool {
        (**self).lists_by_tag(question)
    }

    fn is_disabled(&self, principal: &Principal) -> bool {
        (**self).is_disabled(principal)
    }

    fn rewards_login(&self) -> bool {
        (**self).rewards_login()
    }

    fn is_open(&self) -> bool {
        (**self).is_open()
    }
}

/// Everybody may do everything with content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open;

impl Policy for Open {
    fn decide(&self, _: &Question<'_>) -> Decision {
        let manages = [Action::Administer, Action::Audit];
        let content = Actions::ALL
            .iter()
            .filter(|action| !manages.contains(action));
        Decision::allow(content.collect::<Actions>())
    }

    /// There is no rule to name.
    fn explain(&self, _: &Question<'_>) -> Vec<Opinion> {
        Vec::new()
    }

    fn lists_by_tag(&self, _: &Question<'_>) -> bool {
        false
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
            assert_eq!(both.allowed(), Actions::ALL);
        }
    }

    #[test]
    fn each_denial_keeps_its_own_reason() {
        let delete = Decision::deny(Action::Delete, "one");
        let both = Decision::deny([Action::Delete, Action::Push], "two");
        let list = Decision::deny_silently(Action::List);
        let all = list.and(delete).and(both);
        let reason = |action: Action| all.reason(action.into());
        assert_eq!(reason(Action::Delete), Some("one"));
        assert_eq!(reason(Action::Push), Some("two"));
        assert_eq!(reason(Action::List), None);
        assert_eq!(
            all.denied(),
            [Action::List, Action::Delete, Action::Push].into()
        );
    }

    #[test]
    fn a_denial_of_pulling_is_one_of_listing_for_the_same_reason() {
        let both = Decision::allow([Action::List, Action::Pull, Action::Push]);
        for deny in [
            Decision::deny(Action::Pull, "ask"),
            Decision::deny_silently(Action::Pull),
        ] {
            assert_eq!(deny.denied(), [Action::List, Action::Pull].into());
            let decision = both.clone().and(deny.clone());
            assert_eq!(decision.granted(), Action::Push.into());
            let reason = |action: Action| decision.reason(action.into());
            assert_eq!(reason(Action::List), reason(Action::Pull));
        }
        let granted = both.and(Decision::deny_silently(Action::List)).granted();
        assert_eq!(granted, [Action::Pull, Action::Push].into());
    }

    #[test]
    fn abstaining_grants_nothing() {
        assert_eq!(
            Decision::ABSTAIN.and(Decision::ABSTAIN).granted(),
            Actions::NONE
        );
    }
}
