//! Access: the proof that somebody decided.
//!
//! Every method of [`Registry`](crate::Registry) takes an [`Access`], which
//! names one repository and what may be done there. An authorizer makes it
//! from what an operation [needs](crate::Operation::need); code that trusts
//! itself says so by name.

mod reach;
mod scope;

pub use reach::Reach;
pub use scope::{ScopeEntry, Scopes};

use std::fmt;
use std::net::IpAddr;
use std::ops::BitOr;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Error, ErrorKind, RepositoryName, Result, Tag};

/// Something that can be done with a repository.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Action {
    /// Read its content.
    Pull = 1,
    /// Add content and new tags.
    Push = 2,
    /// Move a tag that exists.
    Overwrite = 4,
    /// Remove content and tags.
    Delete = 8,
    /// See that it exists, its tags, and which of its manifests are about another.
    List = 16,
    /// Change how it is managed.
    Administer = 32,
    /// See how it is managed.
    Audit = 64,
}

impl Action {
    /// All actions, the most harmless first.
    pub const ALL: [Self; 7] = [
        Self::List,
        Self::Pull,
        Self::Audit,
        Self::Push,
        Self::Overwrite,
        Self::Delete,
        Self::Administer,
    ];

    /// The name used in rules and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Overwrite => "overwrite",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Administer => "administer",
            Self::Audit => "audit",
        }
    }
}

impl FromStr for Action {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == name)
            .ok_or_else(|| {
                ErrorKind::RequestInvalid.error(
                    "the action is unknown; use pull, push, overwrite, delete, list, audit or administer",
                )
            })
    }
}

/// A set of actions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Actions(u8);

impl Actions {
    /// No action.
    pub const NONE: Self = Self(0);
    /// Every action.
    pub const ALL: Self = Self(127);

    /// Whether all of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The actions that are in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The actions, the most harmless first.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL
            .into_iter()
            .filter(move |action| self.contains((*action).into()))
    }
}

impl From<Action> for Actions {
    fn from(action: Action) -> Self {
        Self(action as u8)
    }
}

impl<const N: usize> From<[Action; N]> for Actions {
    fn from(actions: [Action; N]) -> Self {
        actions.into_iter().collect()
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions
            .into_iter()
            .fold(Self::NONE, |set, action| set | action.into())
    }
}

impl BitOr for Actions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Who is behind an operation, for events and audit. Grants nothing: it only
/// tells who began an upload, which is nobody else's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// The name of the user or robot; absent if anonymous. Nobody else has it,
    /// whatever kind they are of.
    pub name: Option<String>,
    /// The request that carries the operation, if one does.
    pub request: Option<RequestOrigin>,
}

/// Where a request came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestOrigin {
    /// The request's identity in logs.
    pub id: String,
    /// The address of the client.
    pub address: Option<IpAddr>,
    /// The host that the client asked for.
    pub host: Option<String>,
    /// The method.
    pub method: String,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// Whether the client is known to have used TLS.
    pub secure: bool,
}

/// What an operation needs before it may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The repository concerned.
    pub repository: RepositoryName,
    /// What is to be done there.
    pub actions: Actions,
    /// The tags concerned, for rules about tags.
    pub tags: Vec<Tag>,
}

/// The right to do certain things in one repository.
///
/// It can't be made by accident: either an authorizer grants what an operation
/// needs, or trusted code names itself. Its fields can't be changed afterwards.
///
/// ```compile_fail,E0451
/// use std::sync::Arc;
/// use registry_core::{Access, Actions, RepositoryName};
///
/// fn forged(repository: RepositoryName) -> Access {
///     Access {
///         repository,
///         epoch: None,
///         actions: Actions::ALL,
///         tags: Default::default(),
///         actor: Arc::default(),
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Access {
    repository: RepositoryName,
    /// Which of those that had or will have this name; whichever there is without.
    epoch: Option<u64>,
    actions: Actions,
    tags: ShownTags,
    actor: Arc<Actor>,
}

/// Which tags a list shows; all of them without a function.
#[derive(Clone, Default)]
struct ShownTags(Option<Arc<TagFilter>>);

type TagFilter = dyn Fn(&Tag) -> bool + Send + Sync;

impl fmt::Debug for ShownTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_none() { "All" } else { "Only(..)" })
    }
}

impl Access {
    /// What an authorizer grants of what an operation needs.
    ///
    /// `granted` may be more than needed: it decides, for example, whether a
    /// push may also move a tag.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] if something needed isn't granted.
    pub fn granted(need: &Need, granted: Actions, actor: Arc<Actor>) -> Result<Self> {
        let access = Self {
            repository: need.repository.clone(),
            epoch: None,
            actions: granted,
            tags: ShownTags::default(),
            actor,
        };
        access.require(need.actions)?;
        Ok(access)
    }

    /// Every right in `repository`, for code that decides for itself, such as
    /// a program that uses a registry as its own store.
    pub fn trusted(repository: RepositoryName) -> Self {
        Self {
            repository,
            epoch: None,
            actions: Actions::ALL,
            tags: ShownTags::default(),
            actor: Arc::default(),
        }
    }

    /// The same access to the repository of this [epoch](crate::RepositoryEpoch)
    /// alone: a change that is made by it fails in another one that was created under
    /// the name meanwhile.
    #[must_use]
    pub fn in_epoch(self, number: u64) -> Self {
        Self {
            epoch: Some(number),
            ..self
        }
    }

