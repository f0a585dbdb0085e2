//! The rounds.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    client::Connection,
    content::{Blob, Content},
    decision,
    filling::Filling,
    goal, lifetime,
    logins::{self, Guesses, Hashes},
    options::Options,
    push::{Image, Sending},
    reference, report,
    requests::{self, Request},
    results::{HASH, Outcome, Row, Sample},
    scenario::{self, Scenario, Setting, Work},
    server::{self, Server},
    statistics::median,
    transfer,
};

/// Where reads find their content, and where tags are listed.
const REPOSITORY: &str = "bench/content";

/// Does what the command line says.
pub fn main(options: Options) -> ExitCode {
    if options.list {
        let lines: Vec<String> = scenario::ALL
            .iter()
            .map(|scenario| format!("{:24}{}", scenario.name, scenario.title))
            .collect();
        let list = lines.join("\n") + "\n";
        return ended(io::stdout().lock().write_all(list.as_bytes()).map(|()| 0));
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return ended(Err(error)),
    };
    let code = runtime.block_on(async {
        tokio::select! {
            code = run(options.scaled()) => code,
            () = interrupted() => Ok(130),
        }
    });
    // Connections that were broken off are not waited for.
    runtime.shutdown_background();
    ended(code)
}

/// Waits until somebody wants this to end early.
async fn interrupted() {
    #[cfg(unix)]
    if let Ok(mut terminated) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    {
        tokio::select! {
            _ = terminated.recv() => return,
            _ = tokio::signal::ctrl_c() => return,
        }
    }
    // Without a way to be told, there is only the way to be killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn ended<E: Into<anyhow::Error>>(code: Result<u8, E>) -> ExitCode {
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("benchmark: {:#}", error.into()));
            ExitCode::from(1)
        }
    }
}

