//! Everybody who may ask, and what they are told they may.

use async_trait::async_trait;
use registry_auth::{
    AccessControl, Authenticator, Caller, CertificateName, Certificates, Credentials, GuardLimits,
    Principal, Rules, Standing,
};
use registry_core::Result;

use crate::exchange::CERTIFICATE;
use crate::identities::{issuer, job, workload};

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
    "user auditor is auditor of **",
    "group team are maintainers of secret/**",
    "robot ci is reader of secret/**",
    "user stranger is writer of elsewhere/**",
    "user banned is maintainer of secret/**",
    "user banned may not pull secret/**",
    "user puller may pull secret/**",
    "user unlisted is reader of secret/**, kept/**",
    "user unlisted may not list secret/**",
    "user gone is admin of **",
    "user leaver is admin of **",
    "workload jobs repository=org/app may list, pull, push secret/**",
    "nobody may overwrite, delete keep* in kept/**",
];

/// Somebody, or nobody in particular.
#[derive(Debug)]
pub(crate) struct Somebody {
    /// Who it is; `robot$ci` is another one than `ci`.
    pub(crate) name: &'static str,
    /// What it shows: a user name and a password, or a key in a header of its
    /// own.
    pub(crate) shows: Shows,
    /// The token for which it shows that, and which it shows from then on.
    pub(crate) token: Option<Token>,
}

