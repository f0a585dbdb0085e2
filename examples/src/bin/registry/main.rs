//! The registry server: `registry serve`, and what an operator needs around it.

mod auth;
mod check;
mod command_line;
mod health;
mod log;
mod open_files;
mod problem;
mod rebuild;
mod runtime;
mod serve;
mod setup;
mod shutdown;
mod side_door;
mod summary;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use crate::command_line::{Command, CommandLine};

fn main() -> ExitCode {
    let result = match CommandLine::parse().command() {
        Command::Serve(options) => serve::serve(options),
        Command::Check(options) => check::check(options),
        Command::Auth(command) => auth::auth(command),
        Command::Rebuild(options) => rebuild::rebuild(&options),
        Command::Verify(options) => verify::verify(&options),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