fn say(line: &str) {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

async fn run(options: Options) -> Result<u8> {
    let servers = server::named(&options).await?;
    ensure!(
        !servers.is_empty(),
        "name at least one server: --start, --launch or --server (see --help)"
    );
    for name in &options.large {
        ensure!(
            servers.iter().any(|server| server.name == *name),
            "--large {name}: there is no such server"
        );
    }
    let scenarios = scenario::chosen(&options);
    ensure!(
        !scenarios.is_empty(),
        "no scenario begins like that: see --list"
    );
    let mut bench = Bench {
        bar: ProgressBar::no_length().with_style(
            ProgressStyle::with_template("[{elapsed_precise}] {wide_bar} {pos}/{len} {msg}")
                .context("a wrong progress template")?,
        ),
        content: Content::new(),
        kept: None,
        options,
        servers,
    };
    let steps: usize = scenarios
        .iter()
        .map(|scenario| bench.participants(scenario).len())
        .sum();
    bench
        .bar
        .set_length(steps as u64 * u64::from(bench.options.rounds));
    let mut outcomes = Vec::new();
    // Those that write are alone in their setting, so that their data is gone before the next one begins.
    for group in
        scenarios.chunk_by(|one, next| one.setting == next.setting && one.setting != Setting::Write)
    {
        outcomes.append(&mut bench.group(group).await?);
    }
    bench.bar.finish_and_clear();
    let goals = goal::judge(&outcomes);
    report::write(&bench.options, &bench.servers, &outcomes, &goals)?;
    let missed = goals.iter().any(|goal| !goal.met());
    Ok(if missed && bench.options.strict { 3 } else { 0 })
}

struct Bench {
    options: Options,
    servers: Vec<Server>,
    content: Content,
    bar: ProgressBar,
    /// What was measured along with something else, and which of the two it is.
    kept: Option<(usize, Sample)>,
}

/// What a server was given before the rounds.
#[derive(Default)]
struct Prepared {
    image: Option<Image>,
    single: Vec<Blob>,
    several: Vec<Blob>,
}

impl Bench {
    fn participants(&self, scenario: &Scenario) -> Vec<usize> {
        let suits = |(index, server): (usize, &Server)| {
            let large = if self.options.large.is_empty() {
                index == 0
            } else {
                self.options.large.contains(&server.name)
            };
            scenario.suits(server, large).then_some(index)
        };
        self.servers.iter().enumerate().filter_map(suits).collect()
    }

    /// Measures scenarios of one setting.
    async fn group(&mut self, scenarios: &[Scenario]) -> Result<Vec<Outcome>> {
        let Some(first) = scenarios.first() else {
            return Ok(Vec::new());
        };
        let setting = first.setting;
        self.bar.set_message("preparing");
        let mut everyone: Vec<usize> = scenarios
            .iter()
            .flat_map(|scenario| self.participants(scenario))
            .collect();
        everyone.sort_unstable();
        everyone.dedup();
        let prepared = if everyone.is_empty() {
            Prepared::default()
        } else {
            self.prepare(setting, &everyone).await?
        };
        let mut outcomes = Vec::new();
        for scenario in scenarios {
            let participants = self.participants(scenario);
            if !participants.is_empty() || setting == Setting::None {
                let outcome = self.rounds(*scenario, &participants, &prepared).await;
                let outcome = outcome.with_context(|| scenario.name)?;
                self.tell(&outcome);
                outcomes.push(outcome);
            }
        }
        for index in everyone {
            if let Some(server) = self.servers.get_mut(index) {
                server.stop().await?;
            }
        }
        Ok(outcomes)
    }

    async fn prepare(&mut self, setting: Setting, everyone: &[usize]) -> Result<Prepared> {
        let Options {
            blob_size,
            parallel_size,
            parallel,
            small_count,
            large_count,
            ..
        } = self.options;
        let mut prepared = Prepared::default();
        let mut filling = Filling::default();
        match setting {
            Setting::Read => {
                prepared.image = Some(Image::new(&mut self.content, 5));
                prepared.single = self.content.blobs(1, blob_size.0);
                prepared.several = self.content.blobs(parallel, parallel_size.0);
            }
            Setting::Small => filling = Filling::new(&mut self.content, small_count),
            Setting::Large => filling = Filling::new(&mut self.content, large_count),
            Setting::Write => {}
            Setting::Logins => prepared.image = Some(Image::new(&mut self.content, 5)),
            // Each round starts its own.
            Setting::Fresh | Setting::None => return Ok(prepared),
        }
        for (index, server) in self.servers.iter_mut().enumerate() {
            if !everyone.contains(&index) {
                continue;
            }
            self.bar.set_message(format!("preparing {}", server.name));
            server.start_with(setting == Setting::Logins).await?;
            let given = async {
                let image = prepared.image.iter().flat_map(Image::blobs);
                for blob in image.chain(&prepared.single).chain(&prepared.several) {
                    server.deposit_blob(REPOSITORY, blob).await?;
                }
                if let Some(image) = &prepared.image {
                    server
                        .deposit_manifest(REPOSITORY, &image.tag, &image.manifest)
                        .await?;
                }
                // Pulls are measured warm, also where pushes went past the system's cache.
                let mut connection = server.connection()?;
                for blob in prepared.single.iter().chain(&prepared.several) {
                    transfer::pull(&mut connection, REPOSITORY, blob).await?;
                }
                filling.give(server, REPOSITORY).await
            };
            given
                .await
                .with_context(|| format!("cannot prepare {}", server.name))?;
        }
        Ok(prepared)
    }

    async fn rounds(
        &mut self,
        scenario: Scenario,
        participants: &[usize],
        prepared: &Prepared,
    ) -> Result<Outcome> {
        let mut rows: Vec<Row> = participants
            .iter()
            .filter_map(|&index| self.servers.get(index))
            .map(|server| server.name.as_str())
            .chain(scenario.beside())
            .map(|name| Row {
                server: name.to_owned(),
                samples: Vec::new(),
            })
            .collect();
        for round in 0..self.options.rounds as usize {
            let material = self.material(scenario);
            for turn in 0..rows.len() {
                let place = (turn + round) % rows.len();
                let Some(row) = rows.get_mut(place) else {
                    continue;
                };
                self.bar
                    .set_message(format!("{} {}", scenario.name, row.server));
                let sample = if let Some(&index) = participants.get(place) {
                    let sample = self.measure(scenario, index, prepared, &material).await;
                    self.bar.inc(1);
                    sample.with_context(|| format!("{}, round {}", row.server, round + 1))?
                } else {
                    let first = participants.first().copied();
                    self.beside(scenario, &row.server, first, prepared, &material)
                        .await?
                };
                row.samples.push(sample);
            }
        }
        Ok(Outcome {
            detail: self.detail(scenario),
            scenario,
            rows,
        })
    }

    /// What is pushed in one round, the same to every server and unlike any before.
    fn material(&mut self, scenario: Scenario) -> Material {
        match scenario.work {
            Work::Push { several: false, .. } => {
                Material::Blobs(self.content.blobs(1, self.options.blob_size.0))
            }
            Work::Push { several: true, .. } => Material::Blobs(
                self.content
                    .blobs(self.options.parallel, self.options.parallel_size.0),
            ),
            Work::Images { .. } => Material::Images(Arc::new(
                (0..self.options.images)
                    .map(|_| Image::new(&mut self.content, 5))
                    .collect(),
            )),
            _ => Material::None,
        }
    }

    /// What is measured beside the servers: of the machine, or of the first server in another way.
    async fn beside(
        &mut self,
        scenario: Scenario,
        which: &str,
        first: Option<usize>,
        prepared: &Prepared,
        material: &Material,
    ) -> Result<Sample> {
        let time = Duration::from_secs_f64(self.options.seconds);
        if scenario.work == Work::Decision {
            let decision = decision::ALL.into_iter().find(|it| it.row == which);
            let decision = decision.context("no such decision")?;
            return tokio::task::spawn_blocking(move || decision::measure(decision)).await?;
        }
        let server = first.and_then(|index| self.servers.get(index));
        match (scenario.work, server, material) {
            (Work::ManifestWithLogin { connections, .. }, Some(server), _) => {
                let request = by_tag(prepared)?;
                logins::measure(server, request, None, connections, time).await
            }
            (Work::Flood, Some(server), _) => {
                let guesses = Guesses::ALL.into_iter().find(|(_, row)| *row == which);
                let (guesses, _) = guesses.context("nobody guesses like that")?;
                logins::flooded(server, by_tag(prepared)?, guesses, time).await
            }
            (Work::WrongPasswords { hashes, target }, ..) => {
                self.one_of_two(1, first, hashes, target).await
            }
            (_, _, Material::Blobs(blobs)) => self.reference(which, blobs).await,
            _ => anyhow::bail!("{which} can't be measured"),
        }
    }

    /// Measures two things that take turns, when the first of them is asked for, and keeps the other until then.
    async fn one_of_two(
        &mut self,
        place: usize,
        server: Option<usize>,
        hashes: Hashes,
        target: &str,
    ) -> Result<Sample> {
        if let Some((kept, sample)) = self.kept.take()
            && kept == place
        {
            return Ok(sample);
        }
        let server = server.and_then(|index| self.servers.get(index));
        let server = server.context("no server")?;
        let [one, other] = logins::strangers(server, hashes, target).await?;
        let (asked, kept) = if place == 0 {
            (one, other)
        } else {
            (other, one)
        };
        self.kept = Some((1 - place, kept));
        Ok(asked)
    }

    async fn reference(&self, which: &str, blobs: &[Blob]) -> Result<Sample> {
        let bytes = blobs.iter().map(|blob| blob.size).sum();
        if which == HASH {
            reference::hash(&self.content, bytes).await
        } else {
            settle_disk().await?;
            reference::disk(&self.content, self.options.data.clone(), bytes).await
        }
    }

    async fn measure(
        &mut self,
        scenario: Scenario,
        index: usize,
        prepared: &Prepared,
        material: &Material,
    ) -> Result<Sample> {
        let time = Duration::from_secs_f64(self.options.seconds);
        if let Work::WrongPasswords { hashes, target } = scenario.work {
            return self.one_of_two(0, Some(index), hashes, target).await;
        }
        let server = self.servers.get_mut(index).context("no such server")?;
        let blobs = |several| {
            if several {
                &prepared.several
            } else {
                &prepared.single
            }
        };
        match (scenario.work, material) {
            (Work::ManifestByTag { connections }, _) => {
                let image = prepared.image.as_ref().context("no image")?;
                let request = manifest(image, &image.tag);
                requests::measure(server, request, connections, time).await
            }
            (Work::ManifestByDigest { connections }, _) => {
                let image = prepared.image.as_ref().context("no image")?;
                let request = manifest(image, &image.digest);
                requests::measure(server, request, connections, time).await
            }
            (Work::HeadBlob { connections }, _) => {
                let blob = prepared.single.first().context("no blob")?;
                let request = Request {
                    method: "HEAD",
                    target: format!("/v2/{REPOSITORY}/blobs/{}", blob.digest),
                    length: blob.size,
                    authorization: None,
                };
                requests::measure(server, request, connections, time).await
            }
            (Work::TagsPage, _) => {
                let request = tags_page(server).await?;
                requests::measure(server, request, 1, time).await
            }
            (Work::Pull { several }, _) => {
                transfer::measure_pull(server, REPOSITORY, blobs(several)).await
            }
            (Work::Push { chunked, .. }, Material::Blobs(blobs)) => {
                settle_disk().await?;
                let chunk = self.options.chunk_size.0;
                let sending = if chunked {
                    Sending::Chunked { chunk }
                } else {
                    Sending::Whole
                };
                transfer::measure_push(server, REPOSITORY, blobs, sending).await
            }
            (Work::Images { pushers }, Material::Images(images)) => {
                settle_disk().await?;
                transfer::measure_images(server, images, pushers).await
            }
            (Work::StartUp, _) => lifetime::start_up(server, scenario.setting).await,
            (Work::IdleMemory { after_push }, _) => {
                lifetime::idle(server, &mut self.content, after_push).await
            }
            (Work::LoadMemory, _) => lifetime::load(server, &mut self.content, &self.options).await,
            (Work::ManifestWithLogin { login, connections }, _) => {
                let request = by_tag(prepared)?;
                logins::measure(server, request, Some(login), connections, time).await
            }
            (Work::Flood, _) => {
                logins::flooded(server, by_tag(prepared)?, Guesses::None, time).await
            }
            (Work::Push { .. } | Work::Images { .. }, _) => {
                anyhow::bail!("nothing was made to be pushed")
            }
            (Work::WrongPasswords { .. } | Work::Decision, _) => {
                anyhow::bail!("it is measured in another way")
            }
        }
    }

    fn detail(&self, scenario: Scenario) -> String {
        let options = &self.options;
        let each = match scenario.work {
            Work::Pull { several } | Work::Push { several, .. } if several => {
                format!("{} × {}", options.parallel, options.parallel_size)
            }
            Work::Pull { .. } | Work::Push { .. } => options.blob_size.to_string(),
            Work::Images { .. } => format!("{} images of 5 layers", options.images),
            Work::LoadMemory => format!("{} × {}", options.load_clients, options.load_size),
            Work::Flood => "1,000 guesses a second, or those of 64 connections".to_owned(),
            Work::TagsPage | Work::StartUp => match scenario.setting {
                Setting::Small => format!("{} manifests and tags", options.small_count),
                Setting::Large => format!("{} manifests and tags", options.large_count),
                _ => String::new(),
            },
            _ => String::new(),
        };
        match scenario.work {
            Work::Push { chunked: true, .. } => format!("{each}, chunks of {}", options.chunk_size),
            _ => each,
        }
    }

    fn tell(&self, outcome: &Outcome) {
        let unit = outcome.scenario.unit().text();
        let values: Vec<String> = outcome
            .rows
            .iter()
            .map(|row| {
                let value = median(&row.values()).unwrap_or_default();
                format!("{} {}", row.server, report::number(value))
            })
            .collect();
        let line = format!("{} ({unit}): {}", outcome.scenario.name, values.join(", "));
        self.bar.suspend(|| say(&line));
    }
}

enum Material {
    None,
    Blobs(Vec<Blob>),
    Images(Arc<Vec<Image>>),
}

fn by_tag(prepared: &Prepared) -> Result<Request> {
    let image = prepared.image.as_ref().context("no image")?;
    Ok(manifest(image, &image.tag))
}

fn manifest(image: &Image, reference: &str) -> Request {
    Request {
        method: "GET",
        target: format!("/v2/{REPOSITORY}/manifests/{reference}"),
        length: image.manifest.len() as u64,
        authorization: None,
    }
}

/// The page as the server gives it: one that knows no pages gives the whole list.
async fn tags_page(server: &Server) -> Result<Request> {
    let target = format!("/v2/{REPOSITORY}/tags/list?n=100");
    let mut connection = Connection::new(&server.host()?);
    let (answer, body) = connection.get(&target, &[]).await?;
    answer.expect(200, &target)?;
    let list: serde_json::Value = serde_json::from_slice(&body)?;
    let tags = list.get("tags").and_then(serde_json::Value::as_array);
    ensure!(
        tags.is_some_and(|tags| tags.len() >= 100),
        "{target} lists fewer than 100 tags"
    );
    Ok(Request {
        method: "GET",
        target,
        length: body.len() as u64,
        authorization: None,
    })
}

/// Has everything written that earlier work left in memory, so that nobody pays for another's.
async fn settle_disk() -> Result<()> {
    Ok(tokio::task::spawn_blocking(rustix::fs::sync).await?)
}
