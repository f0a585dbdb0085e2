//! Principals: somebody whose identity is established.

mod called;
mod identity;
mod limits;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use registry_core::{ErrorKind, Result};

use self::called::Called;
pub(crate) use self::called::nobody_in_particular;
pub(crate) use self::identity::Identity;
#[cfg(feature = "token")]
pub(crate) use self::limits::AHEAD_MAX;
pub use self::limits::{TokenIssuer, TokenLimits};
use crate::authenticator::CUSTOM;

use crate::holds_secret;

/// What the names of robots start with where users have theirs.
pub(crate) const ROBOT: &str = "robot$";

/// What a name starts with that says its kind, too.
const USER: &str = "user";
const WORKLOAD: &str = "workload";

/// What is shown of nobody in particular.
const ANONYMOUS: &str = "anonymous";

/// The most claims of a principal.
const CLAIMS_MAX: usize = 64;

/// The most bytes of all its claims.
const CLAIM_BYTES_MAX: usize = 8 << 10;

/// What sort of caller somebody is. Names of different kinds never collide:
/// the user `ci` is not the robot `ci`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalKind {
    /// A person, or a program that logs in like one.
    User,
    /// A program with an account of its own in this registry.
    Robot,
    /// A program that another system vouches for, such as a CI job.
    Workload,
    /// Nobody in particular, by a token that says so.
    Anonymous,
}

/// The longest name that another system calls somebody by.
#[cfg(any(feature = "certificate", feature = "ldap"))]
const NAME_MAX: usize = 512;

/// Whether a name that another system gave shows as what it is, in logs and
/// rules.
#[cfg(any(feature = "certificate", feature = "ldap"))]
pub(crate) fn is_plain(name: &str) -> bool {
    let is_plain = |character: char| {
        !character.is_control() && (!character.is_whitespace() || character == ' ')
    };
    (1..=NAME_MAX).contains(&name.len()) && name.trim() == name && name.chars().all(is_plain)
}

/// A name as those see it who make no difference between upper and lower case,
/// or between one blank and several.
pub(crate) fn folded(name: &str) -> Cow<'_, str> {
    // Nearly every name is so already, and one comes with each request.
    let is_folded = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
    if name.bytes().all(is_folded) {
        return Cow::Borrowed(name);
    }
    let words: Vec<_> = name.split_whitespace().collect();
    Cow::Owned(words.join(" ").to_lowercase())
}

/// Somebody whose identity is established.
///
/// Shown, it is the name that logs and events use: `ann`, `robot$ci` or
/// `github:repo:org/app:ref:refs/heads/main`. Where that could be somebody else's,
/// its kind is said as in rules: `user a:b` or `workload ci //host/job`. So
/// [`called`](Self::called) finds whoever is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    kind: PrincipalKind,
    name: String,
    /// Of a workload; otherwise empty.
    issuer: String,
    groups: BTreeSet<String>,
    claims: BTreeMap<String, String>,
    stamp: Option<[u8; 16]>,
    /// Which of those who had its name, where its source tells them apart.
    identity: Option<[u8; 16]>,
    /// Whether its stamp stays when its password changes.
    #[cfg(any(feature = "ldap", feature = "token"))]
    hides_password: bool,
    limits: Option<Arc<TokenLimits>>,
    /// When what it showed ends, if it does.
    expires_at: Option<SystemTime>,
    source: Option<Cow<'static, str>>,
    /// Which of its keys it showed, or its token was made for.
    #[cfg(feature = "token")]
    key: Option<Box<str>>,
}

impl Principal {
    /// The user called `name`. A name that starts with `robot$` is a robot's, and
    /// `anonymous`, in upper or lower case, is what nobody in particular is called:
    /// with such a name, nobody is let in as a user.
    pub fn new(name: impl Into<String>) -> Self {
        Self::of(PrincipalKind::User, name.into())
    }

    /// The robot called `name`, shown as `robot$name`.
    pub fn robot(name: impl Into<String>) -> Self {
        Self::of(PrincipalKind::Robot, name.into())
    }

