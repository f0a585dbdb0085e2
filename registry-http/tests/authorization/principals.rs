//! Everybody who may ask, and what they are told they may.

use std::time::SystemTime;

use async_trait::async_trait;
use registry_auth::{
    AccessControl, Authenticator, Caller, Login, Principal, Rules, TokenIssuer, TokenLimits,
};
use registry_core::{Result, Scopes};

/// What the policy says. What it means is written a second time in the
/// [model](crate::model).
pub(crate) const RULES: &[&str] = &[
    "anyone is reader of open/**",
    "user reader is reader of secret/**, kept/**",
    "user writer is writer of secret/**, kept/**",
    "user creator may list, pull, push secret/**",
    "user dropper may push secret/**",
    "user cleaner may list, pull, delete secret/**, kept/**",
    "user tagger may list, pull, push v* in secret/**",
    "user root is admin of **",
    "group team are maintainers of secret/**",
    "robot ci is reader of secret/**",
    "user stranger is writer of elsewhere/**",
    "user banned is maintainer of secret/**",
    "user banned may not pull secret/**",
    "user gone is admin of **",
    "nobody may overwrite, delete keep* in kept/**",
];

/// Somebody, or nobody in particular.
#[derive(Debug)]
pub(crate) struct Somebody {
    /// Who it is; `robot$ci` is another one than `ci`.
    pub(crate) name: &'static str,
    /// What it shows: a user name and a password, or a key in a header of its
    /// own.
    shows: Shows,
}

#[derive(Debug)]
enum Shows {
    Nothing,
    Basic(&'static str),
    Header(&'static str),
}

/// Whom nobody knows.
pub(crate) const ANONYMOUS: &str = "";

/// Those whose credentials are wrong, for whatever reason.
pub(crate) const WRONG: &str = "wrong";

const fn known(name: &'static str) -> Somebody {
    Somebody {
        name,
        shows: Shows::Basic(name),
    }
}

pub(crate) const EVERYBODY: &[Somebody] = &[
    Somebody {
        name: ANONYMOUS,
        shows: Shows::Nothing,
    },
    Somebody {
        name: WRONG,
        shows: Shows::Basic("root:guessed"),
    },
    // Disabled, although it has the right password.
    Somebody {
        name: WRONG,
        shows: Shows::Basic("gone"),
    },
    Somebody {
        name: WRONG,
        shows: Shows::Basic("unheard-of"),
    },
    known("reader"),
    known("writer"),
    known("creator"),
    known("dropper"),
    known("cleaner"),
    known("tagger"),
    known("root"),
    known("stranger"),
    known("banned"),
    known("nobody"),
    // In the group.
    known("member"),
    // Called like a robot that may more.
    known("ci"),
    Somebody {
        name: "robot$ci",
        shows: Shows::Header("of-the-robot"),
    },
];

/// Those whom every spelling is tried with.
pub(crate) fn some() -> impl Iterator<Item = &'static Somebody> {
    let chosen = [ANONYMOUS, WRONG, "reader", "writer", "root", "stranger"];
    chosen
        .into_iter()
        .filter_map(|name| EVERYBODY.iter().find(|somebody| somebody.name == name))
}

/// The headers of a user with the right password.
pub(crate) fn user(name: &str) -> Vec<String> {
    vec![basic(name, "right")]
}

impl Somebody {
    pub(crate) fn headers(&self) -> Vec<String> {
        match self.shows {
            Shows::Nothing => Vec::new(),
            Shows::Header(key) => vec![format!("x-key: {key}")],
            Shows::Basic(user) => {
                let (user, password) = user.split_once(':').unwrap_or((user, "right"));
                vec![basic(user, password)]
            }
        }
    }
}

/// RFC 7617.
fn basic(user: &str, password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{user}:{password}");
    let mut encoded = String::new();
    for bytes in text.as_bytes().chunks(3) {
        let group = [0, 1, 2].map(|at| u32::from(*bytes.get(at).unwrap_or(&0)));
        let bits = group[0] << 16 | group[1] << 8 | group[2];
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            encoded.push(if at <= bytes.len() { digit.into() } else { '=' });
        }
    }
    format!("authorization: Basic {encoded}")
}

/// Whom headers of their own speak for: a robot with a key, and somebody who may
/// do everything, as far as some scopes go.
#[derive(Debug)]
struct Headers;

#[async_trait]
impl Authenticator for Headers {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let header = |name| caller.headers.get(name)?.to_str().ok();
        if !caller.credentials.is_none() {
            return Ok(None);
        }
        if header("x-key") == Some("of-the-robot") {
            return Ok(Some(Principal::robot("ci")));
        }
        Ok(header("x-scopes").map(|scopes| {
            let scopes = Scopes::parse([scopes]);
            let limits = TokenLimits::new(scopes, TokenIssuer::Own, SystemTime::UNIX_EPOCH);
            Principal::new("root").limited(limits)
        }))
    }
}

/// The guard of the [world](crate::world).
pub(crate) fn access_control() -> AccessControl {
    let rules = RULES
        .iter()
        .fold(Rules::new(), |rules, sentence| rules.sentence(sentence));
    let rules = rules.disable("gone").check().unwrap();
    let users = Login::new(|user, password| async move {
        let is_known = user != "unheard-of" && password.matches("right");
        is_known.then(|| {
            let principal = Principal::new(user.clone());
            if user == "member" {
                principal.member_of("team")
            } else {
                principal
            }
        })
    });
    AccessControl::new(rules)
        .authenticator(Headers)
        .authenticator(users)
}
