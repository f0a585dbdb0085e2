//! Who may look after the registry itself.

use std::sync::Arc;
use std::time::SystemTime;

use registry_core::{
    Access, Action, Actions, Actor, Error, ErrorKind, Need, RepositoryName, Result, Scopes,
};

use super::decide::{self, Bound, Known};
use super::refusal::Refused;
use super::{AccessControl, Explanation, Inner, Inquiry};
#[cfg(feature = "token")]
use crate::Standing;
use crate::{Principal, PrincipalKind, Refusal, Sender};

/// What somebody who manages something has to be, or to be allowed.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagementNeed {
    /// Somebody who is known, by whatever it showed: it asks about itself.
    Known,
    /// A user who showed neither a token nor a key, for its own keys: a key could
    /// else make one that outlives it, or that covers more.
    Login,
    /// To be allowed this in the registry as a whole. No token is enough, as what
    /// one covers is in repositories.
    Registry(Action),
    /// To be allowed all of this in one repository.
    Repository(Actions, RepositoryName),
}

/// The right to manage something. It names who has it.
#[derive(Debug, Clone)]
pub struct ManagementGrant {
    access: AccessControl,
    principal: Principal,
    caller: Arc<Known>,
    target: Option<Access>,
    need: ManagementNeed,
}

impl AccessControl {
    /// Decides whether `sender` may manage something. Nobody unknown ever may, not
    /// even where everybody may do everything with content, and no token is good
    /// for more than it covers.
    ///
    /// # Errors
    ///
    /// As those of [`authorize`](Self::authorize). What is asked for is a password
    /// rather than a token, unless another token is what helps.
    pub async fn authorize_management(
        &self,
        sender: &Sender<'_>,
        need: &ManagementNeed,
    ) -> Result<ManagementGrant, Refusal> {
        let mut actor = None;
        let granted = async {
            self.0.count_sender(sender)?;
            let principal = self.0.identify(sender).await?;
            let principal = principal
                .filter(|known| known.kind() != PrincipalKind::Anonymous)
                .ok_or_else(|| self.0.unknown())?;
            let (origin, at) = (sender.origin().clone(), self.0.clock.now());
            let caller = Known::new(Some(principal.clone()), origin, at);
            actor = Some(Arc::clone(caller.actor()));
            self.0.count_known(Some(&principal))?;
            let target = self.0.decide_management(need, &principal, &caller).await?;
            Ok(ManagementGrant {
                access: self.clone(),
                caller: Arc::new(caller),
                principal,
                target,
                need: need.clone(),
            })
        };
        let base = sender.registry_base();
        granted.await.map_err(|refused| Refusal {
            actor,
            ..self.0.management_refusal(refused, base)
        })
    }
}

impl Inner {
    fn unknown(&self) -> Refused {
        if self.can_login() {
            Refused::Unknown(Scopes::default())
        } else {
            ErrorKind::Denied
                .error("nobody can log in to this registry, so nobody manages it from outside")
                .into()
        }
    }

    /// A password is asked for wherever it helps: a token that is got for one
    /// covers less.
    fn management_refusal(&self, refused: Refused, base: Option<&str>) -> Refusal {
        let error = match refused {
            Refused::Error(error) | Refused::Token(error) => error,
            Refused::Unknown(_) => ErrorKind::Unauthorized.error("log in to do this"),
            Refused::Uncovered(_) | Refused::Nobody(_) => return self.refusal_at(refused, base),
        };
        let challenge = (error.kind() == ErrorKind::Unauthorized)
            .then(|| self.challenge.header(None, &Scopes::default(), None));
        Refusal {
            error,
            challenge,
            actor: None,
        }
    }

