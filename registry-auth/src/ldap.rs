//! Users of a directory, by LDAP.

mod account;
mod ber;
mod connection;
mod filter;
mod message;
mod pool;
mod server;
mod trust;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use registry_core::{Clock, ErrorKind, Randomness, Result, SystemClock, SystemRandomness};
use tokio::time::{Instant, sleep_until, timeout};

use self::connection::Failure;
use self::filter::{Filter, Places};
use self::message::{Entry, Outcome, SUCCESS, Search};
use self::pool::{Pool, Purpose, Session, Unanswered};
use self::server::Server;
use self::trust::Authorities;
use crate::kept_secret::KeptSecret;
use crate::principal::is_plain;
use crate::remembered::{Fingerprint, Memory, Remembered};
use crate::{
    Authenticator, Caller, Credentials, Principal, PrincipalKind, Secret, Standing, hide_secrets,
    wrong_credentials,
};

/// How long the directory may take for a login or a question, unless told
/// otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest time for which what the directory says is believed.
const REMEMBER_MAX: Duration = Duration::from_mins(1);

/// How many logins, and how many users, are remembered at least.
const REMEMBERED: usize = 4096;

/// How many bytes they take at most, in each of two generations: somebody may be in
/// many groups.
const REMEMBERED_BYTES: usize = 8 << 20;

/// When a refusal is given, whatever it took to find out. Though it is asked the
/// same, a directory answers sooner about a name that it doesn't know than about a
/// password that is wrong, and nobody is to see that.
const REFUSAL: Duration = Duration::from_secs(1);

/// The most groups of a user.
const GROUPS_MAX: u32 = 1000;

/// What tells one holder of a name from the next: what OpenLDAP and Active
/// Directory call the entry, in place of its name.
const IDENTITIES: [&str; 2] = ["entryUUID", "objectGUID"];

/// What changes with the password, where the directory shows it.
const CHANGES: [&str; 2] = ["pwdChangedTime", "pwdLastSet"];

/// Results that are about the directory, not about the password: protocol,
/// time, encryption, busy and the like.
const TROUBLE: [u32; 8] = [1, 2, 3, 8, 11, 13, 51, 52];

/// Knows the users of a directory, such as OpenLDAP or Active Directory, by
/// their passwords.
///
/// The entry of a user is searched for, and the directory checks the password by
/// a login (a *bind*) as that entry. Exactly one entry may be found, and it says
/// what its user is called, in one attribute with one value; that has to be exactly
/// what was typed, also in upper and lower case. The groups are those that a second
/// search finds.
///
/// Passwords are never sent in clear text, except to this very machine. An empty
/// one is refused: a directory takes it for a login of nobody, and says yes.
///
/// What the directory said is believed for a minute, then it is asked again, also
/// about the holders of tokens: so long does somebody get in who is gone there,
/// or has left a group. If it doesn't answer within five seconds,
/// [`Unavailable`](registry_core::ErrorKind::Unavailable) is the answer. There
/// are at most four connections, of which logins have three; when too many wait for
/// one, [`TooManyRequests`](registry_core::ErrorKind::TooManyRequests) is. So however
/// many log in, the holders of tokens and keys go on.
///
/// Tokens end with the password where the directory shows when that was changed
/// (`pwdChangedTime` or `pwdLastSet`). Where it doesn't, there are no refresh
/// tokens for its users, and others end by their time.
///
/// A refusal takes a second, and asks the directory for the same, whatever is wrong:
/// nobody sees from its time whether there is a user of that name, nor whether the
/// password of somebody disabled is right.
///
/// It needs a Tokio runtime.
pub struct Ldap {
    pool: Pool,
    users: Users,
    groups: Option<Groups>,
    timeout: Duration,
    remember: Duration,
    clock: Arc<dyn Clock>,
    key: hmac::Key,
    logins: Remembered<(Principal, SystemTime)>,
    standings: Remembered<(Option<Principal>, SystemTime)>,
}

