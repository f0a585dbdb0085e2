//! API keys, and robots: accounts for programs.

mod kept;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use registry_core::{
    ErrorKind, Expected, Page, PageRequest, Records, RepositoryName, Result, Scopes,
};
use tokio::sync::Semaphore;

use self::kept::{KeptKey, KeptRobot, nanoseconds, seconds, time};
use self::text::KeyText;
use crate::token_server::{holder_key, identity};
use crate::{Credentials, Principal, PrincipalKind, Secret, Standing, wrong_credentials};

/// The [source](crate::Authenticator::source) of robots.
pub(crate) const SOURCE: &str = "keys";

/// The most keys of one owner.
const KEYS_MAX: usize = 64;

/// How many keys all may have who have or had one name: they are counted together.
const NAME_KEYS_MAX: usize = 1024;

/// How many repositories a key is for that isn't for all.
const REPOSITORIES_MAX: usize = 100;

/// The longest name of a robot, and the longest text that belongs to one.
const TEXT_MAX: usize = 128;

/// The most groups of a robot.
const GROUPS_MAX: usize = 64;

/// How many wait at once to keep when a key was used.
const NOTING_MAX: usize = 64;

/// How precisely it is kept when a key was used.
const USED: Duration = Duration::from_mins(1);

/// Keys for programs, of users and of robots. A robot is an account for programs:
/// it has keys, and no password. Cheap to clone.
///
/// A key is shown once, when it is made; kept is a hash of it. It is used as the
/// password of its owner (`robot$ci` is the name of the robot `ci`), with no name
/// at all, or as a token, and means the same each time. With scopes it gives no
/// more than they cover, and for a repository that was deleted since it gives
/// nothing.
///
/// A key of a user is good as long as the user's own login is: if that can't be
/// asked whether the user is still there, it isn't. A new password doesn't end it.
/// It is of no use to a user of the same name elsewhere, nor to one who gets the name
/// later, where the login [tells them apart](Principal::with_identity). Tokens that were made for a key
/// end with it.
///
/// [`AccessControl::keys`](crate::AccessControl::keys) lets their holders in.
#[derive(Clone)]
pub struct Keys {
    records: Arc<dyn Records>,
    /// For whoever keeps when a key was used.
    noting: Arc<Semaphore>,
}

/// An account for programs.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Robot {
    /// Its name, without `robot$`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The groups it is in.
    pub groups: BTreeSet<String>,
    /// Whether none of its keys is taken for now.
    pub disabled: bool,
    /// When it was made.
    pub created_at: SystemTime,
    /// How often it or another of its name was changed.
    version: u64,
}

/// What is to be different about a robot.
#[derive(Debug, Clone, Default)]
pub struct RobotChange {
    /// What it is for.
    pub description: Option<String>,
    /// The groups it is in, all of them.
    pub groups: Option<BTreeSet<String>>,
    /// Whether none of its keys is taken.
    pub disabled: Option<bool>,
}

/// A key, without its secret.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Which one of its owner's it is.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// What it covers; everything that its owner may do if absent.
    pub scopes: Option<Scopes>,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it is no good any more; never if absent.
    pub expires_at: Option<SystemTime>,
    /// When it was last used, give or take a minute.
    pub used_at: Option<SystemTime>,
}

/// What a new key is to be like.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// What it is for.
    pub label: String,
    /// What it covers; everything that its owner may do if absent.
    pub scopes: Option<Scopes>,
    /// When it is no good any more; never if absent.
    pub expires_at: Option<SystemTime>,
    /// Which of the repositories that had their names its scopes are about, as
    /// [`AccessControl::epochs_of`](crate::AccessControl::epochs_of) tells. Of a name that isn't
    /// there, it is the one of the time when the key is made.
    pub epochs: BTreeMap<RepositoryName, u64>,
}

/// Whose key was shown.
pub(crate) enum KeyHolder {
    /// A robot's.
    Robot(Principal),
    /// A user's, about whom this source is to be asked; limited as the key is. If
    /// there is an identity, the user has to have it still.
    User(Principal, String, Option<String>),
}

impl Keys {
    /// The keys and robots in `records`.
    pub fn new(records: impl Records) -> Self {
        Self {
            records: Arc::new(records),
            noting: Arc::new(Semaphore::new(NOTING_MAX)),
        }
    }

