//! Rules: who may do what, where.

mod index;
mod remark;

use std::collections::{BTreeSet, HashMap};

use registry_core::{Action, Actions, Error, ErrorKind, Reach, Result, Tag};

use self::index::Index;
pub use self::remark::{RemarkKind, RuleRemark};
use crate::principal::{Identity, ROBOT};
use crate::{
    Decision, Effect, Horizon, Opinion, Pattern, Policy, Principal, PrincipalKind, Question, Role,
    Rule, Who, rule,
};

/// A list of permissions and denials: what no rule allows is refused, and what
/// one denies no other allows.
///
/// The methods can be called in any order and as often as needed, but for
/// [`role`](Self::role), which is about the sentences behind it; permissions add up. Moving a tag that exists takes [`Action::Overwrite`] besides
/// [`Action::Push`].
///
/// ```
/// use registry_auth::Rules;
/// use registry_core::Action;
///
/// let rules = Rules::new()
///     .anonymous("library/**", &[Action::Pull])
///     .sentence("users are readers of **")
///     .sentence("group release are writers of products/**")
///     .sentence("robot ci may push v* to team/**")
///     .sentence("nobody may delete v* in products/**");
/// rules.check()?;
/// # Ok::<(), registry_core::Error>(())
/// ```
///
/// What a rule may say, and what it means, is written at [`Rule`].
#[derive(Debug, Default)]
pub struct Rules {
    entries: Vec<Rule>,
    index: Index,
    /// Those that aren't ready-made.
    roles: Vec<Role>,
    groups: Groups,
    disabled: BTreeSet<String>,
    /// Who is named outside of rules, and where.
    mentions: Vec<(String, String)>,
    malformed: Option<Error>,
}

/// Who is in which groups, besides those that authenticators know of.
#[derive(Debug, Default)]
struct Groups {
    of_users: HashMap<String, BTreeSet<String>>,
    of_robots: HashMap<String, BTreeSet<String>>,
}

impl Rules {
    /// No permission at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everybody may do `actions` in the repositories that match `pattern`.
    ///
    /// Beside rules that need a login, Docker, podman, skopeo and crane need tokens
    /// to make use of it: see [anonymous pulls](crate#anonymous-pulls-beside-passwords).
    pub fn anonymous(self, pattern: &str, actions: &[Action]) -> Self {
        self.allow(Who::Anyone, pattern, actions)
    }

    /// Every user and every robot may; no workload.
    pub fn signed_in(self, pattern: &str, actions: &[Action]) -> Self {
        self.allow(Who::SignedIn, pattern, actions)
    }

    /// The user called `name` may.
    pub fn user(self, name: &str, pattern: &str, actions: &[Action]) -> Self {
        self.allow(Who::User(name.to_owned()), pattern, actions)
    }

    /// The members of `group` may.
    pub fn group(self, group: &str, pattern: &str, actions: &[Action]) -> Self {
        self.allow(Who::Group(group.to_owned()), pattern, actions)
    }

    /// What this sentence says: see [`Rule`].
    pub fn sentence(self, sentence: &str) -> Self {
        let rule = rule::parse(sentence, &self.roles);
        self.rule_if(rule)
    }

    /// From here on sentences may name `role`.
    ///
    /// ```
    /// use registry_auth::{Role, Rules};
    /// use registry_core::Action;
    ///
    /// let pusher = Role::new("pusher", [Action::List, Action::Pull, Action::Push])?;
    /// let rules = Rules::new()
    ///     .role(pusher)
    ///     .sentence("robots are pushers of team/**");
    /// rules.check()?;
    /// # Ok::<(), registry_core::Error>(())
    /// ```
    ///
    /// Two of one name are as wrong as a malformed rule.
    pub fn role(mut self, role: Role) -> Self {
        if self.roles.iter().any(|known| known.name() == role.name()) {
            let reason = format!("the role `{role}` is there twice; give one another name");
            self.refuse(ErrorKind::RequestInvalid.error(reason));
        } else {
            self.roles.push(role);
        }
        self
    }

