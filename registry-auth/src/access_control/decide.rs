//! What somebody known, or nobody known, may do.

use std::sync::Arc;
use std::time::SystemTime;

use registry_core::{
    Access, Action, Actions, Actor, CatalogAccess, Error, ErrorKind, Need, Operation, Reach,
    RepositoryName, RequestOrigin, Result, Scopes, Visibility,
};

use super::Inner;
use super::refusal::Refused;
use super::review::Reviewed;
use crate::{
    Decision, Opinion, Policy, Principal, PrincipalKind, Question, TokenLimits, wrong_credentials,
};

/// Several policies as one: what any of them denies is denied.
#[derive(Debug, Clone)]
pub(super) struct Policies(Vec<Arc<dyn Policy>>);

/// Somebody who asks, after it was found out who that is.
#[derive(Debug)]
pub(super) struct Known {
    principal: Option<Principal>,
    origin: RequestOrigin,
    at: SystemTime,
    actor: Arc<Actor>,
    bound: Bound,
    reviewed: Reviewed,
}

/// Which repositories a token is for, of those that it is shown for now.
#[derive(Debug, Default)]
pub(super) struct Bound {
    /// What it was for and is no more.
    outlived: Vec<RepositoryName>,
    /// What is known of the epochs by which that was found.
    epochs: Vec<(RepositoryName, u64)>,
}

impl Bound {
    /// # Errors
    ///
    /// As for a token that is no good, if it was for a repository that is gone.
    pub(super) fn require_current(&self, repository: &RepositoryName) -> Result<(), Refused> {
        if self.outlived.contains(repository) {
            Err(Refused::Token(wrong_credentials()))
        } else {
            Ok(())
        }
    }

    /// The same access, to the repository that was found to be that of the token.
    pub(super) fn bind(&self, access: Access) -> Access {
        let mut epochs = self.epochs.iter();
        match epochs.find(|(repository, _)| repository == access.repository()) {
            Some((_, number)) => access.in_epoch(*number),
            None => access,
        }
    }
}

/// What somebody is granted who asks for something.
#[derive(Debug, Default)]
pub(super) struct Rights {
    pub(super) target: Option<Access>,
    pub(super) source: Option<Access>,
    pub(super) catalog: Option<CatalogAccess>,
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
            bound: Bound::default(),
            reviewed: Reviewed::default(),
        }
    }

    /// Asking the same, as whom it is by now.
    pub(super) fn being(&self, principal: Option<Principal>) -> Self {
        Self {
            principal,
            origin: self.origin.clone(),
            at: self.at,
            actor: Arc::clone(&self.actor),
            bound: Bound::default(),
            reviewed: Reviewed::default(),
        }
    }

    pub(super) fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    pub(super) fn reviews(&self) -> &Reviewed {
        &self.reviewed
    }

    /// With a token that is for these.
    pub(super) fn bound(mut self, bound: Bound) -> Self {
        self.bound = bound;
        self
    }

    /// With what others have to say.
    pub(super) fn reviewed(mut self, reviewed: Reviewed) -> Self {
        self.reviewed = reviewed;
        self
    }

    pub(super) fn actor(&self) -> &Arc<Actor> {
        &self.actor
    }

    pub(super) fn origin(&self) -> &RequestOrigin {
        &self.origin
    }

    pub(super) fn at(&self) -> SystemTime {
        self.at
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.actor.name.is_none()
    }

    fn limits(&self) -> Option<&TokenLimits> {
        self.principal.as_ref().and_then(Principal::limits)
    }

    /// What the token covers in `repository`; everything without one.
    pub(super) fn covered(&self, repository: &RepositoryName) -> Actions {
        self.limits().map_or(Actions::ALL, |limits| {
            limits.scopes().actions(repository).unwrap_or_default()
        })
    }

    /// Whether there is a token that leaves out what `covers` looks for.
    fn is_limited(&self, covers: impl FnOnce(&Scopes) -> bool) -> bool {
        self.limits().is_some_and(|limits| !covers(limits.scopes()))
    }

    /// About `repository`, or the registry as a whole.
    fn question<'a>(&'a self, repository: Option<&'a RepositoryName>) -> Question<'a> {
        let mut question = Question::registry(self.principal.as_ref(), &self.origin, self.at);
        question.repository = repository;
        question
    }

    /// About what an operation needs.
    pub(super) fn question_of<'a>(&'a self, need: &'a Need) -> Question<'a> {
        let mut question = self.question(Some(&need.repository));
        question.tags = &need.tags;
        question
    }
}

