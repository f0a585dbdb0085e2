//! What the machine itself can do, measured in the same rounds as the servers.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::fs::OFlags;
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

/// MiB/s of writing this many bytes to one file and one fsync at the end, in the faster of two ways: through the system's
/// cache, and past it.
pub(super) async fn disk(content: &Content, data: PathBuf, bytes: u64) -> Result<Sample> {
    let base = content.base();
    spawn_blocking(move || {
        let mut file: File = tempfile::tempfile_in(&data)?;
        let started = Instant::now();
        for piece in pieces(&base, bytes) {
            file.write_all(piece)?;
        }
        file.sync_all()?;
        let cached = sample(bytes, started);
        drop(file);
        let direct = directly(&base, &data, bytes)?;
        Ok(direct
            .filter(|direct| direct.value > cached.value)
            .unwrap_or(cached))
    })
    .await?
}

/// `None` where the file system can't do it.
fn directly(base: &[u8], data: &Path, bytes: u64) -> Result<Option<Sample>> {
    // Both are what any disk is content with.
    const ALIGNMENT: usize = 4 << 10;
    const PIECE: usize = 4 << 20;
    let mut memory = vec![0; PIECE + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let piece = memory
        .get_mut(start..)
        .and_then(|memory| memory.get_mut(..PIECE))
        .context("no memory")?;
    for (to, from) in piece.iter_mut().zip(base.iter().cycle()) {
        *to = *from;
    }
    let file = tempfile::tempfile_in(data)?;
    let flags = rustix::fs::fcntl_getfl(&file)? | OFlags::DIRECT;
    if rustix::fs::fcntl_setfl(&file, flags).is_err() {
        return Ok(None);
    }
    let started = Instant::now();
    for _ in 0..bytes / PIECE as u64 {
        match (&file).write_all(piece) {
            Err(error) if error.kind() == ErrorKind::InvalidInput => return Ok(None),
            written => written?,
        }
    }
    file.sync_all()?;
    Ok(Some(sample(bytes, started)))
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
