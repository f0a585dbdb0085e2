//! What the machine itself can do, measured in the same rounds as the servers.

use std::{fs::File, io::Write, path::PathBuf, sync::Arc};

use anyhow::Result;
use sha2::{Digest as _, Sha256};
use tokio::{task::spawn_blocking, time::Instant};

use super::{content::Content, results::Sample};

/// MiB/s of SHA-256 on one core over this many bytes.
pub(super) async fn hash(content: &Content, bytes: u64) -> Result<Sample> {
    let base = content.base();
    spawn_blocking(move || {
        let started = Instant::now();
        let mut hasher = Sha256::new();
        for piece in pieces(&base, bytes) {
            hasher.update(piece);
        }
        std::hint::black_box(hasher.finalize());
        Ok(sample(bytes, started))
    })
    .await?
}

/// MiB/s of writing this many bytes to one file, 1 MiB at a time, and one fsync at the end.
pub(super) async fn disk(content: &Content, data: PathBuf, bytes: u64) -> Result<Sample> {
    let base = content.base();
    spawn_blocking(move || {
        let mut file: File = tempfile::tempfile_in(data)?;
        let started = Instant::now();
        for piece in pieces(&base, bytes) {
            file.write_all(piece)?;
        }
        file.sync_all()?;
        Ok(sample(bytes, started))
    })
    .await?
}

fn pieces(base: &Arc<Vec<u8>>, bytes: u64) -> impl Iterator<Item = &[u8]> {
    base.chunks(1 << 20).cycle().take((bytes >> 20) as usize)
}

fn sample(bytes: u64, started: Instant) -> Sample {
    let amount = (bytes >> 20) as f64;
    Sample {
        value: amount / started.elapsed().as_secs_f64(),
        amount,
        ..Sample::default()
    }
}
