//! The command line.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use registry_core::{Action, Actions, Clock, Error, SystemClock};

const ABOUT: &str = "\
A container registry in one program.

Without any configuration it listens on 127.0.0.1:5000, keeps its data in
./registry-data, and lets everybody who can reach it push, pull and delete:

  registry
  docker tag alpine 127.0.0.1:5000/alpine
  docker push 127.0.0.1:5000/alpine";

const CONFIGURATION: &str = "\
Configuration:
  The file is the Docker registry's config.yml. A flag goes before a variable of
  the environment, a variable before the file, and the file before the defaults,
  which are the Docker registry's if there is a file: port 5000 on all
  addresses, no deletes.

  Every key can be given as a variable: its names in upper case behind REGISTRY_
  and separated by _, for example

    REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/srv/registry
    REGISTRY_AUTH=htpasswd REGISTRY_AUTH_HTPASSWD_REALM=registry
    REGISTRY_AUTH_HTPASSWD_PATH=/etc/registry/users
    REGISTRY_LOG_LEVEL=debug

  A few keys are ours; docs/configuration.md tells of them. One is
  validation.manifests.sparse: true, which takes manifests before the content
  that they name.

  `registry check config.yml` says what is wrong with both.

Signals:
  SIGTERM and SIGINT stop the server once requests in progress are answered; a
  second one stops it at once. Certificates, password files and policy files are
  read anew when they change.";

/// The same for every command.
const EXIT_CODES: &str = "\
Exit codes:
  0  It is done; what was asked about is so, or whole, or without mistakes.
  1  It failed, or what was asked about is not so, or not whole.
  2  What it was told has mistakes: the command line, a variable, the
     configuration, or a file that these name; or there is no data where it was
     told to look for some. They have to be mended first.";

#[derive(Debug, Parser)]
#[command(
    name = "registry",
    version,
    about = ABOUT,
    after_help = CONFIGURATION,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    overrides: Overrides,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a registry; this is what happens without a command, too.
    Serve(Serve),
    /// Say what is wrong with a configuration, without serving it.
    Check(Check),
    /// Say who may do what, and what is wrong with the rules.
    #[command(subcommand)]
    Auth(AuthCommand),
    /// Make the metadata of a data directory again, after its database was lost.
    Rebuild(Rebuild),
    /// Read all content of a data directory, and say what is missing or damaged.
    Verify(Verify),
}

