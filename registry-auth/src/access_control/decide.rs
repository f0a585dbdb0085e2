//! What somebody known, or nobody known, may do.

use std::sync::Arc;
use std::time::SystemTime;

use registry_core::{
    Access, Action, Actions, Actor, CatalogAccess, ErrorKind, Need, Operation, RepositoryName,
    RequestOrigin, Result, Visibility,
};

use super::refusal::login_required;
use super::{Grant, Inner};
use crate::{Decision, Policy, Principal, PrincipalKind, Question, TokenLimits};

/// Several policies as one: what any of them denies is denied.
#[derive(Debug, Clone)]
pub(super) struct Policies(Vec<Arc<dyn Policy>>);

/// Somebody who asks, after it was found out who that is.
pub(super) struct Known {
    principal: Option<Principal>,
    origin: RequestOrigin,
    at: SystemTime,
    actor: Arc<Actor>,
}

impl Known {
    pub(super) fn new(principal: Option<Principal>, origin: RequestOrigin, at: SystemTime) -> Self {
        let known = principal
            .as_ref()
            .filter(|principal| principal.kind() != PrincipalKind::Anonymous);
        Self {
            actor: Arc::new(Actor {
                name: known.map(Principal::to_string),
                request: Some(origin.clone()),
            }),
            principal,
            origin,
            at,
        }
    }

    fn is_unknown(&self) -> bool {
        self.actor.name.is_none()
    }

    fn limits(&self) -> Option<&TokenLimits> {
        self.principal.as_ref().and_then(Principal::limits)
    }

    /// What the token covers in `repository`; everything without one.
    fn covered(&self, repository: &RepositoryName) -> Actions {
        self.limits().map_or(Actions::ALL, |limits| {
            limits.scopes().actions(repository).unwrap_or_default()
        })
    }

    fn question<'a>(&'a self, repository: &'a RepositoryName) -> Question<'a> {
        Question::new(self.principal.as_ref(), repository, &self.origin, self.at)
    }
}

impl Inner {
    pub(super) fn decide(&self, operation: &Operation, caller: &Arc<Known>) -> Result<Grant> {
        let mut grant = Grant {
            target: None,
            source: None,
            catalog: None,
            actor: Arc::clone(&caller.actor),
        };
        match operation {
            Operation::Ping => self.require_login(caller)?,
            Operation::ListRepositories { .. } => {
                self.require_login(caller)?;
                grant.catalog = Some(self.policies.catalog(caller)?);
            }
            _ => {
                let need = operation.need().ok_or_else(|| {
                    ErrorKind::Internal.error("nobody knows what this operation needs")
                })?;
                grant.target = Some(self.target(&need, caller)?);
            }
        }
        if let Operation::MountBlob { from, .. } = operation {
            match operation.source_need() {
                Some(need) => grant.source = self.policies.access(&need, caller).ok(),
                None if from.is_none() => grant.catalog = Some(self.policies.sources(caller)),
                None => {}
            }
        }
        Ok(grant)
    }

    /// Refuses anonymous callers if anything needs a login: clients only send
    /// credentials once they were asked to, and they ask here first. Whoever
    /// has a token was asked before.
    fn require_login(&self, caller: &Known) -> Result<()> {
        if caller.principal.is_none() && self.can_login() && self.policies.reward_login() {
            Err(login_required())
        } else {
            Ok(())
        }
    }

    fn target(&self, need: &Need, caller: &Known) -> Result<Access> {
        self.policies.access(need, caller).map_err(|error| {
            if caller.is_unknown() && self.can_login() {
                login_required()
            } else {
                error
            }
        })
    }
}

impl Policies {
    pub(super) fn new(policy: impl Policy) -> Self {
        Self(vec![Arc::new(policy)])
    }

    pub(super) fn push(&mut self, policy: impl Policy) {
        self.0.push(Arc::new(policy));
    }

    /// Whether nobody is to know `principal` any more.
    pub(super) fn disable(&self, principal: &Principal) -> bool {
        self.0.iter().any(|policy| policy.is_disabled(principal))
    }

    fn reward_login(&self) -> bool {
        self.0.iter().any(Policy::rewards_login)
    }

    /// Management is for those who are known, whatever the policies say.
    fn decide(&self, question: &Question<'_>) -> Decision {
        let decision = self.0.iter().fold(Decision::ABSTAIN, |decision, policy| {
            decision.and(policy.decide(question))
        });
        if question.principal.is_none() {
            decision.and(Decision::deny_silently([Action::Administer, Action::Audit]))
        } else {
            decision
        }
    }

    fn access(&self, need: &Need, caller: &Known) -> Result<Access> {
        let mut question = caller.question(&need.repository);
        question.tags = &need.tags;
        let decision = self.decide(&question);
        let granted = decision
            .granted()
            .intersection(caller.covered(&need.repository));
        Access::granted(need, granted, Arc::clone(&caller.actor)).map_err(|error| {
            // Only those who may know of the repository learn why.
            match decision.reason(need.actions) {
                Some(reason) if granted.contains(Action::Pull.into()) => {
                    ErrorKind::Denied.error(reason)
                }
                _ => error,
            }
        })
    }

    /// The repositories whose names the caller may see.
    fn catalog(&self, caller: &Arc<Known>) -> Result<CatalogAccess> {
        match caller.limits() {
            Some(limits) if !limits.scopes().catalog() => {
                Err(ErrorKind::Denied.error("the token doesn't cover this; ask for another one"))
            }
            _ => Ok(self.visible(caller, |_, _| true)),
        }
    }

    /// The repositories whose content the caller may take over.
    fn sources(&self, caller: &Arc<Known>) -> CatalogAccess {
        self.visible(caller, |caller, repository| {
            caller.covered(repository).contains(Action::Pull.into())
        })
    }

    fn visible(
        &self,
        caller: &Arc<Known>,
        covered: fn(&Known, &RepositoryName) -> bool,
    ) -> CatalogAccess {
        let everything = caller.limits().is_none() && self.0.iter().all(Policy::is_open);
        let visible = if everything {
            Visibility::All
        } else {
            let policies = self.clone();
            let caller = Arc::clone(caller);
            Visibility::Only(Arc::new(move |repository| {
                covered(&caller, repository) && policies.may_pull(repository, &caller)
            }))
        };
        CatalogAccess::granted(visible, Arc::clone(&caller.actor))
    }

    fn may_pull(&self, repository: &RepositoryName, caller: &Known) -> bool {
        self.decide(&caller.question(repository))
            .granted()
            .contains(Action::Pull.into())
    }
}
