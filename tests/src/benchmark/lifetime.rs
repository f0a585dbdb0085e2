//! Starting up, and memory.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{task::JoinSet, time::sleep};

use super::{
    client::Connection,
    content::Content,
    meter::Meter,
    options::Options,
    push::{Image, Sending},
    results::Sample,
    scenario::Setting,
    server::Server,
    transfer,
};

/// How long a server may settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(2);

const REPOSITORY: &str = "memory";

/// Milliseconds from starting the program until `/v2/` answers.
pub(super) async fn start_up(server: &mut Server, setting: Setting) -> Result<Sample> {
    let took = if setting == Setting::Fresh {
        server.start().await?
    } else {
        server.restart().await?
    };
    Ok(Sample {
        value: took.as_secs_f64() * 1e3,
        ..Sample::default()
    })
}

/// MiB in use after a start with an empty root, or after one small image was pushed to it.
pub(super) async fn idle(
    server: &mut Server,
    content: &mut Content,
    after_push: bool,
) -> Result<Sample> {
    server.start().await?;
    if after_push {
        let image = Image::new(content, 5);
        Connection::new(&server.host()?)
            .push_image(REPOSITORY, &image)
            .await?;
    }
    sleep(SETTLE).await;
    let usage = server.usage().context("its memory cannot be read here")?;
    Ok(Sample {
        value: mebibytes(usage.resident),
        peak_mib: Some(mebibytes(usage.peak)),
        ..Sample::default()
    })
}

/// The peak of MiB in use while half of the clients push a layer each and the other half pull one, all at once.
pub(super) async fn load(
    server: &mut Server,
    content: &mut Content,
    options: &Options,
) -> Result<Sample> {
    server.start().await?;
    let pulled = content.blob(options.load_size.0);
    server.deposit_blob(REPOSITORY, &pulled).await?;
    let host = server.host()?;
    let meter = Meter::start(server)?;
    let mut tasks = JoinSet::new();
    for client in 0..options.load_clients {
        let mut connection = Connection::new(&host);
        let pushed = content.blob(options.load_size.0);
        let pulled = pulled.clone();
        tasks.spawn(async move {
            if client % 2 == 0 {
                connection
                    .push_blob(REPOSITORY, &pushed, Sending::Whole)
                    .await
            } else {
                transfer::pull(&mut connection, REPOSITORY, &pulled).await
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let amount = f64::from(options.load_clients) * mebibytes(options.load_size.0);
    let mut sample = meter.stop(server, amount);
    sample.value = sample.peak_mib.context("its memory cannot be read here")?;
    server.stop().await?;
    Ok(sample)
}

pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
