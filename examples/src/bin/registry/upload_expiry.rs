//! Forgetting uploads that nobody finishes, again and again.

use std::time::Duration;

use registry_storage::Engine;
use tokio::time::sleep;

use crate::problem::sentence;
use registry_examples::configuration::UploadExpiry;

/// How soon after the start to look for the first time at the latest, so that a
/// server that is often restarted gets to it too.
const FIRST: Duration = Duration::from_mins(1);

/// Forgets them, for ever.
pub(crate) async fn run(engine: Engine, expiry: UploadExpiry) {
    sleep(expiry.interval.min(FIRST)).await;
    loop {
        match engine.expire_uploads(expiry.idle).await {
            Ok(0) => {}
            Ok(uploads) => tracing::info!(uploads, "unfinished uploads were forgotten"),
            Err(error) => tracing::warn!(
                error = sentence(&error),
                "unfinished uploads can't be forgotten now"
            ),
        }
        sleep(expiry.interval).await;
    }
}
