//! The command line.

use std::{path::PathBuf, str::FromStr};

use clap::{Parser, ValueEnum};

use super::launcher::Known;

const AFTER_HELP: &str = "\
Servers to compare (the first one named is the one the others are compared with):
  --start NAME          starts a server this program knows, on a free port of 127.0.0.1 with an empty root:
                          registry        this workspace's own, durable, with the same configuration file as docker-2.8
                          docker-2.8      the Docker registry 2.8 (program docker-registry)
                          distribution-3  its successor (program distribution)
                          zot             zot (program zot)
                          nginx           the same bytes as static files, sent with sendfile; takes part in reads only
  --start NAME=PROGRAM  the same, with the program to run
  --launch NAME='COMMAND {address} {root}'
                        starts any other server; {address}, {port} and {root} are filled in
  --server NAME=URL     measures a running one, which must allow anonymous pushes; what is pushed stays there

Only what this program started itself is restarted, and only there are processor time and memory read.

Examples:
  benchmark --start registry --start docker-2.8 --start nginx --table out.md --chart out.svg
  benchmark --start registry --server other=http://127.0.0.1:5000 --scenario manifest --scenario pull
  benchmark --quick --start registry --start nginx --scenario pull-single
  benchmark --list

Exit codes:
  0    everything was measured
  1    a server could not be started, answered wrongly or broke off; nothing is written
  2    the command line is wrong
  3    everything was measured, but a goal was missed (only with --strict)
  130  interrupted; the servers were stopped and their data removed";

/// What to measure, and where to write it.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "benchmark",
    about = "Compares container registries with one another in interleaved rounds",
    after_help = AFTER_HELP
)]
pub struct Options {
    /// Starts a known server: registry, docker-2.8, distribution-3, zot, nginx
    #[arg(long, value_name = "NAME[=PROGRAM]")]
    pub(super) start: Vec<Start>,

    /// Starts another server by a command line with {address}, {port} and {root}
    #[arg(long, value_name = "NAME=COMMAND")]
    pub(super) launch: Vec<Named>,

    /// Measures a running server
    #[arg(long, value_name = "NAME=URL")]
    pub(super) server: Vec<Named>,

    /// Where programs are looked for before PATH
    #[arg(long, value_name = "DIR")]
    pub(super) programs: Option<PathBuf>,

    /// Measures only the scenario of this name, or all whose names begin so (repeat for several); default: all
    #[arg(long, value_name = "NAME")]
    pub(super) scenario: Vec<String>,

    /// Lists the scenarios and ends
    #[arg(long)]
    pub(super) list: bool,

    /// How often each server does each scenario
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,

    /// How long requests are sent in one round
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub(super) seconds: f64,

    /// The size of the blob that is pulled and pushed alone
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub(super) blob_size: Size,

    /// The size of each of the blobs that are pulled and pushed at once
    #[arg(long, value_name = "SIZE", default_value = "128MiB")]
    pub(super) parallel_size: Size,

    /// How many blobs are pulled and pushed at once
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) parallel: u32,

    /// The size of each chunk of a chunked push
    #[arg(long, value_name = "SIZE", default_value = "16MiB")]
    pub(super) chunk_size: Size,

    /// How many images are pushed in one round
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) images: u32,

    /// How many manifests and tags the small repository has
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(100..))]
    pub(super) small_count: u32,

    /// How many manifests and tags the large repository has
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..))]
    pub(super) large_count: u32,

    /// Which servers have to fill a large repository (slow for some); default: the first
    #[arg(long, value_name = "NAME")]
    pub(super) large: Vec<String>,

    /// How many clients push and pull at once when memory is measured
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..))]
    pub(super) load_clients: u32,

    /// The size of the layers they push and pull
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub(super) load_size: Size,

    /// A sixteenth of the sizes and counts and a quarter of the time: to see whether it works
    #[arg(long)]
    pub(super) quick: bool,

    /// Where the servers' data is kept while they run: on the disk to be measured, with room for all of them
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) data: PathBuf,

    /// Writes every single measurement as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,

    /// Writes the table as Markdown; without it, the table goes to standard output
    #[arg(long, value_name = "FILE")]
    pub(super) table: Option<PathBuf>,

    /// Writes a bar chart as SVG
    #[arg(long, value_name = "FILE")]
    pub(super) chart: Option<PathBuf>,

    /// Writes a whole page: the table, the chart, the machine, and the command that made it
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,

    /// Ends with 3 when a goal is missed
    #[arg(long)]
    pub(super) strict: bool,
}

impl Options {
    /// The same with everything made smaller, if that was asked for.
    pub(super) fn scaled(mut self) -> Self {
        if self.quick {
            for size in [
                &mut self.blob_size,
                &mut self.parallel_size,
                &mut self.load_size,
            ] {
                size.0 = (size.0 / 16).max(1 << 20);
            }
            self.chunk_size.0 = self.chunk_size.0.min(self.parallel_size.0 / 2);
            for count in [&mut self.images, &mut self.load_clients] {
                *count = (*count / 16).max(8);
            }
            for count in [&mut self.small_count, &mut self.large_count] {
                *count = (*count / 16).max(100);
            }
            self.seconds /= 4.0;
        }
        self
    }
}

/// `NAME` or `NAME=PROGRAM`.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub(super) known: Known,
    pub(super) program: Option<PathBuf>,
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, program) = match text.split_once('=') {
            Some((name, program)) => (name, Some(PathBuf::from(program))),
            None => (text, None),
        };
        Ok(Self {
            known: Known::from_str(name, false)
                .map_err(|_| format!("{name} is not one of the known servers"))?,
            program,
        })
    }
}

/// `NAME=VALUE`.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) value: String,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok(Self {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("write it as NAME=VALUE".to_owned()),
        }
    }
}

/// A number of bytes, such as `128MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let shift = match unit {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err("write it as a number with B, KiB, MiB or GiB".to_owned()),
        };
        text.strip_suffix(unit)
            .and_then(|digits| digits.parse::<u64>().ok())
            .and_then(|number| number.checked_mul(1 << shift))
            .filter(|&bytes| bytes >= 1 << 10)
            .map(Self)
            .ok_or_else(|| "at least 1KiB, and it must fit into 64 bits".to_owned())
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{} {unit}", self.0 >> shift);
            }
        }
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn sizes_are_read_and_written() {
        assert_eq!("16MiB".parse(), Ok(Size(16 << 20)));
        assert_eq!(Size(1 << 30).to_string(), "1 GiB");
        assert_eq!(Size(1536 << 20).to_string(), "1536 MiB");
        for wrong in ["", "MiB", "12MB", "1", "-1MiB", "99999999999GiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_server_is_refused_by_name() {
        let refused = Options::try_parse_from(["benchmark", "--start", "quay"]);
        assert!(refused.is_err_and(|error| error.to_string().contains("quay")));
    }
}
