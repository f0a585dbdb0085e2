//! Reading all content of a data directory again.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use registry_core::RepositoryName;
use registry_storage::{
    Engine, FactFault, FactKind, Finding, Inspected, Inspection, MetadataFinding, RedbOptions,
    VerifiedMetadata, WrongFact,
};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::command_line::Verify;
use crate::problem::Failure;
use crate::runtime;

/// How often somebody who watches is told how far it is.
const STEP: Duration = Duration::from_millis(200);

/// Reads all content, says what is wrong with it, and leaves word of that. It succeeds only if
/// everything that should be there is, and is whole.
pub(crate) fn verify(options: &Verify) -> Result<ExitCode, Failure> {
    let runtime = runtime::current_thread()?;
    let outcome = runtime.block_on(async {
        let metadata = Engine::verify_metadata(&options.root, RedbOptions::default());
        let of_data = |error| Failure::of_data(&options.root, &error);
        let metadata = metadata.await.map_err(of_data)?;
        if !metadata.database_is_whole || metadata.database_is_older {
            // What it says of content can't be believed, or isn't all.
            let mut report = Report::begin(options.json)?;
            let mut outcome = Outcome::default();
            outcome.note(&metadata, &mut report)?;
            report.end(&outcome)?;
            return Ok::<_, Failure>(outcome);
        }
        let engine = Engine::existing(&options.root, RedbOptions::default()).await?;
        // What is unfinished stays as it is.
        let engine = engine.upload_expiry(None).build();
        let outcome = match inspect(options, &metadata, &engine).await {
            // The server is to know it, too.
            Ok(outcome) => engine
                .keep_damages()
                .await
                .map(|()| outcome)
                .map_err(Failure::from),
            failed => failed,
        };
        let closed = engine.close().await.map_err(Failure::from);
        outcome.and_then(|outcome| closed.map(|()| outcome))
    })?;
    Ok(if outcome.is_valid() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn inspect(
    options: &Verify,
    metadata: &VerifiedMetadata,
    engine: &Engine,
) -> Result<Outcome, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut inspection = engine.inspect(cores);
    let watched = Watched {
        total: engine.stored_bytes().await?,
        is_terminal: io::stderr().is_terminal(),
    };
    let mut report = Report::begin(options.json)?;
    let mut outcome = Outcome::default();
    outcome.note(metadata, &mut report)?;
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let inspected = tokio::select! {
            inspected = inspection.next() => inspected?,
            _ = ticks.tick(), if watched.is_terminal => {
                watched.show(&inspection);
                continue;
            }
        };
        let Some(inspected) = inspected else {
            break;
        };
        outcome.count(&inspected);
        if inspected.finding != Finding::Whole {
            watched.clear();
            report.add(&inspected)?;
        }
    }
    watched.clear();
    report.end(&outcome)?;
    Ok(outcome)
}

/// How many of all were found to be what.
#[derive(Debug, Default)]
struct Outcome {
    /// Places in the database and its change log.
    metadata: u64,
    /// Facts that the two don't agree about, or that can't be.
    facts: u64,
    /// Whether content was looked at.
    is_cut_short: bool,
    contents: u64,
    bytes: u64,
    missing: u64,
    damaged: u64,
    unreadable: u64,
    unreferenced: u64,
    unreferenced_bytes: u64,
}

impl Outcome {
    fn count(&mut self, inspected: &Inspected) {
        let (number, bytes) = match inspected.finding {
            Finding::Unreferenced => (&mut self.unreferenced, &mut self.unreferenced_bytes),
            _ => (&mut self.contents, &mut self.bytes),
        };
        *number = number.saturating_add(1);
        *bytes = bytes.saturating_add(inspected.size);
        let wrong = match inspected.finding {
            Finding::Missing => &mut self.missing,
            Finding::Damaged(_) => &mut self.damaged,
            Finding::Unreadable(_) => &mut self.unreadable,
            _ => return,
        };
        *wrong = wrong.saturating_add(1);
    }

    /// Tells what is wrong with the metadata, and counts it.
    fn note(&mut self, metadata: &VerifiedMetadata, report: &mut Report) -> Result<(), Failure> {
        for finding in &metadata.findings {
            report.add_metadata(finding)?;
        }
        for fact in &metadata.wrong_facts {
            report.add_fact(fact)?;
        }
        self.metadata = metadata.more.saturating_add(metadata.findings.len() as u64);
        let named = metadata.wrong_facts.len() as u64;
        self.facts = metadata.more_wrong_facts.saturating_add(named);
        self.is_cut_short = !metadata.database_is_whole || metadata.database_is_older;
        Ok(())
    }

