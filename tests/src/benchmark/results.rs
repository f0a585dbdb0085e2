//! What was measured.

use serde::Serialize;

use super::{scenario::Scenario, statistics::median};

/// One server, one scenario, one round.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Sample {
    /// In the scenario's unit.
    pub(super) value: f64,
    /// Half of the requests took at most this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p50_ms: Option<f64>,
    /// All but one in a hundred took at most this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) p99_ms: Option<f64>,
    /// Requests, MiB or images: what the processor time was spent on.
    pub(super) amount: f64,
    /// Processor time of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_seconds: Option<f64>,
    /// Processor time of this program meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_cpu_seconds: Option<f64>,
    /// How long each attempt took, where the distribution counts.
    #[serde(skip)]
    pub(super) times_ms: Vec<f64>,
    /// The server's peak of memory meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peak_mib: Option<f64>,
}

/// One server, one scenario.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) server: String,
    /// One for each round, in order.
    pub(super) samples: Vec<Sample>,
}

impl Row {
    pub(super) fn values(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.value).collect()
    }

    /// The median of something that may not have been measured.
    pub(super) fn median(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.samples.iter().filter_map(of).collect();
        median(&values)
    }
}

/// One scenario.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) scenario: Scenario,
    /// What exactly was done.
    pub(super) detail: String,
    pub(super) rows: Vec<Row>,
}

/// The rows of what the machine itself can do.
pub(super) const HASH: &str = "SHA-256 on one core";
pub(super) const DISK: &str = "write and sync to disk";

impl Outcome {
    /// What one server reached in each round.
    pub(super) fn values(&self, server: &str) -> Option<Vec<f64>> {
        self.row(server).map(Row::values)
    }

    /// Everything that was measured of one server.
    pub(super) fn row(&self, server: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.server == server)
    }
}