#[derive(Debug)]
pub(crate) enum Shows {
    Nothing,
    Basic(&'static str),
    Header(&'static str),
    /// One of its API keys, in some way.
    Key(Way),
    /// A certificate with this name.
    Certificate(&'static str),
    /// As a password, the token of a job that runs for this repository of code.
    Job(&'static str),
}

/// How a key is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As the password of its owner.
    Password,
    /// As a password of nobody.
    Nameless,
    Bearer,
    /// Although it is no good any more.
    Revoked,
}

/// What a token was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token {
    /// The actions, separated by commas.
    pub(crate) words: &'static str,
    /// How the names of the repositories begin.
    pub(crate) below: &'static str,
    /// Whether it is for the list of repositories, and for mounts from anywhere.
    pub(crate) registry: bool,
    pub(crate) given: Given,
}

/// When and by whom a token was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Given {
    Now,
    /// Before some repositories were deleted.
    Before,
    /// Hours ago.
    LongAgo,
    /// By another registry, which calls itself the same.
    Elsewhere,
    /// For a key that was revoked since.
    Ended,
    /// And given back, before its time (RFC 7009).
    Returned,
    /// Before all tokens of its holder were revoked.
    Recalled,
    /// By another issuer, which this registry trusts.
    Foreign,
    /// By that one, before some repositories were deleted.
    ForeignBefore,
    /// By that one, hours ago.
    ForeignLongAgo,
    /// In exchange for one that covers everything.
    Narrowed,
    /// In exchange for one that covers as much, although more was asked for.
    Widened,
    /// Not at all: what is shown is a key that covers as much.
    Never,
}

/// Whom nobody knows.
pub(crate) const ANONYMOUS: &str = "";

/// Those whose credentials are wrong, for whatever reason.
pub(crate) const WRONG: &str = "wrong";

const fn somebody(name: &'static str, shows: Shows) -> Somebody {
    let token = None;
    Somebody { name, shows, token }
}

const fn known(name: &'static str) -> Somebody {
    somebody(name, Shows::Basic(name))
}

const fn holder(name: &'static str, shows: Shows, words: &'static str, given: Given) -> Somebody {
    Somebody {
        name,
        shows,
        token: Some(Token {
            words,
            below: "",
            registry: false,
            given,
        }),
    }
}

const fn with_token(name: &'static str, words: &'static str) -> Somebody {
    holder(name, Shows::Basic(name), words, Given::Now)
}

/// Those who need no tokens.
pub(crate) const EVERYBODY: &[Somebody] = &[
    somebody(ANONYMOUS, Shows::Nothing),
    somebody(WRONG, Shows::Basic("root:guessed")),
    // Disabled, although it has the right password.
    somebody(WRONG, Shows::Basic("gone")),
    somebody(WRONG, Shows::Basic("unheard-of")),
    known("reader"),
    known("writer"),
    known("creator"),
    known("dropper"),
    known("cleaner"),
    known("tagger"),
    known("root"),
    known("auditor"),
    known("stranger"),
    known("banned"),
    // May list without being told so.
    known("puller"),
    // Pulls what it may not list.
    known("unlisted"),
    known("nobody"),
    // In the group.
    known("member"),
    // Called like a robot that may more.
    known("ci"),
    somebody("robot$ci", Shows::Header("of-the-robot")),
    somebody("robot$ci", Shows::Key(Way::Password)),
    somebody("robot$ci", Shows::Key(Way::Bearer)),
    somebody("reader", Shows::Key(Way::Password)),
    somebody("root", Shows::Key(Way::Nameless)),
    somebody(WRONG, Shows::Key(Way::Revoked)),
    somebody("reader", Shows::Certificate("reader")),
    somebody("root", Shows::Certificate("root")),
    // Disabled, although somebody vouches for it.
    somebody(WRONG, Shows::Certificate("gone")),
    somebody("jobs:repo:org/app", Shows::Job("org/app")),
    // A job of somebody else.
    somebody("jobs:repo:org/other", Shows::Job("org/other")),
    holder("writer", Shows::Nothing, "pull,push", Given::Foreign),
    holder("root", Shows::Nothing, "*", Given::Foreign),
    holder("reader", Shows::Nothing, "*", Given::ForeignBefore),
    holder(WRONG, Shows::Nothing, "*", Given::ForeignLongAgo),
];

/// Those who have tokens.
pub(crate) const HOLDERS: &[Somebody] = &[
    holder(ANONYMOUS, Shows::Nothing, "pull", Given::Now),
    holder(ANONYMOUS, Shows::Nothing, "pull,push,delete", Given::Now),
    holder(ANONYMOUS, Shows::Nothing, "", Given::Now),
    with_token("reader", "pull,push"),
    with_token("reader", "push"),
    with_token("writer", "pull,push"),
    with_token("writer", "pull"),
    with_token("writer", "create,pull"),
    with_token("writer", "*"),
    with_token("creator", "pull,push"),
    with_token("cleaner", "pull,delete"),
    with_token("tagger", "pull,push"),
    with_token("root", "pull,push"),
    with_token("root", "delete"),
    with_token("root", "*"),
    with_token("root", ""),
    with_token("stranger", "*"),
    with_token("banned", "*"),
    with_token("banned", "pull"),
    with_token("puller", "pull"),
    with_token("puller", "list"),
    with_token("puller", "fetch"),
    with_token("unlisted", "pull"),
    with_token("auditor", "pull"),
    with_token("auditor", "list"),
    with_token("auditor", "fetch"),
    with_token("member", "pull,push,delete"),
    holder(
        "robot$ci",
        Shows::Header("of-the-robot"),
        "pull,push",
        Given::Now,
    ),
    holder("robot$ci", Shows::Key(Way::Bearer), "pull,push", Given::Now),
    holder("root", Shows::Key(Way::Password), "*", Given::Now),
    // Keys that cover less than their owner may do.
    holder("writer", Shows::Key(Way::Bearer), "pull", Given::Never),
    holder("root", Shows::Key(Way::Password), "*", Given::Never),
    holder(WRONG, Shows::Key(Way::Bearer), "*", Given::Ended),
    // Of some repositories only.
    Somebody {
        name: "root",
        shows: Shows::Basic("root"),
        token: Some(Token {
            words: "pull,push,delete",
            below: "secret/",
            registry: true,
            given: Given::Now,
        }),
    },
    // In exchange for another one.
    holder("writer", Shows::Basic("writer"), "pull", Given::Narrowed),
    holder("root", Shows::Basic("root"), "pull,push", Given::Narrowed),
    holder("writer", Shows::Basic("writer"), "pull", Given::Widened),
    holder("root", Shows::Basic("root"), "delete", Given::Widened),
    holder("root", Shows::Basic("root"), "", Given::Widened),
    holder(ANONYMOUS, Shows::Nothing, "pull", Given::Widened),
    // For what is no more.
    holder("root", Shows::Basic("root"), "*", Given::Before),
    holder("writer", Shows::Basic("writer"), "pull,push", Given::Before),
    holder("reader", Shows::Basic("reader"), "pull", Given::Before),
    holder(WRONG, Shows::Basic("root"), "*", Given::LongAgo),
    holder(WRONG, Shows::Basic("root"), "*", Given::Elsewhere),
    holder(WRONG, Shows::Basic("root"), "*", Given::Returned),
    holder(WRONG, Shows::Basic("leaver"), "*", Given::Recalled),
    // Others vouch for them.
    holder("reader", Shows::Certificate("reader"), "*", Given::Now),
    holder(
        "jobs:repo:org/app",
        Shows::Job("org/app"),
        "pull,push",
        Given::Now,
    ),
    holder(
        "jobs:repo:org/app",
        Shows::Job("org/app"),
        "pull",
        Given::Before,
    ),
    holder(ANONYMOUS, Shows::Nothing, "*", Given::Foreign),
    holder("creator", Shows::Nothing, "pull,push", Given::Foreign),
    holder("root", Shows::Nothing, "*", Given::Foreign),
    holder("root", Shows::Nothing, "*", Given::ForeignBefore),
    holder(WRONG, Shows::Nothing, "*", Given::ForeignLongAgo),
];

/// The headers of a user with the right password.
pub(crate) fn user(name: &str) -> Vec<String> {
    vec![basic(name, "right")]
}

impl Somebody {
    /// Whose key it shows, if it shows one.
    pub(crate) fn key_owner(&self) -> Option<&'static str> {
        match self.shows {
            Shows::Key(_) if self.name == WRONG => Some("root"),
            Shows::Key(_) => Some(self.name),
            _ => None,
        }
    }

