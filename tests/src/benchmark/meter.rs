//! Time, processor time and memory, from one moment to another.

use anyhow::Result;
use tokio::time::Instant;

use super::{lifetime::mebibytes, results::Sample, server::Server, usage};

/// Measures from the moment it is made.
pub(super) struct Meter {
    started: Instant,
    server_cpu: Option<f64>,
    client_cpu: Option<f64>,
}

impl Meter {
    pub(super) fn start(server: &Server) -> Result<Self> {
        server.forget_peak()?;
        Ok(Self {
            server_cpu: server.usage().map(|usage| usage.cpu),
            client_cpu: usage::of_this_program(),
            started: Instant::now(),
        })
    }

    /// The amount per second, with what it cost.
    pub(super) fn stop(self, server: &Server, amount: f64) -> Sample {
        let seconds = self.started.elapsed().as_secs_f64();
        let since = |before: Option<f64>, now: Option<f64>| Some(now? - before?);
        let usage = server.usage();
        Sample {
            value: amount / seconds,
            amount,
            cpu_seconds: since(self.server_cpu, usage.map(|usage| usage.cpu)),
            client_cpu_seconds: since(self.client_cpu, usage::of_this_program()),
            peak_mib: usage.map(|usage| mebibytes(usage.peak)),
            ..Sample::default()
        }
    }
}