/// Where users are.
struct Users {
    base: String,
    filter: Filter,
    attribute: String,
}

/// Where groups are.
struct Groups {
    base: String,
    filter: Filter,
    attribute: String,
}

/// How to make an [`Ldap`].
#[must_use]
#[derive(Debug)]
pub struct LdapBuilder {
    url: String,
    searcher: Option<(String, KeptSecret)>,
    base: String,
    filter: String,
    attribute: String,
    groups: Option<(String, String, String)>,
    start_tls: bool,
    authorities: Authorities,
    timeout: Duration,
    remember: Duration,
    clock: Arc<dyn Clock>,
}

impl Ldap {
    /// The directory at `url`, such as `ldaps://ldap.example.com` or
    /// `ldap://localhost:10389`.
    pub fn builder(url: impl Into<String>) -> LdapBuilder {
        LdapBuilder {
            url: url.into(),
            searcher: None,
            base: String::new(),
            filter: "(uid={user})".to_owned(),
            attribute: "uid".to_owned(),
            groups: None,
            start_tls: false,
            authorities: Authorities::System,
            timeout: TIMEOUT,
            remember: REMEMBER_MAX,
            clock: Arc::new(SystemClock),
        }
    }
}

impl LdapBuilder {
    /// Searches as the entry `name`, such as `cn=registry,dc=example,dc=com`, in
    /// place of nobody in particular.
    pub fn bind(mut self, name: impl Into<String>, password: Secret) -> Self {
        self.searcher = Some((name.into(), KeptSecret::given(password)));
        self
    }

    /// The same, by the password in the file at `path`, without the line break at its
    /// end. It is read at once, and anew within about a second when it changes; while it
    /// is missing, empty or isn't text, the password from before stays.
    ///
    /// # Errors
    ///
    /// If it can't be read, is empty or isn't text.
    pub fn bind_password_file(
        mut self,
        name: impl Into<String>,
        path: impl Into<PathBuf>,
    ) -> Result<Self> {
        let password = KeptSecret::file("password of who searches the directory", path.into())?;
        self.searcher = Some((name.into(), password));
        Ok(self)
    }

    /// Looks for users below the entry `name`, such as `dc=example,dc=com`.
    pub fn base(mut self, name: impl Into<String>) -> Self {
        self.base = name.into();
        self
    }

