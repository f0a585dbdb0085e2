//! Rules from a file.

mod document;
mod yaml;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use registry_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::watched_file::WatchedFile;
use crate::{Decision, Horizon, Opinion, Policy, Principal, Question, Rules};

/// The longest file that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// How many problems an error tells of.
const PROBLEMS_MAX: usize = 20;

/// Rules, groups and roles from a YAML file:
///
/// ```yaml
/// version: 1
/// groups:
///   web: [ann, ben, robot$ci]
/// roles:
///   releaser: [list, pull, push]      # adds tags and never moves any
/// disabled: [mallory]
/// rules:
///   - anyone is reader of library/**
///   - users are maintainers of people/{user}/**
///   - group web are releasers of team/**
///   - robot ci may push v* to team/**
///   - rule: group contractors may pull team/**
///     name: contractors in the office
///     from: [10.0.0.0/8, "2001:db8::/32"]
///     times: mon-fri 08:00-18:00 Europe/Berlin
///     until: 2027-01-31T00:00:00Z
///   - rule: nobody except group release may overwrite, delete v* in products/**
///     reason: releases stay; ask the release team
/// ```
///
/// What a rule may say, and what it means, is written at [`Rule`](crate::Rule).
/// Members of `groups` are in them besides those of whom a login says so.
/// Whoever is in `disabled` is refused whatever it shows.
///
/// A change of the file takes effect as a whole: within about a second if another
/// file is renamed to it or swapped behind a symbolic link, and if it is written in
/// place once it has stayed the same for five seconds.
/// While it is missing, empty or malformed, the rules from before stay, and the
/// log says why.
pub struct PolicyFile {
    file: Arc<WatchedFile<Rules>>,
    watcher: AbortHandle,
}

/// What is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyProblem {
    file: String,
    line: Option<usize>,
    reason: String,
}

impl PolicyFile {
    /// Reads the file at `path`, and looks at it every second from then on, for
    /// as long as this exists.
    ///
    /// It blocks while it reads; the file is small.
    ///
    /// # Errors
    ///
    /// If the file can't be read or something in it is wrong, of which the
    /// error tells everything with its lines; or outside of a Tokio runtime.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::watch(path.into(), None)
    }

    /// The same, where a rule about workloads is wrong if it names none of these
    /// issuers: it would hold for nobody, or keep nobody out.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with_issuers<I: Into<String>>(
        path: impl Into<PathBuf>,
        issuers: impl IntoIterator<Item = I>,
    ) -> Result<Self> {
        let issuers = issuers.into_iter().map(Into::into).collect();
        Self::watch(path.into(), Some(issuers))
    }

    fn watch(path: PathBuf, issuers: Option<BTreeSet<String>>) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|source| {
            Error::internal("a policy file is opened inside of a Tokio runtime", source)
        })?;
        let name = name(&path);
        let parse = move |content: &[u8]| {
            let rules = document::rules(&name, content, issuers.as_ref());
            rules.map_err(|all| as_error(&all))
        };
        let file = Arc::new(WatchedFile::open("policy file", path, parse, FILE_MAX)?);
        let kept = Arc::clone(&file);
        let watcher = runtime.spawn(async move { kept.watch().await });
        Ok(Self {
            file,
            watcher: watcher.abort_handle(),
        })
    }

    /// The rules in the file at `path` as it is now.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn read(path: impl AsRef<Path>) -> Result<Rules, Vec<PolicyProblem>> {
        Self::read_once(path.as_ref(), None)
    }

    /// The same, where a rule about workloads is wrong if it names none of these
    /// issuers.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_with_issuers<I: Into<String>>(
        path: impl AsRef<Path>,
        issuers: impl IntoIterator<Item = I>,
    ) -> Result<Rules, Vec<PolicyProblem>> {
        let issuers = issuers.into_iter().map(Into::into).collect();
        Self::read_once(path.as_ref(), Some(&issuers))
    }

    fn read_once(
        path: &Path,
        issuers: Option<&BTreeSet<String>>,
    ) -> Result<Rules, Vec<PolicyProblem>> {
        let unreadable = |error: std::io::Error| {
            vec![PolicyProblem {
                file: path.display().to_string(),
                line: None,
                reason: format!("the file can't be read: {error}"),
            }]
        };
        let file = File::open(path).map_err(unreadable)?;
        let mut content = Vec::new();
        file.take(FILE_MAX.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(unreadable)?;
        if u64::try_from(content.len()).unwrap_or(u64::MAX) > FILE_MAX {
            return Err(unreadable(std::io::ErrorKind::FileTooLarge.into()));
        }
        document::rules(&name(path), &content, issuers)
    }

    /// The rules that a file called `name` with this content has.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(name: &str, content: &[u8]) -> Result<Rules, Vec<PolicyProblem>> {
        document::rules(name, content, None)
    }
}

/// What the file is called in messages: as whoever names it calls it.
fn name(path: &Path) -> String {
    path.display().to_string()
}

fn as_error(problems: &[PolicyProblem]) -> Error {
    let mut lines: Vec<_> = problems
        .iter()
        .take(PROBLEMS_MAX)
        .map(PolicyProblem::to_string)
        .collect();
    if let Some(more @ 1..) = problems.len().checked_sub(PROBLEMS_MAX) {
        lines.push(format!("and {more} more"));
    }
    ErrorKind::RequestInvalid.error(lines.join("\n"))
}

impl Policy for PolicyFile {
    fn decide(&self, question: &Question<'_>) -> Decision {
        self.file.now().decide(question)
    }

    fn explain(&self, question: &Question<'_>) -> Vec<Opinion> {
        self.file.now().explain(question)
    }

    fn at_most(&self, question: &Question<'_>) -> Decision {
        self.file.now().at_most(question)
    }

    fn at_least(&self, question: &Question<'_>, other: &Principal) -> Decision {
        self.file.now().at_least(question, other)
    }

    fn horizon(&self, question: &Question<'_>) -> Horizon {
        self.file.now().horizon(question)
    }

    fn lists_by_tag(&self, question: &Question<'_>) -> bool {
        self.file.now().lists_by_tag(question)
    }

    fn is_disabled(&self, principal: &Principal) -> bool {
        self.file.now().is_disabled(principal)
    }

    fn rewards_login(&self) -> bool {
        self.file.now().rewards_login()
    }
}

impl PolicyProblem {
    /// The file it is in.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Its line, the first being 1, unless it is about the file as a whole.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// What is wrong, and what to do.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl Drop for PolicyFile {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl fmt::Debug for PolicyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PolicyFile").field(&self.file).finish()
    }
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.reason)
    }
}
