//! Saying what is wrong with a configuration.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::command_line::Check;
use crate::problem::{Failure, Found, MISTAKEN};
use crate::remarks;
use crate::runtime;
use crate::setup;
use crate::summary::{exposure, remark};
use registry_examples::configuration::{self, Configuration, Origin, Problem, Sources};

/// Checks a file as it would be served, with the environment. It succeeds only
/// if there is no problem.
pub(crate) fn check(options: Check) -> Result<ExitCode, Failure> {
    let origin = Origin::File(options.file.display().to_string().into());
    let sources = Sources {
        file: Some(options.file),
        variables: std::env::vars_os().collect(),
        ..Sources::default()
    };
    let examined = configuration::examine(sources);
    let mut found = Found::default();
    let mut notes = Vec::new();
    let is_whole = examined.problems.is_empty();
    found.add(examined.problems);
    if let Some(configuration) = &examined.configuration {
        // Files are watched by tasks.
        let runtime = runtime::current_thread()?;
        let _inside = runtime.enter();
        notes.extend(configuration.notes.iter().cloned());
        look_at_files(configuration, &mut found);
        if is_whole {
            look_at_the_whole(configuration, &origin, &mut found, &mut notes);
        }
    }
    let problems = found.into_problems();
    let answer = if options.json {
        as_json(&problems, &notes)
    } else {
        as_text(&origin, &problems, &notes)
    };
    io::stdout()
        .write_all(answer.as_bytes())
        .map_err(|error| Failure::new("the answer can't be written", &error))?;
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(MISTAKEN)
    })
}

/// What is wrong with the files that a configuration names, and with what else
/// only shows when it is used. It may have mistakes itself.
fn look_at_files(configuration: &Configuration, found: &mut Found) {
    let http = &configuration.http;
    found.take(setup::tls(http));
    found.take_all(setup::access(&configuration.auth));
    found.add(setup::tokens(&configuration.auth));
    found.add(setup::answers(http));
}

/// What is wrong with a configuration, or worth a remark, in which nothing is missing.
fn look_at_the_whole(
    configuration: &Configuration,
    origin: &Origin,
    found: &mut Found,
    notes: &mut Vec<Problem>,
) {
    // A host that has no address can't be said to be reached by others.
    let address = configuration.http.address.value.resolve().ok();
    found.add(address.and_then(|address| exposure(configuration, address)));
    if found.is_empty() {
        notes.extend(remarks::of_configuration(configuration, origin));
    }
    notes.extend(address.and_then(|address| remark(configuration, address)));
}

fn as_text(origin: &Origin, problems: &[Problem], notes: &[Problem]) -> String {
    let mut lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    lines.extend(notes.iter().map(remark_as_line));
    if problems.is_empty() {
        lines.push(format!("{origin}: nothing is wrong"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// As people read it.
pub(crate) fn remark_as_line(remark: &Problem) -> String {
    format!("{remark} (a remark)")
}

fn as_json(problems: &[Problem], notes: &[Problem]) -> String {
    let list = |problems: &[Problem]| problems.iter().map(problem_as_json).collect::<Vec<_>>();
    let document = json!({
        "valid": problems.is_empty(),
        "problems": list(problems),
        "remarks": list(notes),
    });
    format!("{document:#}\n")
}

/// As programs read it.
pub(crate) fn problem_as_json(problem: &Problem) -> Value {
    let mut value = match &problem.origin {
        Origin::Line { file, line } => json!({"file": **file, "line": line}),
        Origin::File(file) => json!({"file": **file}),
        Origin::Variable(name) => json!({"variable": **name}),
        Origin::Flag(name) => json!({"flag": name}),
    };
    if let Some(value) = value.as_object_mut() {
        value.insert("message".into(), problem.message.as_str().into());
    }
    value
}
