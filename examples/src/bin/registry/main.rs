//! The registry server: `registry serve`, and what an operator needs around it.

mod command_line;
mod serve;
mod shutdown;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::command_line::{Command, CommandLine};

fn main() -> ExitCode {
    let result = match CommandLine::parse().command() {
        Command::Serve(options) => serve::serve(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(std::io::stderr(), "registry: {error}");
            ExitCode::FAILURE
        }
    }
}
