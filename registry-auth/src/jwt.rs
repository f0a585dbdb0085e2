//! Signed tokens (JWT, RFC 7519) and the keys that check them.
//!
//! [`verify`] takes one narrow form of a token, and refuses whatever else the
//! standards allow. What it promises:
//!
//! * A token is at most [`TOKEN_MAX`] bytes of exactly three parts, each the one
//!   spelling of its bytes in base64url.
//! * The header holds `alg`, `typ` and `kid`, and nothing else: no key, no
//!   certificate and no address of one (`jwk`, `x5c`, `jku`, `x5u`), no `crit`.
//! * A key has one algorithm, and it is the key's that counts. There are no
//!   symmetric ones, so a public key never serves as a secret; there is no
//!   `none`.
//! * `kid` is compared with the names of known keys. It is never a path, an
//!   address, or looked up outside the process.
//! * The signature is checked before anything of the claims is read. Objects
//!   that repeat a key are refused, and so are claims of a wrong type, whether
//!   they are needed or not.
//!
//! ```
//! use std::time::{Duration, UNIX_EPOCH};
//!
//! use registry_auth::jwt::{self, KeySet, Profile, Rejected};
//!
//! let keys = KeySet::parse_jwks(br#"{"keys": [{
//!     "kty": "OKP", "crv": "Ed25519", "kid": "first",
//!     "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
//! }]}"#)?;
//! let expect = Profile::new("https://login.example.com", "registry.example.com");
//! let now = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
//! let refused = jwt::verify("not.a.token", &keys, &expect, now);
//! assert!(matches!(refused, Err(Rejected::Malformed(_))));
//! # Ok::<(), registry_core::Error>(())
//! ```

mod algorithm;
mod claims;
mod key;
mod key_set;
mod material;
mod strict_json;

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use self::algorithm::Algorithm;
pub use self::claims::Claims;
pub(crate) use self::claims::Times;
pub use self::key::VerificationKey;
pub use self::key_set::KeySet;
pub use self::strict_json::Json;

use crate::Secret;
use crate::remembered::Fingerprint;

/// The longest token in bytes that is looked at.
pub const TOKEN_MAX: usize = 16 << 10;

/// The longest header in bytes, decoded.
const HEADER_MAX: usize = 1 << 10;

/// The longest name of a key in bytes.
const KID_MAX: usize = 128;

/// What a token has to be like.
#[derive(Debug, Clone)]
pub struct Profile {
    issuer: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    grace: Duration,
    longest: Duration,
    workload: bool,
}

impl Profile {
    /// Tokens by `issuer` for `audience`, which the token must name exactly so.
    /// An empty one fits no token.
    ///
    /// Any [`Algorithm`] is fine, a token may live for an hour, and is good for a
    /// minute after it expired, as clocks differ.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            algorithms: Algorithm::ALL.to_vec(),
            grace: Duration::from_mins(1),
            longest: Duration::from_hours(1),
            workload: false,
        }
    }

    /// Only tokens that are signed with one of `algorithms`.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// How long a token is good after it expired.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The longest life of a token.
    pub fn longest(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// Tokens of a workload, whose header may have no `typ`, as those of
    /// Kubernetes, or fingerprints of a certificate (`x5t`, `x5t#S256`), as
    /// those of GitHub; they are ignored. They may live as long as a long job:
    /// for a day.
    pub fn workload(mut self) -> Self {
        (self.workload, self.longest) = (true, Duration::from_hours(24));
        self
    }
}

/// Why a token is refused.
///
/// It shows nothing of the token but the name of its key, which is made of
/// visible ASCII characters. It is for the log: a client learns no more than
/// that its token isn't good.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// It isn't a token at all.
    Malformed(&'static str),
    /// The header holds something it must not, or lacks something.
    Header(&'static str),
    /// The algorithm isn't known, or isn't accepted here.
    Algorithm,
    /// There is no key with its name and algorithm. New keys may be there to
    /// fetch.
    UnknownKey(Option<String>),
    /// The signature isn't by the key.
    Signature,
    /// A claim is missing or has a wrong type.
    Claim(&'static str),
    /// It is by another issuer.
    Issuer,
    /// It is for somebody else.
    Audience,
    /// It lives too long, or ends before it begins.
    Lifetime,
    /// It isn't good yet.
    TooEarly,
    /// It isn't good any more.
    Expired,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) | Self::Header(what) => {
                write!(f, "the token is malformed: {what}")
            }
            Self::Algorithm => f.write_str("the algorithm of the token isn't accepted here"),
            Self::UnknownKey(Some(kid)) => {
                write!(
                    f,
                    "the key {kid} of the token isn't known for its algorithm"
                )
            }
            Self::UnknownKey(None) => {
                f.write_str("the token names no key, and there isn't exactly one it could be")
            }
            Self::Signature => f.write_str("the signature of the token is wrong"),
            Self::Claim(claim) => write!(f, "the claim {claim} is missing or has a wrong type"),
            Self::Issuer => f.write_str("the token is by another issuer"),
            Self::Audience => f.write_str("the token is for another audience"),
            Self::Lifetime => {
                f.write_str("the token lives longer than is accepted, or ends before it begins")
            }
            Self::TooEarly => f.write_str("the token isn't good yet; compare the clocks"),
            Self::Expired => f.write_str("the token has expired; get a new one"),
        }
    }
}

