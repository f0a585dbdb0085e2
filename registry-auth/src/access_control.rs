//! Access control: one decision for every request.

mod confirm;
mod decide;
mod identify;
mod inquiry;
#[cfg(feature = "token")]
mod issue;
mod manage;
mod refusal;
mod review;
mod source;
mod standing;
mod told;

pub use inquiry::{Explanation, Inquiry};
pub use manage::{ManagementGrant, ManagementNeed};
pub use refusal::{Grant, Refusal};

#[cfg(feature = "keys")]
use std::collections::BTreeMap;
use std::sync::Arc;

use registry_core::{
    Clock, Epochs, ErrorKind, Operation, RepositoryEpoch, RepositoryName, Result, SystemClock,
};

#[cfg(feature = "keys")]
use registry_core::Scopes;

use self::decide::{Known, Policies};
use self::refusal::{Again, Refused};
use self::source::Source;
#[cfg(feature = "keys")]
use crate::Keys;
use crate::guard::Guard;
#[cfg(feature = "keys")]
use crate::keys::require_few_repositories;
use crate::policy::Open;
use crate::rate::Rates;
#[cfg(feature = "token")]
use crate::token_server::TokenServer;
use crate::{
    Authenticator, Challenge, Credentials, GuardLimits, Policy, Principal, RateLimits, Review,
    Sender,
};

/// Who gets in, and what for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessControl(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    authenticators: Vec<Source>,
    policies: Policies,
    /// Whether everything is open until there is a policy.
    awaits_policy: bool,
    reviews: Vec<Arc<dyn Review>>,
    challenge: Challenge,
    #[cfg(feature = "keys")]
    keys: Option<Keys>,
    #[cfg(feature = "token")]
    tokens: Option<Arc<TokenServer>>,
    epochs: Option<Arc<dyn Epochs>>,
    guard: Arc<Guard>,
    rates: Arc<Rates>,
    clock: Arc<dyn Clock>,
}

impl AccessControl {
    /// Lets everybody do everything with content, until there is a
    /// [`policy`](Self::policy), which takes the place of that. Credentials aren't
    /// looked at, and nobody manages anything.
    ///
    /// An [`authenticator`](Self::authenticator) alone closes nothing: it only tells
    /// who it was.
    pub fn open() -> Self {
        let mut open = Self::new(Open);
        Arc::make_mut(&mut open.0).awaits_policy = true;
        open
    }

    /// Lets `policy` decide. Everybody is anonymous until there is an
    /// [`authenticator`](Self::authenticator).
    pub fn new(policy: impl Policy) -> Self {
        Self(Arc::new(Inner {
            authenticators: Vec::new(),
            policies: Policies::new(policy),
            awaits_policy: false,
            reviews: Vec::new(),
            challenge: Challenge::default(),
            #[cfg(feature = "keys")]
            keys: None,
            #[cfg(feature = "token")]
            tokens: None,
            epochs: None,
            guard: Arc::new(Guard::new(GuardLimits::default())),
            rates: Arc::new(Rates::new(RateLimits::default())),
            clock: Arc::new(SystemClock),
        }))
    }