    /// Takes for users what this filter (RFC 4515) finds, in which `{user}` stands
    /// for what was typed; `(uid={user})` unless told otherwise.
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = filter.into();
        self
    }

    /// Calls users as this attribute of theirs says; `uid` unless told otherwise.
    pub fn name_attribute(mut self, attribute: impl Into<String>) -> Self {
        self.attribute = attribute.into();
        self
    }

    /// Takes for groups of a user what `filter` finds below `base`, and calls them
    /// as `attribute` says. In the filter `{dn}` stands for the name of the user's
    /// entry and `{user}` for the user's own, as in `(member={dn})` or
    /// `(memberUid={user})`.
    pub fn groups(
        mut self,
        base: impl Into<String>,
        filter: impl Into<String>,
        attribute: impl Into<String>,
    ) -> Self {
        self.groups = Some((base.into(), filter.into(), attribute.into()));
        self
    }

    /// Asks an `ldap://` directory for TLS before anything else.
    pub fn start_tls(mut self) -> Self {
        self.start_tls = true;
        self
    }

    /// Trusts the certificates in this PEM text to vouch for the directory, in
    /// place of those that the system trusts.
    pub fn certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Authorities::Given(pem.into());
        self
    }

    /// The same with the certificates in the PEM file at `path`. It is read at once, and
    /// anew within about a second when it changes; while it is missing or malformed,
    /// those from before stay. Connections that others vouched for aren't used again.
    ///
    /// # Errors
    ///
    /// If it can't be read, or holds no certificate.
    pub fn certificates_file(mut self, path: impl Into<PathBuf>) -> Result<Self> {
        self.authorities = Authorities::file(path.into())?;
        Ok(self)
    }

    /// Waits for the directory so long, in place of five seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Believes what the directory said for so long; at most a minute, which is
    /// what it is unless told otherwise.
    pub fn remember(mut self, time: Duration) -> Self {
        self.remember = time.min(REMEMBER_MAX);
        self
    }

    /// Takes the time from `clock`.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Makes it. The directory isn't asked anything yet.
    ///
    /// # Errors
    ///
    /// If the URL, a filter or a certificate can't be used, if everybody would be
    /// the same user or in the same groups, or if passwords would be sent in clear
    /// text to another machine.
    pub fn build(self) -> Result<Ldap> {
        let wrong = |reason: String| Err(ErrorKind::RequestInvalid.error(reason));
        let filter = Filter::parse(&self.filter)?;
        if !filter.has_user() || filter.has_name() {
            return wrong(format!(
                "the filter `{}` has to say {{user}}, for whoever logs in, and nothing else in braces",
                self.filter
            ));
        }
        if let Some((_, KeptSecret::Given(password))) = &self.searcher
            && password.expose().is_empty()
        {
            return wrong(
                "the password of who searches is empty; a directory takes that for nobody"
                    .to_owned(),
            );
        }
        let mut groups = None;
        if let Some((base, text, attribute)) = self.groups {
            let filter = Filter::parse(&text)?;
            if !filter.has_user() && !filter.has_name() {
                return wrong(format!(
                    "with the filter `{text}` everybody is in every group; say {{dn}} or {{user}} \
                     in it, as in (member={{dn}})"
                ));
            }
            groups = Some(Groups {
                base,
                filter,
                attribute,
            });
        }
        let server = Server::new(&self.url, self.start_tls, self.authorities)?;
        let randomness = SystemRandomness;
        let key = [randomness.bytes()?, randomness.bytes()?].concat();
        Ok(Ldap {
            pool: Pool::new(server, self.searcher),
            users: Users {
                base: self.base,
                filter,
                attribute: self.attribute,
            },
            groups,
            timeout: self.timeout,
            remember: self.remember,
            clock: self.clock,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            logins: Remembered::new(REMEMBERED, REMEMBERED_BYTES),
            standings: Remembered::new(REMEMBERED, REMEMBERED_BYTES),
        })
    }
}

/// What the directory says about a name and a password.
enum Checked {
    Right(Principal),
    Wrong,
    Unknown,
}

impl Ldap {
    async fn check(&self, user: &str, password: &Secret) -> Result<Checked, Unanswered> {
        let mut session = self.pool.session(Purpose::Login).await?;
        let found = self.entry(&mut session, user).await?;
        // Whatever is refused takes each step that a right password does: a directory
        // that is slow tells no more than one that isn't.
        let is_known = found.is_some();
        let (entry, name) = found.unwrap_or_else(|| (self.nobody(), user.to_owned()));
        let Outcome { code, message } = session.bind(&entry.name, password).await?;
        if is_known && TROUBLE.contains(&code) {
            let outcome = Outcome { code, message };
            return Err(Failure::Refused("a login", outcome).into());
        }
        let principal = self.principal(&mut session, &entry, name).await?;
        session.release();
        Ok(match code {
            _ if !is_known => Checked::Unknown,
            SUCCESS => Checked::Right(principal),
            _ => {
                tracing::debug!(code, message = %hide_secrets(&message), "the directory refuses a login");
                Checked::Wrong
            }
        })
    }

    /// What is asked about in place of somebody who isn't there: an entry that a
    /// directory doesn't have. If it has one, nobody is let in by it.
    fn nobody(&self) -> Entry {
        let base = &self.users.base;
        let comma = if base.is_empty() { "" } else { "," };
        Entry::named(format!("cn=nobody{comma}{base}"))
    }

    async fn look_up(&self, user: &str) -> Result<Option<Principal>, Unanswered> {
        let mut session = self.pool.session(Purpose::Standing).await?;
        let found = match self.entry(&mut session, user).await? {
            Some((entry, name)) => Some(self.principal(&mut session, &entry, name).await?),
            None => None,
        };
        session.release();
        Ok(found)
    }

