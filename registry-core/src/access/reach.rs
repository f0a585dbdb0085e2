//! Where names may lie that somebody sees.

use crate::RepositoryName;

/// Stretches of all repository names, in the order of their bytes: outside of
/// them there is nothing to see for somebody, so nobody needs to look there.
///
/// ```
/// use registry_core::Reach;
///
/// let reach = Reach::below("team/").and(Reach::exactly(&"library/alpine".parse()?));
/// let reach = reach.without(&Reach::below("team/secret/"));
/// assert!(reach.contains(&"team/app".parse()?));
/// assert!(!reach.contains(&"team/secret/app".parse()?));
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// In order, and apart from each other.
    stretches: Vec<Stretch>,
}

/// From `start` on, up to `end` and without it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    start: String,
    /// None if it has no end.
    end: Option<String>,
}

impl Reach {
    /// All names.
    pub fn everywhere() -> Self {
        Self::below("")
    }

    /// None.
    pub fn nowhere() -> Self {
        Self {
            stretches: Vec::new(),
        }
    }

    /// One name.
    pub fn exactly(name: &RepositoryName) -> Self {
        Self::from_to(name.as_str(), Some(format!("{name}\0")))
    }

    /// All names that begin with `start`: the components that they have in common,
    /// with a slash behind each.
    pub fn below(start: &str) -> Self {
        // What comes after a slash.
        let end = start.strip_suffix('/').map(|start| format!("{start}0"));
        Self::from_to(start, end)
    }

    fn from_to(start: &str, end: Option<String>) -> Self {
        Self {
            stretches: vec![Stretch {
                start: start.to_owned(),
                end,
            }],
        }
    }

    /// These and those of `other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        [self, other].into_iter().collect()
    }

    /// These without those of `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for stretch in &self.stretches {
            let mut start = stretch.start.clone();
            let mut reaches_end = true;
            for gone in &other.stretches {
                if gone.end.as_deref().is_some_and(|end| end <= &*start) {
                    continue;
                }
                if stretch.end.as_ref().is_some_and(|end| gone.start >= *end) {
                    break;
                }
                if gone.start > start {
                    left.push(Stretch {
                        start: std::mem::take(&mut start),
                        end: Some(gone.start.clone()),
                    });
                }
                match &gone.end {
                    Some(end) => start.clone_from(end),
                    None => start.clear(),
                }
                reaches_end = match (&gone.end, &stretch.end) {
                    (None, _) => false,
                    (Some(gone), Some(end)) => gone < end,
                    (Some(_), None) => true,
                };
                if !reaches_end {
                    break;
                }
            }
            if reaches_end {
                left.push(Stretch {
                    start,
                    end: stretch.end.clone(),
                });
            }
        }
        Self { stretches: left }
    }

    /// The same names below `prefix`, which ends in a slash.
    pub(crate) fn moved_below(&self, prefix: &str) -> Self {
        let whole = Self::below(prefix);
        let end_of_all = whole.stretches.into_iter().next().and_then(|all| all.end);
        let stretches = self.stretches.iter().map(|stretch| Stretch {
            start: format!("{prefix}{}", stretch.start),
            end: match &stretch.end {
                Some(end) => Some(format!("{prefix}{end}")),
                None => end_of_all.clone(),
            },
        });
        Self {
            stretches: stretches.collect(),
        }
    }

    /// Those below `prefix`, which ends in a slash, without it.
    pub(crate) fn taken_from(&self, prefix: &str) -> Self {
        let below = self.without(&Self::everywhere().without(&Self::below(prefix)));
        let rest = |text: &str| text.strip_prefix(prefix).map(str::to_owned);
        let stretches = below.stretches.iter().map(|stretch| Stretch {
            start: rest(&stretch.start).unwrap_or_default(),
            end: stretch.end.as_deref().and_then(rest),
        });
        Self {
            stretches: stretches.collect(),
        }
    }

    /// Whether `name` is among them.
    pub fn contains(&self, name: &RepositoryName) -> bool {
        self.stretches.iter().any(|stretch| {
            *stretch.start <= *name.as_str()
                && stretch.end.as_deref().is_none_or(|end| name.as_str() < end)
        })
    }

    /// Where the next names lie behind the position `after`: behind which position,
    /// and before which. Nothing if there is nothing more to see.
    pub fn next(&self, after: Option<&str>) -> Option<(Option<String>, Option<&str>)> {
        let position = after.unwrap_or_default();
        // What ends right behind the position has no name behind it.
        let stretch = self.stretches.iter().find(|stretch| {
            let end = stretch.end.as_deref();
            end.is_none_or(|end| end > position && end.strip_suffix('\0') != Some(position))
        })?;
        let behind = before(&stretch.start).filter(|start| **start > *position);
        let behind = behind.or_else(|| after.map(str::to_owned));
        Some((behind, stretch.end.as_deref()))
    }
}

