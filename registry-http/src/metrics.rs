//! What is measured, under the names that dashboards of registries query.
//!
//! Values go to the recorder of the [`metrics`] crate that the program
//! installs; without one nothing is measured. Every label has few values,
//! whatever clients send.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, Unit};

const REQUESTS: &str = "registry_http_requests_total";
const DURATION: &str = "registry_http_request_duration_seconds";
const IN_FLIGHT: &str = "registry_http_in_flight_requests";
const REQUEST_SIZE: &str = "registry_http_request_size_bytes";
const RESPONSE_SIZE: &str = "registry_http_response_size_bytes";
const UPLOAD: &str = "registry_storage_blob_upload_bytes";
const DOWNLOAD: &str = "registry_storage_blob_download_bytes";
const ACTION: &str = "registry_storage_action_seconds";
const PANICS: &str = "registry_http_panics_total";

/// The name of what isn't understood, as an operation and as a handler.
pub(crate) const UNKNOWN: &str = "unknown";

/// The series of one service. A series is looked up once and then kept, so a
/// program installs its recorder before it serves the first request.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    meters: RwLock<HashMap<(&'static str, &'static str), Arc<Meter>>>,
}

/// The series of one operation and method. Operations of the same handler have
/// their series in common.
pub(crate) struct Meter {
    operation: &'static str,
    method: &'static str,
    in_flight: Gauge,
    duration: Histogram,
    request_size: Histogram,
    response_size: Histogram,
    upload: Histogram,
    download: Histogram,
    by_status: RwLock<Vec<(StatusCode, Counter)>>,
}

impl Metrics {
    /// Tells the recorder, if there is one already, what the names mean.
    pub(crate) fn describe() {
        metrics::describe_counter!(REQUESTS, "Requests answered.");
        metrics::describe_histogram!(
            DURATION,
            Unit::Seconds,
            "Time from a request to the end of its answer."
        );
        metrics::describe_gauge!(IN_FLIGHT, "Requests whose answer isn't complete.");
        metrics::describe_histogram!(REQUEST_SIZE, Unit::Bytes, "Bytes of request bodies read.");
        metrics::describe_histogram!(RESPONSE_SIZE, Unit::Bytes, "Bytes of answer bodies sent.");
        metrics::describe_histogram!(UPLOAD, Unit::Bytes, "Bytes of blobs received.");
        metrics::describe_histogram!(DOWNLOAD, Unit::Bytes, "Bytes of blobs sent.");
        metrics::describe_histogram!(
            ACTION,
            Unit::Seconds,
            "Time that the registry takes for what it is asked, without that of clients."
        );
        metrics::describe_counter!(PANICS, "Requests that met a defect of the program.");
    }

    /// The series of a request for what is called `operation`.
    pub(crate) fn meter(&self, operation: &'static str, method: &Method) -> Arc<Meter> {
        let key = (operation, method_label(method));
        let meters = self.meters.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = meters.get(&key) {
            return Arc::clone(meter);
        }
        drop(meters);
        let mut meters = self.meters.write().unwrap_or_else(PoisonError::into_inner);
        let meter = meters
            .entry(key)
            .or_insert_with(|| Arc::new(Meter::new(key.0, key.1)));
        Arc::clone(meter)
    }
}

/// The series of one action of the registry behind the service.
pub(crate) fn storage_action(driver: &str, action: &'static str) -> Histogram {
    metrics::histogram!(ACTION, "driver" => driver.to_owned(), "action" => action)
}

/// Counts a panic in a handler.
pub(crate) fn count_panic() {
    metrics::counter!(PANICS).increment(1);
}

/// What the Docker registry calls the part of it that serves an operation:
/// dashboards select by these names.
fn handler_label(operation: &str) -> &'static str {
    match operation {
        "ping" => "base",
        "list_repositories" => "catalog",
        "stat_blob" | "get_blob" | "delete_blob" => "blob",
        "begin_upload" | "push_blob" | "mount_blob" => "blob_upload",
        "upload_status" | "append_upload" | "finish_upload" | "cancel_upload" => {
            "blob_upload_chunk"
        }
        "stat_manifest" | "get_manifest" | "put_manifest" | "delete_manifest" => "manifest",
        "list_tags" => "tags",
        "list_referrers" => "referrers",
        "token" | "revoke_token" => "token",
        "key_set" => "key_set",
        "list_robots"
        | "create_robot"
        | "show_robot"
        | "change_robot"
        | "delete_robot"
        | "list_robot_keys"
        | "create_robot_key"
        | "revoke_robot_key"
        | "list_keys"
        | "create_key"
        | "revoke_key"
        | "explain"
        | "revoke_tokens"
        | "rotate_signing_keys"
        | "delete_repository" => "management",
        _ => UNKNOWN,
    }
}

/// Clients may invent methods; dashboards need not see them.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "other",
    }
}

impl Meter {
    fn new(operation: &'static str, method: &'static str) -> Self {
        let handler = handler_label(operation);
        Self {
            operation,
            method,
            in_flight: metrics::gauge!(IN_FLIGHT, "handler" => handler),
            duration: metrics::histogram!(DURATION, "handler" => handler, "method" => method),
            request_size: metrics::histogram!(REQUEST_SIZE, "handler" => handler),
            response_size: metrics::histogram!(RESPONSE_SIZE, "handler" => handler),
            upload: metrics::histogram!(UPLOAD),
            download: metrics::histogram!(DOWNLOAD),
            by_status: RwLock::default(),
        }
    }

    /// A request begins.
    pub(crate) fn begin(&self) {
        self.in_flight.increment(1.0);
    }

    /// A request is over.
    pub(crate) fn end(&self, end: &End) {
        self.in_flight.decrement(1.0);
        self.duration.record(end.duration);
        // Precise up to sizes that no blob has.
        #[allow(clippy::cast_precision_loss)]
        let bytes = |count: u64| count as f64;
        self.request_size.record(bytes(end.received));
        self.response_size.record(bytes(end.sent));
        if end.status.is_success() {
            match self.operation {
                "get_blob" => self.download.record(bytes(end.sent)),
                "push_blob" | "append_upload" | "finish_upload" => {
                    self.upload.record(bytes(end.received));
                }
                _ => {}
            }
        }
        let by_status = self
            .by_status
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = by_status.iter().find(|(status, _)| *status == end.status) {
            counter.increment(1);
            return;
        }
        drop(by_status);
        let counter = metrics::counter!(
            REQUESTS,
            "code" => end.status.as_str().to_owned(),
            "handler" => handler_label(self.operation),
            "method" => self.method,
        );
        counter.increment(1);
        let mut by_status = self
            .by_status
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        by_status.push((end.status, counter));
    }
}

/// How a request went.
#[derive(Debug)]
pub(crate) struct End {
    /// The status of the answer.
    pub(crate) status: StatusCode,
    /// From the request to the end of its answer.
    pub(crate) duration: Duration,
    /// The bytes of its body that were read.
    pub(crate) received: u64,
    /// The bytes of the answer's body that were taken.
    pub(crate) sent: u64,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter")
            .field("operation", &self.operation)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}
