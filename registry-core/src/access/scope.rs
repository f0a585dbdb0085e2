//! Scopes: rights in the words of Docker's token protocol.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Action, Actions, ErrorKind, Operation, RepositoryName, Result};

/// The type and name under which the list of repositories is a resource.
const CATALOG: (&str, &str) = ("registry", "catalog");

/// The type and name under which all that the holder may pull is the source of
/// a mount that names none. A word of ours.
const MOUNT: (&str, &str) = ("registry", "mount");

/// A set of rights in the words of Docker's token protocol, such as
/// `repository:team/app:pull,push registry:catalog:*`.
///
/// A scope limits; it grants nothing. It knows fewer words than [`Action`], so
/// a token's scope is to be intersected with what its holder may do: `pull`
/// stands for [`Pull`](Action::Pull) and [`List`](Action::List), `push` for
/// [`Push`](Action::Push) and [`Overwrite`](Action::Overwrite), `*` for
/// everything. Words of ours are `fetch` for `Pull` alone, `list` for `List` alone,
/// `create` for `Push` alone, `overwrite` for `Overwrite` alone, and
/// `registry:mount:pull` for content from [anywhere](Self::anywhere).
///
/// ```
/// use registry_core::{Action, Scopes};
///
/// let scopes = Scopes::parse(["repository:app:push repository:app:pull", "registry:catalog:*"]);
/// assert!(scopes.catalog());
/// assert_eq!(
///     scopes.actions(&"app".parse()?),
///     Some([Action::List, Action::Pull, Action::Push, Action::Overwrite].into()),
/// );
/// assert_eq!(scopes.to_string(), "repository:app:pull,push registry:catalog:*");
/// # Ok::<(), registry_core::Error>(())
/// ```
///
/// Docker registry v2 authentication, "Token scope documentation".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes {
    repositories: BTreeMap<RepositoryName, Actions>,
    catalog: bool,
    anywhere: bool,
}

/// One resource of some [`Scopes`], in the words of the protocol: an entry of
/// a token's `access` claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeEntry<'a> {
    /// What it is: `repository` or `registry`.
    pub kind: &'static str,
    /// Its name.
    pub name: &'a str,
    /// What may be done: `pull`, `fetch`, `list`, `push`, `create`, `overwrite`,
    /// `delete` or `*`.
    pub actions: Vec<&'static str>,
}

