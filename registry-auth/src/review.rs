//! Reviews: does anybody else have a say?

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use registry_core::{Actions, Result};

use crate::{Decision, Question};

/// Decides about an operation, too, and may take its time: it is asked once for
/// each repository that an operation is about, after the
/// [`Policies`](crate::Policy), and once more about a push that takes longer than a
/// second to come ([`Grant::confirm`](crate::Grant::confirm)).
///
/// It can add to what those allow, or deny. What they deny it doesn't get to see,
/// since nothing would change that. It has no say in who manages the registry, nor
/// in what lists of repositories name, and what it would add isn't in the answers
/// of the token server, though the tokens cover it. A mount that doesn't say from
/// where takes nothing: it would take it from where a review denies it.
///
/// One that takes its time is best asked by a `FairReview` (the feature `webhook`):
/// else whoever sends many requests keeps it from all others.
#[async_trait]
pub trait Review: fmt::Debug + Send + Sync + 'static {
    /// What it has to say about `question`, where somebody needs `actions`.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from deciding. Then the operation doesn't go on, and the
    /// client is told to try again later:
    /// [`TooManyRequests`](registry_core::ErrorKind::TooManyRequests) after its own
    /// requests, anything else after others'.
    async fn review(&self, question: &Question<'_>, actions: Actions) -> Result<Decision>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<R: Review + ?Sized> Review for Arc<R> {
    async fn review(&self, question: &Question<'_>, actions: Actions) -> Result<Decision> {
        (**self).review(question, actions).await
    }
}
