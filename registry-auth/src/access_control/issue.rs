//! Tokens: who gets one, and for what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use registry_core::{Actions, ErrorKind, RepositoryName, Result, Scopes};

use super::decide::Known;
use super::refusal::Refused;
use super::{AccessControl, Inner};
#[cfg(feature = "keys")]
use crate::keys::{KeyHolder, SOURCE, has_identity};
use crate::token_server::{Issue, TokenGrant, TokenServer};
use crate::{
    Credentials, Principal, PrincipalKind, Refusal, Secret, Sender, Standing, TokenAnswer,
    TokenRequest, wrong_credentials,
};

/// What an anonymous client is found by.
const NOBODY: &str = "nobody";

impl AccessControl {
    /// Gives `sender` a token for what it asks, as far as it may have that now.
    /// Asking for more is no error.
    ///
    /// Whoever shows no credentials gets a token for what everybody may do.
    /// Whoever shows another token, or exchanges it (RFC 8693), gets no more than
    /// that one covers, and for no longer. Nor is it good for longer than the token
    /// of a job or the certificate that it was given for, or whatever else
    /// [ends](crate::Principal::until).
    ///
    /// # Errors
    ///
    /// * [`NotFound`](ErrorKind::NotFound) without a
    ///   [token server](Self::tokens).
    /// * [`Unauthorized`](ErrorKind::Unauthorized) if the credentials are wrong.
    /// * [`RequestInvalid`](ErrorKind::RequestInvalid) if the token should be for
    ///   another service, or would be too large.
    /// * [`TooManyRequests`](ErrorKind::TooManyRequests) and
    ///   [`Unavailable`](ErrorKind::Unavailable) if the credentials can't be
    ///   checked now.
    pub async fn issue(
        &self,
        sender: &Sender<'_>,
        request: &TokenRequest,
    ) -> Result<TokenAnswer, Refusal> {
        self.count(sender)?;
        self.issue_counted(sender, request).await
    }

    /// The same for a request that was [counted](Self::count) before: whoever has to
    /// read what is asked for counts first.
    ///
    /// # Errors
    ///
    /// As those of [`issue`](Self::issue).
    pub async fn issue_counted(
        &self,
        sender: &Sender<'_>,
        request: &TokenRequest,
    ) -> Result<TokenAnswer, Refusal> {
        self.0.issue(sender, request).await.map_err(|refused| {
            let (Refused::Error(error) | Refused::Token(error)) = refused else {
                return self.0.refusal(refused, sender);
            };
            // Here a password is asked for, not one more token.
            Refusal {
                challenge: (error.kind() == ErrorKind::Unauthorized)
                    .then(|| self.0.challenge.header(None, &Scopes::default(), None)),
                error,
                actor: None,
            }
        })
    }

    /// Ends `token`, one of its own or a refresh token, for whoever has it. That
    /// it isn't one is no error: then it is of no use anyway (RFC 7009).
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) without a [token server](Self::tokens),
    /// and others if that can't be written down.
    pub async fn revoke(&self, token: &Secret) -> Result<()> {
        let server = self.0.server()?;
        server.revoke(token, self.0.clock.now()).await
    }

    /// Ends all tokens of `holder`, refresh tokens, too, and tells how many of these
    /// there were. Whoever has the password gets others.
    ///
    /// # Errors
    ///
    /// As those of [`revoke`](Self::revoke).
    pub async fn revoke_all(&self, holder: &Principal) -> Result<usize> {
        let server = self.0.server()?;
        server.revoke_all(holder, self.0.clock.now()).await
    }

    /// Ends all tokens of everybody, refresh tokens, too, and tells how many of
    /// these there were.
    ///
    /// # Errors
    ///
    /// As those of [`revoke`](Self::revoke).
    pub async fn revoke_everybodys(&self) -> Result<usize> {
        let server = self.0.server()?;
        server.revoke_everybodys(self.0.clock.now()).await
    }

    /// Adds another key that signs tokens, which it does in ten minutes; or replaces
    /// all keys now, so that every token given out before is refused.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) without a [token server](Self::tokens),
    /// and others if the keys can't be written.
    pub async fn rotate_signing_keys(&self, replace: bool) -> Result<()> {
        let (server, now) = (self.0.server()?, self.0.clock.now());
        if replace {
            server.replace_keys(now).await
        } else {
            server.rotate(now).await
        }
    }

    /// The public keys of the [token server](Self::tokens), as a document (RFC
    /// 7517) for whoever checks its tokens elsewhere.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) without one.
    pub async fn key_set(&self) -> Result<Vec<u8>> {
        self.0.server()?.key_set(self.0.clock.now()).await
    }
}

