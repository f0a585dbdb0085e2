//! Access control: one decision for every request.

mod decide;
mod identify;
mod refusal;

pub use refusal::{Grant, Refusal};

use std::sync::Arc;

use registry_core::{Clock, Operation, Result, SystemClock};

use self::decide::{Known, Policies};
use crate::policy::Open;
use crate::{Authenticator, Challenge, Policy, Sender};

/// Who gets in, and what for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessControl(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    authenticators: Vec<Arc<dyn Authenticator>>,
    policies: Policies,
    challenge: Challenge,
    clock: Arc<dyn Clock>,
}

impl AccessControl {
    /// Lets everybody do everything with content. Credentials aren't looked at,
    /// and nobody manages anything.
    pub fn open() -> Self {
        Self::new(Open)
    }

    /// Lets `policy` decide. Everybody is anonymous until there is an
    /// [`authenticator`](Self::authenticator).
    pub fn new(policy: impl Policy) -> Self {
        Self(Arc::new(Inner {
            authenticators: Vec::new(),
            policies: Policies::new(policy),
            challenge: Challenge::default(),
            clock: Arc::new(SystemClock),
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
        Arc::make_mut(&mut self.0).policies.push(policy);
        self
    }

    /// Asks clients to log in by `challenge`, in place of Basic with the realm
    /// `registry`.
    pub fn challenge(mut self, challenge: Challenge) -> Self {
        Arc::make_mut(&mut self.0).challenge = challenge;
        self
    }

    /// Takes the time from `clock`.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        Arc::make_mut(&mut self.0).clock = Arc::new(clock);
        self
    }

    /// Decides whether `operation` may go on for `sender`.
    ///
    /// Nobody unknown manages anything, whatever the policies allow.
    ///
    /// # Errors
    ///
    /// * [`Unauthorized`](registry_core::ErrorKind::Unauthorized) with a
    ///   challenge if the credentials are wrong, or if there are none and they
    ///   are needed.
    /// * [`Denied`](registry_core::ErrorKind::Denied) if the caller is known,
    ///   or nobody can be, and the policies don't allow it.
    /// * [`TooManyRequests`](registry_core::ErrorKind::TooManyRequests) and
    ///   [`Unavailable`](registry_core::ErrorKind::Unavailable) if the
    ///   credentials can't be checked now.
    pub async fn authorize(
        &self,
        sender: &Sender<'_>,
        operation: &Operation,
    ) -> Result<Grant, Refusal> {
        let granted = async {
            let principal = self.0.identify(sender).await?;
            let caller = Known::new(principal, sender.origin().clone(), self.0.clock.now());
            self.0.decide(operation, &Arc::new(caller))
        };
        granted.await.map_err(|error| self.0.refusal(error))
    }
}