    fn is_valid(&self) -> bool {
        self.wrong() == 0 && self.metadata == 0 && self.facts == 0
    }

    /// How many of those that should be there aren't as they should be.
    fn wrong(&self) -> u64 {
        let found = self.missing.saturating_add(self.damaged);
        found.saturating_add(self.unreadable)
    }

    fn as_text(&self) -> String {
        let Self {
            contents,
            missing,
            damaged,
            unreadable,
            unreferenced,
            ..
        } = self;
        let bytes = in_units(self.bytes);
        let mut text = match self.wrong() {
            _ if self.is_cut_short => {
                "the content was not read: only a whole database that isn't older than its change \
                 log says what should be there\n"
                    .to_owned()
            }
            0 => match contents {
                0 => "no content is stored\n".to_owned(),
                1 => format!("the only blob or manifest ({bytes}) is whole\n"),
                _ => format!("all {contents} blobs and manifests ({bytes}) are whole\n"),
            },
            wrong => {
                let are = if wrong == 1 { "is" } else { "are" };
                format!(
                    "{wrong} of {contents} blobs and manifests ({bytes}) {are} not whole: \
                     {missing} missing, {damaged} damaged, {unreadable} unreadable\n"
                )
            }
        };
        if missing.saturating_add(*damaged) > 0 {
            text.push_str(
                "  push what is missing or damaged again: the server now says that it isn't there\n",
            );
        }
        if *unreadable > 0 {
            text.push_str("  see to the disk and verify again: what is unreadable may come back\n");
        }
        // Writing to a text doesn't fail.
        let _ = match self.metadata {
            0 => Ok(()),
            1 => writeln!(text, "the metadata is damaged in one place"),
            places => writeln!(text, "the metadata is damaged in {places} places"),
        };
        let _ = match self.facts {
            0 => Ok(()),
            1 => writeln!(
                text,
                "one fact is wrong, or the database and its change log don't agree about it"
            ),
            facts => writeln!(
                text,
                "{facts} facts are wrong, or the database and its change log don't agree about them"
            ),
        };
        let bytes = in_units(self.unreferenced_bytes);
        let _ = match unreferenced {
            0 => Ok(()),
            1 => writeln!(
                text,
                "a crash left one file behind ({bytes}); it only takes space"
            ),
            files => writeln!(
                text,
                "a crash left {files} files behind ({bytes}); they only take space"
            ),
        };
        text
    }

    fn as_json(&self) -> Value {
        json!({
            "valid": self.is_valid(),
            "metadata": self.metadata,
            "facts": self.facts,
            "contents": self.contents,
            "bytes": self.bytes,
            "missing": self.missing,
            "damaged": self.damaged,
            "unreadable": self.unreadable,
            "unreferenced": self.unreferenced,
            "unreferencedBytes": self.unreferenced_bytes,
        })
    }
}

/// What is printed, as it comes: there may be more than fits into memory.
struct Report {
    is_json: bool,
    is_empty: bool,
}

impl Report {
    fn begin(is_json: bool) -> Result<Self, Failure> {
        if is_json {
            print("{\n  \"problems\": [")?;
        }
        Ok(Self {
            is_json,
            is_empty: true,
        })
    }

    fn add(&mut self, inspected: &Inspected) -> Result<(), Failure> {
        if self.is_json {
            self.add_json(&as_json(inspected))
        } else {
            print(&as_text(inspected))
        }
    }

    fn add_metadata(&mut self, finding: &MetadataFinding) -> Result<(), Failure> {
        let MetadataFinding { file, reason, .. } = finding;
        if self.is_json {
            self.add_json(&json!({ "state": "damaged", "file": file, "message": reason }))
        } else {
            print(&format!("{:<12} {file}: {reason}\n", "damaged"))
        }
    }

    fn add_fact(&mut self, fact: &WrongFact) -> Result<(), Failure> {
        let (kind, reason) = (kind(fact.kind), fact.fault.reason());
        let repository = fact.repository.as_ref().map(RepositoryName::as_str);
        if self.is_json {
            let name = Some(&fact.name).filter(|name| !name.is_empty());
            self.add_json(&json!({
                "state": "damaged",
                "kind": kind,
                "repository": repository,
                "name": name,
                "fault": fault(fact.fault),
                "message": reason,
            }))
        } else {
            let words = [kind, &fact.name]
                .into_iter()
                .filter(|word| !word.is_empty());
            let what = words.collect::<Vec<_>>().join(" ");
            let place = repository
                .map(|name| format!(" in {name}"))
                .unwrap_or_default();
            print(&format!("{:<12} {what}{place}: {reason}\n", "damaged"))
        }
    }

