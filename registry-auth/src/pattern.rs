//! Patterns of repository names.

use std::fmt;
use std::str::FromStr;

use registry_core::{Error, ErrorKind, Reach, RepositoryName, Result};

use crate::principal::Identity;
use crate::{Principal, PrincipalKind};

/// Which repositories a rule is about.
///
/// A name, in which `*` stands for exactly one component and `**` for any
/// number of them: `team/*` is `team/app` but not `team/app/web`, `**/web` is
/// every name that ends in `web`. At the end, `**` stands for at least one:
/// `team/**` is everything inside `team` but not `team` itself. Matching is
/// always of the whole name and takes time in proportion to its length.
///
/// `{user}` stands for a component that is exactly the name of the user who
/// asks, and `{group}` for one that is exactly the name of one of their groups. So
/// nobody whose name can't be a component, such as `Ann` or `a/b`, has a
/// repository by it, and neither has anybody unknown.
///
/// ```
/// use registry_auth::{Pattern, Principal};
///
/// let pattern: Pattern = "team/**".parse()?;
/// assert!(pattern.matches(&"team/app/web".parse()?));
/// assert!(!pattern.matches(&"teams/app".parse()?));
///
/// let own: Pattern = "people/{user}/**".parse()?;
/// let ann = Principal::new("ann");
/// assert!(own.matches_for(&"people/ann/app".parse()?, Some(&ann)));
/// assert!(!own.matches_for(&"people/ben/app".parse()?, Some(&ann)));
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    parts: Box<[Part]>,
}

/// How many groups, or pairs of them, are looked for one by one.
const STARTS_MAX: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Exactly(Box<str>),
    One,
    Any,
    User,
    Group,
}

impl Pattern {
    /// Whether it is about `name`, whoever asks.
    pub fn matches(&self, name: &RepositoryName) -> bool {
        self.matches_for(name, None)
    }

    /// The components that all it is about have, whoever asks.
    pub(crate) fn components(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Exactly(text) => Some(text.as_ref()),
            _ => None,
        })
    }

    /// Where all lies that it is about if `identity` asks.
    pub(crate) fn reach(&self, identity: Identity<'_>) -> Reach {
        self.stretches(identity).0
    }

    /// Where it is about whatever there is, as far as that can be told.
    pub(crate) fn whole(&self, identity: Identity<'_>) -> Reach {
        match self.stretches(identity) {
            (reach, true) => reach,
            (_, false) => Reach::nowhere(),
        }
    }

    /// What the components that it says lead to, and whether it is about all of
    /// that.
    fn stretches(&self, identity: Identity<'_>) -> (Reach, bool) {
        let mut starts = vec![String::new()];
        let mut parts = self.parts.as_ref();
        while let Some((part, rest)) = parts.split_first() {
            let fitting: Vec<&str> = match part {
                Part::Exactly(text) => vec![text],
                Part::User => identity
                    .name()
                    .filter(|_| identity.kind() == Some(PrincipalKind::User))
                    .into_iter()
                    .collect(),
                Part::Group => identity.groups().collect(),
                Part::One | Part::Any => break,
            };
            if starts.len().saturating_mul(fitting.len()) > STARTS_MAX {
                break;
            }
            let is_component = |name: &&&str| !name.is_empty() && !name.contains('/');
            starts = starts
                .iter()
                .flat_map(|start| {
                    let fitting = fitting.iter().filter(is_component);
                    fitting.map(move |name| format!("{start}{name}/"))
                })
                .collect();
            parts = rest;
        }
        let is_name = parts.is_empty();
        let reach = starts.iter().map(|start| match start.strip_suffix('/') {
            Some(name) if is_name => name
                .parse()
                .map_or_else(|_| Reach::nowhere(), |name| Reach::exactly(&name)),
            _ => Reach::below(start),
        });
        (reach.collect(), is_name || *parts == [Part::Any, Part::One])
    }

    /// Whether it is about everything.
    pub(crate) fn is_everything(&self) -> bool {
        *self.parts == [Part::Any, Part::One]
    }

    /// Whether what it is about depends on who asks.
    pub(crate) fn is_personal(&self) -> bool {
        let is_personal = |part: &Part| matches!(part, Part::User | Part::Group);
        self.parts.iter().any(is_personal)
    }

    /// Whether it is about `name` if `principal` asks.
    pub fn matches_for(&self, name: &RepositoryName, principal: Option<&Principal>) -> bool {
        self.matches_identity(name, Identity::of(principal))
    }

    pub(crate) fn matches_identity(&self, name: &RepositoryName, identity: Identity<'_>) -> bool {
        self.is_everything()
            || self.fits(name.as_str().split('/'), |part, component| {
                part.fits(component, identity)
            })
    }

    /// Whether it is about all that `other` is about, whoever asks.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        // Only `**` is about as much as another `**`, which is a component here.
        self.fits(other.parts.iter(), |part, other| match part {
            Part::Any => true,
            Part::One => *other != Part::Any,
            Part::Exactly(_) | Part::User | Part::Group => part == other,
        })
    }

    /// Whether its parts fit all components, in time in proportion to them.
    fn fits<C>(
        &self,
        mut names: impl Iterator<Item = C> + Clone,
        fits: impl Fn(&Part, C) -> bool,
    ) -> bool {
        let mut parts = self.parts.as_ref();
        // Where to go on when the parts behind the last `**` don't fit: it
        // takes one component more. Earlier ones never need to be tried again.
        let mut retry = None;
        loop {
            match parts.split_first() {
                Some((Part::Any, rest)) => {
                    retry = Some((names.clone(), rest));
                    parts = rest;
                    continue;
                }
                Some((part, rest)) => {
                    if let Some(component) = names.next()
                        && fits(part, component)
                    {
                        parts = rest;
                        continue;
                    }
                }
                None if names.clone().next().is_none() => return true,
                None => {}
            }
            let Some((mut behind, rest)) = retry.take() else {
                return false;
            };
            if behind.next().is_none() {
                return false;
            }
            names = behind.clone();
            parts = rest;
            retry = Some((behind, rest));
        }
    }
}