    /// What `issuer`, by the name that this registry calls it, says is
    /// `subject`; shown as `issuer:subject`. With a blank in the name of the issuer,
    /// nobody is let in.
    pub fn workload(issuer: impl Into<String>, subject: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            ..Self::of(PrincipalKind::Workload, subject.into())
        }
    }

    /// Whoever holds a token that was given to somebody unknown. Policies see
    /// nobody.
    pub fn anonymous() -> Self {
        Self::of(PrincipalKind::Anonymous, String::new())
    }

    /// Whoever is shown as `name` in logs and events; nobody in particular if that
    /// is `anonymous`.
    ///
    /// With its kind, as in rules, everybody can be named: `user NAME`, `robot NAME`
    /// and `workload ISSUER SUBJECT`. Without, `ann` is a user, `robot$ci` a robot,
    /// `github:repo:org/app` a workload, and `spiffe://example.com/builder`, as any
    /// other URL, a user.
    pub fn called(name: &str) -> Option<Self> {
        Some(match Called::read(name) {
            Called::Nobody => return None,
            Called::User(name) => Self::new(name),
            Called::Robot(name) => Self::robot(name),
            Called::Workload(issuer, subject) => Self::workload(issuer, subject),
        })
    }

    /// The same, for a name that somebody wrote who means one in particular.
    ///
    /// # Errors
    ///
    /// If it is that of many, such as `group web` or `users`, or of nothing. Who is
    /// really called so is named with its kind, as in `user users`.
    pub fn named(name: &str) -> Result<Option<Self>> {
        match nobody_in_particular(name) {
            Some(reason) => Err(ErrorKind::RequestInvalid.error(reason)),
            None => Ok(Self::called(name)),
        }
    }

    fn of(kind: PrincipalKind, name: String) -> Self {
        Self {
            kind,
            name,
            issuer: String::new(),
            groups: BTreeSet::new(),
            claims: BTreeMap::new(),
            stamp: None,
            identity: None,
            #[cfg(any(feature = "ldap", feature = "token"))]
            hides_password: false,
            limits: None,
            expires_at: None,
            source: None,
            #[cfg(feature = "token")]
            key: None,
        }
    }

    /// The same principal as a member of `group` too.
    pub fn member_of(mut self, group: impl Into<String>) -> Self {
        self.groups.insert(group.into());
        self
    }

    /// The same principal about which `name` is known to be `value`, for rules
    /// about workloads. Whoever has more than 64 claims, or more than 8 KiB of
    /// them, is refused: a denial may be about any of them.
    pub fn with_claim(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        // One too many is kept, so that it is noticed.
        if self.has_few_claims() {
            self.claims.insert(name.into(), value.into());
        }
        self
    }

    /// The same principal with a mark that is another one after its password
    /// changed: tokens that were given out before end then.
    pub fn with_stamp(mut self, stamp: [u8; 16]) -> Self {
        self.stamp = Some(stamp);
        self
    }

    /// The same principal with a mark that nobody else has who gets its name later,
    /// and that stays whatever its password is: its keys are of no use to others.
    pub fn with_identity(mut self, identity: [u8; 16]) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The mark that tells it from others who had its name, if it has one.
    pub fn identity(&self) -> Option<&[u8; 16]> {
        self.identity.as_ref()
    }

    /// The same principal, of which nobody sees that its password changed: nothing
    /// that lasts is given to it.
    #[cfg(feature = "ldap")]
    pub(crate) fn hiding_password(mut self) -> Self {
        self.hides_password = true;
        self
    }

    /// Whether nobody sees that its password changed, although it has one.
    #[cfg(feature = "token")]
    pub(crate) fn hides_password(&self) -> bool {
        self.hides_password
    }

    /// The same principal as the holder of a token that limits it: never more
    /// than `limits` is allowed, whatever the policies allow.
    pub fn limited(mut self, limits: TokenLimits) -> Self {
        self.limits = Some(Arc::new(limits));
        self
    }

    /// The same principal by something that ends at `end`, such as a certificate:
    /// tokens that are given for it end then, too, and there are no refresh tokens.
    pub fn until(mut self, end: SystemTime) -> Self {
        self.expires_at = Some(end);
        self
    }

    /// When what it showed ends, if it does: the first of what it was
    /// [known by](Self::until) and the token that [limits](Self::limited) it.
    pub fn expires_at(&self) -> Option<SystemTime> {
        let of_token = self.limits().and_then(TokenLimits::expires_at);
        self.expires_at.into_iter().chain(of_token).min()
    }

    /// The same principal with what `other` showed: its limits, and its key.
    pub(crate) fn limited_as(mut self, other: &Self) -> Self {
        self.limits.clone_from(&other.limits);
        #[cfg(feature = "token")]
        self.key.clone_from(&other.key);
        self
    }

    /// The same user as one who showed its key `id`, or a token that was made for
    /// it. Both end with the key.
    #[cfg(feature = "token")]
    pub(crate) fn by_key(mut self, id: &str) -> Self {
        self.key = Some(id.into());
        self
    }

    /// Which of its keys a user showed, if it was one.
    #[cfg(feature = "token")]
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The same principal as found by the authenticator of this
    /// [source](crate::Authenticator::source), unless one is known already.
    pub(crate) fn found_by(mut self, source: impl Into<Cow<'static, str>>) -> Self {
        self.source.get_or_insert_with(|| source.into());
        self
    }

    /// What sort of caller it is.
    pub fn kind(&self) -> PrincipalKind {
        self.kind
    }

    /// What it is called among those of its kind: the name of a user or robot,
    /// the subject of a workload.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who vouches for a workload.
    pub fn issuer(&self) -> Option<&str> {
        (self.kind == PrincipalKind::Workload).then_some(&self.issuer)
    }

    /// The groups it belongs to, in order.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(String::as_str)
    }

    /// Whether it belongs to `group`.
    pub fn is_member_of(&self, group: &str) -> bool {
        self.groups.contains(group)
    }

    /// What is known about it under `name`.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).map(String::as_str)
    }

    /// Everything that is known about it, in the order of names.
    pub fn claims(&self) -> impl Iterator<Item = (&str, &str)> {
        self.claims
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The mark of its password, if it has one.
    pub fn stamp(&self) -> Option<&[u8; 16]> {
        self.stamp.as_ref()
    }

    /// What its token limits it to, if it came with one.
    pub fn limits(&self) -> Option<&TokenLimits> {
        self.limits.as_deref()
    }

    /// The [source](crate::Authenticator::source) that knows it.
    pub fn source(&self) -> &str {
        self.source.as_deref().unwrap_or(CUSTOM)
    }

    /// The same, if it was found by any.
    #[cfg(feature = "keys")]
    pub(crate) fn found_source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// How much memory it takes, as far as can be told: rather too much than too little.
    #[cfg(any(feature = "ldap", feature = "token"))]
    pub(crate) fn bytes(&self) -> usize {
        /// What each text in a table takes besides its length.
        const PLACE: usize = 96;
        let groups = self.groups().map(str::len);
        let claims = self
            .claims()
            .map(|(name, value)| name.len().saturating_add(value.len()).saturating_add(PLACE));
        let limits = self
            .limits()
            .into_iter()
            .flat_map(TokenLimits::repositories);
        let repositories = limits.map(|repository| repository.as_str().len());
        let texts = groups.chain(claims).chain(repositories);
        texts
            .map(|length| length.saturating_add(PLACE))
            .chain([self.name.len(), self.issuer.len(), size_of::<Self>()])
            .chain(self.limits().map(size_of_val))
            .fold(0, usize::saturating_add)
    }

    /// Whether it can be let in at all.
    pub(crate) fn is_sound(&self) -> bool {
        let poses_as_another = match self.kind {
            PrincipalKind::User => self.name.starts_with(ROBOT) || is_anonymous(&self.name),
            // Where it ends and the subject begins is told by a blank.
            PrincipalKind::Workload => self.issuer.contains(' '),
            PrincipalKind::Robot | PrincipalKind::Anonymous => false,
        };
        // Names are shown and logged.
        let is_secret = holds_secret(&self.name) || holds_secret(&self.issuer);
        !poses_as_another && !is_secret && self.has_few_claims()
    }

    /// Its name where its kind is said, too.
    pub(crate) fn short(&self) -> Short<'_> {
        Short(self)
    }

    fn has_few_claims(&self) -> bool {
        let bytes = self.claims.iter().fold(0_usize, |sum, (name, value)| {
            sum.saturating_add(name.len()).saturating_add(value.len())
        });
        self.claims.len() <= CLAIMS_MAX && bytes <= CLAIM_BYTES_MAX
    }
}