impl Inner {
    pub(super) fn decide(
        &self,
        operation: &Operation,
        caller: &Arc<Known>,
    ) -> Result<Rights, Refused> {
        let mut grant = Rights::default();
        match operation {
            Operation::Ping => self.require_login(operation, caller)?,
            Operation::ListRepositories { .. } => {
                self.require_login(operation, caller)?;
                if caller.is_limited(Scopes::catalog) {
                    return Err(Refused::Uncovered(Scopes::of(operation)));
                }
                grant.catalog = Some(self.policies.catalog(caller, Action::List));
            }
            _ => {
                let need = operation.need().ok_or_else(|| {
                    ErrorKind::Internal.error("nobody knows what this operation needs")
                })?;
                grant.target = Some(self.target(operation, &need, caller)?);
            }
        }
        if matches!(operation, Operation::MountBlob { .. }) {
            match operation.source_need() {
                Some(need) => grant.source = self.source(operation, &need, caller)?,
                None if caller.is_limited(Scopes::anywhere) => {
                    return Err(Refused::Uncovered(Scopes::of(operation)));
                }
                // From wherever it is would be from where a review denies it, and
                // it can't be asked about every repository. Clients upload then.
                None if !self.reviews.is_empty() => {}
                None => grant.catalog = Some(self.policies.catalog(caller, Action::Pull)),
            }
        }
        Ok(grant)
    }

    /// Which of the repositories of an operation the token of `caller` is no longer
    /// for: they were deleted, although others may have their names by now. What it is
    /// for may be deleted right after, so a change requires the same of the repository
    /// once more.
    pub(super) async fn bound(&self, operation: &Operation, caller: &Known) -> Result<Bound> {
        let mut bound = Bound::default();
        if caller.limits().is_none() {
            return Ok(bound);
        }
        let source = operation.source_need();
        let source = source.as_ref().map(|need| &need.repository);
        for repository in operation.repository().into_iter().chain(source) {
            self.bind(repository, caller, &mut bound).await?;
        }
        Ok(bound)
    }

    /// The same of one repository.
    pub(super) async fn bind(
        &self,
        repository: &RepositoryName,
        caller: &Known,
        bound: &mut Bound,
    ) -> Result<()> {
        let Some(limits) = caller.limits() else {
            return Ok(());
        };
        let epoch = self.epoch(repository).await?;
        if limits.outlived(repository, epoch) && !caller.covered(repository).is_empty() {
            bound.outlived.push(repository.clone());
        }
        if self.epochs.is_some() {
            bound.epochs.push((repository.clone(), epoch.number));
        }
        Ok(())
    }

    /// Refuses anonymous callers if anything needs a login: clients only send
    /// credentials once they were asked to, and they ask here first. Whoever
    /// has a token was asked before.
    fn require_login(&self, operation: &Operation, caller: &Known) -> Result<(), Refused> {
        let may_gain = self.policies.reward_login() || !self.reviews.is_empty();
        if caller.principal.is_none() && self.can_login() && may_gain {
            Err(Refused::Unknown(Scopes::of(operation)))
        } else {
            Ok(())
        }
    }

