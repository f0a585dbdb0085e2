//! One rule: who may, or may not, do what, where and when.

mod coverage;
mod hint;
mod sentence;

#[cfg(feature = "policy")]
pub(crate) use sentence::action;
pub(crate) use sentence::parse;

use std::time::SystemTime;

use registry_core::{Action, Actions, RepositoryName, Tag};

use crate::principal::Identity;
#[cfg(feature = "policy")]
use crate::principal::ROBOT;
use crate::{
    Effect, Glob, Network, Networks, Opinion, Pattern, PrincipalKind, Question, TagPattern,
    TimeWindow,
};

/// Whom a rule is about.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Everybody, known or not.
    Anyone,
    /// Everybody who has an account here: users and robots. Workloads have none;
    /// somebody else, with whom everybody can have one, vouches for them.
    SignedIn,
    /// All robots.
    Robots,
    /// The user of this name.
    User(String),
    /// The members of this group.
    Group(String),
    /// The robot of this name.
    Robot(String),
    /// The workloads that an issuer vouches for, and about which it says all of
    /// this.
    Workload {
        /// What this registry calls the issuer.
        issuer: String,
        /// What its claims are like, by their names.
        claims: Vec<(String, Glob)>,
    },
}

impl Who {
    /// Why nobody can be called so, if that is a user or robot.
    #[cfg(feature = "policy")]
    pub(crate) fn impossible_name(&self) -> Option<String> {
        match self {
            Self::Robot(name) if name.starts_with(ROBOT) => {
                let name = name.strip_prefix(ROBOT).unwrap_or_default();
                Some(format!(
                    "`robot` says already what `{ROBOT}` says; write `robot {name}`"
                ))
            }
            Self::Robot(name) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                let lower = name.to_ascii_lowercase();
                Some(format!(
                    "no robot is called `{name}`, since their names are in lower case; \
                     write `robot {lower}`"
                ))
            }
            Self::User(name) => name.strip_prefix(ROBOT).map(|robot| {
                format!("no user is called `{name}`, but a robot is; write `robot {robot}`")
            }),
            _ => None,
        }
    }

    pub(crate) fn includes(&self, identity: Identity<'_>) -> bool {
        let kind = identity.kind();
        let is = |of_kind, name| kind == Some(of_kind) && identity.name() == Some(name);
        match self {
            Self::Anyone => true,
            Self::SignedIn => {
                matches!(kind, Some(PrincipalKind::User | PrincipalKind::Robot))
            }
            Self::Robots => kind == Some(PrincipalKind::Robot),
            Self::User(name) => is(PrincipalKind::User, name),
            Self::Group(group) => identity.is_member_of(group),
            Self::Robot(name) => is(PrincipalKind::Robot, name),
            Self::Workload { issuer, claims } => {
                identity.issuer() == Some(issuer)
                    && claims.iter().all(|(name, glob)| {
                        identity
                            .claim(name)
                            .is_some_and(|value| glob.matches(value))
                    })
            }
        }
    }
}

