//! The file with what was found damaged, for those who open the directory later.
//!
//! It has a line for each content: its digest, and the upload that brought the
//! bytes. Bytes that are pushed later come from another one, so that a line which
//! is out of date says nothing about them.

use std::io::{self, Read, Write};
use std::path::Path;

use registry_core::{Error, ErrorKind, Result};

use super::Engine;
use super::read_back::blocking;
use crate::BlobKey;
use crate::directory::{private_file, sync};

const NAME: &str = "damaged";

/// What is made before it takes the place of the file.
const DRAFT: &str = "damaged.draft";

/// Longer than a file with as many as are remembered.
const LONGEST: u64 = 4 << 20;

/// What the file in `root` names. One that can't be read names nothing: damage is
/// found again by reading.
pub(super) fn read(root: &Path) -> Vec<BlobKey> {
    let text = std::fs::File::open(root.join(NAME)).and_then(|file| {
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text)?;
        Ok(text)
    });
    match text {
        Ok(text) => text.lines().filter_map(parse).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!(%error, "the list of damaged content can't be read");
            Vec::new()
        }
    }
}

fn parse(line: &str) -> Option<BlobKey> {
    let (digest, generation) = line.split_once(' ')?;
    Some(BlobKey {
        digest: digest.parse().ok()?,
        generation: generation.parse().ok()?,
    })
}

fn write(root: &Path, keys: &[BlobKey]) -> io::Result<()> {
    let draft = root.join(DRAFT);
    let mut options = private_file();
    options.write(true).create(true).truncate(true);
    let mut file = options.open(&draft)?;
    let lines = keys
        .iter()
        .map(|key| format!("{} {}\n", key.digest, key.generation));
    file.write_all(lines.collect::<String>().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, root.join(NAME))?;
    sync(root)
}

impl Engine {
    /// Lets whoever opens this directory later know what was found damaged or
    /// missing until now, so that it counts as absent for those who push. Does
    /// nothing for an engine that isn't in a directory.
    ///
    /// It is told of ten thousand contents at most.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the directory can't be written to; those of
    /// the metadata store.
    pub async fn keep_damages(&self) -> Result<()> {
        let Some(root) = self.inner.root.clone() else {
            return Ok(());
        };
        let mut keys = Vec::new();
        for key in self.inner.damages.keys() {
            let now = self.live_content(&key.digest).await?;
            if now.is_some_and(|now| now.key == key) {
                keys.push(key);
            }
        }
        blocking(move || write(&root, &keys))
            .await?
            .map_err(unwritable)
    }
}

fn unwritable(source: io::Error) -> Error {
    ErrorKind::Unavailable
        .error("the list of damaged content can't be written; see to the directory")
        .with_source(source)
}
