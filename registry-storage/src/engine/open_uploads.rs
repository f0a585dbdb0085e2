//! Which uploads may be open at once, and whose.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use registry_core::{
    Access, Action, Actor, ErrorKind, Hasher, RepositoryName, Result, Upload, UploadId,
    UploadOptions, UploadOwner,
};

use super::session::Session;
use super::uploads::{interrupted, upload_at};
use super::{Engine, gone, same_repository};
use crate::{Batch, Change, CommitError, Requirement, UploadRecord};

/// How long an upload that holds nothing has to be left alone to make room for
/// another one. Clients send what they have right after they began, and whoever
/// just begins uploads must not close a repository to everyone else.
const ABANDONED_EMPTY: Duration = Duration::from_secs(10);

/// One that holds bytes is left alone for as much longer as it takes to send them
/// again at so many a second. What a client could lose is worth waiting for, and
/// nobody holds much room for long who hasn't sent much.
const SENT_AGAIN: u64 = 16 << 10;

/// How long any upload has to receive nothing to make room for another one.
const ABANDONED: Duration = Duration::from_hours(1);

/// When to come back if all that are open are being sent.
const ALL_SENT: Duration = Duration::from_mins(1);

/// Who begins uploads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Caller {
    /// A user or robot.
    Name(String),
    /// Anybody from there.
    Address(IpAddr),
}

impl Caller {
    /// Who is behind an operation; nobody in particular if it is the program's
    /// own.
    fn of(actor: &Actor) -> Option<Self> {
        if let Some(name) = &actor.name {
            return Some(Self::Name(name.clone()));
        }
        let address = actor.request.as_ref()?.address?;
        Some(Self::Address(match address.to_canonical() {
            // Whoever has one address has all that begin so.
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
            }
            address @ IpAddr::V4(_) => address,
        }))
    }
}

/// The uploads that this process began and that are open, as far as it knows.
/// Some may have ended without its notice; none that is open is missing.
#[derive(Debug, Default)]
pub(super) struct OpenUploads(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    repositories: HashMap<RepositoryName, HashMap<UploadId, Begun>>,
    /// Where each of them is.
    places: HashMap<UploadId, RepositoryName>,
}

#[derive(Debug)]
struct Begun {
    caller: Option<Caller>,
    /// Whether it is on record, unless it ended since. Until then it may be yet
    /// to come.
    settled: bool,
}

/// An upload's place among those that may be open.
#[derive(Debug)]
struct Place {
    repository: RepositoryName,
    id: UploadId,
    caller: Option<Caller>,
    /// That the repository is the one that it was granted in.
    same: Option<Requirement>,
}

impl OpenUploads {
    /// Takes a place of `max`, unless its caller has more than `share` times as
    /// many as are free.
    fn take(&self, place: &Place, max: u64, share: u32) -> bool {
        let mut open = self.lock();
        if let (Some(caller), Some(uploads)) =
            (&place.caller, open.repositories.get(&place.repository))
        {
            let is_theirs = |begun: &&Begun| begun.caller.as_ref() == Some(caller);
            let held = uploads.values().filter(is_theirs).count() as u64;
            let free = max.saturating_sub(uploads.len() as u64);
            let most = free.saturating_mul(share.into());
            // Who has none yet gets one, if there is one.
            if held > 0 && held.saturating_add(1) > most {
                return false;
            }
        }
        open.enter(place);
        true
    }

    fn enter(&self, place: &Place) {
        self.lock().enter(place);
    }

    /// Takes note that the outcome of the commit is known, or never will be.
    fn settle(&self, place: &Place) {
        let mut open = self.lock();
        let uploads = open.repositories.get_mut(&place.repository);
        if let Some(begun) = uploads.and_then(|uploads| uploads.get_mut(&place.id)) {
            begun.settled = true;
        }
    }

    /// Those of a repository that have begun, and whether they are `caller`'s.
    fn list(&self, repository: &RepositoryName, caller: Option<&Caller>) -> Vec<(UploadId, bool)> {
        let open = self.lock();
        let uploads = open.repositories.get(repository).into_iter().flatten();
        uploads
            .filter(|(_, begun)| begun.settled)
            .map(|(id, begun)| (*id, begun.caller.as_ref() == caller))
            .collect()
    }