    /// What may be done in the repository that `need` names, if it names one.
    async fn decide_management(
        &self,
        need: &ManagementNeed,
        principal: &Principal,
        caller: &Known,
    ) -> Result<Option<Access>, Refused> {
        match need {
            ManagementNeed::Known => Ok(None),
            ManagementNeed::Login => self
                .require_login_of_its_own(principal)
                .await
                .map(|()| None),
            ManagementNeed::Registry(action) => {
                if !self
                    .policies
                    .allowed_in(None, caller)
                    .contains((*action).into())
                {
                    self.tell_of_refused_management(*action, caller);
                    return Err(denied(
                        "you may not do this; ask whoever manages the registry",
                    ));
                }
                if principal.limits().is_some() {
                    return Err(denied(
                        "a token or a key with scopes is not enough for this; show what it was \
                         made for, or a key without scopes",
                    ));
                }
                Ok(None)
            }
            ManagementNeed::Repository(actions, repository) => {
                let need = Need {
                    repository: repository.clone(),
                    actions: *actions,
                    tags: Vec::new(),
                };
                // Others have a say in what becomes of content here, too.
                let decision = self.policies.decide_on(&need, caller);
                let said = self.review(&need, caller, &mut || Ok(())).await?;
                let decision = decision.and(said.clone());
                let allowed = decision.granted();
                if !allowed.contains(need.actions) {
                    self.tell_of_refusal(&need, caller, &said);
                    return Err(decide::denied(&decision, &need).into());
                }
                let covered = caller.covered(repository);
                if !covered.contains(need.actions) {
                    let mut scopes = Scopes::default();
                    scopes.insert_actions(repository.clone(), need.actions);
                    return Err(Refused::Uncovered(scopes));
                }
                let mut bound = Bound::default();
                self.bind(repository, caller, &mut bound).await?;
                bound.require_current(repository)?;
                let granted = allowed.intersection(covered);
                let access = Access::granted(&need, granted, Arc::clone(caller.actor()))?;
                Ok(Some(bound.bind(access)))
            }
        }
    }

    /// Keys are for users whose login can be asked later whether they are still
    /// there: other keys would be good for nothing.
    #[cfg_attr(
        not(feature = "token"),
        allow(
            clippy::unused_async,
            reason = "without tokens there are no keys either"
        )
    )]
    async fn require_login_of_its_own(&self, principal: &Principal) -> Result<(), Refused> {
        if principal.kind() != PrincipalKind::User {
            return Err(denied(
                "only users have keys of their own; those of robots are made by who manages them",
            ));
        }
        #[cfg(feature = "token")]
        let is_by_key = principal.key().is_some();
        #[cfg(not(feature = "token"))]
        let is_by_key = false;
        if principal.limits().is_some() || is_by_key {
            return Err(denied(
                "your own keys are listed, made and ended with your password: neither a token nor a \
                 key is enough, whatever it covers",
            ));
        }
        #[cfg(feature = "token")]
        if let Some((_, Standing::Current(_))) =
            self.standing(principal, principal.source()).await?
        {
            return Ok(());
        }
        Err(denied(
            "your login can't be asked later whether you are still there, so there are no keys \
             for you; ask for a robot",
        ))
    }
}

fn denied(reason: &str) -> Refused {
    ErrorKind::Denied.error(reason).into()
}

impl ManagementGrant {
    /// Decides once more, for whoever has to wait for the client meanwhile, as
    /// [`Grant::confirm`](crate::Grant::confirm) does.
    ///
    /// # Errors
    ///
    /// As those of [`authorize_management`](AccessControl::authorize_management).
    pub async fn confirm(&self) -> Result<Self, Refusal> {
        let access = &self.access.0;
        let confirmed = async {
            let principal = access.still(&self.principal, self.at()).await?;
            let caller = self.caller.being(Some(principal.clone()));
            let decided = access.decide_management(&self.need, &principal, &caller);
            let target = decided.await?;
            Ok(Self {
                access: self.access.clone(),
                principal,
                caller: Arc::new(caller),
                target,
                need: self.need.clone(),
            })
        };
        // What needs a body is in no repository, so no token is asked for.
        confirmed.await.map_err(|refused| Refusal {
            actor: Some(Arc::clone(self.actor())),
            ..access.management_refusal(refused, None)
        })
    }

