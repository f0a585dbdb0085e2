//! What was granted, and whether it still is.

use std::sync::Arc;
use std::time::Duration;

use registry_core::{Access, Error, Need, Operation};

use super::decide::{Known, Rights};
use super::refusal::{Again, Refused};
use super::{Grant, Inner};
use crate::Refusal;

/// For how long it holds what a [review](crate::Review) said of an operation: most
/// bodies have come by then.
const REVIEWED: Duration = Duration::from_secs(1);

impl Grant {
    /// Decides once more about the `operation` that was granted, for whoever has to
    /// wait for the client meanwhile: before what it sent becomes content.
    ///
    /// It is asked for the same caller, not for what it showed, so this costs
    /// little, counts as no other request, and goes on although a token has expired
    /// since: one push can take longer than any is good. It fails where a token or a
    /// key was taken back, where the caller is gone, disabled or has another
    /// password, where the rules are others, and where the repository that the token
    /// was for is gone. The time that counts for the rules is that of the request.
    /// A [review](crate::Review) is only asked again after a second.
    ///
    /// What comes of it is never more than was granted before.
    ///
    /// # Errors
    ///
    /// As those of [`authorize`](crate::AccessControl::authorize).
    pub async fn confirm(&self, operation: &Operation) -> Result<Self, Refusal> {
        let Again {
            access,
            caller,
            by_token,
            base,
        } = &self.again;
        let confirmed = access.0.confirm(operation, caller, *by_token).await;
        let rights = confirmed.map_err(|refused| Refusal {
            actor: Some(Arc::clone(&self.actor)),
            ..access.0.refusal_at(refused, base.as_deref())
        })?;
        let still = |before: &Option<Access>, now: Option<Access>| {
            let actions = now?.actions();
            before.as_ref().map(|before| before.limited(actions))
        };
        Ok(Self {
            target: still(&self.target, rights.target),
            source: still(&self.source, rights.source),
            catalog: self.catalog.as_ref().and(rights.catalog),
            actor: Arc::clone(&self.actor),
            again: self.again.clone(),
        })
    }
}

impl Grant {
    /// What the rules say about `need` where somebody may not do that after all, such as
    /// move a tag of which it was not known before that it exists: the reason of the
    /// rule that denies it, if the caller may learn it. The log is told which rule it
    /// was.
    pub fn reason(&self, need: &Need) -> Option<Error> {
        let Again { access, caller, .. } = &self.again;
        access.0.reason(need, caller)
    }
}

impl Inner {
    async fn confirm(
        &self,
        operation: &Operation,
        caller: &Known,
        by_token: bool,
    ) -> Result<Rights, Refused> {
        let principal = match caller.principal() {
            Some(known) => {
                let still = self.still(known, caller.at()).await;
                let refused = if by_token {
                    Refused::Token
                } else {
                    Refused::Error
                };
                Some(still.map_err(refused)?)
            }
            None => None,
        };
        let now = caller.being(principal);
        let since = self.clock.now().duration_since(caller.at());
        let reviewed = if since.is_ok_and(|since| since < REVIEWED) {
            caller.reviews().clone()
        } else {
            self.reviewed(operation, &now, &mut || Ok(())).await?
        };
        let now = now.reviewed(reviewed);
        // Behind the review, since another repository may come to the name meanwhile.
        let bound = self.bound(operation, &now).await?;
        self.decide(operation, &Arc::new(now.bound(bound)))
    }
}
