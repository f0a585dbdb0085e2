//! Authenticators, each by what its principals are said to come from.

use std::borrow::Cow;
use std::sync::Arc;

use crate::Authenticator;

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
        let name = authenticator.source();
        let is_called_so = |other: &&Self| other.authenticator.source() == name;
        let before = others.iter().filter(is_called_so).count();
        Self {
            name: if before > 0 {
                format!("{name}-{}", before.saturating_add(1)).into()
            } else {
                name.into()
            },
            authenticator: Arc::new(authenticator),
        }
    }
}
