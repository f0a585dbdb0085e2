//! What the tokens of this registry say.
//!
//! Beside the claims that Docker's registry knows there are some of our own, so
//! that whoever holds a token is the same as with the credentials that it was
//! given for: `kind`, `via` (the source that knows the holder), `idp` (the issuer
//! of a workload), `stp` (the mark of the password) and `key` (which of the holder's
//! API keys it was given for). Groups and claims of the holder (`grp`, `clm`) are
//! there only if the source can't be asked about them.
//!
//! An entry of `access` says in `actions` what may be done at the time. Rights
//! can depend on tags, and can change, so `asked` says what more was asked for:
//! it is covered here, where the policies decide anew at each use. It says
//! nothing to others.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use registry_core::{Error, RepositoryName, Result, Scopes};
use serde::Serialize;

use crate::jwt::{Claims, Json};
use crate::principal::ROBOT;
use crate::{Principal, PrincipalKind, TokenIssuer, TokenLimits};

/// What a token is to say.
pub(super) struct Content<'a> {
    pub(super) issuer: &'a str,
    pub(super) service: &'a str,
    pub(super) id: &'a str,
    pub(super) issued_at: SystemTime,
    pub(super) expires_at: SystemTime,
    pub(super) holder: &'a Principal,
    /// Whether the holder's groups and claims can't be asked for later.
    pub(super) complete: bool,
    /// What may be done now.
    pub(super) granted: &'a Scopes,
    /// What was asked for, of which `granted` is a part.
    pub(super) asked: &'a Scopes,
    /// The epochs of repositories, as far as they are known.
    pub(super) epochs: &'a BTreeMap<RepositoryName, u64>,
}

#[derive(Serialize)]
struct Written<'a> {
    iss: &'a str,
    sub: String,
    aud: &'a str,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: &'a str,
    access: Vec<Entry<'a>>,
    kind: &'static str,
    via: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    idp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grp: Vec<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    clm: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    actions: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    asked: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
}

impl Content<'_> {
    /// The claims as JSON.
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        let holder = self.holder;
        let (groups, claims) = if self.complete {
            (holder.groups().collect(), holder.claims().collect())
        } else {
            (Vec::new(), BTreeMap::new())
        };
        let written = Written {
            iss: self.issuer,
            sub: subject(holder),
            aud: self.service,
            exp: seconds(self.expires_at),
            nbf: seconds(self.issued_at),
            iat: seconds(self.issued_at),
            jti: self.id,
            access: self.entries().collect(),
            kind: word(holder.kind()),
            via: holder.source(),
            idp: holder.issuer(),
            stp: holder.stamp().map(|stamp| URL_SAFE_NO_PAD.encode(stamp)),
            key: holder.key(),
            grp: groups,
            clm: claims,
        };
        serde_json::to_vec(&written)
            .map_err(|source| Error::internal("a token could not be written", source))
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let asked: BTreeMap<_, _> = self
            .asked
            .entries()
            .map(|entry| ((entry.kind, entry.name), entry.actions))
            .collect();
        self.granted.entries().map(move |granted| {
            let asked = asked
                .get(&(granted.kind, granted.name))
                .filter(|asked| **asked != granted.actions);
            let epoch = || self.epochs.get(&granted.name.parse().ok()?).copied();
            Entry {
                asked: asked.cloned().unwrap_or_default(),
                epoch: epoch().filter(|_| granted.kind == "repository"),
                kind: granted.kind,
                name: granted.name,
                actions: granted.actions,
            }
        })
    }
}

/// A principal in the words of `sub`. Docker's registry knows the empty one as
/// anonymous.
pub(super) fn subject(principal: &Principal) -> String {
    match principal.kind() {
        PrincipalKind::Anonymous => String::new(),
        _ => principal.short().to_string(),
    }
}

pub(super) fn word(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "user",
        PrincipalKind::Robot => "robot",
        PrincipalKind::Workload => "workload",
        PrincipalKind::Anonymous => "anonymous",
    }
}

/// Whom [`word`] and [`subject`] stand for, and `issuer` if it is a workload.
pub(super) fn holder(kind: &str, subject: &str, issuer: Option<&str>) -> Option<Principal> {
    Some(match kind {
        "user" => Principal::new(subject),
        "robot" => Principal::robot(subject.strip_prefix(ROBOT)?),
        "workload" => {
            let issuer = issuer?;
            let name = subject.strip_prefix(issuer)?.strip_prefix(':')?;
            Principal::workload(issuer, name)
        }
        "anonymous" if subject.is_empty() => Principal::anonymous(),
        _ => return None,
    })
}

/// Who holds the token that makes these claims, and where its holder came from.
/// Nothing if it isn't one that [`Content`] wrote.
pub(super) fn read(claims: &Claims) -> Option<(Principal, &str)> {
    let text = |name: &str| claims.get(name).and_then(Json::as_text);
    let mut holder = holder(text("kind")?, claims.subject()?, text("idp"))?;
    if let Some(stamp) = text("stp") {
        let stamp = URL_SAFE_NO_PAD.decode(stamp).ok()?;
        holder = holder.with_stamp(stamp.try_into().ok()?);
    }
    if let Some(key) = claims.get("key") {
        holder = holder.by_key(key.as_text()?);
    }
    if let Some(groups) = claims.get("grp") {
        for group in groups.as_list()? {
            holder = holder.member_of(group.as_text()?);
        }
    }
    if let Some(known) = claims.get("clm") {
        for (name, value) in known.as_object()? {
            holder = holder.with_claim(name, value.as_text()?);
        }
    }
    Some((holder.limited(limits(claims)?), text("via")?))
}

fn limits(claims: &Claims) -> Option<TokenLimits> {
    let mut scopes = Scopes::default();
    let mut epochs = Vec::new();
    for entry in claims.get("access")?.as_list()? {
        let entry = entry.as_object()?;
        let text = |name: &str| entry.get(name).and_then(Json::as_text);
        let (kind, name) = (text("type")?, text("name")?);
        let actions = entry.get("asked").or(entry.get("actions"))?.as_list()?;
        scopes.insert(kind, name, actions.iter().filter_map(Json::as_text));
        if let Some(epoch) = entry.get("epoch") {
            epochs.push((name.parse().ok()?, u64::try_from(epoch.as_integer()?).ok()?));
        }
    }
    let limits = TokenLimits::new(scopes, TokenIssuer::Own, claims.issued_at())
        .until(claims.expires_at())
        .of_token(claims.id().unwrap_or_default(), claims.key());
    Some(
        epochs
            .into_iter()
            .fold(limits, |limits, (repository, number)| {
                limits.with_epoch(repository, number)
            }),
    )
}

/// Whole seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
