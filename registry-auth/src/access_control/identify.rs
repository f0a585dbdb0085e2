//! From what a sender shows to who that is.

#[cfg(feature = "workload")]
use std::sync::atomic::AtomicBool;

use registry_core::{ErrorKind, Result};

use super::Inner;
use super::refusal::Refused;
use super::source::Source;
#[cfg(feature = "keys")]
use crate::Keys;
use crate::{
    Caller, Credentials, Principal, PrincipalKind, Secret, Sender, hide_secrets, wrong_credentials,
};

impl Inner {
    /// Who sends, if anybody says so.
    pub(super) async fn identify(&self, sender: &Sender<'_>) -> Result<Option<Principal>, Refused> {
        self.known_as(sender, false).await
    }

    /// The same, whether for something to be done or for a token that
    /// `exchanges` the credentials.
    pub(super) async fn known_as(
        &self,
        sender: &Sender<'_>,
        exchanges: bool,
    ) -> Result<Option<Principal>, Refused> {
        // Clients send what they have saved for the host: without anybody to
        // judge it, it is neither right nor wrong.
        if !self.can_login() {
            return Ok(None);
        }
        let credentials = Credentials::from_headers(sender.headers())?;
        self.known_by(&credentials, sender, exchanges).await
    }

    /// Who shows these credentials, if there are any.
    pub(super) async fn known_by(
        &self,
        credentials: &Credentials,
        sender: &Sender<'_>,
        exchanges: bool,
    ) -> Result<Option<Principal>, Refused> {
        let attempt = match credentials {
            Credentials::Basic { user, password } => {
                let address = sender.origin().address;
                let attempt = self.guard.attempt(user, address, &self.clock);
                if !self.is_no_guess(password) {
                    attempt.begin()?;
                }
                Some(attempt)
            }
            _ => None,
        };
        #[cfg(feature = "workload")]
        let claimed = AtomicBool::new(false);
        let caller = Caller {
            credentials,
            headers: sender.headers(),
            origin: sender.origin(),
            certificate: sender.client_certificate(),
            attempt: attempt.as_ref(),
            exchanges,
            #[cfg(feature = "workload")]
            claimed: &claimed,
            lets_in: &|_| true,
        };
        let known = match self.find(&caller).await {
            Ok(Some(principal)) => Ok(Some(principal)),
            Ok(None) if credentials.is_none() => Ok(None),
            Ok(None) => {
                tracing::debug!("a login was refused: nobody who was asked takes it");
                Err(wrong_credentials())
            }
            Err(error) => Err(error),
        };
        #[cfg(feature = "workload")]
        if known.is_err() && !claimed.into_inner() {
            tell_of_issuer(credentials, exchanges);
        }
        // Of one that breaks off before anybody has looked, nothing came.
        match (attempt, &known) {
            (Some(attempt), Ok(_)) => attempt.right(),
            // Nor of what wasn't tried as a password either: there is no end of made-up keys
            // and ids of sessions, and nothing is found out by them.
            (Some(attempt), Err(error))
                if error.kind() == ErrorKind::Unauthorized && attempt.is_asked() =>
            {
                attempt.wrong();
            }
            _ => {}
        }
        known.map_err(|error| match credentials {
            Credentials::Bearer(_) => Refused::Token(error),
            _ => Refused::Error(error),
        })
    }

