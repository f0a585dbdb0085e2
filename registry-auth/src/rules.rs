//! Rules: who may do what, where.

use registry_core::{Action, Actions, Error, Result};

use crate::{Decision, Pattern, Policy, Principal, PrincipalKind, Question};

/// Whom a rule is about.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Everybody, known or not.
    Anyone,
    /// Everybody who is known.
    SignedIn,
    /// The user of this name.
    User(String),
    /// The members of this group.
    Group(String),
}

/// A list of permissions: what no rule allows is refused.
///
/// The methods can be called in any order and as often as needed; permissions
/// add up. Moving a tag that exists takes [`Action::Overwrite`] besides
/// [`Action::Push`].
///
/// ```
/// use registry_auth::Rules;
/// use registry_core::Action;
///
/// let rules = Rules::new()
///     .anonymous("library/**", &[Action::Pull])
///     .signed_in("**", &[Action::Pull])
///     .group("release", "products/**", &[Action::Push, Action::Overwrite])
///     .user("ci", "team/**", &[Action::Push]);
/// rules.check()?;
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    malformed: Option<Error>,
}

#[derive(Debug)]
struct Rule {
    who: Who,
    repositories: Pattern,
    actions: Actions,
}

impl Rules {
    /// No permission at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everybody may do `actions` in the repositories that match `pattern`.
    ///
    /// Beside rules that need a password this is of no use to Docker, podman,
    /// skopeo and crane: see [anonymous pulls](crate#anonymous-pulls-beside-passwords).
    pub fn anonymous(self, pattern: &str, actions: &[Action]) -> Self {
        self.parsed(Who::Anyone, pattern, actions)
    }

    /// Everybody who is known may.
    pub fn signed_in(self, pattern: &str, actions: &[Action]) -> Self {
        self.parsed(Who::SignedIn, pattern, actions)
    }

    /// The user called `name` may.
    pub fn user(self, name: &str, pattern: &str, actions: &[Action]) -> Self {
        self.parsed(Who::User(name.to_owned()), pattern, actions)
    }

    /// The members of `group` may.
    pub fn group(self, group: &str, pattern: &str, actions: &[Action]) -> Self {
        self.parsed(Who::Group(group.to_owned()), pattern, actions)
    }

    /// `who` may do `actions` in `repositories`.
    pub fn rule(mut self, who: Who, repositories: Pattern, actions: impl Into<Actions>) -> Self {
        self.rules.push(Rule {
            who,
            repositories,
            actions: actions.into(),
        });
        self
    }

