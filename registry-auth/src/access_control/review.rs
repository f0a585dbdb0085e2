//! What those say who have a say beside the policies.

use registry_core::{Action, Actions, ErrorKind, Need, Operation, Result};

use super::Inner;
use super::decide::Known;
use crate::Decision;

/// What was said about what an operation needs.
#[derive(Debug)]
pub(super) struct Reviewed {
    pub(super) target: Decision,
    /// Where a mount takes its content from.
    pub(super) source: Decision,
}

impl Default for Reviewed {
    fn default() -> Self {
        Self {
            target: Decision::ABSTAIN,
            source: Decision::ABSTAIN,
        }
    }
}

impl Inner {
    /// Asks everybody who has a say.
    pub(super) async fn reviewed(&self, operation: &Operation, caller: &Known) -> Result<Reviewed> {
        let mut reviewed = Reviewed::default();
        if self.reviews.is_empty() {
            return Ok(reviewed);
        }
        if let Some(need) = operation.need() {
            reviewed.target = self.review(&need, caller).await?;
        }
        if let Some(need) = operation.source_need() {
            reviewed.source = self.review(&need, caller).await?;
        }
        Ok(reviewed)
    }

    pub(super) async fn review(&self, need: &Need, caller: &Known) -> Result<Decision> {
        let mut together = Decision::ABSTAIN;
        let decision = self.policies.decide_on(need, caller);
        if !decision.denied().intersection(need.actions).is_empty() {
            return Ok(together);
        }
        let question = caller.question_of(need);
        for review in &self.reviews {
            let said = review.review(&question, need.actions).await;
            let said = said.map_err(|source| {
                tracing::warn!(error = %source, "a decision couldn't be reviewed");
                ErrorKind::Unavailable
                    .error("whoever has a say in this can't be asked now; try again later")
                    .with_source(source)
            })?;
            together = together.and(said);
        }
        Ok(together.within(content()))
    }
}

/// Who manages the registry is no question for others.
fn content() -> Actions {
    let manages = [Action::Administer, Action::Audit];
    let all = Actions::ALL.iter();
    all.filter(|action| !manages.contains(action)).collect()
}