    /// The one entry of `user`, and what the user is called there.
    async fn entry(
        &self,
        session: &mut Session<'_>,
        user: &str,
    ) -> Result<Option<(Entry, String)>, Failure> {
        let mut attributes = vec![self.users.attribute.as_str()];
        attributes.extend(IDENTITIES.into_iter().chain(CHANGES));
        attributes.extend(account::STATES);
        let (entries, is_all) = session
            .search(&Search {
                base: &self.users.base,
                filter: &self.users.filter,
                places: Places { user, name: "" },
                most: 2,
                seconds: self.seconds(),
                attributes: &attributes,
            })
            .await?;
        let mut entries = entries.into_iter();
        let Some(entry) = entries.next() else {
            return Ok(None);
        };
        if !is_all || entries.next().is_some() {
            tracing::warn!(
                user = %hide_secrets(user),
                "several entries of the directory match a user's name; nobody is let in by it"
            );
            return Ok(None);
        }
        let name = match account::ended(&entry, self.clock.now()) {
            Some(reason) => Err(reason),
            None => self.name_of(&entry, user),
        };
        match name {
            Ok(name) => Ok(Some((entry, name))),
            Err(reason) => {
                tracing::info!(
                    user = %hide_secrets(user),
                    entry = entry.name,
                    reason,
                    "an entry of the directory is no user"
                );
                Ok(None)
            }
        }
    }

    fn name_of(&self, entry: &Entry, user: &str) -> Result<String, &'static str> {
        // A login without a name is one of nobody.
        if entry.name.is_empty() {
            return Err("it has no name");
        }
        let [name] = entry.values(&self.users.attribute) else {
            return Err("it doesn't have exactly one value of the attribute with the user's name");
        };
        let name = std::str::from_utf8(name).map_err(|_| "its user's name isn't text")?;
        if !is_plain(name) {
            return Err("its user has no plain name");
        }
        // A directory takes more names for the same than rules, and whoever was
        // asked before it: what that one would refuse as `root` isn't to be let in
        // as `ROOT`.
        if name != user {
            return Err("its user is called otherwise");
        }
        Ok(name.to_owned())
    }

    /// Whoever has this entry, with its groups.
    async fn principal(
        &self,
        session: &mut Session<'_>,
        entry: &Entry,
        name: String,
    ) -> Result<Principal, Failure> {
        let mut principal = Principal::new(&name).with_stamp(stamp(entry));
        if let Some(identity) = identity(entry) {
            principal = principal.with_identity(identity);
        }
        let mut changes = CHANGES.iter().flat_map(|attribute| entry.values(attribute));
        if changes.next().is_none() {
            principal = principal.hiding_password();
        }
        let Some(groups) = &self.groups else {
            return Ok(principal);
        };
        let (entries, is_all) = session
            .search(&Search {
                base: &groups.base,
                filter: &groups.filter,
                places: Places {
                    user: &name,
                    name: &entry.name,
                },
                most: GROUPS_MAX,
                seconds: self.seconds(),
                attributes: &[&groups.attribute],
            })
            .await?;
        // A rule that denies may be about any of them.
        if !is_all {
            return Err(Failure::Confused(
                "somebody is in more groups than the directory tells, or than 1000",
            ));
        }
        for group in &entries {
            for name in group.values(&groups.attribute) {
                let name = std::str::from_utf8(name)
                    .map_err(|_| Failure::Confused("the name of a group isn't text"))?;
                principal = principal.member_of(name);
            }
        }
        Ok(principal)
    }

    fn seconds(&self) -> u32 {
        let seconds = u32::try_from(self.timeout.as_secs()).unwrap_or(u32::MAX);
        // None means as long as it likes.
        seconds.max(1)
    }

    /// What comes of a question to the directory, within its time.
    async fn within<T>(&self, question: impl Future<Output = Result<T, Unanswered>>) -> Result<T> {
        let answer = timeout(self.timeout, question).await;
        let late =
            || Unanswered::Failed(Failure::Confused("the directory takes too long to answer"));
        answer.map_err(|_| late()).flatten().map_err(Into::into)
    }

    fn fingerprint(&self, user: &str, password: &str) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        // With its length in front, no other pair reads the same.
        context.update(&(user.len() as u64).to_le_bytes());
        context.update(user.as_bytes());
        context.update(password.as_bytes());
        short(context.sign().as_ref())
    }

    fn memory<V>(&self, value: V, bytes: usize, now: SystemTime) -> Memory<V> {
        let until = now.checked_add(self.remember).unwrap_or(now);
        Memory {
            value,
            bytes,
            until,
        }
    }

    fn is_fresh(&self, since: SystemTime) -> bool {
        let age = self.clock.now().duration_since(since);
        age.is_ok_and(|age| age < self.remember)
    }
}

