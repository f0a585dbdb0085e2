//! What has become of somebody who was known before.

use std::borrow::Cow;
use std::time::SystemTime;

use registry_core::Result;

use super::Inner;
use super::source::Source;
use crate::{Principal, PrincipalKind, Standing, wrong_credentials};

impl Inner {
    /// Whoever was let in at `at`, as it is known now. What it showed isn't looked
    /// at again, so that it doesn't matter whether that has run out since; whether
    /// it was taken back does.
    pub(super) async fn still(&self, known: &Principal, at: SystemTime) -> Result<Principal> {
        #[cfg(feature = "token")]
        if let Some(tokens) = &self.tokens {
            tokens.require_good(known, at).await?;
        }
        if known.kind() == PrincipalKind::Anonymous {
            return Ok(known.clone());
        }
        #[cfg(feature = "token")]
        self.require_key(known).await?;
        #[cfg(not(feature = "token"))]
        let _ = at;
        match self.standing(known, known.source()).await? {
            Some((source, Standing::Current(now))) if now.stamp() == known.stamp() => {
                self.admit(now.found_by(source).limited_as(known))
            }
            Some((_, Standing::Unknown)) => self.admit(known.clone()),
            _ => {
                tracing::info!(%known, "somebody is gone who has begun something, or has another password");
                Err(wrong_credentials())
            }
        }
    }

    /// What has become of somebody whom `source` knew, by the authenticators
    /// that are called so. Nothing if none of them knows it any more.
    pub(super) async fn standing(
        &self,
        principal: &Principal,
        source: &str,
    ) -> Result<Option<(Cow<'static, str>, Standing)>> {
        #[cfg(feature = "keys")]
        if let Some(keys) = self.keys.as_ref().filter(|_| source == crate::keys::SOURCE) {
            let standing = keys.standing(principal).await?;
            return Ok(
                (standing != Standing::Gone).then_some((crate::keys::SOURCE.into(), standing))
            );
        }
        let mut unsure = None;
        for Source {
            authenticator,
            name,
        } in &self.authenticators
        {
            if name != source {
                continue;
            }
            match authenticator.standing(principal).await? {
                Standing::Gone => {}
                Standing::Unknown => unsure = Some((name.clone(), Standing::Unknown)),
                current @ Standing::Current(_) => return Ok(Some((name.clone(), current))),
            }
        }
        Ok(unsure)
    }
}