    fn add_json(&mut self, problem: &Value) -> Result<(), Failure> {
        let is_first = std::mem::take(&mut self.is_empty);
        let separator = if is_first { "" } else { "," };
        print(&format!("{separator}\n    {problem}"))
    }

    fn end(self, outcome: &Outcome) -> Result<(), Failure> {
        if !self.is_json {
            return print(&outcome.as_text());
        }
        let end = if self.is_empty { "" } else { "\n  " };
        let summary = outcome.as_json();
        print(&format!("{end}],\n  \"summary\": {summary}\n}}\n"))
    }
}

/// What is wrong with some content: a word, and a reason where the word doesn't
/// say it all.
fn words(finding: &Finding) -> (&'static str, Option<&str>) {
    match finding {
        Finding::Missing => ("missing", None),
        Finding::Damaged(reason) => ("damaged", Some(reason)),
        Finding::Unreadable(reason) => ("unreadable", Some(reason)),
        Finding::Unreferenced => ("unreferenced", None),
        _ => ("whole", None),
    }
}

/// What a fact is about, in a word.
fn kind(kind: FactKind) -> &'static str {
    match kind {
        FactKind::Repository => "repository",
        FactKind::Epoch => "epoch",
        FactKind::Blob => "blob",
        FactKind::Manifest => "manifest",
        FactKind::Tag => "tag",
        FactKind::Content => "content",
        FactKind::Index => "index",
        _ => "fact",
    }
}

/// What is wrong with a fact, in a word.
fn fault(fault: FactFault) -> &'static str {
    match fault {
        FactFault::OnlyInDatabase => "onlyInDatabase",
        FactFault::OnlyInChangeLog => "onlyInChangeLog",
        FactFault::Different => "different",
        FactFault::WithoutContent => "withoutContent",
        _ => "wrong",
    }
}

fn as_text(inspected: &Inspected) -> String {
    let (word, reason) = words(&inspected.finding);
    let digest = inspected.key.digest;
    let size = in_units(inspected.size);
    let mut line = format!("{word:<12} {digest} ({size})");
    // Writing to a text doesn't fail.
    let _ = match inspected.repositories.as_slice() {
        _ if inspected.finding == Finding::Unreferenced => Ok(()),
        [] => write!(line, " in no repository"),
        names => {
            let names: Vec<_> = names.iter().map(RepositoryName::as_str).collect();
            write!(line, " in {}", names.join(", "))
        }
    };
    if let Some(reason) = reason {
        let _ = write!(line, ": {reason}");
    }
    line.push('\n');
    line
}

fn as_json(inspected: &Inspected) -> Value {
    let (word, reason) = words(&inspected.finding);
    let names = inspected.repositories.iter();
    let names: Vec<_> = names.map(RepositoryName::as_str).collect();
    json!({
        "state": word,
        "digest": inspected.key.digest.to_string(),
        "size": inspected.size,
        "repositories": names,
        "message": reason,
    })
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::new("the answer can't be written", &error))
}

/// A number of bytes as people read it.
fn in_units(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut tenths = u128::from(bytes).saturating_mul(10);
    let mut unit = "bytes";
    for larger in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths = tenths.div_euclid(1024);
        unit = larger;
    }
    let (whole, tenth) = (tenths.div_euclid(10), tenths.rem_euclid(10));
    match unit {
        "bytes" => format!("{whole} {unit}"),
        _ => format!("{whole}.{tenth} {unit}"),
    }
}

/// Whoever watches standard error.
struct Watched {
    total: u64,
    is_terminal: bool,
}

impl Watched {
    /// How far it is, in the line that is written next.
    fn show(&self, inspection: &Inspection) {
        const WIDTH: usize = 30;
        let read = inspection.bytes_read().min(self.total);
        let share = |most: u64| {
            let part = u128::from(read).saturating_mul(most.into());
            let share = part.checked_div(self.total.into()).unwrap_or_default();
            usize::try_from(share).unwrap_or_default()
        };
        let bar = "#".repeat(share(WIDTH as u64));
        let percent = share(100);
        let (read, total) = (in_units(read), in_units(self.total));
        // Nobody has to see it.
        let _ = write!(
            io::stderr(),
            "\r\x1b[K[{bar:<WIDTH$}] {percent:>3} %  {read} of {total}"
        );
    }

    fn clear(&self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
