//! Listings in the order of the keys.

use std::collections::BTreeSet;
use std::io;

use registry_core::{Algorithm, Result, UploadId};

use super::layout;
use super::staged::absent;
use super::store::{Store, failed};
use crate::{BlobKey, StoredBlob};

/// The smallest `limit` of the things told so far.
struct Smallest<T> {
    limit: usize,
    found: BTreeSet<T>,
}

impl<T: Ord> Smallest<T> {
    fn new(limit: usize) -> Self {
        let found = BTreeSet::new();
        Self { limit, found }
    }

    fn add(&mut self, thing: T) {
        self.found.insert(thing);
        if self.found.len() > self.limit {
            self.found.pop_last();
        }
    }
}

pub(super) fn staged(
    store: &Store,
    after: Option<UploadId>,
    limit: usize,
) -> Result<Vec<UploadId>> {
    let mut page = Smallest::new(limit);
    let mut each = |name: &str| {
        if let Ok(upload) = name.parse::<UploadId>()
            && after.is_none_or(|after| upload > after)
        {
            page.add(upload);
        }
    };
    let told = store.files.names(layout::staging(), &mut each);
    told.map_err(|source| failed("the uploads could not be listed", source))?;
    Ok(page.found.into_iter().collect())
}

/// A page costs as much as the fan-out directories that it touches.
pub(super) fn stored(
    store: &Store,
    after: Option<BlobKey>,
    limit: usize,
) -> Result<Vec<StoredBlob>> {
    let mut page = Vec::new();
    let start = after.map(|after| (after.digest.algorithm(), layout::first(&after)));
    let directories = layout::ALGORITHMS
        .into_iter()
        .flat_map(|algorithm| (0..=u8::MAX).map(move |first| (algorithm, first)))
        .filter(|directory| start.is_none_or(|start| *directory >= start));
    for directory in directories {
        if page.len() >= limit {
            break;
        }
        in_directory(store, directory, after, limit, &mut page)
            .map_err(|source| failed("the blobs could not be listed", source))?;
    }
    Ok(page)
}

/// Adds what a fan-out directory holds to the page, until it is full.
fn in_directory(
    store: &Store,
    (algorithm, first): (Algorithm, u8),
    mut after: Option<BlobKey>,
    limit: usize,
    page: &mut Vec<StoredBlob>,
) -> io::Result<()> {
    let directory = layout::fan_out(algorithm, first);
    loop {
        let mut keys = Smallest::new(limit.saturating_sub(page.len()));
        let told = store.files.names(&directory, &mut |name| {
            if let Some(key) = layout::key(algorithm, first, name)
                && after.is_none_or(|after| key > after)
            {
                keys.add(key);
            }
        });
        // The directory is made when its first blob comes.
        absent(told)?;
        let Some(last) = keys.found.last().copied() else {
            return Ok(());
        };
        let more = keys.found.len() == keys.limit;
        for key in keys.found {
            match store.files.size(&layout::blob(&key)) {
                Ok(size) => page.push(StoredBlob { key, size }),
                // Deleted meanwhile, or put there by somebody else.
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if !more || page.len() >= limit {
            return Ok(());
        }
        after = Some(last);
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData
    )
}