/// Who may, or may not, do what, where and when.
///
/// It is read from a sentence and written as one:
///
/// ```
/// use registry_auth::Rule;
///
/// let rule: Rule = "robot ci may push v* to team-a/**".parse()?;
/// assert_eq!(rule.to_string(), "robot ci may push v* to team-a/**");
/// # Ok::<(), registry_core::Error>(())
/// ```
///
/// A sentence is one of these, where words may be put in double quotes, and
/// lists are separated by commas:
///
/// ```text
/// WHO may ACTIONS REPOSITORIES
/// WHO may not ACTIONS REPOSITORIES
/// WHO may [not] ACTIONS TAGS to|in REPOSITORIES
/// WHO is|are ROLE of REPOSITORIES
/// ```
///
/// * `WHO` is `anyone`, `users` (all users and robots), `robots`, `user NAME`,
///   `group NAME`, `robot NAME`, or `workload ISSUER CLAIM=GLOB …`; behind it may
///   be `except` and a list of others. `nobody may` is `anyone may not`.
/// * `ACTIONS` are of `list`, `pull`, `push`, `overwrite`, `delete`, `administer`
///   and `audit`; a `ROLE` is `reader`, `writer`, `maintainer`, `admin` or
///   `auditor` (see [`Role`](crate::Role)), or the plural of one.
/// * `REPOSITORIES` are [`Pattern`]s, and `TAGS` [`TagPattern`]s.
///
/// # What it means
///
/// A denial wins over everything that is allowed. What is about several tags at
/// once has to be allowed for each, and is denied if it is for any.
///
/// Who may pull may list, too, unless that is denied; and who is denied to pull is
/// denied to list. Somebody who is only given `list`, by that name or as an auditor,
/// lists what it can't pull. A list of tags shows those that may be listed.
///
/// Tags limit names, not content: what has no tag, such as a blob or a pull by
/// digest, is allowed by a rule about tags as far as listing, pulling and pushing
/// go. A denial about tags is also one of every deletion by digest, which could
/// take such tags along.
///
/// What is allowed [from](Self::from) some networks needs an address that is
/// known; what is denied from them is denied from an unknown address, too.
///
/// The registry as a whole is in rules about `**` without tags.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    who: Who,
    except: Vec<Who>,
    effect: Effect,
    actions: Actions,
    repositories: Vec<Pattern>,
    tags: Vec<TagPattern>,
    networks: Networks,
    times: Vec<TimeWindow>,
    until: Option<SystemTime>,
    reason: Option<String>,
    name: Option<String>,
    place: Option<String>,
}

impl Rule {
    /// `who` may do `actions` in `repositories`.
    pub fn allow(who: Who, actions: impl Into<Actions>, repositories: Pattern) -> Self {
        Self::new(who, Effect::Allow, actions.into(), vec![repositories])
    }

    /// `who` may not do `actions` in `repositories`, whatever allows it.
    pub fn deny(who: Who, actions: impl Into<Actions>, repositories: Pattern) -> Self {
        Self::new(who, Effect::Deny, actions.into(), vec![repositories])
    }

    fn new(who: Who, effect: Effect, actions: Actions, repositories: Vec<Pattern>) -> Self {
        Self {
            who,
            except: Vec::new(),
            effect,
            actions,
            repositories,
            tags: Vec::new(),
            networks: Networks::default(),
            times: Vec::new(),
            until: None,
            reason: None,
            name: None,
            place: None,
        }
    }

    /// In these repositories, too.
    pub fn also_in(mut self, repositories: Pattern) -> Self {
        self.repositories.push(repositories);
        self
    }

    /// Not for these, even where they are among those it is about.
    pub fn except(mut self, who: Who) -> Self {
        self.except.push(who);
        self
    }

    /// Only for these tags. Called again, also for those.
    pub fn tags(mut self, tags: TagPattern) -> Self {
        self.tags.push(tags);
        self
    }

    /// Only for requests from this network. Called again, also from that.
    pub fn from(mut self, network: Network) -> Self {
        self.networks = self.networks.iter().copied().chain([network]).collect();
        self
    }

    /// Only at these times. Called again, also at those.
    pub fn during(mut self, times: TimeWindow) -> Self {
        self.times.push(times);
        self
    }

    /// Only before `end`.
    pub fn until(mut self, end: SystemTime) -> Self {
        self.until = Some(end);
        self
    }

    /// Tells those who may pull why they are denied: in lower case, saying what
    /// to do.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Is called `name` where somebody asks which rule decided.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Is written at `place`, such as `policy.yml:14`.
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    pub(crate) fn who(&self) -> &Who {
        &self.who
    }

    /// Why it is about nobody who can be here, if a name in it can't be one.
    #[cfg(feature = "policy")]
    pub(crate) fn impossible_name(&self) -> Option<String> {
        let mut all = std::iter::once(&self.who).chain(&self.except);
        all.find_map(Who::impossible_name)
    }

