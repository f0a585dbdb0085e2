//! Access control: one decision for every request.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use registry_core::{
    Access, Action, Actor, CatalogAccess, Error, ErrorKind, Need, Operation, RepositoryName,
    RequestOrigin, Result, Visibility,
};

use crate::policy::Open;
use crate::{
    Authenticator, Caller, Challenge, Credentials, Decision, Policy, Principal, Question,
    wrong_credentials,
};

/// Who gets in, and what for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessControl(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    authenticators: Vec<Arc<dyn Authenticator>>,
    policies: Policies,
    challenge: Challenge,
}

/// Several policies as one: what any of them denies is denied.
#[derive(Debug, Clone)]
struct Policies(Vec<Arc<dyn Policy>>);

/// The rights that an operation was granted.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Grant {
    /// In the operation's repository, if it has one.
    pub target: Option<Access>,
    /// In the repository that a mount names as its source. Absent if the caller
    /// may not pull there: then a mount becomes an upload.
    pub source: Option<Access>,
    /// For listing repositories and for a mount from anywhere: all
    /// repositories that the caller may pull from.
    pub catalog: Option<CatalogAccess>,
    /// Who was let in.
    pub actor: Arc<Actor>,
}

/// Why an operation was refused.
#[non_exhaustive]
#[derive(Debug)]
pub struct Refusal {
    /// What to answer. It doesn't depend on whether the repository exists.
    pub error: Error,
    /// The value of `WWW-Authenticate`, if the caller should log in.
    pub challenge: Option<HeaderValue>,
}

impl AccessControl {
    /// Lets everybody do everything. Credentials aren't looked at.
    pub fn open() -> Self {
        Self::new(Open)
    }

    /// Lets `policy` decide. Everybody is anonymous until there is an
    /// [`authenticator`](Self::authenticator).
    pub fn new(policy: impl Policy) -> Self {
        Self(Arc::new(Inner {
            authenticators: Vec::new(),
            policies: Policies(vec![Arc::new(policy)]),
            challenge: Challenge::default(),
        }))
    }

    /// Asks `authenticator` too who is asking, after those added before.
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.authenticators.push(Arc::new(authenticator));
        self
    }

    /// Lets `policy` decide too. What one policy denies no other can allow.
    pub fn policy(mut self, policy: impl Policy) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.policies.0.push(Arc::new(policy));
        self
    }

    /// Asks clients to log in by `challenge`, in place of Basic with the realm
    /// `registry`.
    pub fn challenge(mut self, challenge: Challenge) -> Self {
        Arc::make_mut(&mut self.0).challenge = challenge;
        self
    }

    /// Decides whether `operation` may go on for whoever sent `headers`.
    ///
    /// # Errors
    ///
    /// * [`ErrorKind::Unauthorized`] with a challenge if the credentials are
    ///   wrong, or if there are none and they are needed.
    /// * [`ErrorKind::Denied`] if the caller is known, or nobody can be, and
    ///   the policies don't allow it.
    /// * [`ErrorKind::TooManyRequests`] and [`ErrorKind::Unavailable`] if the
    ///   credentials can't be checked now.
    pub async fn authorize(
        &self,
        headers: &HeaderMap,
        operation: &Operation,
        origin: RequestOrigin,
    ) -> Result<Grant, Refusal> {
        let principal = match self.0.identify(headers, &origin).await {
            Ok(principal) => principal,
            Err(error) => return Err(self.0.refusal(error)),
        };
        let caller = Arc::new(Known {
            actor: Arc::new(Actor {
                name: principal.as_ref().map(|known| known.name().to_owned()),
                request: Some(origin.clone()),
            }),
            principal,
            origin,
        });
        self.0
            .decide(operation, &caller)
            .map_err(|error| self.0.refusal(error))
    }
}

/// Somebody who asks, after it was found out who that is.
struct Known {
    principal: Option<Principal>,
    origin: RequestOrigin,
    actor: Arc<Actor>,
}

impl Inner {
    async fn identify(
        &self,
        headers: &HeaderMap,
        origin: &RequestOrigin,
    ) -> Result<Option<Principal>> {
        // Clients send what they have saved for the host: without anybody to
        // judge it, it is neither right nor wrong.
        if self.authenticators.is_empty() {
            return Ok(None);
        }
        let credentials = Credentials::from_headers(headers)?;
        let caller = Caller {
            credentials: &credentials,
            headers,
            origin,
        };
        for authenticator in &self.authenticators {
            if let Some(principal) = authenticator.authenticate(&caller).await? {
                return Ok(Some(principal));
            }
        }
        if credentials.is_none() {
            Ok(None)
        } else {
            Err(wrong_credentials())
        }
    }

    fn decide(&self, operation: &Operation, caller: &Arc<Known>) -> Result<Grant> {
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
                grant.catalog = Some(self.policies.catalog(caller));
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
                None if from.is_none() => grant.catalog = Some(self.policies.catalog(caller)),
                None => {}
            }
        }
        Ok(grant)
    }

    /// Refuses anonymous callers if anything needs a login: clients only send
    /// credentials once they were asked to, and they ask here first.
    fn require_login(&self, caller: &Known) -> Result<()> {
        if caller.principal.is_none() && self.can_login() && self.policies.reward_login() {
            Err(login_required())
        } else {
            Ok(())
        }
    }

    fn target(&self, need: &Need, caller: &Known) -> Result<Access> {
        self.policies.access(need, caller).map_err(|error| {
            if caller.principal.is_none() && self.can_login() {
                login_required()
            } else {
                error
            }
        })
    }

    fn can_login(&self) -> bool {
        !self.authenticators.is_empty()
    }

    fn refusal(&self, error: Error) -> Refusal {
        Refusal {
            challenge: (error.kind() == ErrorKind::Unauthorized).then(|| self.challenge.header()),
            error,
        }
    }
}

impl Policies {
    fn decide(&self, question: &Question<'_>) -> Decision {
        self.0.iter().fold(Decision::ABSTAIN, |decision, policy| {
            decision.and(policy.decide(question))
        })
    }

    fn reward_login(&self) -> bool {
        self.0.iter().any(Policy::rewards_login)
    }

    fn access(&self, need: &Need, caller: &Known) -> Result<Access> {
        let mut question =
            Question::new(caller.principal.as_ref(), &need.repository, &caller.origin);
        question.tags = &need.tags;
        let decision = self.decide(&question);
        let granted = decision.granted();
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

    fn catalog(&self, caller: &Arc<Known>) -> CatalogAccess {
        let visible = if self.0.iter().all(Policy::is_open) {
            Visibility::All
        } else {
            let policies = self.clone();
            let caller = Arc::clone(caller);
            Visibility::Only(Arc::new(move |repository| {
                policies.may_pull(repository, &caller)
            }))
        };
        CatalogAccess::granted(visible, Arc::clone(&caller.actor))
    }

    fn may_pull(&self, repository: &RepositoryName, caller: &Known) -> bool {
        let question = Question::new(caller.principal.as_ref(), repository, &caller.origin);
        self.decide(&question)
            .granted()
            .contains(Action::Pull.into())
    }
}

fn login_required() -> Error {
    ErrorKind::Unauthorized.error("log in to do this")
}