impl std::error::Error for Rejected {}

/// Checks `token`: its form, that one of `keys` signed it, that it is as `expect`
/// says, and that it is good at `now`.
///
/// An Elliptic Curve signature takes some tens of microseconds.
///
/// # Errors
///
/// Why it is refused.
pub fn verify(
    token: &str,
    keys: &KeySet,
    expect: &Profile,
    now: SystemTime,
) -> Result<Claims, Rejected> {
    let [signed, header, payload, signature] = parts(token)?;
    let header = Header::read(header, expect)?;
    let key = keys
        .find(header.kid.as_deref(), header.algorithm)
        .ok_or(Rejected::UnknownKey(header.kid))?;
    if !key.verify(signed.as_bytes(), &decode(signature)?) {
        return Err(Rejected::Signature);
    }
    Claims::read(&decode(payload)?, key.kid(), expect, now)
}

/// What a token is remembered by that was found right.
pub(crate) fn fingerprint(token: &Secret) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(digest(&SHA256, token.expose().as_bytes()).as_ref());
    fingerprint
}

/// Who a token says it is by, for choosing whom to ask about it. Nobody has
/// checked that.
#[cfg(feature = "workload")]
pub(crate) fn said_issuer(token: &str) -> Option<String> {
    said(token)?
        .as_object()?
        .get("iss")?
        .as_text()
        .map(str::to_owned)
}

/// Whether a token says that it is for `audience`, which nobody has checked either.
#[cfg(feature = "workload")]
pub(crate) fn is_said_to_be_for(token: &str, audience: &str) -> bool {
    let said = said(token);
    let said = said
        .as_ref()
        .and_then(|claims| claims.as_object()?.get("aud"));
    said.is_some_and(|said| match said.as_list() {
        Some(list) => list.iter().any(|one| one.as_text() == Some(audience)),
        None => said.as_text() == Some(audience),
    })
}

/// The claims of a token, whoever made it.
#[cfg(feature = "workload")]
fn said(token: &str) -> Option<Json> {
    let [_, _, payload, _] = parts(token).ok()?;
    Json::parse(&decode(payload).ok()?).ok()
}

const NOT_THREE: Rejected = Rejected::Malformed("it doesn't have three parts");

/// What is signed of a token, and its parts: the header, the payload and the
/// signature.
fn parts(token: &str) -> Result<[&str; 4], Rejected> {
    if token.len() > TOKEN_MAX {
        return Err(Rejected::Malformed("it is longer than 16 KiB"));
    }
    // From both ends, so that a thousand dots are no thousand parts.
    let (signed, signature) = token.rsplit_once('.').ok_or(NOT_THREE)?;
    let (header, payload) = signed.split_once('.').ok_or(NOT_THREE)?;
    if payload.contains('.') {
        return Err(NOT_THREE);
    }
    Ok([signed, header, payload, signature])
}

/// Decodes base64url without padding, and only if it is the one way to write
/// these bytes.
fn decode(text: &str) -> Result<Vec<u8>, Rejected> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Rejected::Malformed("a part isn't base64url"))
}

/// Whether a key may have this name, in a token or a key set: short, and made of
/// visible characters that need no escape where it is written.
fn is_kid(kid: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    (1..=KID_MAX).contains(&kid.len()) && kid.bytes().all(plain)
}

/// What a header says.
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
}

impl Header {
    fn read(encoded: &str, expect: &Profile) -> Result<Self, Rejected> {
        let decoded = decode(encoded)?;
        if decoded.len() > HEADER_MAX {
            return Err(Rejected::Header("the header is longer than 1 KiB"));
        }
        let Ok(Json::Object(members)) = Json::parse(&decoded) else {
            return Err(Rejected::Header("the header is no acceptable JSON"));
        };
        let (mut algorithm, mut kid, mut typ) = (None, None, None);
        for (name, value) in members {
            let Json::Text(text) = value else {
                return Err(Rejected::Header("the header holds something but text"));
            };
            match name.as_str() {
                "alg" => algorithm = Some(text),
                "typ" => typ = Some(text),
                "kid" if is_kid(&text) => kid = Some(text),
                "kid" => return Err(Rejected::Header("the kid isn't 1 to 128 plain characters")),
                "x5t" | "x5t#S256" if expect.workload => {}
                _ => {
                    return Err(Rejected::Header(
                        "the header holds more than alg, typ and kid",
                    ));
                }
            }
        }
        match typ.as_deref() {
            Some(typ) if typ.eq_ignore_ascii_case("JWT") => {}
            Some(typ) if typ.eq_ignore_ascii_case("at+jwt") => {}
            None if expect.workload => {}
            _ => return Err(Rejected::Header("the typ is neither JWT nor at+jwt")),
        }
        let algorithm = algorithm.ok_or(Rejected::Header("there is no alg"))?;
        let algorithm = Algorithm::named(&algorithm)
            .filter(|algorithm| expect.algorithms.contains(algorithm))
            .ok_or(Rejected::Algorithm)?;
        Ok(Self { algorithm, kid })
    }
}