    /// What `rule` says.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.index.insert(self.entries.len(), &rule);
        self.entries.push(rule);
        self
    }

    /// These are in `group` too, besides those of whom an authenticator says so:
    /// users by their names, robots by `robot$` and their names, or both with their
    /// kinds: `user ann`, `robot ci`.
    pub fn group_members(mut self, group: &str, members: &[&str]) -> Self {
        for member in members {
            let robot = member.strip_prefix("robot ");
            let (groups, name) = if let Some(name) = robot.or_else(|| member.strip_prefix(ROBOT)) {
                (&mut self.groups.of_robots, name)
            } else {
                let name = member.strip_prefix("user ").unwrap_or(member);
                (&mut self.groups.of_users, name)
            };
            let groups = groups.entry(name.to_owned()).or_default();
            groups.insert(group.to_owned());
        }
        self
    }

    /// Somebody who is [called](Principal::called) so is named at `place`.
    #[cfg(feature = "policy")]
    pub(crate) fn mention(mut self, name: &str, place: String) -> Self {
        self.mentions.push((name.to_owned(), place));
        self
    }

    /// Whoever is [called](Principal::called) so, such as `ann`, `robot$ci` or
    /// `user spiffe://example.com/builder`, is as unknown as if it had the wrong
    /// password.
    pub fn disable(mut self, name: &str) -> Self {
        if let Some(known) = Principal::called(name) {
            self.disabled.insert(known.to_string());
        }
        // Better one too many who is called the same.
        self.disabled.insert(name.to_owned());
        self
    }

    /// Whether all patterns and sentences were well-formed. As long as one is
    /// not, nobody may do anything: it could be the one that denies. That is
    /// logged as an error.
    ///
    /// # Errors
    ///
    /// What is wrong with the first that isn't.
    pub fn check(self) -> Result<Self> {
        match self.malformed {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    fn allow(self, who: Who, pattern: &str, actions: &[Action]) -> Self {
        let actions: Actions = actions.iter().copied().collect();
        let pattern = pattern.parse::<Pattern>();
        self.rule_if(pattern.map(|pattern| Rule::allow(who, actions, pattern)))
    }

    fn rule_if(mut self, rule: Result<Rule>) -> Self {
        match rule {
            Ok(rule) => self.rule(rule),
            Err(error) => {
                self.refuse(error);
                self
            }
        }
    }

    fn refuse(&mut self, error: Error) {
        tracing::error!(%error, "a rule is malformed, so nobody may do anything");
        self.malformed.get_or_insert(error);
    }

    fn identity<'a>(&'a self, question: &Question<'a>) -> Identity<'a> {
        let identity = Identity::of(question.principal);
        let groups = match identity.kind() {
            Some(PrincipalKind::User) => Some(&self.groups.of_users),
            Some(PrincipalKind::Robot) => Some(&self.groups.of_robots),
            _ => None,
        };
        let name = identity.name().unwrap_or_default();
        identity.also_in(groups.and_then(|groups| groups.get(name)))
    }

    /// All rules; none while one is malformed.
    fn sound(&self) -> impl Iterator<Item = &Rule> {
        let entries = self.entries.iter();
        entries.filter(|_| self.malformed.is_none())
    }

    /// The rules that are about this question, tags left aside.
    fn concerning(&self, question: &Question<'_>) -> Vec<&Rule> {
        if self.malformed.is_some() {
            return Vec::new();
        }
        let identity = self.identity(question);
        self.index
            .candidates(identity, question.repository)
            .into_iter()
            .filter_map(|number| self.entries.get(number))
            .filter(|rule| rule.concerns(question, identity))
            .collect()
    }
}

/// What rules say about a tag, or about what has none.
fn decision(rules: &[&Rule], tag: Option<&Tag>) -> Decision {
    let mut allowed = Actions::NONE;
    let mut denied = Decision::ABSTAIN;
    for rule in rules {
        let actions = rule.effective(tag);
        match (rule.effect(), rule.reason()) {
            (Effect::Allow, _) => allowed = allowed | actions,
            (Effect::Deny, Some(reason)) => {
                denied = denied.and(Decision::deny(actions, reason.to_owned()));
            }
            (Effect::Deny, None) => denied = denied.and(Decision::deny_silently(actions)),
        }
    }
    denied.and(Decision::allow(allowed))
}

impl Policy for Rules {
    fn decide(&self, question: &Question<'_>) -> Decision {
        let rules = self.concerning(question);
        let mut tags = question.tags.iter();
        let first = decision(&rules, tags.next());
        tags.fold(first, |all, tag| all.for_each(decision(&rules, Some(tag))))
    }

    fn explain(&self, question: &Question<'_>) -> Vec<Opinion> {
        let effective = |rule: &Rule| match question.tags {
            [] => rule.effective(None),
            tags => tags
                .iter()
                .fold(Actions::NONE, |all, tag| all | rule.effective(Some(tag))),
        };
        self.concerning(question)
            .into_iter()
            .map(|rule| rule.opinion(effective(rule)))
            .filter(|opinion| !opinion.actions.is_empty())
            .collect()
    }

    fn at_most(&self, question: &Question<'_>) -> Decision {
        let identity = self.identity(question);
        let rules = self.sound().filter(|rule| {
            let is_sure = rule.effect() == Effect::Allow || !rule.is_conditional();
            is_sure && rule.concerns_somewhere(question, identity)
        });
        decision(&rules.collect::<Vec<_>>(), None)
    }

    fn at_least(&self, question: &Question<'_>, other: &Principal) -> Decision {
        let of_other = Question {
            principal: Some(other),
            ..*question
        };
        let (giver, other) = (self.identity(question), self.identity(&of_other));
        let sure = self.sound().filter(|rule| {
            let is_allowed = rule.effect() == Effect::Allow && !rule.is_conditional();
            is_allowed && rule.concerns_somewhere(question, giver)
        });
        let allowed = decision(&sure.collect::<Vec<_>>(), None).allowed();
        let withheld = self.sound().fold(Actions::NONE, |withheld, rule| {
            withheld | rule.withholds(question.repository, giver, other)
        });
        let denied = self.decide(question).denied() | withheld;
        Decision::allow(allowed).and(Decision::deny_silently(denied))
    }

    fn horizon(&self, question: &Question<'_>) -> Horizon {
        let identity = self.identity(question);
        let holding = self
            .sound()
            .filter(|rule| rule.holds_for(question, identity));
        let rules: Vec<_> = holding.collect();
        let reach = |effect, action: Action| -> Reach {
            let about = rules.iter().filter(|rule| {
                rule.effect() == effect
                    && rule.actions().contains(action.into())
                    && (effect == Effect::Allow || rule.is_about_all_tags())
            });
            about
                .flat_map(|rule| rule.repositories())
                .map(|pattern| match effect {
                    Effect::Allow => pattern.reach(identity),
                    Effect::Deny => pattern.whole(identity),
                })
                .collect()
        };
        let either = |effect| reach(effect, Action::Pull).and(reach(effect, Action::List));
        Horizon {
            allowed: either(Effect::Allow),
            denied: either(Effect::Deny),
        }
    }

    fn lists_by_tag(&self, question: &Question<'_>) -> bool {
        let lists = Actions::from([Action::List, Action::Pull]);
        self.concerning(question)
            .iter()
            .any(|rule| !rule.is_about_all_tags() && !rule.actions().intersection(lists).is_empty())
    }

    fn is_disabled(&self, principal: &Principal) -> bool {
        let is = |name: String| self.disabled.contains(&name);
        !self.disabled.is_empty()
            && (is(principal.to_string()) || is(principal.short().to_string()))
    }

    fn rewards_login(&self) -> bool {
        self.entries
            .iter()
            .any(|rule| rule.effect() == Effect::Allow && *rule.who() != Who::Anyone)
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

        let reads = [Action::List, Action::Pull].into();
        assert_eq!(granted(&rules, None, "library/alpine"), reads);
        assert_eq!(granted(&rules, Some(&ci), "library/alpine"), reads);
        assert_eq!(granted(&rules, None, "shared/app"), Actions::NONE);
        assert_eq!(granted(&rules, Some(&other), "shared/app"), reads);
        assert_eq!(
            granted(&rules, Some(&ci), "team/app"),
            [Action::List, Action::Pull, Action::Push].into()
        );
        assert_eq!(
            granted(&rules, Some(&both), "team/app"),
            [Action::List, Action::Pull, Action::Push, Action::Delete].into()
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
            [Action::List, Action::Pull].into()
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
    fn while_a_rule_is_malformed_nobody_may_do_anything() {
        for (malformed, named) in [
            ("anyone may pull team-*", "\"team-*\""),
            ("nobody may pul a", "`pull`"),
        ] {
            let rules = Rules::new()
                .anonymous("**", &[Action::Pull])
                .sentence(malformed);
            assert_eq!(granted(&rules, None, "team-a"), Actions::NONE);
            let error = rules.check().unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
        assert!(
            Rules::new()
                .anonymous("team-*", &[Action::Pull])
                .check()
                .is_err()
        );
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
