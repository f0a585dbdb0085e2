//! The table, the JSON and the page.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::json;

use super::{
    chart,
    goal::{Bound, Goal},
    machine::Machine,
    options::Options,
    results::{Outcome, Row},
    server::Server,
    statistics::{median, median_ratio},
};

/// Writes everything that was asked for; the table to standard output if nothing was.
pub(super) fn write(
    options: &Options,
    servers: &[Server],
    outcomes: &[Outcome],
    goals: &[Goal],
) -> Result<()> {
    let machine = Machine::here(&options.data);
    let table = table(outcomes, goals);
    let save = |file: &Path, text: String| {
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    };
    if let Some(file) = &options.json {
        save(file, json(servers, outcomes, goals, &machine)?)?;
    }
    if let Some(file) = &options.chart {
        save(file, chart::draw(outcomes))?;
    }
    if let Some(file) = &options.report {
        save(file, page(options, file, servers, &machine, &table))?;
    }
    match &options.table {
        Some(file) => save(file, table)?,
        None => io::stdout().lock().write_all(table.as_bytes())?,
    }
    Ok(())
}

fn json(
    servers: &[Server],
    outcomes: &[Outcome],
    goals: &[Goal],
    machine: &Machine,
) -> Result<String> {
    let servers: Vec<_> = servers
        .iter()
        .map(|server| json!({ "name": server.name, "version": server.version }))
        .collect();
    let scenarios: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            json!({
                "name": outcome.scenario.name,
                "title": outcome.scenario.title,
                "detail": outcome.detail,
                "unit": outcome.scenario.unit().text(),
                "rows": outcome.rows,
            })
        })
        .collect();
    let all = json!({
        "machine": machine,
        "servers": servers,
        "scenarios": scenarios,
        "goals": goals,
    });
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}

/// One section for each scenario, then the goals.
fn table(outcomes: &[Outcome], goals: &[Goal]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        section(&mut text, outcome);
    }
    if !goals.is_empty() {
        text.push_str("### Goals\n\n| registry | goal | measured | |\n|---|---:|---:|---|\n");
        for goal in goals {
            let bound = match goal.bound {
                Bound::AtLeast(bound) => format!("≥ {}", number(bound)),
                Bound::AtMost(bound) => format!("≤ {}", number(bound)),
            };
            let verdict = if goal.met() { "met" } else { "**missed**" };
            line(
                &mut text,
                &[&goal.what, &bound, &number(goal.measured), verdict],
            );
        }
    }
    text
}

/// What a column takes from a row.
type Figure<'a> = Box<dyn Fn(&Row) -> Option<f64> + 'a>;

