//! Who asks, as rules see it.

use std::collections::BTreeSet;

use super::{Principal, PrincipalKind};

/// Somebody, or nobody, as rules see them: a principal that may be in further
/// groups, which the rules themselves name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    principal: Option<&'a Principal>,
    groups: Option<&'a BTreeSet<String>>,
}

impl<'a> Identity<'a> {
    /// Of `principal`, if that is somebody.
    pub(crate) fn of(principal: Option<&'a Principal>) -> Self {
        Self {
            principal: principal.filter(|known| known.kind() != PrincipalKind::Anonymous),
            groups: None,
        }
    }

    /// The same as a member of `groups` too.
    pub(crate) fn also_in(self, groups: Option<&'a BTreeSet<String>>) -> Self {
        Self { groups, ..self }
    }

    pub(crate) fn kind(self) -> Option<PrincipalKind> {
        self.principal.map(Principal::kind)
    }

    pub(crate) fn name(self) -> Option<&'a str> {
        self.principal.map(Principal::name)
    }

    pub(crate) fn issuer(self) -> Option<&'a str> {
        self.principal.and_then(Principal::issuer)
    }

    pub(crate) fn claim(self, name: &str) -> Option<&'a str> {
        self.principal.and_then(|known| known.claim(name))
    }

    /// The groups it is in, of which some may come twice.
    pub(crate) fn groups(self) -> impl Iterator<Item = &'a str> {
        let of_login = self.principal.into_iter().flat_map(Principal::groups);
        let of_rules = self.groups.into_iter().flatten().map(String::as_str);
        of_login.chain(of_rules)
    }

    pub(crate) fn is_member_of(self, group: &str) -> bool {
        self.principal.is_some_and(|known| {
            known.is_member_of(group) || self.groups.is_some_and(|more| more.contains(group))
        })
    }
}
