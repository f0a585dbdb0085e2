//! Which of many rules may be about a question.

use std::collections::HashMap;

use registry_core::RepositoryName;

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

/// The numbers of rules by a component that all the repositories have which they
/// are about.
#[derive(Debug, Default)]
struct Places {
    /// Those that say no component.
    anywhere: Vec<usize>,
    with: HashMap<Box<str>, Vec<usize>>,
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
        // Of the components that it says, the one that the fewest others are found
        // by: thousands below one team are told apart by what is their own.
        let others = |component: &&str| self.with.get(*component).map_or(0, Vec::len);
        let numbers = match pattern.components().min_by_key(others) {
            Some(component) => self.with.entry(component.into()).or_default(),
            None => &mut self.anywhere,
        };
        numbers.push(number);
    }

    fn collect(&self, repository: Option<&RepositoryName>, numbers: &mut Vec<usize>) {
        numbers.extend(&self.anywhere);
        if self.with.is_empty() {
            return;
        }
        let names = repository.into_iter().map(RepositoryName::as_str);
        for component in names.flat_map(|name| name.split('/')) {
            numbers.extend(self.with.get(component).into_iter().flatten());
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
            "anyone may pull **",
        ];
        let mut index = Index::default();
        for (number, rule) in rules.iter().enumerate() {
            index.insert(number, &rule.parse::<Rule>().unwrap());
        }
        let ann = Principal::new("ann").member_of("web");
        let robot = Principal::robot("ann");
        let job = Principal::workload("ann", "x");
        for (who, repository, expected) in [
            (None, Some("library/alpine"), &[0, 1, 3, 12][..]),
            (None, Some("library/debian/slim"), &[0, 2, 12]),
            (None, Some("library"), &[0, 12]),
            (None, Some("libraries/alpine"), &[1, 3, 12]),
            (None, None, &[12]),
            (Some(&ann), Some("library/alpine"), &[0, 1, 3, 4, 5, 7, 12]),
            (Some(&ann), Some("people/ann/app"), &[5, 12]),
            (Some(&ann), Some("ann"), &[12]),
            (Some(&robot), Some("library/app"), &[0, 4, 9, 10, 12]),
            (Some(&job), Some("library/app"), &[0, 4, 11, 12]),
        ] {
            let name = repository.map(|name| name.parse().unwrap());
            let found = index.candidates(Identity::of(who), name.as_ref());
            assert_eq!(found, expected, "{who:?} {repository:?}");
        }
    }
    #[test]
    fn wherever_the_names_differ_the_rules_are_told_apart() {
        for pattern in [
            "#/**",
            "company/apps/#/**",
            "company/*/#/app",
            "**/#/**",
            "*/#",
        ] {
            let mut index = Index::default();
            for number in 0..1000 {
                let repositories = pattern.replace('#', &format!("x{number}"));
                let rule = format!("anyone may pull {repositories}");
                index.insert(number, &rule.parse::<Rule>().unwrap());
            }
            let name = pattern.replace('#', "x500").replace("**", "a");
            let name = name.replace('*', "b").parse().unwrap();
            let found = index.candidates(Identity::of(None), Some(&name));
            assert!(
                found.contains(&500) && found.len() < 5,
                "{pattern}: {found:?}"
            );
        }
    }
}
