//! Events: what happened, for whoever wants to know.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Digest, MediaType, RepositoryName, Result, Tag};

/// What was done.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventAction {
    /// Content was pushed.
    Push,
    /// Content was pulled. Such events are not committed anywhere, since a
    /// pull writes nothing: they come from [`Observe::pulls`](crate::Observe::pulls).
    Pull,
    /// A blob was taken over from another repository.
    Mount,
    /// Content or a tag was removed.
    Delete,
}

/// What it was done to.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventTarget {
    /// A blob.
    Blob {
        /// Its digest.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A manifest.
    Manifest {
        /// Its digest.
        digest: Digest,
        /// Its media type.
        media_type: MediaType,
        /// Its size in bytes.
        size: u64,
        /// The tags named with it; of a manifest that was removed, the tags
        /// that pointed to it and are gone, too: the first hundred.
        tags: Vec<Tag>,
        /// Whether there were more of those than are named.
        #[serde(default)]
        more_tags: bool,
    },
    /// A tag alone.
    Tag {
        /// Its name.
        tag: Tag,
        /// The manifest it pointed to.
        digest: Digest,
    },
}

/// Something that happened in a repository.
///
/// Events about changes are committed together with the change and delivered
/// at least once, in the order of the changes: a receiver that must not act
/// twice remembers the identities it has seen. Events about pulls are made when
/// somebody listens, and may be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The identity of the event: a UUID.
    pub id: String,
    /// When it happened.
    #[serde(with = "milliseconds")]
    pub at: SystemTime,
    /// What was done.
    pub action: EventAction,
    /// Where.
    pub repository: RepositoryName,
    /// To what.
    pub target: EventTarget,
    /// The repository that a mounted blob came from, if one was named.
    pub from: Option<RepositoryName>,
    /// Who did it; absent if anonymous.
    pub actor: Option<String>,
}

/// Receives events.
#[async_trait]
pub trait EventSink: fmt::Debug + Send + Sync + 'static {
    /// What it is called where its events are measured: the label `endpoint`
    /// of `registry_notifications_events_total` and its like.
    #[allow(
        clippy::unnecessary_literal_bound,
        reason = "others read it from a configuration"
    )]
    fn name(&self) -> &str {
        "listener"
    }

    /// Takes an event over. Once this returns, it isn't offered again.
    ///
    /// # Errors
    ///
    /// Any error: the event is offered again later, and those behind it wait.
    async fn deliver(&self, event: &Event) -> Result<()>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: EventSink + ?Sized> EventSink for Arc<S> {
    fn name(&self) -> &str {
        (**self).name()
    }

    async fn deliver(&self, event: &Event) -> Result<()> {
        (**self).deliver(event).await
    }
}

/// Points in time as milliseconds since 1970.
mod milliseconds {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        at: &SystemTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SystemTime, D::Error> {
        let millis = u64::deserialize(deserializer)?;
        UNIX_EPOCH
            .checked_add(Duration::from_millis(millis))
            .ok_or_else(|| serde::de::Error::custom("the point in time is out of range"))
    }
}
