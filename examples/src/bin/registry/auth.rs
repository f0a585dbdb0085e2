//! Who may do what, asked beforehand, and who there is.

mod account;
mod asked;
mod place;
mod robots;
mod tokens;

use std::io::{self, Write};
use std::process::ExitCode;

use registry_auth::{
    AccessControl, Effect, Explanation, Inquiry, Opinion, PolicyFile, PolicyProblem, Principal,
    PrincipalKind,
};
use registry_core::{Action, Actions};
use serde_json::{Value, json};

use self::account::{Account, Accounts};
use crate::check::{problem_as_json, remark_as_line};
use crate::command_line::{AuthCommand, Explain, PolicyCheck};
use crate::problem::{Failure, MISTAKEN};
use crate::remarks;
use crate::runtime;
use crate::setup;
use registry_examples::configuration::{self, Changes, Sources};

/// Does what `registry auth` is told to.
pub(crate) fn auth(command: AuthCommand) -> Result<ExitCode, Failure> {
    match command {
        AuthCommand::Check(options) => check(&options),
        AuthCommand::Explain(options) => explain(options),
        AuthCommand::Robot(command) => robots::robot(command),
        AuthCommand::Key(command) => robots::key(command),
        AuthCommand::Token(command) => tokens::token(command),
    }
}

/// Says everything that is wrong with a policy file, with its lines.
fn check(options: &PolicyCheck) -> Result<ExitCode, Failure> {
    let read = PolicyFile::read(&options.file);
    if read.is_err() && configuration::is_one(&options.file) {
        return Err(Failure::Usage(format!(
            "{file} is a configuration and no policy file; `registry check {file}` says what is \
             wrong with it, and with the policy file that it names",
            file = options.file.display()
        )));
    }
    let (problems, remarks) = match read {
        // A directory is in the configuration, which isn't looked at here.
        Ok(rules) => (Vec::new(), remarks::of_policy(&options.file, &rules, false)),
        Err(problems) => (problems, Vec::new()),
    };
    let answer = if options.json {
        let list: Vec<_> = problems.iter().map(as_json).collect();
        let remarks: Vec<_> = remarks.iter().map(problem_as_json).collect();
        format!(
            "{:#}\n",
            json!({"valid": list.is_empty(), "problems": list, "remarks": remarks})
        )
    } else {
        let mut lines: Vec<_> = problems.iter().map(PolicyProblem::to_string).collect();
        lines.extend(remarks.iter().map(remark_as_line));
        if problems.is_empty() {
            lines.push(format!("{}: nothing is wrong", options.file.display()));
        }
        lines.push(String::new());
        lines.join("\n")
    };
    let ended = answer_with(&answer, true)?;
    Ok(if problems.is_empty() {
        ended
    } else {
        ExitCode::from(MISTAKEN)
    })
}