    /// The issuers of the workloads that it is about, or not.
    #[cfg(feature = "policy")]
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.who)
            .chain(&self.except)
            .filter_map(|who| match who {
                Who::Workload { issuer, .. } => Some(issuer.as_str()),
                _ => None,
            })
    }

    pub(crate) fn repositories(&self) -> &[Pattern] {
        &self.repositories
    }

    pub(crate) fn effect(&self) -> Effect {
        self.effect
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether it is about this question at all, tags left aside.
    pub(crate) fn concerns(&self, question: &Question<'_>, identity: Identity<'_>) -> bool {
        self.is_about(question, identity) && self.holds_for(question, identity)
    }

    /// Whether it holds for who asks, from there and at that time, about any
    /// repository.
    pub(crate) fn holds_for(&self, question: &Question<'_>, identity: Identity<'_>) -> bool {
        self.is_for(identity) && self.holds_at(question.at) && self.holds_from(question)
    }

    /// The same wherever and whenever it is asked.
    pub(crate) fn concerns_somewhere(
        &self,
        question: &Question<'_>,
        identity: Identity<'_>,
    ) -> bool {
        self.is_for(identity) && self.is_about(question, identity)
    }

    /// Whether it depends on where from and when somebody asks.
    pub(crate) fn is_conditional(&self) -> bool {
        !self.networks.is_empty() || !self.times.is_empty() || self.until.is_some()
    }

    /// What it may deny to `giver` in a repository, or in any, whatever the tag, unless
    /// it denies `other` the same there.
    pub(crate) fn withholds(
        &self,
        repository: Option<&RepositoryName>,
        giver: Identity<'_>,
        other: Identity<'_>,
    ) -> Actions {
        if self.effect == Effect::Allow {
            return Actions::NONE;
        }
        let is_about = |identity: Identity<'_>| {
            let mut patterns = self.repositories.iter();
            self.is_for(identity)
                && repository
                    .is_none_or(|name| patterns.any(|it| it.matches_identity(name, identity)))
        };
        let is_personal =
            repository.is_none() && self.repositories.iter().any(Pattern::is_personal);
        if is_about(giver) && (is_personal || !is_about(other)) {
            self.actions
        } else {
            Actions::NONE
        }
    }

    fn is_for(&self, identity: Identity<'_>) -> bool {
        self.who.includes(identity) && !self.except.iter().any(|who| who.includes(identity))
    }

    /// Whether it says the same of all tags, and of what has none.
    pub(crate) fn is_about_all_tags(&self) -> bool {
        self.tags.is_empty()
    }

    pub(crate) fn actions(&self) -> Actions {
        self.actions
    }

    /// What it allows or denies of a question about `tag`, or about none.
    pub(crate) fn effective(&self, tag: Option<&Tag>) -> Actions {
        if self.tags.is_empty() {
            return self.actions;
        }
        let without_tag = match self.effect {
            Effect::Allow => [Action::List, Action::Pull, Action::Push].into(),
            Effect::Deny => Action::Delete.into(),
        };
        match tag {
            None => self.actions.intersection(without_tag),
            Some(tag) if self.tags.iter().any(|pattern| pattern.matches(tag)) => self.actions,
            Some(_) => Actions::NONE,
        }
    }

    pub(crate) fn opinion(&self, actions: Actions) -> Opinion {
        Opinion {
            rule: match &self.name {
                Some(name) => format!("{name}: {self}"),
                None => self.to_string(),
            },
            place: self.place.clone(),
            effect: self.effect,
            actions,
            reason: self.reason.clone(),
        }
    }

    fn is_about(&self, question: &Question<'_>, identity: Identity<'_>) -> bool {
        let mut patterns = self.repositories.iter();
        match question.repository {
            Some(name) => patterns.any(|pattern| pattern.matches_identity(name, identity)),
            None => self.tags.is_empty() && patterns.any(Pattern::is_everything),
        }
    }

    fn holds_at(&self, at: SystemTime) -> bool {
        self.until.is_none_or(|end| at < end)
            && (self.times.is_empty() || self.times.iter().any(|times| times.contains(at)))
    }

    fn holds_from(&self, question: &Question<'_>) -> bool {
        self.networks.is_empty()
            || match question.origin.address {
                Some(address) => self.networks.contains(address),
                None => self.effect == Effect::Deny,
            }
    }
}