/// Changes when the entry is another one, or its password is.
fn stamp(entry: &Entry) -> [u8; 16] {
    let mut text = Vec::new();
    let mut add = |part: &[u8]| {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part);
    };
    let mut identities = IDENTITIES.iter().map(|attribute| entry.values(attribute));
    let is_identified = identities.any(|values| !values.is_empty());
    add(if is_identified {
        b""
    } else {
        entry.name.as_bytes()
    });
    for attribute in IDENTITIES.iter().chain(&CHANGES) {
        // What one says isn't what the next one would.
        let values = entry.values(attribute);
        add(&(values.len() as u64).to_le_bytes());
        for value in values {
            add(value);
        }
    }
    short(digest(&SHA256, &text).as_ref())
}

/// Is another one when the entry is, where the directory says which one it is.
fn identity(entry: &Entry) -> Option<[u8; 16]> {
    let attributes = IDENTITIES.into_iter();
    let value = attributes.flat_map(|name| entry.values(name)).next()?;
    Some(short(digest(&SHA256, value).as_ref()))
}

fn short<const N: usize>(hash: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().zip(hash) {
        *place = *byte;
    }
    bytes
}

#[async_trait]
impl Authenticator for Ldap {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Credentials::Basic { user, password } = caller.credentials else {
            return Ok(None);
        };
        // A login with an empty password is one of nobody, which succeeds.
        if !is_plain(user) || password.expose().is_empty() {
            return Ok(None);
        }
        let fingerprint = self.fingerprint(user, password.expose());
        if let Some((principal, since)) = self.logins.get(&fingerprint, self.clock.now())
            && self.is_fresh(since)
            && caller.lets_in(&principal)
        {
            return Ok(Some(principal));
        }
        caller.admit()?;
        // From before the directory says it: it is true until now at least.
        let (now, started) = (self.clock.now(), Instant::now());
        let checked = self.within(self.check(user, password)).await?;
        if !matches!(checked, Checked::Unknown) {
            caller.know_name();
        }
        let refusal = match checked {
            Checked::Right(principal) if caller.lets_in(&principal) => {
                let memory = self.memory((principal.clone(), now), principal.bytes(), now);
                self.logins.insert(fingerprint, memory, now);
                return Ok(Some(principal));
            }
            Checked::Right(principal) => Ok(Some(principal)),
            Checked::Wrong => Err(wrong_credentials()),
            Checked::Unknown => Ok(None),
        };
        caller.doubt();
        if let Some(then) = started.checked_add(REFUSAL) {
            sleep_until(then).await;
        }
        refusal
    }

    fn source(&self) -> &'static str {
        "ldap"
    }

    async fn standing(&self, principal: &Principal) -> Result<Standing> {
        let name = principal.name();
        if principal.kind() != PrincipalKind::User || !is_plain(name) {
            return Ok(Standing::Gone);
        }
        let fingerprint = self.fingerprint(name, "");
        let remembered = self.standings.get(&fingerprint, self.clock.now());
        let fresh = remembered.filter(|(_, since)| self.is_fresh(*since));
        let found = if let Some((found, _)) = fresh {
            found
        } else {
            let now = self.clock.now();
            let found = self.within(self.look_up(name)).await?;
            let bytes = found.as_ref().map_or(0, Principal::bytes);
            let memory = self.memory((found.clone(), now), bytes, now);
            self.standings.insert(fingerprint, memory, now);
            found
        };
        // It may be called otherwise by now, if only in upper case.
        Ok(match found.filter(|found| found.name() == name) {
            Some(principal) => Standing::Current(principal),
            None => Standing::Gone,
        })
    }
}

