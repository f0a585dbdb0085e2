//! Many small requests, and how long each took.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::{sync::Barrier, task::JoinSet, time::Instant};

use super::{
    client::{Body, Connection},
    meter::Meter,
    push::MANIFEST,
    results::Sample,
    server::Server,
    statistics::percentile,
};

/// The request that is sent again and again, and what it must give.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) target: String,
    /// How long the body must be; for HEAD, what must be announced.
    pub(super) length: u64,
    /// Who asks.
    pub(super) authorization: Option<String>,
}

impl Request {
    async fn send(&self, connection: &mut Connection) -> Result<()> {
        let answer = connection
            .request(
                self.method,
                &self.target,
                &[("Accept", MANIFEST)],
                Body::None,
            )
            .await?;
        answer.expect(200, &self.target)?;
        let length = match (self.method, answer.announced) {
            ("HEAD", announced) => announced.context("HEAD without Content-Length")?,
            _ => answer.length,
        };
        ensure!(
            length == self.length,
            "{}: {length} bytes instead of {}",
            self.target,
            self.length
        );
        Ok(())
    }
}

/// Sends the request on several connections at once for a while, after a fifth of that time to warm up.
pub(super) async fn measure(
    server: &Server,
    request: Request,
    connections: u32,
    time: Duration,
) -> Result<Sample> {
    let barrier = Arc::new(Barrier::new(connections as usize + 1));
    let request = Arc::new(request);
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let host = server.host()?;
        let mut connection = Connection::new(&host).authorized(request.authorization.clone());
        let request = Arc::clone(&request);
        let barrier = Arc::clone(&barrier);
        tasks.spawn(async move {
            let warm = Instant::now() + time / 5;
            let mut warmed = Ok(());
            while warmed.is_ok() && Instant::now() < warm {
                warmed = request.send(&mut connection).await;
            }
            barrier.wait().await;
            warmed?;
            let mut last = Instant::now();
            let end = last + time;
            let mut took = Vec::with_capacity(1 << 14);
            while last < end {
                request.send(&mut connection).await?;
                let now = Instant::now();
                took.push(u32::try_from((now - last).as_nanos()).unwrap_or(u32::MAX));
                last = now;
            }
            Ok::<_, anyhow::Error>(took)
        });
    }
    barrier.wait().await;
    let meter = Meter::start(server)?;
    let mut all = Vec::new();
    while let Some(took) = tasks.join_next().await {
        all.append(&mut took??);
    }
    let amount = all.len() as f64;
    let mut sample = meter.stop(server, amount);
    all.sort_unstable();
    let milliseconds = |percent| percentile(&all, percent).map(|nanos| f64::from(nanos) / 1e6);
    sample.p50_ms = milliseconds(50);
    sample.p99_ms = milliseconds(99);
    Ok(sample)
}