impl FromIterator<Self> for Reach {
    /// All of them together.
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        let mut all: Vec<_> = all.into_iter().flat_map(|reach| reach.stretches).collect();
        all.sort_unstable();
        let mut stretches: Vec<Stretch> = Vec::new();
        for next in all {
            match stretches.last_mut() {
                Some(last) if last.end.as_ref().is_none_or(|end| next.start <= *end) => {
                    if let Some(end) = &last.end
                        && next.end.as_ref().is_none_or(|next| next > end)
                    {
                        last.end = next.end;
                    }
                }
                _ => stretches.push(next),
            }
        }
        Self { stretches }
    }
}

/// A position behind every name that comes before `start`, and before every other
/// one; nothing if none comes before it.
fn before(start: &str) -> Option<String> {
    let mut chars = start.chars();
    let last = chars.next_back()?;
    let rest = chars.as_str();
    let Some(less) = u32::from(last).checked_sub(1).and_then(char::from_u32) else {
        return Some(rest.to_owned());
    };
    // No character of a name comes after a tilde.
    Some(format!("{rest}{less}~"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Reach;
    use crate::RepositoryName;

    fn name() -> impl Strategy<Value = String> {
        "[ab]([.-]?[ab0]){0,1}(/[ab]([.-][ab])?){0,2}"
    }

    /// A stretch, and the same as a function.
    fn stretch() -> impl Strategy<Value = (String, bool)> {
        prop_oneof![
            name().prop_map(|name| (name, true)),
            name().prop_map(|name| (format!("{name}/"), false)),
            Just((String::new(), false)),
        ]
    }

    fn reach(stretches: &[(String, bool)]) -> Reach {
        let one = |(text, exact): &(String, bool)| {
            if *exact {
                Reach::exactly(&text.parse().unwrap())
            } else {
                Reach::below(text)
            }
        };
        stretches.iter().map(one).collect()
    }

    fn holds(stretches: &[(String, bool)], name: &str) -> bool {
        stretches.iter().any(|(text, exact)| {
            if *exact {
                name == text
            } else {
                name.starts_with(text.as_str())
            }
        })
    }

    proptest! {
        #[test]
        fn stretches_move_below_a_prefix_and_back(
            some in proptest::collection::vec(stretch(), 0..4),
            gone in proptest::collection::vec(stretch(), 0..4),
            name in name(),
        ) {
            let all = reach(&some).without(&reach(&gone));
            prop_assert_eq!(&all.moved_below("a/b/").taken_from("a/b/"), &all);
            let repository: RepositoryName = name.parse().unwrap();
            let moved: RepositoryName = format!("a/b/{name}").parse().unwrap();
            let contains = all.contains(&repository);
            prop_assert_eq!(all.moved_below("a/b/").contains(&moved), contains);
            prop_assert_eq!(all.taken_from("a/b/").contains(&repository), all.contains(&moved));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn stretches_are_sets_and_every_name_in_them_is_come_across(
            some in proptest::collection::vec(stretch(), 0..4),
            gone in proptest::collection::vec(stretch(), 0..4),
            names in proptest::collection::btree_set(name(), 0..30),
            after in proptest::option::of(name()),
        ) {
            let all = reach(&some).without(&reach(&gone));
            let expected: BTreeSet<_> = names
                .iter()
                .filter(|name| holds(&some, name) && !holds(&gone, name))
                .collect();
            for name in &names {
                let repository: RepositoryName = name.parse().unwrap();
                prop_assert_eq!(all.contains(&repository), expected.contains(name), "{}", name);
            }
            // Nothing else is, either.
            let mut found = BTreeSet::new();
            let mut position = after.clone();
            while let Some((behind, end)) = all.next(position.as_deref()) {
                let lies_there = |name: &&String| {
                    behind.as_ref().is_none_or(|behind| **name > *behind)
                        && end.is_none_or(|end| name.as_str() < end)
                };
                found.extend(names.iter().filter(lies_there));
                let Some(end) = end else { break };
                position = Some(end.to_owned());
            }
            let mut expected = expected;
            expected.retain(|name| after.as_ref().is_none_or(|after| *name > after));
            prop_assert_eq!(found, expected);
        }
    }
}