    /// Asks `authenticator` too who is asking, after those added before.
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        let authenticators = &mut Arc::make_mut(&mut self.0).authenticators;
        let source = Source::new(authenticator, authenticators);
        authenticators.push(source);
        self
    }

    /// Lets `policy` decide too. What one policy denies no other can allow.
    pub fn policy(mut self, policy: impl Policy) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        if std::mem::take(&mut inner.awaits_policy) {
            inner.policies = Policies::new(policy);
        } else {
            inner.policies.push(policy);
        }
        self
    }

    /// Asks `review` too about each operation. It can add to what the policies
    /// allow, or deny.
    pub fn review(mut self, review: impl Review) -> Self {
        Arc::make_mut(&mut self.0).reviews.push(Arc::new(review));
        self
    }

    /// Asks clients to log in by `challenge`, in place of Basic with the realm
    /// `registry`.
    pub fn challenge(mut self, challenge: Challenge) -> Self {
        Arc::make_mut(&mut self.0).challenge = challenge;
        self
    }

    /// Lets in whoever has one of these keys.
    #[cfg(feature = "keys")]
    pub fn keys(mut self, keys: Keys) -> Self {
        Arc::make_mut(&mut self.0).keys = Some(keys);
        self
    }

    /// Gives out tokens by `server`, takes those that it gave out, and asks
    /// clients for one, in place of a password. A password is still taken.
    #[cfg(feature = "token")]
    pub fn tokens(mut self, server: TokenServer) -> Self {
        Arc::make_mut(&mut self.0).tokens = Some(Arc::new(server));
        self
    }

    /// Whether it gives out tokens.
    pub fn gives_tokens(&self) -> bool {
        #[cfg(feature = "token")]
        return self.0.tokens.is_some();
        #[cfg(not(feature = "token"))]
        false
    }

    /// Whether clients are sent to the host that they asked, if
    /// [it is known](Sender::base), for tokens of its own or of a service beside it.
    pub fn names_its_host(&self) -> bool {
        self.gives_tokens() || self.0.challenge.is_beside()
    }

    /// Binds tokens to repositories rather than to names: when a repository is
    /// deleted, what tokens cover in it is nothing in one that is created under
    /// its name later.
    ///
    /// A service takes those of the [registry](registry_core::Registry::epochs)
    /// that it serves, unless others are given here: by the names that clients
    /// use, also where a layer below renames repositories.
    pub fn epochs(mut self, epochs: impl Epochs) -> Self {
        Arc::make_mut(&mut self.0).epochs = Some(Arc::new(epochs));
        self
    }

    /// Whether it can tell a repository from those that had its name before.
    pub fn knows_epochs(&self) -> bool {
        self.0.epochs.is_some()
    }

    /// Which of the repositories that had their names these scopes are about now, for
    /// [`NewKey::epochs`](crate::NewKey::epochs). Nothing where [nobody knows](Self::knows_epochs).
    ///
    /// # Errors
    ///
    /// [`RequestInvalid`](ErrorKind::RequestInvalid) if they are about more than 100
    /// repositories, and those of the storage.
    #[cfg(feature = "keys")]
    pub async fn epochs_of(&self, scopes: &Scopes) -> Result<BTreeMap<RepositoryName, u64>> {
        require_few_repositories(scopes)?;
        let mut found = BTreeMap::new();
        if self.knows_epochs() {
            for (repository, _) in scopes.repositories() {
                let epoch = self.0.epoch(repository).await?;
                found.insert(repository.clone(), epoch.number);
            }
        }
        Ok(found)
    }

    /// Takes so many wrong passwords, in place of the usual number.
    pub fn guard(mut self, limits: GuardLimits) -> Self {
        Arc::make_mut(&mut self.0).guard = Arc::new(Guard::new(limits));
        self
    }

    /// Counts a request that nothing else here is asked about, so that it counts
    /// for the [rate](Self::rates) of its address all the same.
    ///
    /// # Errors
    ///
    /// [`TooManyRequests`](registry_core::ErrorKind::TooManyRequests) if there are
    /// too many.
    pub fn count(&self, sender: &Sender<'_>) -> Result<()> {
        self.0.count_sender(sender)
    }

    /// Takes so many requests.
    pub fn rates(mut self, limits: RateLimits) -> Self {
        Arc::make_mut(&mut self.0).rates = Arc::new(Rates::new(limits));
        self
    }

    /// Takes the time from `clock`.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        Arc::make_mut(&mut self.0).clock = Arc::new(clock);
        self
    }

    /// Who `sender` is; nobody if it doesn't say. For what isn't an operation, such
    /// as pages of the program's own.
    ///
    /// # Errors
    ///
    /// As those of [`authorize`](Self::authorize) about credentials.
    pub async fn identify(&self, sender: &Sender<'_>) -> Result<Option<Principal>, Refusal> {
        self.0
            .identify(sender)
            .await
            .map_err(|refused| self.0.refusal(refused, sender))
    }

    /// Decides whether `operation` may go on for `sender`.
    ///
    /// Nobody unknown manages anything, whatever the policies allow. Whoever waits for
    /// the client before it does what was granted [asks again](Grant::confirm).
    ///
    /// # Errors
    ///
    /// * [`Unauthorized`](registry_core::ErrorKind::Unauthorized) with a
    ///   challenge if the credentials are wrong, if there are none and they are
    ///   needed, or if a token doesn't cover the operation.
    /// * [`Denied`](registry_core::ErrorKind::Denied) if the caller is known,
    ///   or nobody can be, and the policies don't allow it.
    /// * [`TooManyRequests`](registry_core::ErrorKind::TooManyRequests) after too
    ///   many wrong passwords or too many requests.
    /// * [`Unavailable`](registry_core::ErrorKind::Unavailable) if the
    ///   credentials can't be checked now, or a [review](Self::review) decides
    ///   nothing.
    pub async fn authorize(
        &self,
        sender: &Sender<'_>,
        operation: &Operation,
    ) -> Result<Grant, Refusal> {
        let granted = self.authorize_admitted(sender, operation, || Ok(())).await;
        granted.map(|(grant, ())| grant)
    }

    /// The same for what has to be admitted, too, such as by a limit of what is done at
    /// once. `admit` is asked once: before a [review](Self::review), which may take its
    /// time, otherwise only when the operation may go on. What it gives comes with the
    /// grant.
    ///
    /// # Errors
    ///
    /// As [`authorize`](Self::authorize), and what `admit` says.
    pub async fn authorize_admitted<P: Send>(
        &self,
        sender: &Sender<'_>,
        operation: &Operation,
        admit: impl FnOnce() -> Result<P> + Send,
    ) -> Result<(Grant, P), Refusal> {
        let mut actor = None;
        let mut admission = Admission {
            admit: Some(admit),
            admitted: None,
        };
        let granted = async {
            self.0.count_sender(sender)?;
            let principal = self.0.identify(sender).await?;
            let caller = Known::new(principal, sender.origin().clone(), self.0.clock.now());
            actor = Some(Arc::clone(caller.actor()));
            self.0.count_known(caller.principal())?;
            let bound = self.0.bound(operation, &caller).await?;
            let caller = caller.bound(bound);
            let reviewed = self
                .0
                .reviewed(operation, &caller, &mut || admission.begin())
                .await?;
            let mut caller = caller.reviewed(reviewed);
            if !self.0.reviews.is_empty() {
                // Meanwhile another repository may have come to the name.
                let bound = self.0.bound(operation, &caller).await?;
                caller = caller.bound(bound);
            }
            let caller = Arc::new(caller);
            let rights = self.0.decide(operation, &caller)?;
            let again = Again {
                access: self.clone(),
                caller,
                by_token: Credentials::are_token(sender.headers()),
                base: sender.registry_base().map(Box::from),
            };
            Ok((Grant::new(rights, again), admission.finish()?))
        };
        let granted = granted.await;
        granted.map_err(|refused: Refused| Refusal {
            actor,
            ..self.0.refusal(refused, sender)
        })
    }
}

/// What is asked once, and what it gave.
struct Admission<F, P> {
    admit: Option<F>,
    admitted: Option<P>,
}

impl<P, F: FnOnce() -> Result<P>> Admission<F, P> {
    fn begin(&mut self) -> Result<()> {
        if let Some(admit) = self.admit.take() {
            self.admitted = Some(admit()?);
        }
        Ok(())
    }

    fn finish(self) -> Result<P> {
        match (self.admitted, self.admit) {
            (Some(admitted), _) => Ok(admitted),
            (None, Some(admit)) => admit(),
            // It was refused before.
            (None, None) => {
                Err(ErrorKind::Unavailable
                    .error("there is no room for the request; try again shortly"))
            }
        }
    }
}

impl Inner {
    /// Which of the repositories that had this name.
    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        match &self.epochs {
            Some(epochs) => epochs.epoch(repository).await,
            None => Ok(RepositoryEpoch::default()),
        }
    }
}
