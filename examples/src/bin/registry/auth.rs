//! Who may do what, asked beforehand.

use std::io::{self, Write};
use std::process::ExitCode;

use registry_auth::{PolicyFile, PolicyProblem};
use serde_json::json;

use crate::command_line::{AuthCommand, PolicyCheck};
use crate::problem::Failure;

/// Does what `registry auth` is told to.
pub(crate) fn auth(command: AuthCommand) -> Result<ExitCode, Failure> {
    match command {
        AuthCommand::Check(options) => check(&options),
    }
}

/// Says everything that is wrong with a policy file, with its lines.
fn check(options: &PolicyCheck) -> Result<ExitCode, Failure> {
    let problems = PolicyFile::read(&options.file).err().unwrap_or_default();
    let answer = if options.json {
        let list: Vec<_> = problems.iter().map(as_json).collect();
        format!(
            "{:#}\n",
            json!({"valid": list.is_empty(), "problems": list})
        )
    } else if problems.is_empty() {
        format!("{}: nothing is wrong\n", options.file.display())
    } else {
        let mut lines: Vec<_> = problems.iter().map(PolicyProblem::to_string).collect();
        lines.push(String::new());
        lines.join("\n")
    };
    io::stdout()
        .write_all(answer.as_bytes())
        .map_err(|error| Failure::new("the answer can't be written", &error))?;
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn as_json(problem: &PolicyProblem) -> serde_json::Value {
    json!({
        "file": problem.file(),
        "line": problem.line(),
        "message": problem.reason(),
    })
}