/// Says whether somebody could do something, and which rule decides.
fn explain(options: Explain) -> Result<ExitCode, Failure> {
    let named = asked::who(&options.who)?;
    // Files are watched by tasks.
    let runtime = runtime::current_thread()?;
    let _inside = runtime.enter();
    let mut changes = None;
    let mut has_policy = true;
    let mut issuers = None;
    let mut accounts = Accounts::of_root(options.root)?;
    let access = match (options.policy, options.config) {
        (Some(path), _) if configuration::is_one(&path) => {
            return Err(Failure::Usage(format!(
                "{file} is a configuration and no policy file; write `--config {file}`",
                file = path.display()
            )));
        }
        (Some(path), _) => {
            AccessControl::new(PolicyFile::open(path).map_err(|error| Failure::usage(&error))?)
        }
        (None, file) => {
            let sources = Sources {
                file,
                variables: std::env::vars_os().collect(),
                ..Sources::default()
            };
            let configuration = configuration::load(sources).map_err(Failure::Configuration)?;
            changes = Some(configuration.changes);
            has_policy = configuration.auth.policy_file.is_some();
            accounts = accounts.or_of(&configuration);
            let access = setup::access(&configuration.auth)?;
            issuers = configuration.auth.issuers;
            access
        }
    };
    let account = match &named {
        Some(robot) if robot.kind() == PrincipalKind::Robot => {
            Some(runtime.block_on(accounts.account(robot.name()))?)
        }
        _ => None,
    };
    let mut inquiry = Inquiry::new(options.actions);
    let named = match &account {
        Some(account) => named.map(|robot| account.with_groups(robot)),
        None => named,
    };
    inquiry.principal = named.map(|principal| {
        let groups = options.groups.into_iter();
        groups.fold(principal, Principal::member_of)
    });
    inquiry.principal = asked::with_claims(inquiry.principal.take(), options.claims)?;
    let mut host = None;
    if let Some(place) = &options.place {
        let (repository, tag) = asked::place(place)?;
        host = asked::host(&repository).map(str::to_owned);
        inquiry.repository = Some(repository);
        inquiry.tags = tag.into_iter().collect();
    }
    inquiry.origin.address = options.from;
    inquiry.at = options.at.map(Into::into);

    let mut explanation = access.explain(&inquiry);
    let of_account = account.as_ref().and_then(Account::nothing);
    let of_issuer = || no_issuer(inquiry.principal.as_ref(), issuers.as_deref());
    if let Some(why) = of_account.map(str::to_owned).or_else(of_issuer) {
        (explanation.granted, explanation.reviewed) = (false, false);
        explanation.others.extend(explanation.decided_by.take());
        explanation.sentence = format!("{} may do nothing: {why}", options.who);
    }
    let decided = explanation.decided_by.as_ref();
    if !has_policy && decided.is_some_and(|rule| rule.place.is_none()) {
        let sentence = &mut explanation.sentence;
        sentence.push_str(", which holds without a policy file");
    }
    let off = changes.and_then(|changes| switched_off(changes, options.actions));
    if let Some((what, key)) = off {
        let words = if explanation.granted {
            format!(", but not while {what} (`{key}`)")
        } else {
            format!("; and {what} (`{key}`)")
        };
        explanation.sentence.push_str(&words);
        explanation.granted = false;
    }
    if let Some(words) = account.as_ref().and_then(Account::doubt) {
        explanation.sentence.push_str(words);
    }
    if let Some(host) = host {
        let words = format!(
            "; `{host}` is taken for a part of the repository's name: leave it out if it is the \
             host of the registry"
        );
        explanation.sentence.push_str(&words);
    }
    let is_good = explanation.granted;
    let key = off.map(|(_, key)| key);
    let answer = if options.json {
        explanation_as_json(&explanation, key)
    } else {
        explanation_as_lines(explanation)
    };
    answer_with(&answer, is_good)
}

fn explanation_as_json(explanation: &Explanation, switched_off_by: Option<&str>) -> String {
    let others: Vec<_> = explanation.others.iter().map(opinion_as_json).collect();
    let document = json!({
        "granted": explanation.granted,
        "decided_by": explanation.decided_by.as_ref().map(opinion_as_json),
        "others": others,
        "reviewed": explanation.reviewed,
        "switched_off_by": switched_off_by,
        "sentence": explanation.sentence,
    });
    format!("{document:#}\n")
}

fn explanation_as_lines(explanation: Explanation) -> String {
    let mut lines = vec![explanation.sentence];
    let others = explanation.others.iter();
    lines.extend(others.map(|opinion| format!("  see also {}", place_of(opinion))));
    lines.push(String::new());
    lines.join("\n")
}

/// Why there is no such job, where the issuers are known.
fn no_issuer(named: Option<&Principal>, known: Option<&[String]>) -> Option<String> {
    let (issuer, known) = (named?.issuer()?, known?);
    let is_known = known.iter().any(|name| name == issuer);
    (!is_known).then(|| format!("the configuration names no issuer `{issuer}` (`auth.oidc`)"))
}

/// What nobody may do any of this for, whatever the rules say, and the key that says so.
fn switched_off(changes: Changes, actions: Actions) -> Option<(&'static str, &'static str)> {
    let has = |action: Action| actions.contains(action.into());
    let deletes = has(Action::Delete);
    match changes {
        Changes::None if deletes || has(Action::Push) || has(Action::Overwrite) => Some((
            "the registry is read-only",
            "storage.maintenance.readonly.enabled",
        )),
        Changes::Pushes if deletes => Some(("deletes are off", "storage.delete.enabled")),
        _ => None,
    }
}

/// A rule, and where it is written.
fn place_of(opinion: &Opinion) -> String {
    match &opinion.place {
        Some(place) => format!("`{}` ({place})", opinion.rule),
        None => format!("`{}`", opinion.rule),
    }
}

fn opinion_as_json(opinion: &Opinion) -> Value {
    let actions: Vec<_> = opinion.actions.iter().map(Action::as_str).collect();
    json!({
        "rule": opinion.rule,
        "place": opinion.place,
        "effect": match opinion.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        },
        "actions": actions,
        "reason": opinion.reason,
    })
}

pub(super) fn answer_with(answer: &str, is_good: bool) -> Result<ExitCode, Failure> {
    io::stdout()
        .write_all(answer.as_bytes())
        .map_err(|error| Failure::new("the answer can't be written", &error))?;
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn as_json(problem: &PolicyProblem) -> Value {
    json!({
        "file": problem.file(),
        "line": problem.line(),
        "message": problem.reason(),
    })
}