impl Scopes {
    /// Understands the values of `scope` parameters. Each may hold several
    /// scopes, separated by spaces; scopes of one resource add up.
    ///
    /// What isn't understood grants nothing and is no error: clients ask for
    /// the rights of plugins, of everything, or of nothing.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut scopes = Self::default();
        for scope in values.into_iter().flat_map(|value| value.split(' ')) {
            // A name may hold colons, as in `host:port/name`.
            if let Some((kind, rest)) = scope.split_once(':')
                && let Some((name, actions)) = rest.rsplit_once(':')
            {
                scopes.insert(kind, name, actions.split(','));
            }
        }
        scopes
    }

    /// The same for those who write scopes down one by one, and want to know what
    /// they get.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] with the first scope that isn't understood in
    /// whole.
    pub fn parse_exactly<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut scopes = Self::default();
        for scope in values {
            let mut one = Self::parse([scope]);
            let words = scope.rsplit(':').next().unwrap_or_default();
            let is_known = |word| meaning(word) != Actions::NONE;
            if one.is_empty() || scope.contains(' ') || !words.split(',').all(is_known) {
                return Err(ErrorKind::RequestInvalid.error(format!(
                    "the scope `{scope}` can't be understood; write one such as \
                     repository:team/app:pull,push"
                )));
            }
            scopes.catalog |= one.catalog;
            scopes.anywhere |= one.anywhere;
            for (repository, actions) in std::mem::take(&mut one.repositories) {
                scopes.insert_actions(repository, actions);
            }
        }
        Ok(scopes)
    }

    /// What a client should ask for to be allowed an operation.
    ///
    /// Clients that push also pull, so a push asks for both. Lists are pulled, in
    /// the words that other registries know.
    pub fn of(operation: &Operation) -> Self {
        let mut scopes = Self {
            catalog: matches!(operation, Operation::ListRepositories { .. }),
            anywhere: matches!(operation, Operation::MountBlob { from: None, .. }),
            ..Self::default()
        };
        for need in [operation.need(), operation.source_need()]
            .into_iter()
            .flatten()
        {
            let mut actions = need.actions;
            if actions.contains(Action::Push.into()) {
                actions = actions | meaning("push") | meaning("pull");
            }
            if !actions.intersection(meaning("pull")).is_empty() {
                actions = actions | meaning("pull");
            }
            scopes.insert_actions(need.repository, actions);
        }
        scopes
    }

    /// Adds what an entry of a token's `access` claim says, if it is
    /// understood. Actions that aren't known are dropped.
    pub fn insert<'a>(
        &mut self,
        kind: &str,
        name: &str,
        actions: impl IntoIterator<Item = &'a str>,
    ) {
        // `repository(plugin)` is an old way to write `repository`.
        let kind = kind.split_once('(').map_or(kind, |(kind, _class)| kind);
        let mut actions = actions.into_iter();
        if (kind, name) == CATALOG {
            self.catalog |= actions.any(|action| action == "*");
        } else if (kind, name) == MOUNT {
            self.anywhere |= actions.any(|action| action == "pull");
        } else if kind == "repository"
            && let Ok(name) = name.parse()
        {
            self.insert_actions(
                name,
                actions.fold(Actions::NONE, |set, word| set | meaning(word)),
            );
        }
    }

    /// Adds `actions` in a repository. No action at all is also kept: in a
    /// token it says that the right was asked for and refused.
    pub fn insert_actions(&mut self, repository: RepositoryName, actions: Actions) {
        let known = self.repositories.entry(repository).or_default();
        *known = *known | actions;
    }

    /// The actions in a repository; `None` if nothing is said about it.
    pub fn actions(&self, repository: &RepositoryName) -> Option<Actions> {
        self.repositories.get(repository).copied()
    }

    /// Whether the list of repositories is among them.
    pub fn catalog(&self) -> bool {
        self.catalog
    }

    /// Whether content may be taken over from wherever the holder may pull it,
    /// for a mount that names no source.
    pub fn anywhere(&self) -> bool {
        self.anywhere
    }

    /// What of these `other` says too. A repository of which it says nothing
    /// stays, without any action.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let common = |(repository, actions): (&RepositoryName, &Actions)| {
            let known = other.actions(repository).unwrap_or_default();
            (repository.clone(), actions.intersection(known))
        };
        Self {
            repositories: self.repositories.iter().map(common).collect(),
            catalog: self.catalog && other.catalog,
            anywhere: self.anywhere && other.anywhere,
        }
    }

    /// The repositories and the actions in each, in order.
    pub fn repositories(&self) -> impl Iterator<Item = (&RepositoryName, Actions)> {
        self.repositories
            .iter()
            .map(|(repository, actions)| (repository, *actions))
    }

    /// Whether nothing is said at all.
    pub fn is_empty(&self) -> bool {
        self.repositories.is_empty() && !self.catalog && !self.anywhere
    }

    /// The entries of a token's `access` claim.
    pub fn entries(&self) -> impl Iterator<Item = ScopeEntry<'_>> {
        let of_the_registry = [(self.catalog, CATALOG, "*"), (self.anywhere, MOUNT, "pull")];
        self.repositories
            .iter()
            .map(|(repository, actions)| ScopeEntry {
                kind: "repository",
                name: repository.as_str(),
                actions: words(*actions),
            })
            .chain(of_the_registry.into_iter().filter(|(said, ..)| *said).map(
                |(_, (kind, name), action)| ScopeEntry {
                    kind,
                    name,
                    actions: vec![action],
                },
            ))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.entries().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            let actions = entry.actions.join(",");
            write!(f, "{}:{}:{actions}", entry.kind, entry.name)?;
        }
        Ok(())
    }
}

/// What a word of the protocol stands for.
fn meaning(word: &str) -> Actions {
    match word {
        "pull" => [Action::Pull, Action::List].into(),
        "fetch" => Action::Pull.into(),
        "list" => Action::List.into(),
        "push" => [Action::Push, Action::Overwrite].into(),
        "create" => Action::Push.into(),
        "overwrite" => Action::Overwrite.into(),
        "delete" => Action::Delete.into(),
        "*" => Actions::ALL,
        _ => Actions::NONE,
    }
}

/// The words that stand for no more than `actions`, and no word twice over.
fn words(actions: Actions) -> Vec<&'static str> {
    if actions == Actions::ALL {
        return vec!["*"];
    }
    let says = |word| actions.contains(meaning(word));
    let (pulls, pushes) = (says("pull"), says("push"));
    [
        ("pull", true),
        ("fetch", !pulls),
        ("list", !pulls),
        ("push", true),
        ("create", !pushes),
        ("overwrite", !pushes),
        ("delete", true),
    ]
    .into_iter()
    .filter(|(word, alone)| *alone && says(word))
    .map(|(word, _)| word)
    .collect()
}
