//! A review that nobody keeps from others.

use async_trait::async_trait;
use registry_core::{Actions, Result};

use crate::shares::Shares;
use crate::{Decision, Question, Review};

/// Asks another [`Review`], one that takes its time, so many questions at once and no
/// more, so that nobody keeps it from others.
///
/// Each address has a quarter of the places at most (of IPv6 the 64 bits that one
/// household has), and so has each user, robot or workload. All anonymous callers
/// together have half: whoever logged in finds room, whoever else asks. A question for
/// which there is no place waits for one, five seconds at most, with four times as many
/// in the line, shared alike. Then it is refused: with
/// [`TooManyRequests`](registry_core::ErrorKind::TooManyRequests) where the share of
/// an address or of somebody known is what is taken, else with
/// [`Unavailable`](registry_core::ErrorKind::Unavailable).
///
/// A [`Webhook`](crate::Webhook) shares its places by itself.
#[derive(Debug)]
pub struct FairReview<R> {
    review: R,
    shares: Shares,
}

impl<R: Review> FairReview<R> {
    /// Asks `review` about `places` questions at once; at least one.
    pub fn new(review: R, places: usize) -> Self {
        Self {
            review,
            shares: Shares::new(places.max(1)),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<R: Review> Review for FairReview<R> {
    async fn review(&self, question: &Question<'_>, actions: Actions) -> Result<Decision> {
        let _turn = self.shares.turn(question).await?;
        self.review.review(question, actions).await
    }
}