/// A principal by the names that it has, whoever else has the same.
pub(crate) struct Short<'a>(&'a Principal);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Principal { name, issuer, .. } = self.0;
        match self.0.kind {
            PrincipalKind::User => f.write_str(name),
            PrincipalKind::Robot => write!(f, "{ROBOT}{name}"),
            PrincipalKind::Workload => write!(f, "{issuer}:{name}"),
            PrincipalKind::Anonymous => f.write_str(ANONYMOUS),
        }
    }
}

/// Whether a name is read as that of nobody in particular.
pub(crate) fn is_anonymous(name: &str) -> bool {
    name.eq_ignore_ascii_case(ANONYMOUS)
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, issuer, .. } = self;
        let is_plain = match self.kind {
            PrincipalKind::User => Called::read(name) == Called::User(name),
            PrincipalKind::Workload => {
                !issuer.contains([':', ' '])
                    && !issuer.starts_with(ROBOT)
                    && !name.starts_with("//")
            }
            PrincipalKind::Robot | PrincipalKind::Anonymous => true,
        };
        match self.kind {
            _ if is_plain => self.short().fmt(f),
            PrincipalKind::Workload => write!(f, "{WORKLOAD} {issuer} {name}"),
            _ => write!(f, "{USER} {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Principal;

    #[test]
    fn names_of_different_kinds_are_shown_differently() {
        assert_eq!(Principal::new("ci").to_string(), "ci");
        assert_eq!(Principal::robot("ci").to_string(), "robot$ci");
        let job = Principal::workload("github", "repo:org/app");
        assert_eq!(job.to_string(), "github:repo:org/app");
        assert_eq!((job.issuer(), job.name()), (Some("github"), "repo:org/app"));
        for known in [Principal::new("ci"), Principal::robot("ci"), job.clone()] {
            assert_eq!(Principal::called(&known.to_string()), Some(known));
        }
        assert_eq!(Principal::called("anonymous"), None);
        assert_eq!(Principal::new("ci").issuer(), None);
        assert!(Principal::robot("ci").is_sound());
        assert!(!Principal::new("robot$ci").is_sound());
        assert!(!Principal::new("anonymous").is_sound());
        assert!(!Principal::new("Anonymous").is_sound());
        assert!(Principal::robot("anonymous").is_sound());
        // As if the issuer `a` had said `//b c`.
        let posing = Principal::workload("a //b", "c");
        assert_eq!(
            posing.to_string(),
            Principal::workload("a", "//b c").to_string()
        );
        assert!(!posing.is_sound());
        assert!(Principal::workload("a", "//b c").is_sound());
    }

    #[test]
    fn whoever_is_shown_can_be_called() {
        let spiffe = "spiffe://example.com/builder";
        let texts = [
            "ann",
            "Ann Lee",
            "a:b",
            "a:",
            ":",
            "",
            " ",
            spiffe,
            "//host/job",
            "repo:org/app:ref",
            "anonymous",
            "user",
            "user ann",
            "user:ann",
            "robot ci",
            "robot",
            "workload a b",
            "workload a",
            "workload ",
            "user ",
            "robot$ci",
            "a b:c",
        ];
        let mut shown = std::collections::BTreeMap::new();
        let mut check = |known: Principal| {
            let name = known.to_string();
            assert_eq!(Principal::called(&name).as_ref(), Some(&known), "{name}");
            assert_eq!(shown.insert(name.clone(), known), None, "{name}");
        };
        for text in texts {
            if Principal::new(text).is_sound() {
                check(Principal::new(text));
            }
            check(Principal::robot(text));
            for issuer in [
                "github",
                "user",
                "robot",
                "spiffe",
                "https://ci.example.com",
            ] {
                check(Principal::workload(issuer, text));
            }
        }
        assert_eq!(Principal::called(spiffe), Some(Principal::new(spiffe)));
        assert_eq!(Principal::new(spiffe).to_string(), spiffe);
        assert_eq!(Principal::called("user a:b"), Some(Principal::new("a:b")));
        assert_eq!(Principal::called("robot ci"), Some(Principal::robot("ci")));
        assert_eq!(
            Principal::called("workload ci //host/job"),
            Some(Principal::workload("ci", "//host/job"))
        );
        assert_eq!(
            Principal::called("user anonymous"),
            Some(Principal::new("anonymous"))
        );
    }

    #[test]
    fn who_is_many_or_nothing_is_no_name() {
        for (name, advice) in [
            ("", "is empty"),
            (" ", "is empty"),
            ("users", "such as `user ann`"),
            ("robots", "such as `user ann`"),
            ("anyone", "such as `user ann`"),
            ("nobody except ann", "such as `user ann`"),
            ("group web", "who is in the group"),
            ("group", "who is in the group"),
            ("user", "write `user NAME`"),
            ("user ", "write `user NAME`"),
            ("robot", "write `robot NAME`"),
            ("robot$", "lacks a name"),
            ("workload github", "ISSUER SUBJECT"),
            ("workload github ", "ISSUER SUBJECT"),
            (":subject", "lacks a name"),
        ] {
            let error = Principal::named(name).unwrap_err().to_string();
            assert!(error.contains(advice), "{name:?}: {error}");
        }
        for name in ["ann", "user users", "user group web", "ann of users", "a:"] {
            assert_eq!(Principal::named(name).unwrap(), Principal::called(name));
        }
        assert_eq!(Principal::named("anonymous").unwrap(), None);
    }

    #[test]
    fn too_many_claims_are_noticed_and_not_kept() {
        let with = |count: usize, length: usize| {
            (0..count).fold(Principal::workload("a", "b"), |principal, number| {
                principal.with_claim(format!("{number:04}"), "x".repeat(length))
            })
        };
        assert!(with(64, 10).is_sound());
        assert!(!with(65, 10).is_sound());
        assert!(with(2, 4092).is_sound());
        assert!(!with(2, 4093).is_sound());
        assert_eq!(with(10_000, 10).claims().count(), 65);
    }
}
