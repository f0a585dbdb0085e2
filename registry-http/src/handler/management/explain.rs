//! What somebody may do, and which rule decides.

use http::{Response, StatusCode};
use registry_auth::{AccessControl, Inquiry, Keys, ManagementGrant, Principal, PrincipalKind};
use registry_core::{Action, Actions, ErrorKind, RepositoryName, Result};

use super::answer;
use super::document::{Asked, Explained, time};
use crate::Body;

/// Everybody may ask about itself, and hears the answer alone. About others, and
/// with the reasons, ask those who may see how the repository is managed.
pub(super) async fn explain(
    access: &AccessControl,
    keys: Option<&Keys>,
    grant: &ManagementGrant,
    asked: Asked,
) -> Result<Response<Body>> {
    let actions: Actions = asked
        .actions
        .iter()
        .map(|name| name.parse::<Action>())
        .collect::<Result<_>>()?;
    if actions.is_empty() {
        return Err(ErrorKind::RequestInvalid.error("name an action, such as pull"));
    }
    let repository: Option<RepositoryName> =
        asked.repository.as_deref().map(str::parse).transpose()?;
    let mut inquiry = Inquiry::new(actions);
    inquiry.tags = asked
        .tag
        .iter()
        .map(|tag| tag.parse())
        .collect::<Result<_>>()?;
    inquiry.repository.clone_from(&repository);
    let Some(who) = &asked.who else {
        let is_about_others = !(asked.groups.is_empty() && asked.claims.is_empty());
        if is_about_others || asked.from.is_some() || asked.at.is_some() {
            return Err(ErrorKind::RequestInvalid.error(
                "groups, claims, from and at are for questions about others; name them in who",
            ));
        }
        let explanation = grant.explain_own(inquiry);
        return answer(StatusCode::OK, &Explained::answer(explanation.granted));
    };
    if !grant.permits(Action::Audit, repository.as_ref()) {
        return Err(ErrorKind::Denied
            .error("you may not ask this about others; leave out who to ask about yourself"));
    }
    let mut nothing = None;
    let mut principal = Principal::named(who)?;
    if let (Some(robot), Some(keys)) = (&principal, keys)
        && robot.kind() == PrincipalKind::Robot
    {
        if let Some(known) = keys.robot(robot.name()).await? {
            nothing = known.disabled.then_some("it is disabled");
            let groups = known.groups.into_iter();
            principal = principal.map(|robot| groups.fold(robot, Principal::member_of));
        } else {
            nothing = Some("there is no such robot");
        }
    }
    let is_job = |known: &Principal| known.kind() == PrincipalKind::Workload;
    if !asked.claims.is_empty() && !principal.as_ref().is_some_and(is_job) {
        return Err(ErrorKind::RequestInvalid
            .error("claims are of CI jobs; name one in who, such as `github:SUBJECT`"));
    }
    for (name, value) in &asked.claims {
        principal = principal.map(|known| known.with_claim(name, value));
    }
    inquiry.principal = principal.map(|known| asked.groups.iter().fold(known, member_of));
    inquiry.origin.address = asked.from;
    inquiry.at = asked.at.as_deref().map(time).transpose()?;
    let mut explanation = access.explain(&inquiry);
    if let Some(why) = nothing {
        (explanation.granted, explanation.reviewed) = (false, false);
        explanation.others.extend(explanation.decided_by.take());
        explanation.sentence = format!("{who} may do nothing: {why}");
    }
    answer(StatusCode::OK, &Explained::whole(explanation))
}

fn member_of(principal: Principal, group: &String) -> Principal {
    principal.member_of(group)
}
