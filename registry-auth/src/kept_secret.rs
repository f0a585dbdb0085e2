//! Secrets that are given, or are in a file that may change.

use std::path::PathBuf;
use std::sync::Arc;

use registry_core::{ErrorKind, Result};

use crate::Secret;
use crate::watched_file::WatchedFile;

/// The longest file that is read, in bytes.
const FILE_MAX: u64 = 64 << 10;

/// A secret that others have to know, too.
#[derive(Debug)]
pub(crate) enum KeptSecret {
    Given(Arc<Secret>),
    File(Box<WatchedFile<Secret>>),
}

impl KeptSecret {
    pub(crate) fn given(secret: Secret) -> Self {
        Self::Given(Arc::new(secret))
    }

    /// The one in the file at `path`, which is read anew when it changes; `what` it
    /// is, in messages. It blocks while it reads.
    ///
    /// # Errors
    ///
    /// If the file can't be read, is empty, or isn't text.
    pub(crate) fn file(what: &'static str, path: PathBuf) -> Result<Self> {
        let parse = move |content: &[u8]| parse(what, content);
        WatchedFile::open_secret(what, path, parse, FILE_MAX).map(|file| Self::File(Box::new(file)))
    }

    /// What it is now.
    pub(crate) async fn current(&self) -> Arc<Secret> {
        match self {
            Self::Given(secret) => Arc::clone(secret),
            Self::File(file) => file.current().await,
        }
    }
}

/// Most editors end a file with a line break.
fn parse(what: &str, content: &[u8]) -> Result<Secret> {
    let wrong = |reason: &str| ErrorKind::RequestInvalid.error(format!("the {what} {reason}"));
    let text = std::str::from_utf8(content).map_err(|_| wrong("isn't text; write it anew"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(wrong("is empty; write it into its file"));
    }
    Ok(Secret::new(text))
}
