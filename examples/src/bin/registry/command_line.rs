//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A container registry in one program.
#[derive(Debug, Parser)]
#[command(name = "registry", version, args_conflicts_with_subcommands = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Overrides,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a registry. This is what happens without a command, too.
    Serve(Serve),
}

/// What to serve.
#[derive(Debug, Default, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// What the command line says in place of everything else.
#[derive(Debug, Default, Args)]
pub(crate) struct Overrides {
    /// Listen here, such as :5000 or 127.0.0.1:0 [default: 127.0.0.1:5000].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) addr: Option<String>,
    /// Keep the data in this directory [default: ./registry-data].
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) root: Option<PathBuf>,
}

impl CommandLine {
    pub(crate) fn command(self) -> Command {
        self.command.unwrap_or(Command::Serve(Serve {
            overrides: self.serve,
        }))
    }
}