    /// What may be done where the operation works. That a token covers too
    /// little, or is of a repository that is gone, is said only to whom the
    /// policies let go on: another one would help nobody else.
    fn target(
        &self,
        operation: &Operation,
        need: &Need,
        caller: &Arc<Known>,
    ) -> Result<Access, Refused> {
        let decision = self.policies.decide_on(need, caller);
        let decision = decision.and(caller.reviewed.target.clone());
        let (allowed, covered) = (decision.granted(), caller.covered(&need.repository));
        if !allowed.contains(need.actions) {
            self.tell_of_refusal(need, caller, &caller.reviewed.target);
            return Err(if !caller.is_unknown() || !self.can_login() {
                denied(&decision, need).into()
            } else if caller.principal.is_none() {
                Refused::Unknown(Scopes::of(operation))
            } else {
                Refused::Nobody(Scopes::of(operation))
            });
        }
        if !covered.contains(need.actions) {
            return Err(Refused::Uncovered(Scopes::of(operation)));
        }
        caller.bound.require_current(&need.repository)?;
        let granted = allowed.intersection(covered);
        let access = caller
            .bound
            .bind(Access::granted(need, granted, Arc::clone(&caller.actor))?);
        Ok(match operation {
            Operation::ListTags { .. } => self.policies.shown_tags(access, need, caller),
            _ => access,
        })
    }

    /// Why the rules don't let `caller` do what it needs, if one says so.
    pub(super) fn reason(&self, need: &Need, caller: &Known) -> Option<Error> {
        let decision = self.policies.decide_on(need, caller);
        let decision = decision.and(caller.reviewed.target.clone());
        if decision.granted().contains(need.actions) {
            return None;
        }
        self.tell_of_refusal(need, caller, &caller.reviewed.target);
        told(&decision, need)
    }

    /// What may be done where a mount takes its content from. A token that
    /// doesn't name the repository wasn't asked for this, and another one may
    /// help; if it names it without the right to pull, that was refused, and the
    /// client is to upload.
    fn source(
        &self,
        operation: &Operation,
        need: &Need,
        caller: &Known,
    ) -> Result<Option<Access>, Refused> {
        let decision = self.policies.decide_on(need, caller);
        let allowed = decision.and(caller.reviewed.source.clone()).granted();
        if !allowed.contains(need.actions) {
            return Ok(None);
        }
        if caller.is_limited(|scopes| scopes.actions(&need.repository).is_some()) {
            return Err(Refused::Uncovered(Scopes::of(operation)));
        }
        let granted = allowed.intersection(caller.covered(&need.repository));
        let Ok(access) = Access::granted(need, granted, Arc::clone(&caller.actor)) else {
            return Ok(None);
        };
        caller.bound.require_current(&need.repository)?;
        Ok(Some(caller.bound.bind(access)))
    }
}

/// The refusal of somebody known.
pub(super) fn denied(decision: &Decision, need: &Need) -> Error {
    told(decision, need).unwrap_or_else(|| {
        ErrorKind::Denied.error("you may not do this; ask the owner of the repository")
    })
}

/// Why somebody known is refused, if a rule says so. Only those who may know of the
/// repository learn it.
fn told(decision: &Decision, need: &Need) -> Option<Error> {
    let knowing = Actions::from([Action::Pull, Action::List]);
    let knows = !decision.granted().intersection(knowing).is_empty();
    let reason = decision.reason(need.actions).filter(|_| knows);
    reason.map(|reason| ErrorKind::Denied.error(reason))
}

impl Policies {
    pub(super) fn new(policy: impl Policy) -> Self {
        Self(vec![Arc::new(policy)])
    }

    pub(super) fn push(&mut self, policy: impl Policy) {
        self.0.push(Arc::new(policy));
    }

    /// Whether everybody may do everything.
    pub(super) fn are_open(&self) -> bool {
        self.0.iter().all(Policy::is_open)
    }

    /// Whether nobody is to know `principal` any more.
    pub(super) fn disable(&self, principal: &Principal) -> bool {
        self.0.iter().any(|policy| policy.is_disabled(principal))
    }

    fn reward_login(&self) -> bool {
        self.0.iter().any(Policy::rewards_login)
    }