    /// Takes note of what ended.
    pub(super) fn end(&self, ended: Ended) {
        if ended.uploads.is_empty() && ended.repositories.is_empty() {
            return;
        }
        let mut open = self.lock();
        for id in ended.uploads {
            open.leave(&id);
        }
        for repository in ended.repositories {
            let uploads = open.repositories.get(&repository).into_iter().flatten();
            let settled = uploads.filter(|(_, begun)| begun.settled);
            for id in settled.map(|(id, _)| *id).collect::<Vec<_>>() {
                open.leave(&id);
            }
        }
    }

    fn leave(&self, id: &UploadId) {
        self.lock().leave(id);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn enter(&mut self, place: &Place) {
        let repository = place.repository.clone();
        self.places.insert(place.id, repository.clone());
        let uploads = self.repositories.entry(repository).or_default();
        let begun = Begun {
            caller: place.caller.clone(),
            settled: false,
        };
        uploads.insert(place.id, begun);
    }

    fn leave(&mut self, id: &UploadId) {
        let Some(repository) = self.places.remove(id) else {
            return;
        };
        if let Some(uploads) = self.repositories.get_mut(&repository) {
            uploads.remove(id);
            if uploads.is_empty() {
                self.repositories.remove(&repository);
            }
        }
    }
}

/// The uploads that a batch ends.
#[derive(Debug, Default)]
pub(super) struct Ended {
    uploads: Vec<UploadId>,
    repositories: Vec<RepositoryName>,
}

impl Ended {
    pub(super) fn by(batch: &Batch) -> Self {
        let mut ended = Self::default();
        for change in &batch.changes {
            match change {
                Change::DeleteUpload { id } => ended.uploads.push(*id),
                Change::DeleteRepository { repository, .. } => {
                    ended.repositories.push(repository.clone());
                }
                _ => {}
            }
        }
        ended
    }
}

/// What has to give way for an upload to begin.
enum Room {
    /// Nothing, unless others fill the repository.
    Free,
    /// One of its caller's own, which are these.
    OfTheirOwn(Vec<UploadRecord>),
}

impl Engine {
    pub(super) async fn begin_upload(
        &self,
        access: &Access,
        options: UploadOptions,
    ) -> Result<Upload> {
        access.require(Action::Push)?;
        let id = self.new_id()?;
        let record = UploadRecord {
            id,
            repository: access.repository().clone(),
            owner: Some(UploadOwner::of(access.actor())),
            offset: 0,
            hasher: Hasher::new(options.algorithm.unwrap_or_default()).state(),
            active_at: self.steady_now().await?,
            incarnation: self.incarnation()?,
        };
        let place = Place {
            repository: access.repository().clone(),
            id,
            caller: Caller::of(access.actor()),
            same: same_repository(access),
        };
        let engine = self.clone();
        // On a task of its own, so that the upload of a client that goes away
        // meanwhile is counted if it is there.
        let begin = tokio::spawn(async move { engine.begin(place, record).await });
        begin.await.map_err(interrupted)?
    }

    async fn begin(&self, place: Place, record: UploadRecord) -> Result<Upload> {
        let upload = Upload {
            id: place.id,
            offset: 0,
        };
        let room = self.room_for(&place).await?;
        if matches!(room, Room::Free) {
            let batch = Batch {
                require: self.require_room(&place, 0),
                changes: vec![Change::PutUpload(record.clone())],
                durable: false,
            };
            if self.commit_begun(&place, batch).await? {
                return Ok(upload);
            }
        }
        let reason = match room {
            Room::Free => "too many uploads are open in this repository; finish or cancel some",
            Room::OfTheirOwn(_) => {
                "too many of the uploads that are open in this repository are yours; finish or \
                 cancel some"
            }
        };
        let too_many = |wait| {
            ErrorKind::TooManyRequests
                .error(reason)
                .with_retry_after(wait)
        };
        let among = match room {
            Room::OfTheirOwn(uploads) => uploads,
            Room::Free => self.uploads_in(&place.repository).await?,
        };
        let now = self.steady_now().await?;
        let wait = until_abandoned(&among, now);
        // One that nobody goes on with makes room, so that nobody can close a
        // repository to everyone else by leaving uploads behind.
        let Some((_session, abandoned)) = self.abandoned_upload(among, now).await? else {
            return Err(too_many(wait));
        };
        let mut require = self.require_room(&place, 1);
        require.push(upload_at(&abandoned));
        let batch = Batch {
            require,
            changes: vec![
                Change::DeleteUpload { id: abandoned.id },
                Change::PutUpload(record),
            ],
            durable: false,
        };
        if self.options().upload_share.is_some() {
            self.inner.open_uploads.enter(&place);
        }
        if !self.commit_begun(&place, batch).await? {
            // Others took the room.
            return Err(too_many(wait));
        }
        // The new one has begun: whatever stays costs space and nothing else.
        if let Err(error) = self.blobs().discard(&abandoned.id).await {
            tracing::warn!(upload = %abandoned.id, %error, "the bytes of an abandoned upload stay");
        }
        Ok(upload)
    }

