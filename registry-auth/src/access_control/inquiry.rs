//! What somebody could do, and which rule decides.

use std::fmt;
use std::time::SystemTime;

use registry_core::{Action, Actions, RepositoryName, RequestOrigin, Tag};

use super::AccessControl;
use crate::{Effect, Opinion, Principal, PrincipalKind, Question};

/// The claim that is the name of a workload.
const SUBJECT: &str = "sub";

/// The question what somebody could do. Nothing is done, and nobody has to log
/// in.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// Who would ask; absent if anonymous. A workload has the claim `sub`, its
    /// subject, also where nobody says so.
    pub principal: Option<Principal>,
    /// What would be done. Overwriting is pushing, too.
    pub actions: Actions,
    /// Where; absent if with the registry as a whole.
    pub repository: Option<RepositoryName>,
    /// With which tags.
    pub tags: Vec<Tag>,
    /// From where.
    pub origin: RequestOrigin,
    /// When; absent if now.
    pub at: Option<SystemTime>,
}

impl Inquiry {
    /// Whether an anonymous client could do `actions` with the registry as a
    /// whole, now.
    pub fn new(actions: impl Into<Actions>) -> Self {
        Self {
            principal: None,
            actions: actions.into(),
            repository: None,
            tags: Vec::new(),
            origin: RequestOrigin::default(),
            at: None,
        }
    }
}

/// The answer to an [`Inquiry`]. Shown, it is a sentence.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it could be done.
    pub granted: bool,
    /// What decides. Without it nothing allows what is asked, or something
    /// besides rules forbids it, or there are no rules at all.
    pub decided_by: Option<Opinion>,
    /// What else has something to say about it.
    pub others: Vec<Opinion>,
    /// Whether a [review](crate::Review) would be asked before anything is done: it
    /// may deny what is granted here, and allow what isn't.
    pub reviewed: bool,
    /// All of it as a sentence.
    pub sentence: String,
}

impl AccessControl {
    /// What `inquiry` would be answered now, and why. It says more than whoever
    /// is asked about may know, so it is for those who look after the rules. No
    /// [review](Self::review) is asked.
    pub fn explain(&self, inquiry: &Inquiry) -> Explanation {
        let policies = &self.0.policies;
        let at = inquiry.at.unwrap_or_else(|| self.0.clock.now());
        let principal = inquiry.principal.clone().map(with_subject);
        let mut question = Question::registry(principal.as_ref(), &inquiry.origin, at);
        question.repository = inquiry.repository.as_ref();
        question.tags = &inquiry.tags;

        let decision = policies.decide(&question);
        let allowed = decision.granted();
        let disabled = principal
            .as_ref()
            .is_some_and(|principal| policies.disable(principal));
        let covered = question.limits.is_none_or(|limits| {
            let scopes = limits.scopes();
            inquiry.repository.as_ref().is_some_and(|repository| {
                let actions = scopes.actions(repository).unwrap_or_default();
                actions.contains(inquiry.needed())
            })
        });
        let granted = allowed.contains(inquiry.needed()) && !disabled && covered;
        let is_denied = !decision.denied().intersection(inquiry.needed()).is_empty();
        let reviewed = !self.0.reviews.is_empty()
            && inquiry.repository.is_some()
            && !(is_denied || disabled || !covered || manages(inquiry.actions));

        let mut others = policies.explain(&question);
        let relevant = inquiry.relevant(&others);
        others.retain(|opinion| !opinion.actions.intersection(relevant).is_empty());
        let deciding = if disabled {
            None
        } else if granted {
            find(&others, Effect::Allow, inquiry.needed())
                .or_else(|| find(&others, Effect::Allow, relevant))
        } else {
            let missing = without(inquiry.needed(), allowed);
            denying(&others, missing).or_else(|| find(&others, Effect::Deny, relevant))
        };
        let decided_by = deciding.map(|index| others.remove(index));

        let because = if disabled {
            ": this login is disabled".to_owned()
        } else if let Some(opinion) = &decided_by {
            format!(" because of {}", Quoted(opinion))
        } else if granted && policies.are_open() {
            ": there are no rules, so everybody may do everything with content".to_owned()
        } else if !covered {
            ": the token doesn't cover it".to_owned()
        } else if question.principal.is_none() && manages(inquiry.actions) {
            ": nobody unknown manages anything".to_owned()
        } else {
            ": no rule allows it".to_owned()
        };
        let mut sentence = inquiry.sentence(granted, &because);
        let some = inquiry.actions.intersection(allowed);
        if !granted && !disabled && covered && !some.is_empty() && some != inquiry.actions {
            sentence.push_str("; allowed of this: ");
            sentence.push_str(&listed(some));
        }
        if reviewed {
            sentence.push_str("; a review, such as a webhook's, is asked, too, and may ");
            sentence.push_str(if granted { "deny it" } else { "allow it" });
        }
        Explanation {
            granted,
            decided_by,
            others,
            reviewed,
            sentence,
        }
    }
}