    /// Management is for those who are known, whatever the policies say.
    pub(super) fn decide(&self, question: &Question<'_>) -> Decision {
        let decision = self.0.iter().fold(Decision::ABSTAIN, |decision, policy| {
            decision.and(policy.decide(question))
        });
        if question.principal.is_none() {
            decision.and(Decision::deny_silently([Action::Administer, Action::Audit]))
        } else {
            decision
        }
    }

    /// The parts that decisions are made of.
    pub(super) fn explain(&self, question: &Question<'_>) -> Vec<Opinion> {
        let policies = self.0.iter();
        policies
            .flat_map(|policy| policy.explain(question))
            .collect()
    }

    pub(super) fn decide_on(&self, need: &Need, caller: &Known) -> Decision {
        self.decide(&caller.question_of(need))
    }

    /// What `caller` may do in `repository` as a whole, whatever its token
    /// covers.
    pub(super) fn allowed(&self, repository: &RepositoryName, caller: &Known) -> Actions {
        self.allowed_in(Some(repository), caller)
    }

    /// The same, or what `caller` may do in the registry as a whole.
    pub(super) fn allowed_in(
        &self,
        repository: Option<&RepositoryName>,
        caller: &Known,
    ) -> Actions {
        self.decision_in(repository, caller).granted()
    }

    pub(super) fn decision_in(
        &self,
        repository: Option<&RepositoryName>,
        caller: &Known,
    ) -> Decision {
        self.decide(&caller.question(repository))
    }

    /// The most that `caller` may do in the registry as a whole, wherever and whenever.
    pub(super) fn at_most(&self, caller: &Known) -> Decision {
        let question = caller.question(None);
        self.0.iter().fold(Decision::ABSTAIN, |decision, policy| {
            decision.and(policy.at_most(&question))
        })
    }

    /// What `caller` may do in `repository`, or in the registry as a whole, wherever and
    /// whenever, and so hand on to `other`.
    pub(super) fn at_least(
        &self,
        repository: Option<&RepositoryName>,
        caller: &Known,
        other: &Principal,
    ) -> Actions {
        let question = caller.question(repository);
        let decision = self.0.iter().fold(Decision::ABSTAIN, |decision, policy| {
            decision.and(policy.at_least(&question, other))
        });
        decision.granted()
    }

    /// The same right to list, which shows no tag that `caller` may not list.
    fn shown_tags(&self, access: Access, need: &Need, caller: &Arc<Known>) -> Access {
        let question = caller.question_of(need);
        if !self.0.iter().any(|policy| policy.lists_by_tag(&question)) {
            return access;
        }
        let (policies, caller, need) = (self.clone(), Arc::clone(caller), need.clone());
        access.showing(Arc::new(move |tag| {
            let tags = [tag.clone()];
            let mut question = caller.question_of(&need);
            question.tags = &tags;
            let decision = policies.decide(&question);
            let decision = decision.and(caller.reviewed.target.clone());
            decision.granted().contains(Action::List.into())
        }))
    }

    /// The repositories in which the caller may do `action`.
    fn catalog(&self, caller: &Arc<Known>, action: Action) -> CatalogAccess {
        let visible = if self.are_open() {
            Visibility::All
        } else {
            let policies = self.clone();
            let caller = Arc::clone(caller);
            Visibility::Only(Arc::new(move |repository| {
                policies
                    .allowed(repository, &caller)
                    .contains(action.into())
            }))
        };
        let catalog = CatalogAccess::granted(visible, Arc::clone(&caller.actor));
        if catalog.is_unlimited() || action != Action::List {
            return catalog;
        }
        let question = caller.question(None);
        let (allowed, denied): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .map(|policy| policy.horizon(&question))
            .map(|horizon| (horizon.allowed, horizon.denied))
            .unzip();
        let (allowed, denied): (Reach, Reach) =
            (allowed.into_iter().collect(), denied.into_iter().collect());
        catalog.within(allowed.without(&denied))
    }
}
