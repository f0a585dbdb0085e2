//! A few connections to one directory.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use registry_core::{Error, ErrorKind};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::connection::{Connection, Failure};
use super::message::{Entry, Outcome, SUCCESS, Search};
use super::server::Server;
use crate::Secret;
use crate::kept_secret::KeptSecret;

/// How many connections there are at most.
const CONNECTIONS: usize = 4;

/// How many of them logins have at most: anybody may try one, and however many do,
/// whoever has proven who they are is still looked up.
const LOGIN_CONNECTIONS: usize = 3;

/// How many may wait for a connection in each of the two lines.
const QUEUE_MAX: usize = 64;

/// How long a connection is kept for the next one who needs it. Whatever stands
/// between the directory and this machine forgets it sooner or later, without a
/// word.
const IDLE: Duration = Duration::from_mins(1);

/// Connections to a directory, at most four.
pub(super) struct Pool {
    server: Server,
    /// Who searches, if that isn't for everybody.
    searcher: Option<(String, KeptSecret)>,
    logins: Line,
    standings: Line,
    connections: Semaphore,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// A password of anybody's.
    Login,
    /// What has become of somebody who has proven who they are.
    Standing,
}

/// Those who wait for a connection for one purpose, or have it.
struct Line {
    admitted: Semaphore,
    running: Semaphore,
}

impl Line {
    /// Has at most so many `connections`.
    fn new(connections: usize) -> Self {
        Self {
            admitted: Semaphore::new(connections.saturating_add(QUEUE_MAX)),
            running: Semaphore::new(connections),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The directory gives none.
    Failed(Failure),
    /// Too many ask.
    Crowded,
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Unanswered> for Error {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Failed(failure) => ErrorKind::Unavailable
                .error("the directory of users can't be asked now; try again later")
                .with_source(failure),
            Unanswered::Crowded => ErrorKind::TooManyRequests
                .error("too much is asked of the directory of users; try again in a second")
                .with_retry_after(Duration::from_secs(1)),
        }
    }
}

/// The right to use one connection. If it isn't [released](Self::release), the
/// connection ends: an answer may be outstanding.
pub(super) struct Session<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
    _admitted: SemaphorePermit<'a>,
    _running: SemaphorePermit<'a>,
    _connected: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(server: Server, searcher: Option<(String, KeptSecret)>) -> Self {
        Self {
            server,
            searcher,
            logins: Line::new(LOGIN_CONNECTIONS),
            standings: Line::new(CONNECTIONS),
            connections: Semaphore::new(CONNECTIONS),
            idle: Mutex::default(),
        }
    }

    /// Waits for a connection, in the line of its purpose. Of each line only as many
    /// as may have one wait for the connections themselves, so neither holds up the
    /// other for long.
    pub(super) async fn session(&self, purpose: Purpose) -> Result<Session<'_>, Unanswered> {
        let line = match purpose {
            Purpose::Login => &self.logins,
            Purpose::Standing => &self.standings,
        };
        let admitted = line
            .admitted
            .try_acquire()
            .map_err(|_| Unanswered::Crowded)?;
        Ok(Session {
            pool: self,
            connection: None,
            _admitted: admitted,
            _running: place(&line.running).await?,
            _connected: place(&self.connections).await?,
        })
    }

    /// One that was used a moment ago, if there is one: to a directory for which
    /// somebody still vouches.
    async fn idle(&self) -> Option<Connection> {
        let trust = self.server.trust().await;
        let mut idle = self.lock();
        idle.retain(|(connection, since)| {
            since.elapsed() < IDLE && connection.is_trusted_by(trust.as_ref())
        });
        idle.pop().map(|(connection, _)| connection)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for one of these places.
async fn place(places: &Semaphore) -> Result<SemaphorePermit<'_>, Unanswered> {
    places.acquire().await.map_err(|_| Unanswered::Crowded)
}

impl Session<'_> {
    /// The entries that are found, and whether that is all of them.
    pub(super) async fn search(
        &mut self,
        search: &Search<'_>,
    ) -> Result<(Vec<Entry>, bool), Failure> {
        loop {
            let used = match self.connection.take() {
                Some(connection) => Some(connection),
                None => self.pool.idle().await,
            };
            let was_used = used.is_some();
            let mut connection = match used {
                Some(connection) => connection,
                None => Connection::open(&self.pool.server).await?,
            };
            match self.search_on(&mut connection, search).await {
                Ok(found) => {
                    self.connection = Some(connection);
                    return Ok(found);
                }
                // The directory may have ended it in the meantime.
                Err(Failure::Broken(_) | Failure::Confused(_)) if was_used => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn search_on(
        &self,
        connection: &mut Connection,
        search: &Search<'_>,
    ) -> Result<(Vec<Entry>, bool), Failure> {
        if !connection.may_search {
            let outcome = match &self.pool.searcher {
                None => connection.bind("", "").await?,
                Some((name, password)) => {
                    let password = password.current().await;
                    connection.bind(name, password.expose()).await?
                }
            };
            if outcome.code != SUCCESS {
                return Err(Failure::Refused("the login of who searches", outcome));
            }
            connection.may_search = true;
        }
        connection.search(search).await
    }

    /// Logs in as somebody who was found, and says what came of it.
    pub(super) async fn bind(&mut self, name: &str, password: &Secret) -> Result<Outcome, Failure> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.pool.server).await?),
        };
        connection.bind(name, password.expose()).await
    }

    /// Leaves the connection to the next one. Everything that was asked is
    /// answered.
    pub(super) fn release(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.lock().push((connection, Instant::now()));
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("server", &format_args!("{}", self.server))
            .field("searcher", &self.searcher)
            .finish_non_exhaustive()
    }
}
