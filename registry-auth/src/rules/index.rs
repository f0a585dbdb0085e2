//! Which of many rules may be about a question.

use std::collections::HashMap;

use registry_core::RepositoryName;

use crate::pattern::starts;
use crate::principal::Identity;
use crate::{Pattern, PrincipalKind, Rule, Who};

/// The numbers of rules by whom and where they are about, so that a decision
/// looks at few of many.
#[derive(Debug, Default)]
pub(super) struct Index {
    anyone: Places,
    signed_in: Places,
    robots: Places,
    users: HashMap<String, Places>,
    groups: HashMap<String, Places>,
    by_robot: HashMap<String, Places>,
    issuers: HashMap<String, Places>,
}

/// The numbers of rules by the first component of the repositories, or by the
/// first two.
#[derive(Debug, Default)]
struct Places {
    /// Those that start with a wildcard.
    anywhere: Vec<usize>,
    below: HashMap<Box<str>, Vec<usize>>,
}

impl Index {
    /// Adds the rule of this number.
    pub(super) fn insert(&mut self, number: usize, rule: &Rule) {
        let places = match rule.who() {
            Who::Anyone => &mut self.anyone,
            Who::SignedIn => &mut self.signed_in,
            Who::Robots => &mut self.robots,
            Who::User(name) => self.users.entry(name.clone()).or_default(),
            Who::Group(name) => self.groups.entry(name.clone()).or_default(),
            Who::Robot(name) => self.by_robot.entry(name.clone()).or_default(),
            Who::Workload { issuer, .. } => self.issuers.entry(issuer.clone()).or_default(),
        };
        for pattern in rule.repositories() {
            places.insert(number, pattern);
        }
    }

    /// The numbers of all rules that may be about `identity` in `repository`, or
    /// in the registry as a whole, in order.
    pub(super) fn candidates(
        &self,
        identity: Identity<'_>,
        repository: Option<&RepositoryName>,
    ) -> Vec<usize> {
        let mut numbers = Vec::new();
        self.anyone.collect(repository, &mut numbers);
        if let (Some(kind), Some(name)) = (identity.kind(), identity.name()) {
            self.signed_in.collect(repository, &mut numbers);
            let mut add = |places: Option<&Places>| {
                if let Some(places) = places {
                    places.collect(repository, &mut numbers);
                }
            };
            match kind {
                PrincipalKind::User => add(self.users.get(name)),
                PrincipalKind::Robot => {
                    add(Some(&self.robots));
                    add(self.by_robot.get(name));
                }
                PrincipalKind::Workload => {
                    add(identity
                        .issuer()
                        .and_then(|issuer| self.issuers.get(issuer)));
                }
                PrincipalKind::Anonymous => {}
            }
            if !self.groups.is_empty() {
                identity
                    .groups()
                    .for_each(|group| add(self.groups.get(group)));
            }
        }
        // One may be there for several reasons.
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

impl Places {
    fn insert(&mut self, number: usize, pattern: &Pattern) {
        let numbers = match pattern.start() {
            Some(name) => self.below.entry(name.into()).or_default(),
            None => &mut self.anywhere,
        };
        numbers.push(number);
    }

    fn collect(&self, repository: Option<&RepositoryName>, numbers: &mut Vec<usize>) {
        numbers.extend(&self.anywhere);
        let Some(name) = repository else {
            return;
        };
        let (one, two) = starts(name.as_str());
        for start in [Some(one), Some(two).filter(|two| *two != one)] {
            numbers.extend(
                start
                    .and_then(|start| self.below.get(start))
                    .into_iter()
                    .flatten(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Index;
    use crate::principal::Identity;
    use crate::{Principal, Rule};

    #[test]
    fn few_of_many_rules_are_looked_at() {
        let rules = [
            "anyone may pull library/**",
            "anyone may pull library/alpine",
            "anyone may pull library/debian/**",
            "anyone may pull **/alpine",
            "users may pull library/*",
            "user ann may pull library/*, people/ann/**",
            "user ben may pull library/*",
            "group web may pull library/*",
            "group ops may pull library/*",
            "robots may pull library/*",
            "robot ann may pull library/*",
            "workload ann may pull library/*",
        ];
        let mut index = Index::default();
        for (number, rule) in rules.iter().enumerate() {
            index.insert(number, &rule.parse::<Rule>().unwrap());
        }
        let ann = Principal::new("ann").member_of("web");
        let robot = Principal::robot("ann");
        let job = Principal::workload("ann", "x");
        for (who, repository, expected) in [
            (None, Some("library/alpine"), &[0, 1, 3][..]),
            (None, Some("library/debian/slim"), &[0, 2, 3]),
            (None, Some("library"), &[0, 3]),
            (None, Some("libraries/alpine"), &[3]),
            (None, None, &[3]),
            (Some(&ann), Some("library/alpine"), &[0, 1, 3, 4, 5, 7]),
            (Some(&ann), Some("people/ann/app"), &[3, 5]),
            (Some(&ann), Some("people/ben"), &[3]),
            (Some(&robot), Some("library/app"), &[0, 3, 4, 9, 10]),
            (Some(&job), Some("library/app"), &[0, 3, 4, 11]),
        ] {
            let name = repository.map(|name| name.parse().unwrap());
            let found = index.candidates(Identity::of(who), name.as_ref());
            assert_eq!(found, expected, "{who:?} {repository:?}");
        }
    }
}
