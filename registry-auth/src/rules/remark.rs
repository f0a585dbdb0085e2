//! What may be a mistake in rules that are well-formed.

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use registry_core::Action;

use super::Rules;
use crate::suggestion::suggestion;
use crate::{Glob, Principal, PrincipalKind, Rule, Who};

/// What may be a mistake in a rule, though it could be meant.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRemark {
    /// The rule, as a sentence.
    pub rule: String,
    /// Where it is written, such as `policy.yml:14`, if that is known.
    pub place: Option<String>,
    /// What is odd about it.
    pub kind: RemarkKind,
}

/// What is odd about a rule.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemarkKind {
    /// It allows to push where no rule allows to pull, and clients look before
    /// they push.
    PushWithoutPull,
    /// It lets everybody change content, without a login.
    OpenToChanges,
    /// It lets jobs change content without asking whose they are, and everybody can
    /// have a job at many an issuer.
    OpenToJobs,
    /// It lets a robot change content that all users may change, of whom it is one.
    RobotAmongUsers,
    /// It names a group that has no members here; others may say who is in it.
    UnknownGroup {
        /// The group.
        name: String,
        /// Which one was probably meant.
        suggestion: Option<String>,
    },
    /// It names a user that nobody is, but for a letter or two.
    UnknownUser {
        /// The user.
        name: String,
        /// Who was probably meant.
        suggestion: String,
    },
    /// It lets somebody administer less than the registry as a whole.
    AdminOfPart,
    /// Its time is over.
    Ended,
}

/// What changes content.
const CHANGES: [Action; 3] = [Action::Push, Action::Overwrite, Action::Delete];

impl Rules {
    /// What may be a mistake, in the order of the rules.
    ///
    /// It looks at all pairs of rules, and is for whoever writes them.
    pub fn remarks(&self) -> Vec<RuleRemark> {
        let groups: BTreeSet<&str> = [&self.groups.of_users, &self.groups.of_robots]
            .into_iter()
            .flat_map(|members| members.values())
            .flatten()
            .map(String::as_str)
            .collect();
        let of_rule = |rule: &Rule| {
            let mut kinds = Vec::new();
            if self.is_push_without_pull(rule) {
                kinds.push(RemarkKind::PushWithoutPull);
            }
            if rule.is_from_anywhere() && CHANGES.into_iter().any(|action| rule.allows(action)) {
                kinds.extend(match rule.who() {
                    Who::Anyone => Some(RemarkKind::OpenToChanges),
                    Who::Workload { claims, .. } if !claims.iter().any(tells_whose) => {
                        Some(RemarkKind::OpenToJobs)
                    }
                    _ => None,
                });
            }
            if self.is_for_one_of_many(rule) {
                kinds.push(RemarkKind::RobotAmongUsers);
            }
            if rule.administers_part() {
                kinds.push(RemarkKind::AdminOfPart);
            }
            let named = std::iter::once(rule.who()).chain(rule.except_for());
            kinds.extend(named.filter_map(|who| match who {
                Who::Group(name) if !groups.contains(name.as_str()) => {
                    Some(RemarkKind::UnknownGroup {
                        name: name.clone(),
                        suggestion: suggestion(name, groups.iter().copied()).map(str::to_owned),
                    })
                }
                _ => None,
            }));
            let remarks = kinds.into_iter().map(|kind| about(rule, kind));
            remarks.collect::<Vec<_>>()
        };
        self.entries.iter().flat_map(of_rule).collect()
    }

    /// Which rules hold no more at `now`.
    pub fn ended(&self, now: SystemTime) -> Vec<RuleRemark> {
        let ended = self.entries.iter().filter(|rule| rule.is_over(now));
        ended.map(|rule| about(rule, RemarkKind::Ended)).collect()
    }

    /// Which names of users in rules, groups and among those who are disabled aren't
    /// among `users`, but look like one of them. It is for whoever knows all users that
    /// there are.
    pub fn unknown_users(&self, users: &BTreeSet<String>) -> Vec<RuleRemark> {
        let unknown = |name: &str| {
            let known = users.iter().map(String::as_str);
            let suggestion = (!users.contains(name)).then(|| suggestion(name, known))??;
            Some(RemarkKind::UnknownUser {
                name: name.to_owned(),
                suggestion: suggestion.to_owned(),
            })
        };
        let outside = self.mentions.iter().filter_map(|(name, place)| {
            let known = Principal::called(name)?;
            let kind = (known.kind() == PrincipalKind::User).then(|| unknown(known.name()))??;
            Some(RuleRemark {
                rule: name.clone(),
                place: Some(place.clone()),
                kind,
            })
        });
        let inside = self.entries.iter().flat_map(|rule| {
            let named = std::iter::once(rule.who()).chain(rule.except_for());
            named.filter_map(move |who| match who {
                Who::User(name) => Some(about(rule, unknown(name)?)),
                _ => None,
            })
        });
        outside.chain(inside).collect()
    }

