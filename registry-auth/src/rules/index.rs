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
