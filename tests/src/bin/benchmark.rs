//! Compares container registries with one another: see `benchmark --help`.

use std::process::ExitCode;

use clap::Parser;
use registry_tests::benchmark::{self, Options};

fn main() -> ExitCode {
    benchmark::main(Options::parse())
}
