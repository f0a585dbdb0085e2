//! What a token server answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use registry_core::{Actor, Error, Result, Scopes};
use serde::Serialize;

use super::request::ACCESS_TOKEN;
use crate::Secret;

/// A token, and what belongs to it.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct TokenAnswer {
    /// The token.
    pub token: Secret,
    /// What it covers at the time.
    pub scopes: Scopes,
    /// When it was made.
    pub issued_at: SystemTime,
    /// How long it lives.
    pub lifetime: Duration,
    /// What gets another token without a password, if that was asked for and may
    /// be had.
    pub refresh_token: Option<Secret>,
    /// Who holds it.
    pub actor: Arc<Actor>,
}

#[derive(Serialize)]
struct Document<'a> {
    token: &'a str,
    access_token: &'a str,
    token_type: &'static str,
    issued_token_type: &'static str,
    scope: String,
    expires_in: u64,
    issued_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
}

impl TokenAnswer {
    /// The document for the client, in the words of Docker's token protocol and
    /// of RFC 6749 and 8693. It holds secrets.
    ///
    /// # Errors
    ///
    /// [`Internal`](registry_core::ErrorKind::Internal) if it can't be written.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let issued_at = jiff::Timestamp::try_from(self.issued_at)
            .and_then(|time| time.round(jiff::Unit::Second))
            .map_err(|source| Error::internal("the clock can't be written", source))?;
        let document = Document {
            token: self.token.expose(),
            access_token: self.token.expose(),
            token_type: "Bearer",
            issued_token_type: ACCESS_TOKEN,
            scope: self.scopes.to_string(),
            expires_in: self.lifetime.as_secs(),
            issued_at: issued_at.to_string(),
            refresh_token: self.refresh_token.as_ref().map(Secret::expose),
        };
        serde_json::to_vec(&document)
            .map_err(|source| Error::internal("an answer with a token can't be written", source))
    }
}