fn section(text: &mut String, outcome: &Outcome) {
    let unit = outcome.scenario.unit();
    let Some(first) = outcome.rows.first() else {
        return;
    };
    let mut heading = outcome.scenario.title.to_owned();
    if !outcome.detail.is_empty() {
        heading = format!("{heading} ({})", outcome.detail);
    }
    // Where there are no latencies, processor times or peaks, there are no columns for them.
    let any = |of: fn(&Row) -> Option<f64>| outcome.rows.iter().any(|row| of(row).is_some());
    let p50: fn(&Row) -> Option<f64> = |row| row.median(|sample| sample.p50_ms);
    let p99: fn(&Row) -> Option<f64> = |row| row.median(|sample| sample.p99_ms);
    let peak: fn(&Row) -> Option<f64> = |row| row.median(|sample| sample.peak_mib);
    let cpu = |row: &Row| {
        let (_, factor) = unit.cpu()?;
        row.median(|sample| Some(sample.cpu_seconds? / sample.amount * factor))
    };
    let versus = format!("{} ÷ this", first.server);
    let mut columns: Vec<(&str, Figure<'_>)> =
        vec![(unit.text(), Box::new(|row: &Row| median(&row.values())))];
    if any(p50) {
        columns.push(("p50 ms", Box::new(p50)));
        columns.push(("p99 ms", Box::new(p99)));
    }
    if let Some((name, _)) = unit.cpu() {
        columns.push((name, Box::new(cpu)));
    }
    // A peak beside memory would say the same twice.
    if unit.cpu().is_some() && any(peak) {
        columns.push(("peak MiB", Box::new(peak)));
    }
    columns.push((
        &versus,
        Box::new(|row: &Row| median_ratio(&first.values(), &row.values())),
    ));

    // Writing to a string doesn't fail.
    let _ = write!(text, "### {heading}\n\n");
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    line(text, &[&["server"], names.as_slice()].concat());
    let _ = writeln!(text, "|---{}|", "|---:".repeat(columns.len()));
    for row in &outcome.rows {
        let cells: Vec<String> = columns
            .iter()
            .map(|(_, of)| of(row).map_or_else(|| "–".to_owned(), number))
            .collect();
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        line(text, &[&[row.server.as_str()], cells.as_slice()].concat());
    }
    text.push('\n');
}

fn line(text: &mut String, cells: &[&str]) {
    // Writing to a string doesn't fail.
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// Three significant digits at least, and never more than two decimals.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 0.1 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn page(
    options: &Options,
    file: &Path,
    servers: &[Server],
    machine: &Machine,
    table: &str,
) -> String {
    let versions: Vec<String> = servers
        .iter()
        .map(|server| match &server.version {
            Some(version) => format!("{} ({version})", server.name),
            None => server.name.clone(),
        })
        .collect();
    let picture = options
        .chart
        .as_deref()
        .and_then(|chart| beside(file, chart))
        .map_or_else(String::new, |chart| {
            format!("\n![Every scenario as bars, one for each server]({chart})\n")
        });
    format!(
        "\
# Benchmarks

Written by the benchmark program, which starts the servers one after another on one machine and lets them take turns:
every server does the same work in each of {rounds} rounds, each round in another order. The figures are medians over the
rounds; a comparison of two servers is the median of the ratios within each round. `benchmark --help` tells how to measure
other servers, and how to leave scenarios out.

- **Made by:** `{command}`
- **Servers:** {servers}, those started here with an empty root and the settings they
  come with, but for the access log: none writes one. Ours has the same configuration file as the Docker registry.
- **Machine:** {cores} cores of {processor}, {memory} GiB of memory, Linux {kernel}, data on {file_system}. The client runs
  on the same cores as the server.
- **CPU** is the server's processor time. **Peak** is the most memory it held; pages its processes share count in each.
- What a server left unwritten is written to disk between measurements, outside its time, so that nobody pays for another.
  By default not all of them answer only when everything is safe: the Docker registry 2.8 syncs files but no directory,
  zot its database but no blob.
- The Docker registry 2.8 knows no pages of tags: where the first page is asked for, it gives all of them.
- With logins, only our registry is measured, with users in a password file (bcrypt of cost 5) and a policy by which
  everybody pulls. What has no login is asked of the same server in the same rounds. A user whose password was found right
  before pulls over one connection while others guess passwords, which all come from connections of this machine and name
  other addresses in `X-Forwarded-For`; guesses from one address are answered without a look at the password once there
  were a few. Wrong passwords of users and of names that nobody has take turns, each from an address of its own.
- Decisions over rules are measured in the client's process.
{picture}
{table}",
        rounds = options.rounds,
        command = command(),
        servers = versions.join(", "),
        cores = machine.cores,
        processor = machine.processor,
        memory = machine.memory_gib,
        kernel = machine.kernel,
        file_system = machine.file_system,
    )
}

/// How a page refers to a picture, if both lie in the same folder or the picture below it.
fn beside(page: &Path, picture: &Path) -> Option<String> {
    let folder = page.parent()?;
    Some(picture.strip_prefix(folder).ok()?.display().to_string())
}

/// The command that was given, as it can be given again.
fn command() -> String {
    let quoted = |argument: String| {
        if argument.contains([' ', '{', '*']) {
            format!("'{argument}'")
        } else {
            argument
        }
    };
    let arguments: Vec<String> = env::args().skip(1).map(quoted).collect();
    format!(
        "cargo run --release -p registry-tests --features benchmark --bin benchmark -- {}",
        arguments.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::{results::Sample, scenario};

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (12345.6, "12346"),
            (42.25, "42.2"),
            (1.234, "1.23"),
            (0.0123, "0.012"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_section_quotes_medians_and_ratios_and_marks_what_is_unknown() {
        let row = |server: &str, values: [f64; 3], cpu: Option<f64>| Row {
            server: server.to_owned(),
            samples: values
                .map(|value| Sample {
                    value,
                    amount: 2048.0,
                    cpu_seconds: cpu,
                    ..Sample::default()
                })
                .to_vec(),
        };
        let outcome = Outcome {
            scenario: *scenario::ALL
                .iter()
                .find(|it| it.name == "pull-single")
                .unwrap(),
            detail: "2 GiB".to_owned(),
            rows: vec![
                row("a", [100.0, 300.0, 200.0], Some(3.0)),
                row("b", [50.0, 100.0, 200.0], None),
            ],
        };
        let mut text = String::new();
        section(&mut text, &outcome);
        assert_eq!(
            text,
            "\
### Pull of one large blob (2 GiB)

| server | MiB/s | CPU s/GiB | a ÷ this |
|---|---:|---:|---:|
| a | 200 | 1.50 | 1.00 |
| b | 100 | – | 2.00 |

"
        );
    }

    #[test]
    fn a_page_finds_its_picture() {
        let link = beside(Path::new("docs/a.md"), Path::new("docs/img/a.svg"));
        assert_eq!(link.as_deref(), Some("img/a.svg"));
        assert_eq!(beside(Path::new("docs/a.md"), Path::new("/b.svg")), None);
    }
}
