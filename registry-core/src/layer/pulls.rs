//! Events about pulls.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;
use futures::channel::mpsc;

use super::observe::{Deed, Observation, Observe, Observer};
use crate::{
    Clock, Event, EventAction, EventTarget, Randomness, Reference, SystemClock, SystemRandomness,
    UploadId,
};

/// Makes an [`Event`] of each pull, for whoever reads [`Pulls`].
#[derive(Clone)]
pub struct PullEvents {
    /// One sender for all: each further one would have room of its own.
    sender: Arc<Mutex<mpsc::Sender<Event>>>,
    dropped: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
}

/// Events about pulls: a stream. It ends when the registry is gone.
#[derive(Debug)]
pub struct Pulls {
    receiver: mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
}

impl Observe<PullEvents> {
    /// Makes an event of each manifest and blob, or part of one, that is
    /// fetched. Asking what is there is no pull.
    ///
    /// The events are those of [`EventSink`](crate::EventSink), so that one
    /// receiver can be told of pulls and changes alike. But a pull writes
    /// nothing, and these are never stored: at most `capacity` and one more wait
    /// to be read; while there is no room, or nobody reads any more, they are
    /// dropped and counted. No client waits for a reader.
    ///
    /// ```
    /// use futures::StreamExt;
    /// use registry_core::{EventSink, Observe, Registry, RegistryExt};
    ///
    /// fn told(registry: impl Registry, receiver: impl EventSink) -> impl Registry {
    ///     let (observe, mut pulls) = Observe::pulls(1024);
    ///     let tell = async move {
    ///         while let Some(event) = pulls.next().await {
    ///             if let Err(error) = receiver.deliver(&event).await {
    ///                 eprintln!("a pull went untold: {error}");
    ///             }
    ///         }
    ///     };
    ///     # let spawn = |_| ();
    ///     spawn(tell); // on the runtime of your choice
    ///     registry.layer(observe)
    /// }
    /// ```
    pub fn pulls(capacity: usize) -> (Self, Pulls) {
        let (sender, receiver) = mpsc::channel(capacity);
        let dropped = Arc::<AtomicU64>::default();
        let events = PullEvents {
            sender: Arc::new(Mutex::new(sender)),
            dropped: Arc::clone(&dropped),
            clock: Arc::new(SystemClock),
            randomness: Arc::new(SystemRandomness),
        };
        (Self::with(events), Pulls { receiver, dropped })
    }
}

impl PullEvents {
    fn event(&self, observation: &Observation) -> Option<Event> {
        let target = match &observation.deed {
            Deed::PullBlob { digest, size, .. } => EventTarget::Blob {
                digest: *digest,
                size: *size,
            },
            Deed::PullManifest {
                reference,
                manifest,
            } => EventTarget::Manifest {
                digest: manifest.digest,
                media_type: manifest.media_type.clone(),
                size: manifest.size,
                tags: match reference {
                    Reference::Tag(tag) => vec![tag.clone()],
                    Reference::Digest(_) => Vec::new(),
                },
                more_tags: false,
            },
            _ => return None,
        };
        let Ok(id) = self.randomness.bytes() else {
            self.drop_one();
            return None;
        };
        Some(Event {
            id: UploadId::from_random(id).to_string(),
            at: self.clock.now(),
            action: EventAction::Pull,
            repository: observation.repository.clone(),
            target,
            from: None,
            actor: observation.actor.name.clone(),
        })
    }

    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl Observer for PullEvents {
    fn observe(&self, observation: Observation) {
        let Some(event) = self.event(&observation) else {
            return;
        };
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.try_send(event).is_err() {
            self.drop_one();
        }
    }
}

impl fmt::Debug for PullEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullEvents")
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

impl Pulls {
    /// How many events were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Stream for Pulls {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        Pin::new(&mut self.receiver).poll_next(context)
    }
}
