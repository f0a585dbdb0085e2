//! What those say who have a say beside the policies.

use std::time::Duration;

use registry_core::{Action, Actions, Error, ErrorKind, Need, Operation, Result};

use super::Inner;
use super::decide::Known;
use crate::Decision;

/// What was said about what an operation needs.
#[derive(Debug, Clone)]
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

/// Has whoever asks admitted, before somebody else is asked about it.
pub(super) type Admit<'a> = &'a mut (dyn FnMut() -> Result<()> + Send);

impl Inner {
    /// Asks everybody who has a say.
    pub(super) async fn reviewed(
        &self,
        operation: &Operation,
        caller: &Known,
        admit: Admit<'_>,
    ) -> Result<Reviewed> {
        let mut reviewed = Reviewed::default();
        if self.reviews.is_empty() {
            return Ok(reviewed);
        }
        if let Some(need) = operation.need() {
            reviewed.target = self.review(&need, caller, admit).await?;
        }
        if let Some(need) = operation.source_need() {
            reviewed.source = self.review(&need, caller, admit).await?;
        }
        Ok(reviewed)
    }

    pub(super) async fn review(
        &self,
        need: &Need,
        caller: &Known,
        admit: Admit<'_>,
    ) -> Result<Decision> {
        let mut together = Decision::ABSTAIN;
        let decision = self.policies.decide_on(need, caller);
        if !decision.denied().intersection(need.actions).is_empty() {
            return Ok(together);
        }
        if !self.reviews.is_empty() {
            admit()?;
        }
        let question = caller.question_of(need);
        for review in &self.reviews {
            let said = review.review(&question, need.actions).await;
            together = together.and(said.map_err(undecided)?);
        }
        Ok(together.within(content()))
    }
}

/// What is said in place of why nobody decided, which is for others.
fn undecided(source: Error) -> Error {
    let wait = source.retry_after();
    let error = if source.kind() == ErrorKind::TooManyRequests {
        ErrorKind::TooManyRequests
            .error("too many of your requests wait for a decision; wait for some to end")
            .with_retry_after(wait.unwrap_or(Duration::from_secs(1)))
    } else {
        tracing::warn!(error = %source, "a decision couldn't be reviewed");
        let error = ErrorKind::Unavailable
            .error("whoever has a say in this can't be asked now; try again later");
        match wait {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    };
    error.with_source(source)
}

/// Who manages the registry is no question for others.
fn content() -> Actions {
    let manages = [Action::Administer, Action::Audit];
    let all = Actions::ALL.iter();
    all.filter(|action| !manages.contains(action)).collect()
}