    /// Makes the robot called `name`.
    ///
    /// # Errors
    ///
    /// * [`RequestInvalid`](ErrorKind::RequestInvalid) if the name isn't 1 to 128
    ///   lower-case letters, digits and `.`, `_`, `-`, starting with a letter or
    ///   digit, or if something else is too long.
    /// * [`PreconditionFailed`](ErrorKind::PreconditionFailed) if there is one.
    pub async fn create_robot(
        &self,
        name: &str,
        change: RobotChange,
        now: SystemTime,
    ) -> Result<Robot> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = |byte: u8| is_plain(byte) || matches!(byte, b'.' | b'_' | b'-');
        if name.len() > TEXT_MAX
            || !name.bytes().all(is_name)
            || !name.bytes().next().is_some_and(is_plain)
        {
            return Err(ErrorKind::RequestInvalid.error(
                "the name of a robot must be 1 to 128 lower-case letters, digits, and `.`, `_`, `-`",
            ));
        }
        kept::check_text(name)?;
        let kept = KeptRobot {
            id: short(&identity()?),
            description: String::new(),
            groups: BTreeSet::new(),
            disabled: false,
            created: seconds(now),
        };
        let kept = kept.changed(change)?;
        let (key, value) = (robot_key(name), kept.write()?);
        let written = self.records.put(&key, Expected::Absent, value, None);
        let version = written.await.map_err(|error| match error.kind() {
            ErrorKind::PreconditionFailed => {
                ErrorKind::PreconditionFailed.error("there is a robot of this name")
            }
            _ => error,
        })?;
        Ok(kept.shown(name, version))
    }

    /// The robot called `name`.
    ///
    /// # Errors
    ///
    /// Those of the records.
    pub async fn robot(&self, name: &str) -> Result<Option<Robot>> {
        let kept = self.kept_robot(name).await?;
        Ok(kept.map(|(kept, version)| kept.shown(name, version)))
    }

    /// All robots, in the order of names, which are the positions.
    ///
    /// # Errors
    ///
    /// Those of the records.
    pub async fn robots(&self, mut page: PageRequest) -> Result<Page<Robot>> {
        page.after = page.after.map(|name| robot_key(&name));
        let found = self.records.list("robot/", page).await?;
        let name = |key: &str| key.strip_prefix("robot/").unwrap_or(key).to_owned();
        let robots = found.items.iter().map(|record| {
            let kept = KeptRobot::read(&record.value)?;
            Ok(kept.shown(&name(&record.key), record.version))
        });
        Ok(Page {
            items: robots.collect::<Result<_>>()?,
            next: found.next.as_deref().map(name),
        })
    }

    /// Changes the robot called `name`. It counts for the next request.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is none, and those of
    /// [`create_robot`](Self::create_robot).
    pub async fn change_robot(&self, name: &str, change: RobotChange) -> Result<Robot> {
        let (kept, version) = self.kept_robot(name).await?.ok_or_else(|| no_robot(name))?;
        self.change(name, kept, version, change).await
    }

    /// Changes `robot`, as long as it is what it was when it was read: for whoever
    /// judged by that whether this is allowed.
    ///
    /// # Errors
    ///
    /// [`PreconditionFailed`](ErrorKind::PreconditionFailed) if somebody else has
    /// changed it, and those of [`change_robot`](Self::change_robot).
    pub async fn change_known_robot(&self, robot: &Robot, change: RobotChange) -> Result<Robot> {
        let (kept, version) = self.still(robot).await?;
        self.change(&robot.name, kept, version, change).await
    }

    async fn change(
        &self,
        name: &str,
        kept: KeptRobot,
        version: u64,
        change: RobotChange,
    ) -> Result<Robot> {
        let kept = kept.changed(change)?;
        let (key, value) = (robot_key(name), kept.write()?);
        let expected = Expected::Version(version);
        let written = self.records.put(&key, expected, value, None);
        let version = written.await.map_err(|error| match error.kind() {
            ErrorKind::PreconditionFailed => changed_meanwhile(),
            _ => error,
        })?;
        Ok(kept.shown(name, version))
    }

    /// What is kept of `robot`, if that is what it was.
    async fn still(&self, robot: &Robot) -> Result<(KeptRobot, u64)> {
        let (kept, version) = self
            .kept_robot(&robot.name)
            .await?
            .ok_or_else(|| no_robot(&robot.name))?;
        if version == robot.version {
            Ok((kept, version))
        } else {
            Err(changed_meanwhile())
        }
    }

    /// Deletes the robot called `name`, and its keys. Another one of the same name
    /// has nothing in common with it.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is none.
    pub async fn delete_robot(&self, name: &str) -> Result<()> {
        // First, so that its keys are no good from here on.
        if !self.records.remove(&robot_key(name), Expected::Any).await? {
            return Err(no_robot(name));
        }
        let prefix = keys_of(&Principal::robot(name));
        let page = PageRequest::first(KEYS_MAX.saturating_mul(2));
        for record in self.records.list(&prefix, page).await?.items {
            self.records.remove(&record.key, Expected::Any).await?;
        }
        Ok(())
    }

    /// Makes a key of `owner`, who is a user as its authenticator made it, or a
    /// robot. The secret is nowhere else.
    ///
    /// # Errors
    ///
    /// * [`RequestInvalid`](ErrorKind::RequestInvalid) if the owner is neither, if
    ///   it has 64 keys already, if there are 1024 of all who have or had its name, if
    ///   the label is too long, or if the scopes are about more than 100 repositories.
    /// * [`NotFound`](ErrorKind::NotFound) if there is no such robot.
    pub async fn create(
        &self,
        owner: &Principal,
        key: NewKey,
        now: SystemTime,
    ) -> Result<(ApiKey, Secret)> {
        let robot = match owner.kind() {
            PrincipalKind::Robot => {
                let name = owner.name();
                let kept = self.kept_robot(name).await?;
                let (kept, _) = kept.ok_or_else(|| no_robot(name))?;
                Some(kept.id)
            }
            PrincipalKind::User => None,
            _ => {
                return Err(ErrorKind::RequestInvalid
                    .error("only users and robots have keys; make a robot for it"));
            }
        };
        self.create_of(owner, robot, key, now).await
    }

    /// Makes a key of `robot`, as long as it is what it was when it was read: for
    /// whoever judged by that whether this is allowed.
    ///
    /// # Errors
    ///
    /// [`PreconditionFailed`](ErrorKind::PreconditionFailed) if somebody else has
    /// changed it, and those of [`create`](Self::create).
    pub async fn create_for_robot(
        &self,
        robot: &Robot,
        key: NewKey,
        now: SystemTime,
    ) -> Result<(ApiKey, Secret)> {
        let (kept, _) = self.still(robot).await?;
        let owner = Principal::robot(&*robot.name);
        self.create_of(&owner, Some(kept.id), key, now).await
    }

    async fn create_of(
        &self,
        owner: &Principal,
        robot: Option<String>,
        key: NewKey,
        now: SystemTime,
    ) -> Result<(ApiKey, Secret)> {
        kept::check_text(&key.label)?;
        if let Some(scopes) = &key.scopes {
            require_few_repositories(scopes)?;
        }
        self.require_room(owner).await?;
        let text = KeyText::new(holder_key(owner), short(&identity()?))?;
        let kept = KeptKey {
            hash: text.hash().expose().to_owned(),
            owner: owner.name().to_owned(),
            robot,
            source: owner.source().to_owned(),
            identity: owner.identity().map(kept::digits),
            label: key.label,
            created: seconds(now),
            created_nanos: key.scopes.is_some().then(|| nanoseconds(now)),
            epochs: key
                .epochs
                .into_iter()
                .map(|(repository, number)| (repository.to_string(), number))
                .collect(),
            scopes: key.scopes.map(|scopes| scopes.to_string()),
            used: None,
        };
        let record = format!("{}{}", keys_of(owner), text.id);
        let value = kept.write()?;
        self.records
            .put(&record, Expected::Absent, value, key.expires_at)
            .await?;
        Ok((kept.shown(&text.id, key.expires_at), text.text()))
    }

    /// Refuses to let `owner` have more keys than it may. Those of others of the name
    /// leave it its own.
    async fn require_room(&self, owner: &Principal) -> Result<()> {
        let mut page = PageRequest::first(NAME_KEYS_MAX);
        let (mut own, mut all) = (0_usize, 0_usize);
        loop {
            let found = self.records.list(&keys_of(owner), page).await?;
            for record in &found.items {
                all = all.saturating_add(1);
                if is_of(owner, &KeptKey::read(&record.value)?) {
                    own = own.saturating_add(1);
                }
            }
            if own >= KEYS_MAX {
                return Err(ErrorKind::RequestInvalid.error(format!(
                    "there are {KEYS_MAX} keys already; revoke those not in use"
                )));
            }
            if all >= NAME_KEYS_MAX {
                return Err(ErrorKind::RequestInvalid.error(format!(
                    "there are {NAME_KEYS_MAX} keys of users of this name already; have those \
                     revoked whose owners are gone"
                )));
            }
            let Some(next) = found.next else {
                return Ok(());
            };
            page = PageRequest::first(NAME_KEYS_MAX);
            page.after = Some(next);
        }
    }

    /// The keys of `owner`, in the order of ids, which are the positions. They are
    /// those of the one whom an authenticator made, or else of all who have or had
    /// the name.
    ///
    /// # Errors
    ///
    /// Those of the records.
    pub async fn list(&self, owner: &Principal, mut page: PageRequest) -> Result<Page<ApiKey>> {
        let prefix = keys_of(owner);
        page.after = page.after.map(|id| format!("{prefix}{id}"));
        let found = self.records.list(&prefix, page).await?;
        let id = |key: &str| key.strip_prefix(&prefix).unwrap_or(key).to_owned();
        let mut keys = Vec::new();
        for record in &found.items {
            let kept = KeptKey::read(&record.value)?;
            if is_of(owner, &kept) {
                keys.push(kept.shown(&id(&record.key), record.expires_at));
            }
        }
        Ok(Page {
            items: keys,
            next: found.next.as_deref().map(id),
        })
    }

    /// Ends the key `id` of `owner`. It is refused from the next request on. If `id`
    /// is a whole key instead, which is a mistake that is likely where somebody gets
    /// rid of it in haste, the key is ended, too.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if `owner` has no such key, although
    /// another may have it.
    pub async fn revoke(&self, owner: &Principal, id: &str) -> Result<()> {
        let whole = Secret::new(id);
        let is_whole = KeyText::is_meant(&whole);
        let no_key = || {
            ErrorKind::NotFound.error(if is_whole {
                "this is no key of whom it was looked for; revoke it by its id, which lists show, \
                 where its owner's keys are"
                    .to_owned()
            } else {
                format!("{owner} has no key of this id")
            })
        };
        let text = is_whole.then(|| KeyText::parse(&whole).ok_or_else(no_key));
        let text = text.transpose()?;
        let id = text.as_ref().map_or(id, |text| &text.id);
        let key = format!("{}{id}", keys_of(owner));
        let record = self.records.get(&key).await?.ok_or_else(no_key)?;
        let kept = KeptKey::read(&record.value)?;
        let is_meant = text.is_none_or(|text| text.hash().matches(&kept.hash));
        if is_meant && is_of(owner, &kept) && self.records.remove(&key, Expected::Any).await? {
            Ok(())
        } else {
            Err(no_key())
        }
    }

    /// Whether `owner` has the key `id`.
    pub(crate) async fn has(&self, owner: &Principal, id: &str) -> Result<bool> {
        let key = format!("{}{id}", keys_of(owner));
        Ok(self.records.get(&key).await?.is_some())
    }

    /// Whether `secret` is written like a key, with its checksum.
    pub(crate) fn is_key(secret: &Secret) -> bool {
        KeyText::is_meant(secret) && KeyText::parse(secret).is_some()
    }

    /// Whose key the credentials are. Nothing if they are none.
    pub(crate) async fn find(
        &self,
        credentials: &Credentials,
        now: SystemTime,
    ) -> Result<Option<KeyHolder>> {
        let (user, secret) = match credentials {
            Credentials::Basic { user, password } => (Some(user.as_str()), password),
            Credentials::Bearer(token) => (None, token),
            Credentials::None => return Ok(None),
        };
        if !KeyText::is_meant(secret) {
            return Ok(None);
        }
        let text = KeyText::parse(secret).ok_or_else(wrong_credentials)?;
        let key = format!("key/{}/{}", text.owner, text.id);
        let record = self.records.get(&key).await?;
        let record = record.ok_or_else(wrong_credentials)?;
        let kept = KeptKey::read(&record.value)?;
        if !text.hash().matches(&kept.hash) {
            return Err(wrong_credentials());
        }
        let holder = match &kept.robot {
            Some(id) => {
                let robot = self.kept_robot(&kept.owner).await?;
                let robot = robot.filter(|(robot, _)| robot.id == *id && !robot.disabled);
                let (robot, _) = robot.ok_or_else(wrong_credentials)?;
                robot.principal(&kept.owner, &text.id)
            }
            None => Principal::new(&*kept.owner).by_key(&text.id),
        };
        let fits =
            |user: &str| matches!(user, "" | "<token>") || user == holder.short().to_string();
        if !user.is_none_or(fits) {
            return Err(wrong_credentials());
        }
        let holder = match kept.limits()? {
            Some(limits) => holder.limited(limits),
            None => holder,
        };
        let (source, identity) = (kept.source.clone(), kept.identity.clone());
        self.note_use(record.key, record.version, record.expires_at, kept, now);
        Ok(Some(match holder.kind() {
            PrincipalKind::Robot => KeyHolder::Robot(holder),
            _ => KeyHolder::User(holder, source, identity),
        }))
    }

    /// Which of its keys a robot showed, or had a token made for.
    pub(crate) fn of_robot(robot: &Principal) -> Option<String> {
        let is_robot = robot.kind() == PrincipalKind::Robot;
        robot.stamp().filter(|_| is_robot).map(kept::key_id)
    }

    /// What has become of a robot to whom a token was given for one of its keys.
    pub(crate) async fn standing(&self, robot: &Principal) -> Result<Standing> {
        // Of which robot it is, is in the stamp, too, which whoever asks compares.
        let Some(key_id) = robot.stamp().map(kept::key_id) else {
            return Ok(Standing::Gone);
        };
        let key = format!("{}{key_id}", keys_of(robot));
        let kept = self.kept_robot(robot.name()).await?;
        Ok(match kept {
            Some((kept, _)) if !kept.disabled && self.records.get(&key).await?.is_some() => {
                Standing::Current(kept.principal(robot.name(), &key_id))
            }
            _ => Standing::Gone,
        })
    }

    /// Keeps when a key was used, while the request goes on. It is no harm if that
    /// can't be written: whoever uses it next tries again.
    fn note_use(
        &self,
        key: String,
        version: u64,
        expires_at: Option<SystemTime>,
        mut kept: KeptKey,
        now: SystemTime,
    ) {
        let ago = kept.used.map(|used| now.duration_since(time(used)));
        if ago.is_some_and(|ago| ago.unwrap_or_default() < USED) {
            return;
        }
        let Ok(turn) = Arc::clone(&self.noting).try_acquire_owned() else {
            return;
        };
        kept.used = Some(seconds(now));
        let records = Arc::clone(&self.records);
        tokio::spawn(async move {
            let _turn = turn;
            let noted = async {
                let expected = Expected::Version(version);
                records.put(&key, expected, kept.write()?, expires_at).await
            };
            if let Err(error) = noted.await
                && error.kind() != ErrorKind::PreconditionFailed
            {
                tracing::warn!(%error, "it could not be kept when a key was used");
            }
        });
    }

    async fn kept_robot(&self, name: &str) -> Result<Option<(KeptRobot, u64)>> {
        let Some(record) = self.records.get(&robot_key(name)).await? else {
            return Ok(None);
        };
        Ok(Some((KeptRobot::read(&record.value)?, record.version)))
    }
}