    /// Puts an upload on record that has its place. Returns whether it is there:
    /// its place is gone if there was no room after all.
    async fn commit_begun(&self, place: &Place, batch: Batch) -> Result<bool> {
        let open = &self.inner.open_uploads;
        match self.commit(batch).await {
            Ok(()) => {
                open.settle(place);
                Ok(true)
            }
            Err(CommitError::Conflict(conflict)) => {
                open.leave(&place.id);
                if matches!(conflict, Requirement::EpochIs { .. }) {
                    return Err(gone());
                }
                Ok(false)
            }
            Err(CommitError::Refused(error)) => {
                open.leave(&place.id);
                Err(error)
            }
            // It may be there all the same.
            Err(CommitError::Failed(error)) => {
                open.settle(place);
                Err(error)
            }
        }
    }

    /// That the repository is the same, and that there is room in it, or will be once
    /// `ended` of the open uploads ended.
    fn require_room(&self, place: &Place, ended: u64) -> Vec<Requirement> {
        let mut require: Vec<_> = place.same.iter().cloned().collect();
        require.push(Requirement::UploadsBelow {
            repository: place.repository.clone(),
            count: self.options().max_uploads.saturating_add(ended),
        });
        require
    }

    /// Takes a place, if there is one for its caller.
    async fn room_for(&self, place: &Place) -> Result<Room> {
        let options = self.options();
        let open = &self.inner.open_uploads;
        let Some(share) = options.upload_share else {
            return Ok(Room::Free);
        };
        if open.take(place, options.max_uploads, share) {
            return Ok(Room::Free);
        }
        let mut own = Vec::new();
        for (id, is_own) in open.list(&place.repository, place.caller.as_ref()) {
            match self.metadata().upload(&id).await? {
                Some(record) if is_own => own.push(record),
                Some(_) => {}
                // It ended unnoticed, as when the outcome of a commit was unknown.
                None => open.leave(&id),
            }
        }
        if open.take(place, options.max_uploads, share) {
            return Ok(Room::Free);
        }
        Ok(Room::OfTheirOwn(own))
    }

    async fn uploads_in(&self, repository: &RepositoryName) -> Result<Vec<UploadRecord>> {
        let limit = usize::try_from(self.options().max_uploads).unwrap_or(usize::MAX);
        self.metadata().uploads(repository, None, limit).await
    }

    /// The one of these uploads that is missed least: one that received nothing
    /// for a while, which is the shorter the less it holds. An empty one if there
    /// is any, and of those the one whose while was over first.
    async fn abandoned_upload(
        &self,
        among: Vec<UploadRecord>,
        now: SystemTime,
    ) -> Result<Option<(Session, UploadRecord)>> {
        let mut idle: Vec<UploadRecord> = among
            .into_iter()
            .filter(|upload| abandoned_at(upload).is_some_and(|at| at < now))
            .collect();
        idle.sort_by_key(|upload| (upload.offset > 0, abandoned_at(upload)));
        for upload in idle {
            // Whoever writes to it right now keeps it.
            let Some(session) = self.inner.sessions.enter(upload.id) else {
                continue;
            };
            // It may have gone on since it was listed.
            let now = self.metadata().upload(&upload.id).await?;
            if now.as_ref() == Some(&upload) {
                return Ok(Some((session, upload)));
            }
        }
        Ok(None)
    }
}

/// From when on an upload may make room for another one, if it receives nothing
/// until then.
fn abandoned_at(upload: &UploadRecord) -> Option<SystemTime> {
    let again = Duration::from_secs(upload.offset.div_ceil(SENT_AGAIN));
    let patience = ABANDONED_EMPTY.saturating_add(again).min(ABANDONED);
    upload.active_at.checked_add(patience)
}

/// How long it takes until the first of these uploads can make room, if nobody
/// goes on with it.
fn until_abandoned(uploads: &[UploadRecord], now: SystemTime) -> Duration {
    let left = |upload| abandoned_at(upload)?.duration_since(now).ok();
    let soonest = uploads.iter().filter_map(left).min();
    soonest.unwrap_or(ALL_SENT).max(Duration::from_secs(1))
}
