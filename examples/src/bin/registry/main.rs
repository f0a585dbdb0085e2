//! The registry server: `registry serve`, and what an operator needs around it.

mod auth;
mod check;
mod command_line;
mod health;
mod log;
mod open_files;
mod problem;
mod rebuild;
mod remarks;
mod runtime;
mod secrets;
mod serve;
mod setup;
mod shutdown;
mod side_door;
mod summary;
mod verify;

use std::process::ExitCode;

use crate::command_line::Command;

/// Spares operators the database's own words about damage to its file.
///
/// It panics at what it can't read, which the storage catches and turns into an
/// error that says what to do.
fn hush_the_database() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or("", std::panic::Location::file);
        let of_database = |part: &str| part.starts_with("redb-");
        if file.split(['/', '\\']).any(of_database) {
            tracing::debug!(%panic, "the metadata database panicked");
        } else {
            usual(panic);
        }
    }));
}

fn main() -> ExitCode {
    hush_the_database();
    let result = match command_line::parse() {
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