impl fmt::Debug for Ldap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ldap")
            .field("pool", &self.pool)
            .field("base", &self.users.base)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::message::Entry;
    use super::{Ldap, stamp};

    #[test]
    fn s_19_what_one_attribute_says_another_does_not() {
        let attributes = ["entryUUID", "objectGUID", "pwdChangedTime", "pwdLastSet"];
        let mut stamps = HashSet::new();
        for first in attributes {
            stamps.insert(stamp(&Entry::named("a".to_owned()).with(first, "1")));
            for second in attributes.into_iter().filter(|second| *second != first) {
                let entry = Entry::named("a".to_owned()).with(first, "1");
                stamps.insert(stamp(&entry.with(second, "2")));
            }
        }
        assert_eq!(stamps.len(), 4 + 4 * 3);
    }

    proptest! {
        /// However a text is parted into a name and a password, and whatever looks like
        /// the length of a name in front of it.
        #[test]
        fn s_19_no_two_pairs_have_one_fingerprint(text in "[a\\x00-\\x02:é]{0,10}") {
            let ldap = Ldap::builder("ldap://localhost").base("dc=example").build().unwrap();
            let places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            let mut pairs: Vec<(String, String)> = Vec::new();
            for (user, password) in places.map(|at| text.split_at(at)) {
                let length = char::from(u8::try_from(user.len()).unwrap());
                let inner = format!("{length}\0\0\0\0\0\0\0{user}");
                pairs.push((user.to_owned(), password.to_owned()));
                pairs.push((String::new(), format!("{inner}{password}")));
                pairs.push((inner, password.to_owned()));
            }
            pairs.sort();
            pairs.dedup();
            let fingerprint = |(user, password): &(String, String)| ldap.fingerprint(user, password);
            let all: HashSet<_> = pairs.iter().map(fingerprint).collect();
            prop_assert_eq!(all.len(), pairs.len());
        }

        /// Neither has another entry, nor one with another password, what was given out
        /// before: whether the directory says which entry it is or shows its name only, and
        /// whether or not it shows when the password changed.
        #[test]
        fn s_19_no_two_entries_with_their_passwords_have_one_stamp(
            text in "[a\\x00-\\x02=é]{0,10}",
        ) {
            let places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            for has_identity in [true, false] {
                let entry = |which: &str| if has_identity {
                    Entry::named("cn=a".to_owned()).with("entryUUID", which)
                } else {
                    Entry::named(which.to_owned())
                };
                let mut stamps = HashSet::new();
                let mut entries = HashSet::new();
                for (which, changed) in places.clone().map(|at| text.split_at(at)) {
                    let length = char::from(u8::try_from(which.len()).unwrap());
                    let inner = format!("{length}\0\0\0\0\0\0\0{which}");
                    for (which, changed) in [
                        (which, Some(changed)),
                        (which, None),
                        (&*inner, Some(changed)),
                        (&*inner, None),
                        (which, Some(&*inner)),
                    ] {
                        let entry = entry(which);
                        let entry = match changed {
                            Some(changed) => entry.with("pwdChangedTime", changed),
                            None => entry,
                        };
                        stamps.insert(stamp(&entry));
                        entries.insert((which.to_owned(), changed.map(str::to_owned)));
                    }
                }
                prop_assert_eq!(stamps.len(), entries.len());
            }
        }
    }
}