    /// The number of the epoch that it is for; absent if it is for whichever
    /// repository has the name. A registry that keeps [epochs](crate::Epochs) requires
    /// it of each change together with the change.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// The same access, where a list of tags shows only those for which `shows`
    /// says so. It is called for every candidate, so it must be quick.
    #[must_use]
    pub fn showing(self, shows: Arc<dyn Fn(&Tag) -> bool + Send + Sync>) -> Self {
        Self {
            tags: ShownTags(Some(shows)),
            ..self
        }
    }

    /// Whether a list shows `tag`.
    pub fn shows(&self, tag: &Tag) -> bool {
        self.tags.0.as_ref().is_none_or(|shows| shows(tag))
    }

    /// Whether a list shows every tag.
    pub fn shows_all_tags(&self) -> bool {
        self.tags.0.is_none()
    }

    /// The same right in another repository, for layers that rename
    /// repositories: nobody decides anew.
    ///
    /// It is safe if what the caller calls by the old name is, for everybody
    /// and always, what the registry behind the layer calls by the new one, and
    /// no two names become the same. A prefix that is added or removed is of
    /// that kind. It is not safe for a name that a client chose, such as the
    /// source of a mount, nor if letters are folded or names are cut short:
    /// whoever may use one repository could then use another. Such a name needs
    /// a decision of its own ([`granted`](Self::granted)).
    ///
    /// The epoch stays: it is that of the repository behind the layer.
    #[must_use]
    pub fn renamed(&self, repository: RepositoryName) -> Self {
        Self {
            repository,
            ..self.clone()
        }
    }

    /// The same access with at most `actions`.
    #[must_use]
    pub fn limited(&self, actions: impl Into<Actions>) -> Self {
        Self {
            actions: self.actions.intersection(actions.into()),
            ..self.clone()
        }
    }

    /// The repository.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// What may be done there.
    pub fn actions(&self) -> Actions {
        self.actions
    }

    /// Who does it.
    pub fn actor(&self) -> &Arc<Actor> {
        &self.actor
    }

    /// Whether all of `actions` may be done.
    pub fn permits(&self, actions: impl Into<Actions>) -> bool {
        self.actions.contains(actions.into())
    }

    /// Checks that all of `actions` may be done.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] if not.
    pub fn require(&self, actions: impl Into<Actions>) -> Result<()> {
        if self.permits(actions) {
            Ok(())
        } else {
            Err(ErrorKind::Denied.error("you may not do this; ask the owner of the repository"))
        }
    }
}

/// The right to see some of a registry's repositories.
#[derive(Clone)]
pub struct CatalogAccess {
    visible: Visibility,
    reach: Reach,
    actor: Arc<Actor>,
}

/// Which repositories somebody may see.
#[derive(Clone)]
pub enum Visibility {
    /// All of them.
    All,
    /// Those for which the function says so. It is called for every candidate,
    /// so it must be quick.
    Only(Arc<dyn Fn(&RepositoryName) -> bool + Send + Sync>),
}

impl CatalogAccess {
    /// What an authorizer lets `actor` see.
    pub fn granted(visible: Visibility, actor: Arc<Actor>) -> Self {
        Self {
            visible,
            reach: Reach::everywhere(),
            actor,
        }
    }

    /// The same right, where nothing outside of `reach` may be seen anyway: so
    /// nobody has to look there, and how long it takes doesn't tell what is there.
    #[must_use]
    pub fn within(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Where to look.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// All repositories, for code that decides for itself.
    pub fn trusted() -> Self {
        Self::granted(Visibility::All, Arc::default())
    }

    /// Whether `repository` may be seen.
    pub fn permits(&self, repository: &RepositoryName) -> bool {
        match &self.visible {
            Visibility::All => true,
            Visibility::Only(visible) => visible(repository),
        }
    }

    /// Whether everything may be seen.
    pub fn is_unlimited(&self) -> bool {
        matches!(self.visible, Visibility::All)
    }

    /// Who looks.
    pub fn actor(&self) -> &Arc<Actor> {
        &self.actor
    }
}

impl fmt::Debug for Visibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "All",
            Self::Only(_) => "Only(..)",
        })
    }
}

impl fmt::Debug for CatalogAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogAccess")
            .field("visible", &self.visible)
            .field("reach", &self.reach)
            .field("actor", &self.actor)
            .finish()
    }
}

/// Where the content of a mount may come from.
#[derive(Debug, Clone, Copy)]
pub enum MountSource<'a> {
    /// One repository, whose content the caller may pull.
    Repository(&'a Access),
    /// Any repository whose content the caller may pull.
    Anywhere(&'a CatalogAccess),
}

/// The documentation's attempts to make or change an [`Access`], here where its
/// fields may be used: each compiles, so outside it is only that right which
/// they lack. A field renamed breaks these too.
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate as registry_core;

    #[test]
    fn only_the_missing_right_stops_what_documentation_tries() {
        use registry_core::{Access, Action, Actions, Actor, RepositoryName};

        fn forged(repository: RepositoryName) -> Access {
            Access {
                repository,
                epoch: None,
                actions: Actions::ALL,
                tags: super::ShownTags::default(),
                actor: Arc::default(),
            }
        }

        fn enlarged(mut access: Access) -> Access {
            access.actions = Actions::ALL;
            access
        }

        fn from_nothing<T: Default>() -> T {
            T::default()
        }
        fn from_outside<T: serde::de::DeserializeOwned>() {}

        let name: RepositoryName = "team/app".parse().unwrap();
        assert!(forged(name.clone()).require(Action::Delete).is_ok());
        let access = enlarged(Access::trusted(name));
        assert!(access.require(Action::Delete).is_ok());
        let _actor: Actor = from_nothing();
        from_outside::<registry_core::Digest>();
    }
}
