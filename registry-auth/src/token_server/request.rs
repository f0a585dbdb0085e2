//! What a client asks of a token server.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use registry_core::{ErrorKind, Result, Scopes};

use crate::Secret;

/// The longest form in bytes.
pub const TOKEN_REQUEST_MAX: usize = 64 << 10;

/// What a form says in which one token is exchanged for another, and the kinds of
/// tokens there are (RFC 8693, sections 2.1 and 3).
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A request for a token: a query (Docker's token protocol) or a form (RFC 6749,
/// RFC 8693).
pub struct TokenRequest {
    grant: TokenGrant,
    service: Option<String>,
    scopes: Scopes,
    offline: bool,
}

/// What a token is asked for with.
pub(crate) enum TokenGrant {
    /// What the request's headers say.
    Sender,
    /// A name and a password in the form.
    Password(String, Secret),
    /// A refresh token.
    Refresh(Secret),
    /// Another token, also one by somebody else.
    Exchange(Secret),
}

impl TokenRequest {
    /// Reads the query of a GET request. What isn't known in it is ignored, and
    /// so are scopes that aren't understood.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if it says two things at once.
    pub fn from_query(query: &str) -> Result<Self> {
        let parameters = Parameters::read(query)?;
        Ok(Self {
            grant: TokenGrant::Sender,
            service: parameters.one("service")?.map(str::to_owned),
            scopes: parameters.scopes(),
            offline: parameters.one("offline_token")? == Some("true"),
        })
    }

    /// Reads the form in the body of a POST request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if it is longer than [`TOKEN_REQUEST_MAX`]
    /// or malformed, says two things at once, or lacks something.
    pub fn from_form(form: &[u8]) -> Result<Self> {
        let parameters = Parameters::of_form(form)?;
        let secret = |name| parameters.secret(name);
        let grant = match parameters.one("grant_type")? {
            Some("password") => {
                let user = parameters.one("username")?.unwrap_or_default().to_owned();
                if user.contains([':', '\0']) || user.contains(char::is_control) {
                    return Err(invalid("the username holds characters that no name has"));
                }
                TokenGrant::Password(user, secret("password")?)
            }
            Some("refresh_token") => TokenGrant::Refresh(secret("refresh_token")?),
            Some(EXCHANGE) => {
                parameters.check_exchange()?;
                TokenGrant::Exchange(secret("subject_token")?)
            }
            Some(_) => {
                return Err(invalid(
                    "the grant_type isn't known here; use password, refresh_token or token-exchange",
                ));
            }
            None => return Err(invalid("the form has no grant_type")),
        };
        let service = match parameters.one("service")? {
            None if matches!(grant, TokenGrant::Exchange(_)) => parameters.one("audience")?,
            service => service,
        };
        Ok(Self {
            service: service.map(str::to_owned),
            grant,
            scopes: parameters.scopes(),
            offline: parameters.one("access_type")? == Some("offline"),
        })
    }

    /// Reads the form of a request to revoke a token (RFC 7009): the token.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if it is longer than [`TOKEN_REQUEST_MAX`],
    /// malformed, or names no token.
    pub fn token_to_revoke(form: &[u8]) -> Result<Secret> {
        let parameters = Parameters::of_form(form)?;
        parameters.secret("token")
    }

    /// What it is asked for with.
    pub(crate) fn grant(&self) -> &TokenGrant {
        &self.grant
    }

    /// What it should be for.
    pub(super) fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// Whether a refresh token is asked for, too.
    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }

    /// What it should cover.
    pub(crate) fn scopes(&self) -> &Scopes {
        &self.scopes
    }
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest")
            .field("service", &self.service)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

fn invalid(reason: impl Into<String>) -> registry_core::Error {
    ErrorKind::RequestInvalid.error(reason)
}

/// The parameters of a query or form (WHATWG URL, section 5).
struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    fn of_form(form: &'a [u8]) -> Result<Self> {
        if form.len() > TOKEN_REQUEST_MAX {
            return Err(invalid("the form is longer than 64 KiB; ask for less"));
        }
        Self::read(std::str::from_utf8(form).map_err(|_| invalid("the form isn't text"))?)
    }

    fn read(text: &'a str) -> Result<Self> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        pairs.collect::<Result<_>>().map(Self)
    }

    /// The only value of a parameter, if it isn't empty. Named twice, it must
    /// say the same twice.
    fn one(&self, name: &str) -> Result<Option<&str>> {
        let mut values = self.all(name);
        let first = values.next();
        if values.any(|other| Some(other) != first) {
            return Err(invalid(format!("{name} is given twice; give it once")));
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    /// A password or a token, in the characters that it could have in a header, too.
    fn secret(&self, name: &str) -> Result<Secret> {
        let value = self
            .one(name)?
            .ok_or_else(|| invalid(format!("the form has no {name}")))?;
        if value.contains(char::is_control) {
            return Err(invalid(format!(
                "the {name} holds control characters; leave them out"
            )));
        }
        Ok(Secret::new(value))
    }

    /// Refuses to exchange what isn't exchanged here: another kind of token, on
    /// behalf of somebody, or for another kind.
    fn check_exchange(&self) -> Result<()> {
        match self.one("subject_token_type")? {
            Some(ID_TOKEN | ACCESS_TOKEN | JWT) => {}
            Some(_) => return Err(invalid("the subject_token_type isn't taken here; use jwt")),
            None => return Err(invalid("the form has no subject_token_type")),
        }
        if !matches!(
            self.one("requested_token_type")?,
            None | Some(ACCESS_TOKEN | JWT)
        ) {
            return Err(invalid(
                "the requested_token_type isn't to be had here; ask for access_token",
            ));
        }
        if self.all("actor_token").next().is_some() {
            return Err(invalid(
                "nobody acts for somebody else here; leave the actor_token out",
            ));
        }
        Ok(())
    }

    /// All scopes: in several parameters, as Docker sends them, or in one, as in
    /// RFC 6749.
    fn scopes(&self) -> Scopes {
        Scopes::parse(self.all("scope"))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_ref())
    }
}

fn decode(text: &str) -> Result<Cow<'_, str>> {
    if !text.contains(['+', '%']) {
        return Ok(Cow::Borrowed(text));
    }
    percent_decode_str(&text.replace('+', " "))
        .decode_utf8()
        .map(|decoded| Cow::Owned(decoded.into_owned()))
        .map_err(|_| invalid("what is encoded in the request isn't text"))
}