#[derive(Debug, Args)]
#[command(after_help = CONFIGURATION)]
pub(crate) struct Serve {
    /// The configuration file [default: the one that `REGISTRY_CONFIGURATION_PATH` names, if any].
    #[arg(value_name = "CONFIG")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

/// What goes before everything else.
#[derive(Debug, Default, Args)]
pub(crate) struct Overrides {
    /// Listen here, for example on 127.0.0.1:5001 [default: what a configuration file says, which is
    /// :5000 if it says nothing; without a file 127.0.0.1:5000]. Where others than this machine reach
    /// it, as on :5001, it needs a certificate or `--plain-http`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) addr: Option<String>,
    /// Keep the data in this directory [default: what a configuration file says; without a file
    /// ./registry-data].
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) root: Option<PathBuf>,
    /// Also speak plain HTTP to others than this machine.
    #[arg(long)]
    pub(crate) plain_http: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration file.
    #[arg(value_name = "CONFIG")]
    pub(crate) file: PathBuf,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do about rules.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthCommand {
    /// Say what is wrong with a policy file, without using it.
    Check(PolicyCheck),
    /// Say whether somebody could do something, and which rule decides.
    ///
    /// The exit code is 0 if so, and 1 if not.
    Explain(Explain),
    /// Make, list, stop and delete robots: accounts for programs.
    #[command(subcommand)]
    Robot(RobotCommand),
    /// Make, list and revoke the keys that robots log in with.
    #[command(subcommand)]
    Key(KeyCommand),
    /// End tokens before their time.
    #[command(subcommand)]
    Token(TokenCommand),
}

/// Where what is kept about logins is. A server may be using it.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The data directory of the server.
    #[arg(long, value_name = "DIRECTORY", default_value = "registry-data")]
    pub(crate) root: PathBuf,
    /// The configuration of the server, which says where its data is, and whether keys are of use.
    #[arg(long, value_name = "CONFIG", conflicts_with = "root")]
    pub(crate) config: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do about robots.
#[derive(Debug, Subcommand)]
pub(crate) enum RobotCommand {
    /// Make a robot. Rules know it as `robot NAME`; it logs in as `robot$NAME`.
    Create {
        /// Its name.
        name: String,
        /// A group that it is in (repeat for several).
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        #[command(flatten)]
        place: Place,
    },
    /// List all robots.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Take none of its keys for now.
    Disable {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Take its keys again.
    Enable {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Delete it, and its keys.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

/// What to do about keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key, and show it: this once, as only a hash of it is kept.
    Create {
        /// The robot that it is for.
        robot: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        label: String,
        /// When it ends: 90d or 12h from now, with the end of 2027-01-31 (in UTC), or at
        /// 2027-01-31T12:00:00Z [default: never].
        #[arg(long, value_name = "TIME", value_parser = end)]
        expires: Option<SystemTime>,
        /// All that it covers, such as repository:team/app:pull (repeat for several)
        /// [default: whatever the robot may do].
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// List the keys of a robot, or of a user.
    List {
        #[command(flatten)]
        owner: Owner,
        #[command(flatten)]
        place: Place,
    },
    /// End a key. It is refused within a second.
    Revoke {
        #[command(flatten)]
        owner: Owner,
        /// The id of the key, as the list has it.
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Whose a key is.
#[derive(Debug, Args)]
pub(crate) struct Owner {
    /// Whose it is.
    #[arg(value_name = "OWNER")]
    pub(crate) name: String,
    /// Whether that is a user rather than a robot. Users make their keys themselves, over HTTP.
    #[arg(long)]
    pub(crate) user: bool,
}

/// What to do about tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Sign with another key, from ten minutes on.
    Rotate {
        /// Sign with it at once, and refuse every bearer token given out before. Refresh tokens stay
        /// good: `revoke --all` ends those, too.
        #[arg(long)]
        now: bool,
        /// The directory of the keys [default: auth/keys below the data].
        #[arg(long, value_name = "DIRECTORY")]
        keys: Option<PathBuf>,
        /// What the new key is for.
        #[arg(long, value_parser = ["es256", "eddsa"], default_value = "es256")]
        algorithm: String,
        #[command(flatten)]
        place: Place,
    },
    /// End all tokens of somebody, refresh tokens, too. Who has the password, or a key, gets others.
    Revoke {
        /// Whose, as the log calls them: a user's name, `robot$NAME`, or `ISSUER:SUBJECT` of a CI
        /// job. Or as rules do: `user NAME`, `robot NAME`, `workload ISSUER SUBJECT`.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        who: Option<String>,
        /// Those of everybody.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("as").required(true).args(["config", "policy"]))]
#[command(after_help = "\
As which server it is answered, --config CONFIG or --policy POLICY says.

Examples:
  registry auth explain ann push team/app:v1 --config config.yml
  registry auth explain 'robot$ci' push,overwrite team/app --policy policy.yml
  registry auth explain anonymous pull public/app --policy policy.yml --from 192.0.2.7
  registry auth explain github: push team/app --claim repository=org/app --policy policy.yml")]
pub(crate) struct Explain {
    /// Who would ask: a user's name, `robot$NAME`, `ISSUER:SUBJECT` of a CI job, or `anonymous`. Or
    /// as rules say it: `user NAME`, `robot NAME`, `workload ISSUER SUBJECT`.
    #[arg(value_name = "WHO")]
    pub(crate) who: String,
    /// What would be done: list, pull, push, overwrite, delete, audit or administer; several with
    /// commas.
    #[arg(value_name = "ACTION", value_parser = actions)]
    pub(crate) actions: Actions,
    /// Where, with the tag if there is one [default: the registry as a whole].
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) place: Option<String>,
    /// As a server with this configuration decides.
    #[arg(long, value_name = "CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// As this policy file decides.
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<PathBuf>,
    /// The data directory of the server, which has the accounts of robots: their groups, and
    /// which are disabled. With `--config` it is known.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "config")]
    pub(crate) root: Option<PathBuf>,
    /// A group that the login says they are in (repeat for several).
    #[arg(long = "group", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// What the token of a CI job says of it (repeat for several). Without its subject, the job is
    /// `ISSUER:`.
    #[arg(long = "claim", value_name = "KEY=VALUE", value_parser = claim)]
    pub(crate) claims: Vec<(String, String)>,
    /// The address that they come from.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) from: Option<IpAddr>,
    /// The time, such as 2027-01-31T12:00:00Z [default: now].
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<Timestamp>,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheck {
    /// The policy file.
    #[arg(value_name = "POLICY")]
    pub(crate) file: PathBuf,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    /// The data directory. No server may use it.
    #[arg(value_name = "DIRECTORY")]
    pub(crate) root: PathBuf,
    /// Go on behind damage in the change log, and lose what that held.
    #[arg(long)]
    pub(crate) skip_damage: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The data directory. No server may use it.
    #[arg(value_name = "DIRECTORY")]
    pub(crate) root: PathBuf,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// When something ends that goes on now.
fn end(text: &str) -> Result<SystemTime, String> {
    let now = SystemClock.now();
    let end = if let Ok(instant) = text.parse::<Timestamp>() {
        Some(instant.into())
    } else if let Some(day) = day(text) {
        let next = day.tomorrow().and_then(|day| day.to_zoned(TimeZone::UTC));
        next.ok().map(|next| next.timestamp().into())
    } else {
        now.checked_add(lifetime(text)?)
    };
    // Behind the last instant that can be shown nobody sees when it ends.
    let end = end.filter(|end| Timestamp::try_from(*end).is_ok());
    match end {
        Some(end) if end > now => Ok(end),
        Some(_) => Err("that isn't later than now".to_owned()),
        None => Err("that is too long".to_owned()),
    }
}

/// A day alone: nothing is left out of what stands behind one.
fn day(text: &str) -> Option<Date> {
    let day = text.parse::<Date>().ok()?;
    (day.to_string() == text).then_some(day)
}

/// A time such as `90d` or `12h30m`.
fn lifetime(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    if let Some(days) = days {
        return 86_400_u64
            .checked_mul(days)
            .map(Duration::from_secs)
            .ok_or_else(|| "that is too long".to_owned());
    }
    let time: jiff::SignedDuration = text.parse().map_err(|_| {
        format!(
            "`{text}` is no time; write one such as 90d, 12h, 1h30m, 2027-01-31 or \
             2027-01-31T12:00:00Z"
        )
    })?;
    Duration::try_from(time).map_err(|error| error.to_string())
}

fn claim(text: &str) -> Result<(String, String), String> {
    let claim = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) =
        claim.ok_or_else(|| "write it as a rule does, such as ref=refs/heads/main".to_owned())?;
    Ok((key.to_owned(), value.to_owned()))
}

fn actions(names: &str) -> Result<Actions, Error> {
    names.split(',').map(str::parse::<Action>).collect()
}

/// The command that the program was given. On a mistake, it says so and ends.
pub(crate) fn parse() -> Command {
    let matches = with_exit_codes(CommandLine::command()).try_get_matches();
    let parsed = matches.and_then(|matches| CommandLine::from_arg_matches(&matches));
    match parsed {
        Ok(line) => line.chosen(),
        Err(error) => with_hint(error).exit(),
    }
}

/// Tells of the exit codes behind the help of each command.
fn with_exit_codes(command: clap::Command) -> clap::Command {
    let help = match command.get_after_help() {
        Some(help) => format!("{help}\n\n{EXIT_CODES}"),
        None => EXIT_CODES.to_owned(),
    };
    command.after_help(help).mut_subcommands(with_exit_codes)
}

/// A file in the place of a command may be a configuration that is to be served.
fn with_hint(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let path = Path::new(word);
    let names_yaml = path
        .extension()
        .is_some_and(|end| ["yml", "yaml"].iter().any(|yaml| end == *yaml));
    if names_yaml || path.is_file() {
        let hint = format!("to serve what a file says, write `registry serve {word}`");
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![hint.into()]),
        );
        // It can be no misspelt command as well.
        error.remove(ContextKind::SuggestedSubcommand);
    }
    error
}

impl CommandLine {
    /// The command, which is to serve unless another one is given.
    fn chosen(self) -> Command {
        self.command.unwrap_or(Command::Serve(Serve {
            file: None,
            overrides: self.overrides,
        }))
    }
}
