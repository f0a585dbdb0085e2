//! Referrers, as many as fit.

use registry_core::{Descriptor, Page};

/// A page of referrers that is being filled. It ends before it grows beyond
/// its limits, but for a first referrer that is larger by itself.
#[derive(Debug)]
pub(crate) struct ReferrerPage {
    items: Vec<Descriptor>,
    bytes: usize,
    limit: usize,
    max_bytes: usize,
    more: bool,
}

impl ReferrerPage {
    pub(crate) fn new(limit: usize, max_bytes: usize) -> Self {
        Self {
            items: Vec::new(),
            bytes: 0,
            limit,
            max_bytes,
            more: false,
        }
    }

    /// Takes one more. Returns false, and takes nothing, if the page is full.
    pub(crate) fn push(&mut self, referrer: Descriptor) -> bool {
        let bytes = self.bytes.saturating_add(listed_size(&referrer));
        let fits = bytes <= self.max_bytes || self.items.is_empty();
        if self.items.len() >= self.limit || !fits {
            self.more = true;
            return false;
        }
        self.bytes = bytes;
        self.items.push(referrer);
        true
    }

    pub(crate) fn finish(self) -> Page<Descriptor> {
        let last = self.items.last().filter(|_| self.more);
        let next = last.map(|last| last.digest.to_string());
        Page {
            items: self.items,
            next,
        }
    }
}

/// About how many bytes a descriptor takes in a list.
pub(crate) fn listed_size(descriptor: &Descriptor) -> usize {
    let annotations: usize = descriptor
        .annotations
        .iter()
        .map(|(key, value)| key.len().saturating_add(value.len()).saturating_add(8))
        .fold(0, usize::saturating_add);
    annotations
        .saturating_add(descriptor.artifact_type.as_ref().map_or(0, String::len))
        .saturating_add(descriptor.media_type.as_str().len())
        .saturating_add(256)
}
