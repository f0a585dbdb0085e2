//! Where what is kept about logins is.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use registry_auth::Htpasswd;
use registry_examples::configuration::{self, Auth, Sources, Storage};

use crate::command_line::Place;
use crate::problem::Failure;
use crate::setup;

/// The data of a server, in a directory that is there.
pub(super) struct Data {
    pub(super) root: PathBuf,
    /// The configuration, if one was named, and what it says of logins.
    configured: Option<(PathBuf, Auth)>,
}

/// The users that a password file has.
pub(super) struct Users {
    pub(super) names: BTreeSet<String>,
    /// Whether there are no others.
    pub(super) are_all: bool,
}

/// What is in a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// What a server keeps, or what was made before its first start.
    Data,
    Nothing,
    Others,
}

impl Place {
    /// The data that is meant.
    pub(super) fn data(&self) -> Result<Data, Failure> {
        let data = self.named()?;
        if content(&data.root)? == Content::Data {
            return Ok(data);
        }
        Err(Failure::Usage(format!(
            "{} holds no data of a registry; name the directory that a server uses (--root)",
            data.root.display()
        )))
    }

    /// The same, or an empty directory, for what is made before the first start of a server.
    pub(super) fn new_data(&self) -> Result<Data, Failure> {
        let data = self.named()?;
        require_data_or_nothing(&data.root)?;
        Ok(data)
    }

    fn named(&self) -> Result<Data, Failure> {
        let Some(file) = &self.config else {
            require(&self.root)?;
            return Ok(Data {
                root: self.root.clone(),
                configured: None,
            });
        };
        let sources = Sources {
            file: Some(file.clone()),
            variables: std::env::vars_os().collect(),
            ..Sources::default()
        };
        let configuration = configuration::load(sources).map_err(Failure::Configuration)?;
        let Storage::Filesystem(root) = configuration.storage else {
            return Err(Failure::Usage(format!(
                "{} keeps its data in memory, where only the server reaches it; manage it over \
                 HTTP (/api/v1/)",
                file.display()
            )));
        };
        require(&root)?;
        Ok(Data {
            root,
            configured: Some((file.clone(), configuration.auth)),
        })
    }

    /// The flag that leads there.
    pub(super) fn flag(&self) -> String {
        match &self.config {
            Some(file) => format!("--config {}", file.display()),
            None => format!("--root {}", self.root.display()),
        }
    }
}

impl Data {
    /// Makes sure that keys are of use, as far as that can be told: whoever makes some where
    /// they are not would learn of it from a login that fails.
    pub(super) fn require_use_of_keys(&self) -> Result<(), Failure> {
        match &self.configured {
            Some((_, auth)) if auth.keys => Ok(()),
            Some((file, auth)) => {
                let advice = if auth.policy_file.is_none() {
                    "name a file of rules in `auth.policy.path`, which say what robots may do"
                } else if auth.issuer.is_some() {
                    "the service in `auth.token` has the robots"
                } else {
                    "`auth.keys.enabled` says so"
                };
                Err(Failure::Usage(format!(
                    "with {} no key is of use: {advice}",
                    file.display()
                )))
            }
            None => {
                if !self.root.join(setup::TOKEN_KEYS).is_dir() {
                    // Nobody has to read it.
                    let _ = writeln!(
                        io::stderr(),
                        "No server has used {} yet that takes keys: its configuration has to name \
                         a file of rules (`auth.policy.path`). `--config CONFIG` in place of \
                         `--root` makes sure.",
                        self.root.display()
                    );
                }
                Ok(())
            }
        }
    }

    /// The users of the password file, if a configuration was named that has one. Within
    /// a runtime.
    pub(super) fn users(&self) -> Option<Users> {
        let (_, auth) = self.configured.as_ref()?;
        let file = auth.password_file.as_ref()?;
        Some(Users {
            names: Htpasswd::open(&file.path.value).ok()?.names(),
            are_all: auth.has_no_other_users(),
        })
    }

    /// Where the keys are that sign tokens.
    pub(super) fn token_keys(&self) -> PathBuf {
        let tokens = self.configured.as_ref();
        let tokens = tokens.and_then(|(_, auth)| auth.tokens.as_ref());
        match tokens.and_then(|tokens| tokens.keys.as_ref()) {
            Some(keys) => keys.value.clone(),
            None => self.root.join(setup::TOKEN_KEYS),
        }
    }
}

/// A directory that was mistyped isn't made.
pub(super) fn require(root: &Path) -> Result<(), Failure> {
    if root.is_dir() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "there is no data directory {}; name the one of the server (--root)",
        root.display()
    )))
}

/// Nothing is made among somebody else's files.
pub(super) fn require_data_or_nothing(root: &Path) -> Result<(), Failure> {
    require(root)?;
    if content(root)? != Content::Others {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{} holds other files than the data of a registry; name the directory that a server uses, \
         or an empty one for a new server (--root)",
        root.display()
    )))
}

fn content(root: &Path) -> Result<Content, Failure> {
    if setup::has_records(root) || root.join(setup::TOKEN_KEYS).is_dir() {
        return Ok(Content::Data);
    }
    let unreadable = |error| {
        Failure::new(
            format!("the data in {} can't be read", root.display()),
            &error,
        )
    };
    let mut content = Content::Nothing;
    for entry in fs::read_dir(root).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(setup::METADATA) {
            return Ok(Content::Data);
        }
        // A new file system isn't quite empty.
        if name != "lost+found" && !name.starts_with('.') {
            content = Content::Others;
        }
    }
    Ok(content)
}
