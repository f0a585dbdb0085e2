//! The documents of the management API.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::SystemTime;

use jiff::Timestamp;
use registry_auth::{ApiKey, Effect, Explanation, Opinion, Principal, Robot};
use registry_core::{Action, ErrorKind, Result, Scopes};
use serde::{Deserialize, Serialize};

/// A robot that is to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRobot {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) groups: BTreeSet<String>,
    #[serde(default)]
    pub(super) disabled: bool,
}

/// What is to be different about a robot. What isn't named stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangedRobot {
    pub(super) description: Option<String>,
    pub(super) groups: Option<BTreeSet<String>>,
    pub(super) disabled: Option<bool>,
}

/// A key that is to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestedKey {
    #[serde(default)]
    pub(super) label: String,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) expires_at: Option<String>,
}

/// Whose tokens are to end: somebody's or everybody's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    who: Option<String>,
    #[serde(default)]
    everybody: bool,
}

/// What is to become of the keys that sign tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// Whether every token given out before is to end.
    #[serde(default)]
    pub(super) replace: bool,
}

/// What somebody may do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// About whom; about whoever asks if absent.
    pub(super) who: Option<String>,
    #[serde(default)]
    pub(super) groups: Vec<String>,
    /// What the token of a workload says of it.
    #[serde(default)]
    pub(super) claims: BTreeMap<String, String>,
    pub(super) actions: Vec<String>,
    pub(super) repository: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) from: Option<IpAddr>,
    pub(super) at: Option<String>,
}

#[derive(Serialize)]
pub(super) struct ShownRobot {
    name: String,
    description: String,
    groups: BTreeSet<String>,
    disabled: bool,
    created_at: String,
}

#[derive(Serialize)]
pub(super) struct ShownKey {
    id: String,
    label: String,
    scopes: Option<Vec<String>>,
    created_at: String,
    expires_at: Option<String>,
    used_at: Option<String>,
}

/// A key that was just made, with its secret: this once.
#[derive(Serialize)]
pub(super) struct MadeKey<'a> {
    #[serde(flatten)]
    pub(super) key: ShownKey,
    /// The name to log in with.
    pub(super) user: String,
    pub(super) secret: &'a str,
}

#[derive(Serialize)]
pub(super) struct Explained {
    granted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sentence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by: Option<ShownOpinion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    others: Option<Vec<ShownOpinion>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reviewed: Option<bool>,
}

#[derive(Serialize)]
struct ShownOpinion {
    rule: String,
    place: Option<String>,
    effect: &'static str,
    actions: Vec<&'static str>,
    reason: Option<String>,
}

impl From<Robot> for ShownRobot {
    fn from(robot: Robot) -> Self {
        Self {
            created_at: date(robot.created_at),
            name: robot.name,
            description: robot.description,
            groups: robot.groups,
            disabled: robot.disabled,
        }
    }
}

impl From<ApiKey> for ShownKey {
    fn from(key: ApiKey) -> Self {
        let scopes = |scopes: Scopes| {
            let text = scopes.to_string();
            text.split_whitespace().map(str::to_owned).collect()
        };
        Self {
            id: key.id,
            label: key.label,
            scopes: key.scopes.map(scopes),
            created_at: date(key.created_at),
            expires_at: key.expires_at.map(date),
            used_at: key.used_at.map(date),
        }
    }
}

impl Explained {
    /// All of it, for those who look after the rules.
    pub(super) fn whole(explanation: Explanation) -> Self {
        let others = explanation.others.into_iter().map(ShownOpinion::from);
        Self {
            granted: explanation.granted,
            reviewed: Some(explanation.reviewed),
            others: Some(others.collect()),
            sentence: Some(explanation.sentence),
            decided_by: explanation.decided_by.map(ShownOpinion::from),
        }
    }

    /// Only the answer: rules may name what isn't for everybody.
    pub(super) fn answer(granted: bool) -> Self {
        Self {
            granted,
            sentence: None,
            decided_by: None,
            others: None,
            reviewed: None,
        }
    }
}

impl From<Opinion> for ShownOpinion {
    fn from(opinion: Opinion) -> Self {
        Self {
            effect: match opinion.effect {
                Effect::Allow => "allow",
                Effect::Deny => "deny",
            },
            actions: opinion.actions.iter().map(Action::as_str).collect(),
            rule: opinion.rule,
            place: opinion.place,
            reason: opinion.reason,
        }
    }
}

impl Revocation {
    /// Whose; everybody's if it is nobody.
    pub(super) fn holder(&self) -> Result<Option<Principal>> {
        match (&self.who, self.everybody) {
            (None, true) => Ok(None),
            (Some(who), false) => Principal::named(who)?.map(Some).ok_or_else(|| {
                ErrorKind::RequestInvalid.error("nobody in particular has no tokens")
            }),
            _ => Err(ErrorKind::RequestInvalid
                .error("name whose tokens end in who, or say that everybody's do")),
        }
    }
}

/// What a key is to cover. Each has to be understood: what is dropped would be
/// missed when the key is used.
pub(super) fn scopes(texts: &[String]) -> Result<Scopes> {
    Scopes::parse_exactly(texts.iter().map(String::as_str))
}

/// A time such as `2027-01-31T12:00:00Z` (RFC 3339).
pub(super) fn time(text: &str) -> Result<SystemTime> {
    let time: Timestamp = text.parse().map_err(|_| {
        ErrorKind::RequestInvalid
            .error("a time can't be understood; write one such as 2027-01-31T12:00:00Z")
    })?;
    Ok(time.into())
}

/// To the second.
fn date(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(
        |_| "unknown".to_owned(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}