impl Inner {
    fn server(&self) -> Result<&Arc<TokenServer>> {
        self.tokens
            .as_ref()
            .ok_or_else(|| ErrorKind::NotFound.error("there are no tokens in this registry"))
    }

    async fn issue(
        &self,
        sender: &Sender<'_>,
        request: &TokenRequest,
    ) -> Result<TokenAnswer, Refused> {
        let server = self.server()?;
        server.check(request)?;
        let now = self.clock.now();
        let mut since = now;
        let known = match request.grant() {
            TokenGrant::Sender => self.known_as(sender, true).await?,
            TokenGrant::Exchange(token) => {
                let credentials = Credentials::Bearer(token.clone());
                self.known_by(&credentials, sender, true).await?
            }
            TokenGrant::Refresh(token) => {
                let offline = request.is_offline();
                let (holder, login) = self.redeem(server, token, offline, now).await?;
                since = login;
                Some(holder)
            }
            TokenGrant::Password(user, password) => {
                let credentials = Credentials::Basic {
                    user: user.clone(),
                    password: password.clone(),
                };
                self.known_by(&credentials, sender, true).await?
            }
        };
        self.count_known(known.as_ref())?;
        let holder = known.unwrap_or_else(|| Principal::anonymous().found_by(NOBODY));
        if holder.kind() == PrincipalKind::Anonymous {
            TokenServer::check_nobodys(request)?;
        }
        let standing = match holder.kind() {
            PrincipalKind::Anonymous => None,
            _ => match self.standing(&holder, holder.source()).await? {
                Some((_, standing)) => Some(standing),
                None => return Err(wrong_credentials().into()),
            },
        };
        let complete = standing == Some(Standing::Unknown);
        let (held, mut epochs) = self.held(request.scopes(), &holder).await?;
        let asked = request.scopes().intersection(&held);
        let caller = Known::new(Some(holder.clone()), sender.origin().clone(), now);
        let mut allowed = the_whole_registry();
        for (repository, _) in asked.repositories() {
            let actions = self.policies.allowed(repository, &caller);
            allowed.insert_actions(repository.clone(), actions);
        }
        let granted = asked.intersection(&allowed);
        // How often one was deleted is not for those who may do nothing there.
        epochs.retain(|repository, _| {
            granted
                .actions(repository)
                .is_some_and(|actions| !actions.is_empty())
        });
        let issue = Issue {
            holder: &holder,
            actor: Arc::clone(caller.actor()),
            complete,
            granted,
            asked,
            epochs,
            now,
        };
        let mut answer = server.issue(&issue).await?;
        // Not for those who can't be asked whether they still are who they were, and
        // have the password that they had, nor for what a token or something else that
        // ends was shown: it would be longer-lived than that.
        let lasts = matches!(&standing, Some(Standing::Current(now)) if !now.hides_password());
        let is_limited = holder.limits().is_some() || holder.expires_at().is_some();
        if request.is_offline() && lasts && !is_limited {
            answer.refresh_token = server.refresh_token(&holder, since, now).await?;
        }
        Ok(answer)
    }

    /// Who holds this refresh token, if that one is still who it was then, and when
    /// it logged in. If it is to be replaced, it is good once.
    async fn redeem(
        &self,
        server: &TokenServer,
        token: &Secret,
        replace: bool,
        now: SystemTime,
    ) -> Result<(Principal, SystemTime)> {
        let found = server.find_refresh_token(token, now).await?;
        let found = found.ok_or_else(wrong_credentials)?;
        let since = found.since();
        self.require_key(found.holder()).await?;
        let holder = match self.standing(found.holder(), found.source()).await? {
            Some((source, Standing::Current(now)))
                if now.stamp() == found.holder().stamp() && !now.hides_password() =>
            {
                self.admit(now.found_by(source).limited_as(found.holder()))?
            }
            _ => {
                tracing::info!(holder = %found.holder(), "the holder of a refresh token is gone, or has another password");
                return Err(wrong_credentials());
            }
        };
        if !replace {
            server.touch_refresh_token(found, now).await?;
        } else if !server.consume_refresh_token(&found).await? {
            return Err(wrong_credentials());
        }
        Ok((holder, since))
    }