    /// The headers by which it says who it is, without a token. `key` is its API
    /// key, if it shows one.
    pub(crate) fn shown(&self, key: Option<&str>) -> Vec<String> {
        match self.shows {
            Shows::Nothing => Vec::new(),
            Shows::Key(way) => {
                let key = key.unwrap();
                vec![match way {
                    Way::Password | Way::Revoked => basic(self.key_owner().unwrap(), key),
                    Way::Nameless => basic("", key),
                    Way::Bearer => format!("authorization: Bearer {key}"),
                }]
            }
            Shows::Header(key) => vec![format!("x-key: {key}")],
            Shows::Certificate(name) => vec![format!("{CERTIFICATE}: {name}")],
            Shows::Job(repository) => vec![basic("job", &job(repository))],
            Shows::Basic(user) => {
                let (user, password) = user.split_once(':').unwrap_or((user, "right"));
                vec![basic(user, password)]
            }
        }
    }
}

/// RFC 7617.
pub(crate) fn basic(user: &str, password: &str) -> String {
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

/// A robot that shows a key in a header of its own.
#[derive(Debug)]
struct Robots;

#[async_trait]
impl Authenticator for Robots {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let key = caller.headers.get("x-key");
        let is_right = key.is_some_and(|key| key == "of-the-robot");
        Ok((is_right && caller.credentials.is_none()).then(|| Principal::robot("ci")))
    }
}

/// Those whose password is right, who can be asked about later.
#[derive(Debug)]
struct People;

fn person(user: &str) -> Option<Principal> {
    let principal = Principal::new(user);
    match user {
        "unheard-of" => None,
        "member" => Some(principal.member_of("team")),
        _ => Some(principal),
    }
}

#[async_trait]
impl Authenticator for People {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Credentials::Basic { user, password } = caller.credentials else {
            return Ok(None);
        };
        caller.admit()?;
        Ok(person(user).filter(|_| password.matches("right")))
    }

    fn source(&self) -> &'static str {
        "people"
    }

    async fn standing(&self, principal: &Principal) -> Result<Standing> {
        Ok(person(principal.name()).map_or(Standing::Gone, Standing::Current))
    }
}

/// The guard of the [world](crate::world).
pub(crate) fn access_control() -> AccessControl {
    let rules = RULES
        .iter()
        .fold(Rules::new(), |rules, sentence| rules.sentence(sentence));
    access_control_by(rules.disable("gone").check().unwrap())
}

/// A guard who goes by `rules`, and takes everything by which somebody can be known.
pub(crate) fn access_control_by(rules: Rules) -> AccessControl {
    AccessControl::new(rules)
        .authenticator(Certificates::new(CertificateName::CommonName))
        .authenticator(workload())
        .authenticator(issuer())
        .authenticator(Robots)
        .authenticator(People)
        // Wrong passwords are tried again and again here.
        .guard(GuardLimits::NONE)
}