    /// Whether all patterns were well-formed. A rule with a malformed one
    /// permits nothing, which is logged as an error.
    ///
    /// # Errors
    ///
    /// [`NameInvalid`](registry_core::ErrorKind::NameInvalid) with the first
    /// pattern that isn't.
    pub fn check(self) -> Result<Self> {
        match self.malformed {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    fn parsed(mut self, who: Who, pattern: &str, actions: &[Action]) -> Self {
        match pattern.parse() {
            Ok(pattern) => self.rule(who, pattern, actions.iter().copied().collect::<Actions>()),
            Err(error) => {
                tracing::error!(%error, "a rule permits nothing");
                self.malformed.get_or_insert(error);
                self
            }
        }
    }
}

impl Who {
    fn includes(&self, principal: Option<&Principal>) -> bool {
        match (self, principal) {
            (Self::Anyone, _) | (Self::SignedIn, Some(_)) => true,
            (Self::User(name), Some(principal)) => {
                principal.kind() == PrincipalKind::User && principal.name() == name
            }
            (Self::Group(group), Some(principal)) => principal.is_member_of(group),
            (_, None) => false,
        }
    }
}

impl Policy for Rules {
    fn decide(&self, question: &Question<'_>) -> Decision {
        let permitted = self
            .rules
            .iter()
            .filter(|rule| {
                rule.who.includes(question.principal)
                    && match question.repository {
                        Some(name) => rule.repositories.matches_for(name, question.principal),
                        None => rule.repositories.is_everything(),
                    }
            })
            .fold(Actions::NONE, |actions, rule| actions | rule.actions);
        Decision::allow(permitted)
    }

    fn rewards_login(&self) -> bool {
        self.rules.iter().any(|rule| rule.who != Who::Anyone)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use registry_core::{Action, Actions, RequestOrigin};

    use super::*;

    fn granted(rules: &Rules, principal: Option<&Principal>, repository: &str) -> Actions {
        let repository = repository.parse().unwrap();
        let origin = RequestOrigin::default();
        rules
            .decide(&Question::new(principal, &repository, &origin, UNIX_EPOCH))
            .granted()
    }

    #[test]
    fn permissions_add_up_and_nothing_else_is_allowed() {
        let rules = Rules::new()
            .anonymous("library/**", &[Action::Pull])
            .signed_in("shared/*", &[Action::Pull])
            .user("ci", "team/**", &[Action::Pull, Action::Push])
            .group("ops", "team/**", &[Action::Delete]);
        let ci = Principal::new("ci");
        let both = Principal::new("ci").member_of("ops");
        let other = Principal::new("Ci").member_of("op");

        assert_eq!(granted(&rules, None, "library/alpine"), Action::Pull.into());
        assert_eq!(
            granted(&rules, Some(&ci), "library/alpine"),
            Action::Pull.into()
        );
        assert_eq!(granted(&rules, None, "shared/app"), Actions::NONE);
        assert_eq!(
            granted(&rules, Some(&other), "shared/app"),
            Action::Pull.into()
        );
        assert_eq!(
            granted(&rules, Some(&ci), "team/app"),
            [Action::Pull, Action::Push].into()
        );
        assert_eq!(
            granted(&rules, Some(&both), "team/app"),
            [Action::Pull, Action::Push, Action::Delete].into()
        );
        assert_eq!(granted(&rules, Some(&other), "team/app"), Actions::NONE);
        assert_eq!(granted(&rules, Some(&ci), "elsewhere"), Actions::NONE);
    }

    #[test]
    fn a_robot_is_no_user_of_its_name() {
        let rules = Rules::new().user("ci", "**", &[Action::Pull]);
        assert_eq!(
            granted(&rules, Some(&Principal::robot("ci")), "a"),
            Actions::NONE
        );
        assert_eq!(
            granted(&rules, Some(&Principal::new("ci")), "a"),
            Action::Pull.into()
        );
    }

    #[test]
    fn the_registry_as_a_whole_is_in_rules_about_everything_only() {
        let root = Principal::new("root");
        for (pattern, whole) in [("**", true), ("*/**", false), ("*", false), ("a", false)] {
            let rules = Rules::new().user("root", pattern, &[Action::Administer]);
            let origin = RequestOrigin::default();
            let question = Question::registry(Some(&root), &origin, UNIX_EPOCH);
            let may = rules
                .decide(&question)
                .granted()
                .contains(Action::Administer.into());
            assert_eq!(may, whole, "{pattern}");
        }
    }

    #[test]
    fn a_rule_about_own_repositories_is_about_those_of_whoever_asks() {
        let rules = Rules::new()
            .signed_in("people/{user}/**", &[Action::Push])
            .anonymous("teams/{group}/**", &[Action::Push]);
        let ann = Principal::new("ann").member_of("web");
        for (repository, own) in [
            ("people/ann/app", true),
            ("people/ben/app", false),
            ("teams/web/app", true),
            ("teams/ann/app", false),
        ] {
            let expected = if own {
                Action::Push.into()
            } else {
                Actions::NONE
            };
            assert_eq!(granted(&rules, Some(&ann), repository), expected);
            assert_eq!(granted(&rules, None, repository), Actions::NONE);
        }
    }

    #[test]
    fn a_malformed_pattern_is_reported_and_permits_nothing() {
        let rules = Rules::new().anonymous("team-*", &[Action::Pull]);
        assert_eq!(granted(&rules, None, "team-a"), Actions::NONE);
        let error = rules.check().unwrap_err();
        assert!(error.to_string().contains("\"team-*\""), "{error}");
    }

    #[test]
    fn login_is_only_worth_it_if_somebody_gains_by_it() {
        assert!(
            !Rules::new()
                .anonymous("**", &[Action::Pull])
                .rewards_login()
        );
        assert!(
            Rules::new()
                .signed_in("**", &[Action::Pull])
                .rewards_login()
        );
    }
}