fn robot_key(name: &str) -> String {
    format!("robot/{name}")
}

/// What the keys of the records about the keys of `owner` start with.
fn keys_of(owner: &Principal) -> String {
    format!("key/{}/", holder_key(owner))
}

/// Whether `owner` has this key, and not another one of the same name. Whoever was
/// found by no source stands for all of them.
fn is_of(owner: &Principal, kept: &KeptKey) -> bool {
    if owner.kind() != PrincipalKind::User || owner.found_source().is_none() {
        return true;
    }
    kept.source == owner.source() && has_identity(owner, kept.identity.as_deref())
}

/// Whether `owner` is who had this identity, as far as there was one.
pub(crate) fn has_identity(owner: &Principal, identity: Option<&str>) -> bool {
    identity.is_none_or(|kept| owner.identity().map(kept::digits).as_deref() == Some(kept))
}

/// 16 digits that tell apart what there are few of.
fn short(identity: &str) -> String {
    identity.get(..16).unwrap_or_default().to_owned()
}

fn changed_meanwhile() -> registry_core::Error {
    ErrorKind::PreconditionFailed
        .error("somebody else has just changed the robot; look at it, and try again")
}

fn no_robot(name: &str) -> registry_core::Error {
    ErrorKind::NotFound.error(format!("there is no robot `{name}`"))
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

/// Refuses scopes of a key about more repositories than are looked at for one.
pub(crate) fn require_few_repositories(scopes: &Scopes) -> Result<()> {
    if scopes.repositories().count() > REPOSITORIES_MAX {
        return Err(ErrorKind::RequestInvalid.error(format!(
            "a key with scopes is for {REPOSITORIES_MAX} repositories at most; leave the scopes out, \
             or make several keys"
        )));
    }
    Ok(())
}
