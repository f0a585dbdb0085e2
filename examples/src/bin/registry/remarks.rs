//! What isn't wrong, but may not be what the operator meant.

use std::collections::BTreeSet;
use std::path::Path;

use registry_auth::{Htpasswd, PolicyFile, RemarkKind, RuleRemark, Rules};
use registry_core::{Clock, SystemClock};
use registry_examples::configuration::{Configuration, Origin, Problem};

use crate::secrets;
use crate::summary;

/// About a configuration in which nothing is wrong.
pub(crate) fn of_configuration(configuration: &Configuration, origin: &Origin) -> Vec<Problem> {
    let mut remarks = Vec::new();
    if summary::is_open(configuration) {
        let rights = summary::rights(configuration.changes);
        let address = &configuration.http.address.value;
        remarks.push(origin.problem(format!(
            "whoever reaches {address}, be it through a proxy, may {rights} without a login; to \
             ask for one, set `auth.htpasswd.realm` and `auth.htpasswd.path`"
        )));
    }
    let auth = &configuration.auth;
    let policy = auth.policy_file.as_ref();
    // It was read a moment ago.
    if let Some((path, rules)) = policy.and_then(|path| {
        let rules = PolicyFile::read(&path.value).ok()?;
        Some((path, rules))
    }) {
        let directory = auth.directory.as_ref();
        let has_other_groups = directory.is_some_and(|directory| directory.groups.is_some());
        remarks.extend(of_policy(&path.value, &rules, has_other_groups));
        let unknown = users(configuration).map(|users| rules.unknown_users(&users));
        let unknown = unknown.into_iter().flatten();
        remarks.extend(unknown.map(|remark| problem(&path.value, &remark)));
    }
    remarks.extend(secrets::shown_to_others(configuration));
    remarks
}

/// All users that there are, if nobody but a password file has any.
fn users(configuration: &Configuration) -> Option<BTreeSet<String>> {
    let auth = &configuration.auth;
    let file = auth.password_file.as_ref()?;
    let file = Some(file).filter(|_| auth.has_no_other_users())?;
    // It was read a moment ago.
    Some(Htpasswd::open(&file.path.value).ok()?.names())
}

/// About the rules of a policy file. Of groups that it has no members of it is
/// silent if somebody else may say who is in them, unless they look misspelt.
pub(crate) fn of_policy(path: &Path, rules: &Rules, has_other_groups: bool) -> Vec<Problem> {
    rules
        .remarks()
        .into_iter()
        .chain(rules.ended(SystemClock.now()))
        .filter(|remark| {
            let is_elsewhere = matches!(
                remark.kind,
                RemarkKind::UnknownGroup {
                    suggestion: None,
                    ..
                }
            );
            !(has_other_groups && is_elsewhere)
        })
        .map(|remark| problem(path, &remark))
        .collect()
}

fn problem(path: &Path, remark: &RuleRemark) -> Problem {
    origin(path, remark).problem(remark.kind.to_string())
}

/// Where a rule is written.
fn origin(path: &Path, remark: &RuleRemark) -> Origin {
    let place = remark.place.as_deref().unwrap_or_default();
    let line = place.rsplit_once(':').and_then(|(file, line)| {
        let file = file.into();
        let line = line.parse().ok()?;
        Some(Origin::Line { file, line })
    });
    line.unwrap_or_else(|| Origin::File(path.display().to_string().into()))
}
