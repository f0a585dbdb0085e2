//! Users from an Apache password file.

mod argon2;
mod file;
mod refusal;
mod threads;
mod users;
mod work;

use std::collections::BTreeSet;
use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use registry_core::{Error, ErrorKind, Randomness, Result, SystemRandomness};

use self::users::{Fingerprints, Known, Users};
use self::work::Workers;
use crate::watched_file::WatchedFile;
use crate::{
    Authenticator, Caller, Credentials, Principal, PrincipalKind, Secret, Standing,
    wrong_credentials,
};

/// The longest password in bytes where the hash is bcrypt, which ignores what
/// comes behind it: a longer one is always wrong.
pub const PASSWORD_MAX: usize = 72;

/// The longest file that is read, in bytes.
const FILE_MAX: u64 = 16 << 20;

/// The users of a file made by `htpasswd -B`.
///
/// Every line is `user:hash`; empty lines and those that start with `#` are
/// skipped. A hash is bcrypt (`$2a$`, `$2b$` or `$2y$`) with a cost from 4 to
/// 14, or argon2id (`$argon2id$v=19$m=65536,t=3,p=4$…`, as the program `argon2`
/// prints it with `-id -e`) of 32 bytes, with at most 256 MiB of memory, 10
/// passes and 4 lanes. Other kinds are refused: they are quickly guessed, or
/// take so much work that logins would be a way to stop the program.
///
/// A change of the file takes effect as a whole: within about a second if another
/// file is renamed to it or swapped behind a symbolic link, and if it is written in
/// place, as `htpasswd` does, once it has stayed the same for five seconds.
/// While it is missing, empty or malformed, the users known before stay, and
/// the log says why. It warns of a change with which users are gone.
///
/// Checking a password is expensive on purpose, in time and, with argon2id, in
/// memory. It is done by at most half of the processors, on threads that yield
/// to others where the system can be told so (Linux), and a password found right
/// is remembered for two minutes by a fingerprint under a key that never leaves
/// the process. When too many wait,
/// [`TooManyRequests`](registry_core::ErrorKind::TooManyRequests) is the
/// answer.
///
/// Each refusal takes the same work, whatever is wrong: that of the dearest hash of
/// the file. With bcrypt and argon2id, or with argon2id of several costs, it is that
/// of each kind together, so it is best to have all hashes alike.
///
/// It needs a Tokio runtime.
pub struct Htpasswd {
    users: WatchedFile<Users>,
    fingerprints: Fingerprints,
    workers: Workers,
}

impl Htpasswd {
    /// Reads the users of the file at `path`.
    ///
    /// It blocks while it reads; the file is small.
    ///
    /// # Errors
    ///
    /// If the file can't be read, names no user, or has malformed lines, of which
    /// the error tells, each in a line of its own.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::with_randomness(path, &SystemRandomness)
    }

    /// The same with fingerprints under a key from `randomness`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and if there is no randomness.
    pub fn with_randomness(path: impl Into<PathBuf>, randomness: &dyn Randomness) -> Result<Self> {
        let path = path.into();
        let name = path.display().to_string();
        let is_missing = |error: &Error| {
            let source = error.source().and_then(|source| source.downcast_ref());
            source.is_some_and(|source: &io::Error| source.kind() == io::ErrorKind::NotFound)
        };
        let shown = name.clone();
        let parse = move |content: &[u8]| Users::parse(&shown, content);
        let users =
            WatchedFile::open_compared("password file", path, parse, Users::missed_in, FILE_MAX);
        let users = users.map_err(|error| {
            if is_missing(&error) {
                let advice = format!(
                    "there is no password file {name}; make it with `htpasswd -cB {name} USER`"
                );
                return ErrorKind::Unavailable.error(advice);
            }
            error
        })?;
        Ok(Self {
            users,
            fingerprints: Fingerprints::new(randomness)?,
            workers: Workers::new(),
        })
    }

    /// The names of the users, as the file was when somebody looked last.
    pub fn names(&self) -> BTreeSet<String> {
        self.users.now().names().map(str::to_owned).collect()
    }

    async fn check(
        &self,
        user: &str,
        password: &Secret,
        caller: &Caller<'_>,
    ) -> Result<Option<Principal>> {
        let users = self.users.current().await;
        let known = users.get(user);
        if known.is_some() {
            caller.know_name();
        }
        let principal = known.map(|known| known.principal(user));
        let is_let_in = principal.as_ref().is_none_or(|known| caller.lets_in(known));
        let fingerprint = self.fingerprints.of(user, password);
        // What was found out before would tell that it is right.
        let is_verified = |known: &Arc<Known>| is_let_in && known.is_verified(&fingerprint);
        if known.is_some_and(is_verified) {
            return Ok(principal);
        }
        caller.admit()?;
        let work = users.work(known.map(AsRef::as_ref), is_let_in);
        if work.is_any(password) {
            let place = self.workers.place().await?;
            // While this waited, somebody else may have checked the same.
            if known.is_some_and(is_verified) {
                return Ok(principal);
            }
            if place.check(work, password.clone()).await? {
                if is_let_in && let Some(known) = known {
                    known.set_verified(fingerprint);
                }
                return Ok(principal);
            }
        }
        known.map_or(Ok(None), |_| Err(wrong_credentials()))
    }
}

#[async_trait]
impl Authenticator for Htpasswd {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        match caller.credentials {
            Credentials::Basic { user, password } => self.check(user, password, caller).await,
            _ => Ok(None),
        }
    }

    fn source(&self) -> &'static str {
        "htpasswd"
    }

    async fn standing(&self, principal: &Principal) -> Result<Standing> {
        let users = self.users.current().await;
        let known = match principal.kind() {
            PrincipalKind::User => users.get(principal.name()),
            _ => None,
        };
        Ok(known.map_or(Standing::Gone, |known| {
            Standing::Current(known.principal(principal.name()))
        }))
    }
}

impl fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Htpasswd")
            .field("users", &self.users)
            .finish_non_exhaustive()
    }
}
