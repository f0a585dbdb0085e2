//! Authenticators, each by what its principals are said to come from.

use std::borrow::Cow;
use std::sync::Arc;

use crate::Authenticator;
use crate::authenticator::WORKLOADS;

/// An authenticator, and what its principals come from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) authenticator: Arc<dyn Authenticator>,
    /// What it is called: nobody who doesn't say so is asked about those of another.
    pub(super) name: Cow<'static, str>,
}

impl Source {
    /// The source that `authenticator` is, after `others`.
    pub(super) fn new(authenticator: impl Authenticator, others: &[Self]) -> Self {
        let own = authenticator.source();
        let mut name = Cow::Borrowed(own);
        let mut number: usize = 1;
        // Workloads are told apart by who vouches for them, whatever the order is.
        while own != WORKLOADS && others.iter().any(|other| other.name == name) {
            number = number.saturating_add(1);
            name = format!("{own}-{number}").into();
        }
        Self {
            name,
            authenticator: Arc::new(authenticator),
        }
    }
}