    /// Who has it.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Who has it, for events and the log.
    pub fn actor(&self) -> &Arc<Actor> {
        self.caller.actor()
    }

    /// When it was granted.
    pub fn at(&self) -> SystemTime {
        self.caller.at()
    }

    /// What may be done in the repository that was named.
    pub fn target(&self) -> Option<&Access> {
        self.target.as_ref()
    }

    /// Whether its holder may do `action` in `repository`, or in the registry as a
    /// whole.
    pub fn permits(&self, action: Action, repository: Option<&RepositoryName>) -> bool {
        let allowed = self.access.0.policies.allowed_in(repository, &self.caller);
        let covered = self.covered(repository);
        allowed.intersection(covered).contains(action.into())
    }

    fn covered(&self, repository: Option<&RepositoryName>) -> Actions {
        match repository {
            Some(repository) => self.caller.covered(repository),
            None if self.principal.limits().is_some() => Actions::NONE,
            None => Actions::ALL,
        }
    }

    /// What its holder would be answered to `inquiry` about itself, from where it
    /// asks.
    pub fn explain_own(&self, mut inquiry: Inquiry) -> Explanation {
        inquiry.principal = Some(self.principal.clone());
        inquiry.origin = self.caller.origin().clone();
        self.access.explain(&inquiry)
    }

    /// Checks that its holder may let `other` do what `scopes` cover, or everything
    /// that `other` may do: nobody gives away more than it has.
    ///
    /// With scopes, it is what they say of each repository that the holder must be
    /// allowed there, to list everywhere for the list of repositories, and to pull
    /// everywhere for mounts that name no source. Without, it is everything that can be done with content, and
    /// whatever else `other` may be allowed in the registry as a whole, except for what
    /// `other` is denied there.
    ///
    /// `other` may come from elsewhere, and at another time. So what the holder is
    /// allowed under conditions only counts for nothing here, and what any rule may deny
    /// it counts as denied, whatever the conditions, tags and, without scopes,
    /// repositories, unless that rule denies `other` the same.
    ///
    /// # Errors
    ///
    /// [`Denied`](ErrorKind::Denied) if that is more than the holder may do.
    pub fn require_giving(&self, other: &Principal, scopes: Option<&Scopes>) -> Result<()> {
        let policies = &self.access.0.policies;
        let may = |action: Action, repository: Option<&RepositoryName>| {
            let allowed = policies.at_least(repository, &self.caller, other);
            let covered = self.covered(repository);
            allowed.intersection(covered).contains(action.into())
        };
        let everywhere = |action| may(action, None);
        let may_give = if let Some(scopes) = scopes {
            (!scopes.catalog() || everywhere(Action::List))
                && (!scopes.anywhere() || everywhere(Action::Pull))
                && scopes.repositories().all(|(repository, actions)| {
                    let mut actions = actions.iter();
                    actions.all(|action| may(action, Some(repository)))
                })
        } else {
            let origin = self.caller.origin().clone();
            let other = Known::new(Some(other.clone()), origin, self.at());
            let decision = policies.at_most(&other);
            let of_content = CONTENT.into_iter();
            of_content
                .filter(|action| !decision.denied().contains((*action).into()))
                .chain(decision.granted().iter())
                .all(everywhere)
        };
        if may_give {
            Ok(())
        } else {
            Err(gives_too_much())
        }
    }
}

/// What can be done with content.
const CONTENT: [Action; 5] = [
    Action::List,
    Action::Pull,
    Action::Push,
    Action::Overwrite,
    Action::Delete,
];

fn gives_too_much() -> Error {
    ErrorKind::Denied
        .error("this would let others do more than you may; name scopes in which you may as much")
}