    /// Whether a password is a key or the token of a job, true or not. Nobody
    /// guesses one, so whoever guesses passwords doesn't keep out those who have
    /// one, though they show it under the same name.
    #[cfg_attr(
        not(feature = "keys"),
        expect(clippy::unused_self, reason = "only keys have to be known here")
    )]
    fn is_no_guess(&self, password: &Secret) -> bool {
        #[cfg(feature = "keys")]
        if self.keys.is_some() && Keys::is_key(password) {
            return true;
        }
        #[cfg(feature = "workload")]
        if crate::jwt::said_issuer(password.expose()).is_some() {
            return true;
        }
        let _ = password;
        false
    }

    /// Counts a request, whoever sends it.
    pub(super) fn count_sender(&self, sender: &Sender<'_>) -> Result<()> {
        let address = sender.origin().address;
        self.rates.of_address(address, self.clock.now())
    }

    /// Counts a request of somebody, if that is anybody in particular.
    pub(super) fn count_known(&self, known: Option<&Principal>) -> Result<()> {
        match known.filter(|known| known.kind() != PrincipalKind::Anonymous) {
            Some(known) => self.rates.of_identity(known, self.clock.now()),
            None => Ok(()),
        }
    }

    pub(super) fn can_login(&self) -> bool {
        #[cfg(feature = "keys")]
        if self.keys.is_some() {
            return true;
        }
        !self.authenticators.is_empty()
    }

    /// Asks one authenticator after the other, also about a password that is wrong
    /// already: neither the time nor the answer of one that is away tells who knows
    /// the name.
    async fn find(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        #[cfg(feature = "token")]
        if let Some(holder) = self.holder(caller.credentials).await? {
            return self.admit(holder).map(Some);
        }
        #[cfg(feature = "keys")]
        if let Some(holder) = self.key_holder(caller.credentials).await? {
            return self.admit(holder).map(Some);
        }
        let mut refusal = None;
        for Source {
            authenticator,
            name: source,
        } in &self.authenticators
        {
            let lets_in = |known: &Principal| {
                let known = known.clone().found_by(source.clone());
                self.refuses(&known).is_none()
            };
            let caller = Caller {
                lets_in: &lets_in,
                ..*caller
            };
            let found = authenticator.authenticate(&caller).await;
            let admitted = found.and_then(|found| {
                let found = found.map(|known| known.found_by(source.clone()));
                found.map(|known| self.admit(known)).transpose()
            });
            match admitted {
                Ok(Some(principal)) if refusal.is_none() => return Ok(Some(principal)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Unauthorized => {
                    let attempt = caller.attempt.filter(|attempt| attempt.is_asked());
                    let Some(attempt) = attempt else {
                        return Err(error);
                    };
                    attempt.refuse_it();
                    refusal.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
            caller.doubt();
        }
        refusal.map_or(Ok(None), Err)
    }

    /// Nobody learns that the credentials of somebody disabled were right.
    pub(super) fn admit(&self, principal: Principal) -> Result<Principal> {
        match self.refuses(&principal) {
            None => Ok(principal),
            Some(Refuses::Unsound) => {
                let principal = principal.to_string();
                tracing::warn!(
                    principal = %hide_secrets(&principal),
                    "nobody is let in who is called like a robot, a key or `anonymous`, whose issuer has a blank in its name, or who has too many claims"
                );
                Err(wrong_credentials())
            }
            Some(Refuses::Disabled) => {
                tracing::info!(%principal, "somebody disabled tried to log in");
                Err(wrong_credentials())
            }
        }
    }

    /// Why nobody is let in as `principal`, whatever it shows.
    fn refuses(&self, principal: &Principal) -> Option<Refuses> {
        if !principal.is_sound() {
            return Some(Refuses::Unsound);
        }
        self.policies
            .disable(principal)
            .then_some(Refuses::Disabled)
    }
}

/// Why a token that nobody takes is refused is told to nobody but the log.
#[cfg(feature = "workload")]
fn tell_of_issuer(credentials: &Credentials, exchanges: bool) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let shown = match credentials {
        Credentials::Basic { password, .. } => password,
        Credentials::Bearer(token) if exchanges => token,
        _ => return,
    };
    if let Some(issuer) = crate::jwt::said_issuer(shown.expose()) {
        let issuer = crate::shown::shown(&issuer);
        tracing::debug!(
            issuer,
            "a token was refused: no issuer that is known here is called so in tokens (`iss`)"
        );
    }
}

/// Why somebody is refused whose credentials are right.
enum Refuses {
    Unsound,
    Disabled,
}