impl Part {
    fn fits(&self, component: &str, identity: Identity<'_>) -> bool {
        match self {
            Self::Exactly(text) => **text == *component,
            Self::One | Self::Any => true,
            Self::User => {
                identity.kind() == Some(PrincipalKind::User) && identity.name() == Some(component)
            }
            Self::Group => identity.is_member_of(component),
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let malformed = || {
            ErrorKind::NameInvalid.error(format!(
                "the pattern {text:?} matches no repository; write a repository name in which \
                 whole components may be *, **, {{user}} or {{group}}"
            ))
        };
        // A name with the wildcards filled in must be one that can exist.
        let example: Vec<_> = text
            .split('/')
            .map(|part| {
                if matches!(part, "*" | "**" | "{user}" | "{group}") {
                    "x"
                } else {
                    part
                }
            })
            .collect();
        let _: RepositoryName = example.join("/").parse().map_err(|_| malformed())?;
        let mut parts: Vec<_> = text
            .split('/')
            .map(|part| match part {
                "*" => Part::One,
                "**" => Part::Any,
                "{user}" => Part::User,
                "{group}" => Part::Group,
                name => Part::Exactly(name.into()),
            })
            .collect();
        if parts.last() == Some(&Part::Any) {
            parts.push(Part::One);
        }
        Ok(Self {
            text: text.into(),
            parts: parts.into(),
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use registry_core::RepositoryName;

    use super::Pattern;
    use crate::Principal;

    fn matches(pattern: &str, name: &str) -> bool {
        let pattern: Pattern = pattern.parse().unwrap();
        pattern.matches(&name.parse().unwrap())
    }

    #[test]
    fn wildcards_stand_for_whole_components() {
        for (pattern, yes, no) in [
            ("a", &["a"][..], &["b", "a/b", "aa"][..]),
            ("*", &["a", "b"], &["a/b"]),
            ("a/*", &["a/b"], &["a", "a/b/c", "b/a"]),
            ("a/**", &["a/b", "a/b/c/d"], &["a", "ab/c", "b/a"]),
            ("**", &["a", "a/b", "a/b/c"], &[]),
            ("**/a", &["a", "b/a", "b/c/a"], &["a/b", "ba"]),
            (
                "a/**/b",
                &["a/b", "a/c/b", "a/b/b", "a/c/d/b"],
                &["a", "b", "a/b/c"],
            ),
            ("a/*/b", &["a/c/b"], &["a/b", "a/c/d/b"]),
            (
                "**/a/**/b",
                &["a/b", "c/a/b", "a/a/c/b", "a/b/b"],
                &["b/a", "a/c"],
            ),
            ("*/**", &["a/b", "a/b/c"], &["a"]),
            ("**/*", &["a", "a/b"], &[]),
        ] {
            for name in yes {
                assert!(matches(pattern, name), "{pattern} is {name}");
            }
            for name in no {
                assert!(!matches(pattern, name), "{pattern} isn't {name}");
            }
        }
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_an_error() {
        for pattern in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "team-*",
            "a**",
            "***",
            "A/*",
            "a/../b",
            "[ab]",
            "{",
            "{}",
            "{User}",
            "{robot}",
            "a-{user}",
            "{user}-a",
            "{user}{group}",
            "{user",
            "{{user}}",
            "{user }",
        ] {
            let error = pattern.parse::<Pattern>().expect_err(pattern).to_string();
            assert!(error.contains("*, **, {user} or {group}"), "{error}");
        }
    }

    #[test]
    fn a_place_for_a_user_or_group_is_for_exactly_that_name() {
        let fits = |pattern: &str, name: &str, principal: Option<&Principal>| {
            let pattern: Pattern = pattern.parse().unwrap();
            pattern.matches_for(&name.parse().unwrap(), principal)
        };
        let ann = Principal::new("ann").member_of("web").member_of("ops");
        for (pattern, yes, no) in [
            (
                "people/{user}/**",
                &["people/ann/a", "people/ann/a/b"][..],
                &[
                    "people/ann",
                    "people/anna/a",
                    "people/web/a",
                    "people/a/ann",
                    "people/user/a",
                ][..],
            ),
            (
                "teams/{group}/**",
                &["teams/web/a", "teams/ops/a"],
                &["teams/ann/a", "teams/we/a", "teams/group/a"],
            ),
            ("{user}", &["ann"], &["web", "ann/a"]),
            (
                "**/{group}/{user}",
                &["web/ann", "x/ops/ann", "web/ann/ops/ann"],
                &["ann/web", "web/ann/x", "ann/ann"],
            ),
            ("{group}/{group}", &["web/ops", "ops/ops"], &["web/ann"]),
        ] {
            for name in yes {
                assert!(fits(pattern, name, Some(&ann)), "{pattern} is {name}");
                assert!(
                    !fits(pattern, name, None),
                    "{pattern} isn't {name} to anybody"
                );
            }
            for name in no {
                assert!(!fits(pattern, name, Some(&ann)), "{pattern} isn't {name}");
            }
        }
        // Robots are no users.
        let robot = Principal::robot("ann").member_of("web");
        assert!(!fits("people/{user}/**", "people/ann/a", Some(&robot)));
        assert!(fits("teams/{group}/**", "teams/web/a", Some(&robot)));
        // A name is never a pattern, nor more than one component, nor folded.
        for name in ["*", "**", "{user}", "", "a/b", "Ann", "ann ", "annä"] {
            let other = Principal::new(name).member_of(name);
            for repository in ["ann", "a/b", "a", "x/y"] {
                for pattern in ["{user}", "{group}", "{user}/{group}", "{user}/**"] {
                    assert!(
                        !fits(pattern, repository, Some(&other)),
                        "{name}: {repository}"
                    );
                }
            }
        }
    }

    #[test]
    fn many_wildcards_cost_little() {
        let pattern = ["**/a"; 40].join("/");
        let name = ["a"; 120].join("/");
        assert!(matches(&pattern, &name));
        assert!(!matches(&format!("{pattern}/b"), &name));
    }

    /// The definition, spelt out, for the user a and the members of `groups`.
    fn oracle(pattern: &[&str], name: &[&str], groups: &[&str]) -> bool {
        let on = |rest: &[&str], names: &[&str]| oracle(rest, names, groups);
        match (pattern, name) {
            ([], []) => true,
            (["**"], name) => !name.is_empty(),
            (["**", rest @ ..], name) => (0..=name.len()).any(|taken| on(rest, &name[taken..])),
            (["*", rest @ ..], [_, names @ ..]) | (["{user}", rest @ ..], ["a", names @ ..]) => {
                on(rest, names)
            }
            (["{group}", rest @ ..], [first, names @ ..]) if groups.contains(first) => {
                on(rest, names)
            }
            ([part, rest @ ..], [first, names @ ..]) => part == first && on(rest, names),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn matching_follows_the_definition(
            pattern in proptest::collection::vec(
                proptest::sample::select(vec!["a", "b", "*", "**", "{user}", "{group}"]), 1..6,
            ),
            name in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "c"]), 1..8),
            groups in proptest::sample::subsequence(vec!["a", "b", "c"], 0..3),
        ) {
            let parsed: Pattern = pattern.join("/").parse().unwrap();
            let repository: RepositoryName = name.join("/").parse().unwrap();
            let user = groups.iter().fold(Principal::new("a"), |user, group| user.member_of(*group));
            prop_assert_eq!(
                parsed.matches_for(&repository, Some(&user)),
                oracle(&pattern, &name, &groups)
            );
            let personal = pattern.iter().any(|part| part.starts_with('{'));
            prop_assert_eq!(
                parsed.matches(&repository),
                !personal && oracle(&pattern, &name, &groups)
            );
        }
    }
}