    /// Whether it allows pushes somewhere where no rule lets the same pull.
    fn is_push_without_pull(&self, rule: &Rule) -> bool {
        let lets_pull = |other: &Rule| {
            other.allows(Action::Pull)
                && (other.who().covers(rule.who())
                    || self
                        .groups_of(rule.who())
                        .is_some_and(|groups| is_of(other.who(), groups)))
        };
        rule.allows(Action::Push)
            && rule.repositories().iter().any(|pattern| {
                let mut others = self.entries.iter();
                !others.any(|other| lets_pull(other) && other.holds_where(rule, pattern))
            })
    }

    /// Whether it lets a robot do what another rule lets all users do there, with any tag.
    fn is_for_one_of_many(&self, rule: &Rule) -> bool {
        let changes = || CHANGES.into_iter().filter(|action| rule.allows(*action));
        let of_users = |other: &&Rule| {
            *other.who() == Who::SignedIn
                && other.is_about_all_tags()
                && changes().all(|action| other.allows(action))
        };
        matches!(rule.who(), Who::Robot(_) | Who::Robots)
            && changes().next().is_some()
            && rule.repositories().iter().any(|pattern| {
                let mut others = self.entries.iter().filter(of_users);
                others.any(|other| other.holds_where(rule, pattern))
            })
    }

    fn groups_of(&self, who: &Who) -> Option<&BTreeSet<String>> {
        match who {
            Who::User(name) => self.groups.of_users.get(name),
            Who::Robot(name) => self.groups.of_robots.get(name),
            _ => None,
        }
    }
}

fn about(rule: &Rule, kind: RemarkKind) -> RuleRemark {
    let opinion = rule.opinion(registry_core::Actions::NONE);
    RuleRemark {
        rule: opinion.rule,
        place: opinion.place,
        kind,
    }
}

impl Rule {
    /// Whether it lets somebody administer some repositories, and no more.
    fn administers_part(&self) -> bool {
        self.allows(Action::Administer)
            && !(self.is_about_all_tags()
                && self
                    .repositories()
                    .iter()
                    .any(crate::Pattern::is_everything))
    }
}

/// Whether not everybody's jobs have such a claim, as far as its name tells.
fn tells_whose((name, glob): &(String, Glob)) -> bool {
    let is_name = |start| name.starts_with(start);
    let says_owner = name == "sub"
        || ["repository", "project_path", "namespace"]
            .into_iter()
            .any(is_name);
    says_owner && glob.to_string().chars().any(|char| char != '*')
}

fn is_of(who: &Who, groups: &BTreeSet<String>) -> bool {
    matches!(who, Who::Group(name) if groups.contains(name))
}

impl fmt::Display for RemarkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PushWithoutPull => f.write_str(
                "clients look at what is there before they push, and no rule lets the same pull \
                 there; allow `pull`, too",
            ),
            Self::OpenToChanges => {
                f.write_str("whoever reaches the registry may do this, without a login")
            }
            Self::OpenToJobs => f.write_str(
                "no claim here says whose job it is, and at issuers such as GitHub everybody can \
                 have one; name such a claim, as `repository=` or `repository_owner_id=` at \
                 GitHub, `project_path=` or `namespace_id=` at GitLab, `sub=` elsewhere",
            ),
            Self::RobotAmongUsers => f.write_str(
                "robots are `users`, too, whom another rule lets do this with any tag; if they \
                 aren't meant there, write `users except robots`",
            ),
            Self::UnknownGroup {
                name,
                suggestion: Some(suggestion),
            } => write!(
                f,
                "nobody is in the group `{name}` here; did you mean `{suggestion}`?"
            ),
            Self::UnknownUser { name, suggestion } => write!(
                f,
                "nobody can log in as the user `{name}` here; did you mean `{suggestion}`?"
            ),
            Self::AdminOfPart => f.write_str(
                "this lets somebody delete these repositories as a whole, but manage no robots, \
                 keys or tokens, for which it has to be about `**`",
            ),
            Self::Ended => f.write_str(
                "the time in `until` is over, so the rule holds no more; leave it out, or let it \
                 end later",
            ),
            Self::UnknownGroup { name, .. } => write!(
                f,
                "nobody is in the group `{name}` here; name its members in `groups:`, unless a \
                 directory or the accounts of robots say who is in it"
            ),
        }
    }
}

impl fmt::Display for RuleRemark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.kind),
            None => write!(f, "`{}`: {}", self.rule, self.kind),
        }
    }
}
