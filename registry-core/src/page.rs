//! Long lists, a page at a time.

/// Which part of a list is wanted.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// At most this many items; as many as the registry likes if absent.
    /// Zero asks for none.
    pub limit: Option<usize>,
    /// Only items behind this position, which itself needn't exist.
    pub after: Option<String>,
}

impl PageRequest {
    /// The first page of at most `limit` items.
    pub fn first(limit: usize) -> Self {
        Self {
            limit: Some(limit),
            after: None,
        }
    }

    /// Sets how many items are wanted.
    pub fn limit(mut self, limit: Option<usize>) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the position behind which they lie.
    pub fn after(mut self, after: Option<String>) -> Self {
        self.after = after;
        self
    }
}

/// A part of a list, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The position to go on from, if there may be more items. Where much has to be
    /// left out it needn't be the last item, and is not for clients to read.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// A page that is the whole list.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}