/// As those who verify the token of a workload know it.
fn with_subject(principal: Principal) -> Principal {
    let is_job = principal.kind() == PrincipalKind::Workload;
    if !is_job || principal.claim(SUBJECT).is_some() || principal.name().is_empty() {
        return principal;
    }
    let subject = principal.name().to_owned();
    principal.with_claim(SUBJECT, subject)
}

/// Where the first of `opinions` is that has this effect on any of `actions`.
pub(super) fn find(opinions: &[Opinion], effect: Effect, actions: Actions) -> Option<usize> {
    opinions.iter().position(|opinion| {
        opinion.effect == effect && !opinion.actions.intersection(actions).is_empty()
    })
}

/// Where the first of `opinions` is for which any of `missing` is: a denial of pulling
/// is one of listing, too.
pub(super) fn denying(opinions: &[Opinion], missing: Actions) -> Option<usize> {
    find(opinions, Effect::Deny, missing).or_else(|| {
        let is_listing = missing.contains(Action::List.into());
        is_listing.then(|| find(opinions, Effect::Deny, Action::Pull.into()))?
    })
}

pub(super) fn without(actions: Actions, others: Actions) -> Actions {
    let mut left = actions.iter();
    std::iter::from_fn(|| left.find(|action| !others.contains((*action).into()))).collect()
}

fn listed(actions: Actions) -> String {
    let names: Vec<_> = actions.iter().map(Action::as_str).collect();
    names.join(", ")
}

fn manages(actions: Actions) -> bool {
    [Action::Administer, Action::Audit]
        .into_iter()
        .any(|action| actions.contains(action.into()))
}

impl Inquiry {
    /// All that a request needs which does this.
    fn needed(&self) -> Actions {
        if self.actions.contains(Action::Overwrite.into()) {
            self.actions | Action::Push.into()
        } else {
            self.actions
        }
    }

    /// What these opinions have to be about to have something to say of it. Who may
    /// pull may list, and who may not pull may not list.
    fn relevant(&self, opinions: &[Opinion]) -> Actions {
        let pull = Action::Pull.into();
        let is_told = |effect| find(opinions, effect, pull).is_some();
        if self.actions.contains(Action::List.into())
            && (is_told(Effect::Allow) || is_told(Effect::Deny))
        {
            self.needed() | pull
        } else {
            self.needed()
        }
    }

    fn sentence(&self, granted: bool, because: &str) -> String {
        let mut sentence = match &self.principal {
            Some(known) if known.kind() != PrincipalKind::Anonymous => known.to_string(),
            _ => "an anonymous client".to_owned(),
        };
        sentence.push_str(if granted { " may " } else { " may not " });
        sentence.push_str(&listed(self.actions));
        for (index, tag) in self.tags.iter().enumerate() {
            sentence.push_str(if index == 0 { " " } else { ", " });
            sentence.push_str(tag.as_str());
        }
        sentence.push_str(if self.tags.is_empty() { " " } else { " in " });
        match &self.repository {
            Some(repository) => sentence.push_str(repository.as_str()),
            None => sentence.push_str("the registry as a whole"),
        }
        sentence.push_str(because);
        sentence
    }
}

/// A rule, where it is written, and its reason.
struct Quoted<'a>(&'a Opinion);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0.rule)?;
        if let Some(place) = &self.0.place {
            write!(f, " ({place})")?;
        }
        match &self.0.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}
