//! The memory for large answers, until their clients have taken them.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::places::{NoPlace, Place, Places};

/// The unit of memory. An answer up to this size needs no share of it.
pub(crate) const STEP: usize = 64 << 10;

/// The memory of one service. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct AnswerMemory {
    places: Places,
    /// In units of [`STEP`].
    max: usize,
    /// Told whenever some of it becomes free.
    freed: Arc<Notify>,
}

/// The memory of one answer; free again once dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    place: Option<Place>,
    /// For how many bytes.
    room: usize,
    freed: Arc<Notify>,
}

impl AnswerMemory {
    /// So many bytes, of which a household gets no more than `share` times as
    /// many as are free.
    pub(crate) fn new(bytes: usize, share: Option<u32>) -> Self {
        let max = bytes.div_ceil(STEP).max(1);
        Self {
            places: Places::new(max, share),
            max,
            freed: Arc::default(),
        }
    }

    /// Memory for an answer of `bytes` bytes to `household`.
    pub(crate) fn take(&self, bytes: usize, household: Option<IpAddr>) -> Result<Hold, NoPlace> {
        // One that is larger than all there is gets all, so that it has room at
        // some time.
        let count = bytes.div_ceil(STEP).min(self.max);
        let place = self.places.take_several(count, household)?;
        Ok(Hold {
            place: Some(place),
            room: bytes,
            freed: Arc::clone(&self.freed),
        })
    }

    /// The same, once there is some. What there was none for is noted in
    /// `none`.
    pub(crate) async fn wait(
        &self,
        bytes: usize,
        household: Option<IpAddr>,
        none: &mut NoPlace,
    ) -> Hold {
        loop {
            let mut freed = pin!(self.freed.notified());
            // From now on nothing that becomes free is missed.
            freed.as_mut().enable();
            match self.take(bytes, household) {
                Ok(hold) => return hold,
                Err(why) => *none = why,
            }
            freed.await;
        }
    }
}

impl Hold {
    /// For how many bytes there is room.
    pub(crate) fn room(&self) -> usize {
        self.room
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.place = None;
        self.freed.notify_waiters();
    }
}
