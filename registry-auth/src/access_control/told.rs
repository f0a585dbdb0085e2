//! What the log says of why somebody was refused.

use registry_core::{Action, Actions, Need, RepositoryName, Tag};

use super::Inner;
use super::decide::Known;
use super::inquiry::{denying, without};
use crate::shown::shown;
use crate::{Decision, Question};

/// What decides where no rule does.
const NO_RULE: &str = "none that allows it";
const REVIEW: &str = "a review, such as a webhook's";

impl Inner {
    /// Names the rule for which `caller` is refused what it needs, so that an operator
    /// can tell without asking. Of those who aren't known there are many, whom a
    /// login may help.
    pub(super) fn tell_of_refusal(&self, need: &Need, caller: &Known, reviewed: &Decision) {
        self.tell(&caller.question_of(need), need.actions, caller, reviewed);
    }

    /// The same of the registry as a whole.
    pub(super) fn tell_of_refused_management(&self, action: Action, caller: &Known) {
        let question = Question::registry(caller.principal(), caller.origin(), caller.at());
        self.tell(&question, action.into(), caller, &Decision::ABSTAIN);
    }

    fn tell(&self, question: &Question<'_>, needed: Actions, caller: &Known, reviewed: &Decision) {
        let is_known = !caller.is_unknown();
        if is_known && !tracing::enabled!(tracing::Level::INFO)
            || !is_known && !tracing::enabled!(tracing::Level::DEBUG)
        {
            return;
        }
        let by_rules = self.policies.decide(question);
        let missing = without(needed, by_rules.clone().and(reviewed.clone()).granted());
        let opinions = self.policies.explain(question);
        let deciding = denying(&opinions, missing);
        let deciding = deciding.and_then(|index| opinions.get(index));
        let is_by_review = !reviewed.denied().intersection(missing).is_empty();
        let rule = match deciding {
            Some(opinion) => opinion.rule.as_str(),
            None if is_by_review => REVIEW,
            None => NO_RULE,
        };
        let place = deciding.and_then(|opinion| opinion.place.as_deref());
        let id = caller.origin().id.as_str();
        let actor = caller.actor().name.as_deref().map(shown);
        let actor = actor.as_deref();
        let names: Vec<_> = missing.iter().map(Action::as_str).collect();
        let actions = names.join(",");
        let repository = question.repository.map(RepositoryName::as_str).map(shown);
        let repository = repository.as_deref();
        let tags: Vec<_> = question.tags.iter().map(Tag::as_str).collect();
        let tags = Some(tags.join(",")).filter(|tags| !tags.is_empty());
        let tags = tags.as_deref().map(shown);
        let tags = tags.as_deref();
        if is_known {
            tracing::info!(
                id,
                actor,
                actions,
                repository,
                tags,
                rule,
                place,
                "{REFUSED}"
            );
        } else {
            tracing::debug!(id, actions, repository, tags, rule, place, "{REFUSED}");
        }
    }
}

const REFUSED: &str = "a request was refused by the rules";