    /// What the credentials of `holder` cover of what is asked for, and the
    /// epochs of repositories, if somebody knows them. What a token covers in a
    /// repository that was deleted since is nothing in the one that came after.
    async fn held(
        &self,
        asked: &Scopes,
        holder: &Principal,
    ) -> Result<(Scopes, BTreeMap<RepositoryName, u64>)> {
        let limits = holder.limits();
        let mut held = the_whole_registry();
        if let Some(limits) = limits {
            held = held.intersection(limits.scopes());
        }
        let mut epochs = BTreeMap::new();
        for (repository, _) in asked.repositories() {
            let epoch = self.epoch(repository).await?;
            let covered = match limits {
                None => Actions::ALL,
                Some(limits) if limits.outlived(repository, epoch) => Actions::NONE,
                Some(limits) => limits.scopes().actions(repository).unwrap_or_default(),
            };
            held.insert_actions(repository.clone(), covered);
            if self.epochs.is_some() {
                epochs.insert(repository.clone(), epoch.number);
            }
        }
        Ok((held, epochs))
    }

    /// Who holds the token, if the credentials are one of ours, limited to what
    /// it covers. Groups are those of now, if its source knows.
    pub(super) async fn holder(&self, credentials: &Credentials) -> Result<Option<Principal>> {
        let (Some(server), Credentials::Bearer(token)) = (&self.tokens, credentials) else {
            return Ok(None);
        };
        let Some(verified) = server.verify(token, self.clock.now()).await? else {
            return Ok(None);
        };
        let holder = verified.holder();
        if holder.kind() == PrincipalKind::Anonymous {
            return Ok(Some(holder.clone().found_by(NOBODY)));
        }
        self.require_key(holder).await?;
        match self.standing(holder, verified.source()).await? {
            Some((source, Standing::Current(now))) if now.stamp() == holder.stamp() => {
                Ok(Some(now.found_by(source).limited_as(holder)))
            }
            Some((source, Standing::Unknown)) => Ok(Some(holder.clone().found_by(source))),
            _ => {
                tracing::info!(%holder, "the holder of a token is gone, or has another password");
                Err(wrong_credentials())
            }
        }
    }

    /// Whose key the credentials are, limited to what it covers.
    #[cfg(feature = "keys")]
    pub(super) async fn key_holder(&self, credentials: &Credentials) -> Result<Option<Principal>> {
        let Some(keys) = &self.keys else {
            return Ok(None);
        };
        let (user, source, identity) = match keys.find(credentials, self.clock.now()).await? {
            None => return Ok(None),
            Some(KeyHolder::Robot(robot)) => return Ok(Some(robot.found_by(SOURCE))),
            Some(KeyHolder::User(user, source, identity)) => (user, source, identity),
        };
        if let Some((source, Standing::Current(now))) = self.standing(&user, &source).await?
            && has_identity(&now, identity.as_deref())
        {
            return Ok(Some(now.found_by(source).limited_as(&user)));
        }
        tracing::info!(%user, "the owner of a key is gone or another one, or can't be asked about");
        Err(wrong_credentials())
    }

    /// Refuses what was made for a key that is there no more.
    #[cfg_attr(
        not(feature = "keys"),
        allow(clippy::unused_async, reason = "nobody can be asked without keys")
    )]
    pub(super) async fn require_key(&self, holder: &Principal) -> Result<()> {
        let Some(id) = holder.key() else {
            return Ok(());
        };
        #[cfg(feature = "keys")]
        if let Some(keys) = &self.keys
            && keys.has(holder, id).await?
        {
            return Ok(());
        }
        tracing::info!(%holder, key = id, "a token was shown for a key that is there no more");
        Err(wrong_credentials())
    }
}

/// What there is besides repositories.
fn the_whole_registry() -> Scopes {
    Scopes::parse(["registry:catalog:* registry:mount:pull"])
}
