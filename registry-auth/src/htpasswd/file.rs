//! The format of a password file.

use std::collections::BTreeMap;

use bcrypt::HashParts;
use registry_core::{Error, ErrorKind, Result};

use super::PASSWORD_MAX;
use super::argon2::{self, Argon2id};
use crate::Secret;
use crate::principal::ROBOT;

/// A well-formed hash that takes no more work than is allowed.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Hash {
    Bcrypt { text: Box<str>, cost: u32 },
    Argon2id(Argon2id),
}

/// How much work the check of a password is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    Bcrypt(u32),
    Argon2id(argon2::Cost),
}

impl Hash {
    pub(super) fn cost(&self) -> Cost {
        match self {
            Self::Bcrypt { cost, .. } => Cost::Bcrypt(*cost),
            Self::Argon2id(hash) => Cost::Argon2id(hash.cost()),
        }
    }

    /// What differs between any two hashes.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bcrypt { text, .. } => text.as_bytes(),
            Self::Argon2id(hash) => hash.digest(),
        }
    }

    /// Whether it is the hash of `password`. It takes long.
    pub(super) fn verify(&self, password: &Secret) -> Result<bool> {
        match self {
            Self::Bcrypt { text, .. } => {
                bcrypt::verify(password.expose(), text).map_err(unfinished)
            }
            Self::Argon2id(hash) => hash.verify(password).map_err(unfinished),
        }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(rest) = text.strip_prefix("$argon2id$") {
            return Argon2id::parse(rest).map(Self::Argon2id);
        }
        if !["$2a$", "$2b$", "$2y$"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            return Err("the hash is neither bcrypt nor argon2id; make it with htpasswd -B");
        }
        let malformed = "the bcrypt hash is malformed or cut off";
        // As a number, a cost may have a sign.
        let cost = text.get(4..6).ok_or(malformed)?;
        if !cost.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed);
        }
        let parts: HashParts = text.parse().map_err(|_| malformed)?;
        match parts.get_cost() {
            cost @ 4..=14 => Ok(Self::Bcrypt {
                text: text.into(),
                cost,
            }),
            _ => Err("the cost of the bcrypt hash must be from 4 to 14"),
        }
    }
}

impl Cost {
    /// Whether a hash of this kind looks at the whole of `password`. If not, it
    /// is wrong without a check.
    pub(super) fn takes(self, password: &Secret) -> bool {
        match self {
            Self::Bcrypt(_) => password.expose().len() <= PASSWORD_MAX,
            Self::Argon2id(_) => true,
        }
    }

    /// Does the work of a check, for nothing.
    pub(super) fn spend(self, password: &Secret) -> Result<()> {
        match self {
            Self::Bcrypt(cost) => bcrypt::hash_with_salt(password.expose(), cost, [0; 16])
                .map(drop)
                .map_err(unfinished),
            Self::Argon2id(cost) => cost.spend(password).map_err(unfinished),
        }
    }
}

/// Why there is no answer to whether a password is right.
pub(super) fn unfinished(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal("the password could not be checked", source)
}

/// Reads a whole file: all of it, or an error that names the line.
pub(super) fn parse(content: &[u8]) -> Result<BTreeMap<String, Hash>> {
    let mut users = BTreeMap::new();
    for (line, number) in content.split(|byte| *byte == b'\n').zip(1_usize..) {
        let wrong = |what: &str| malformed(number, what);
        let line = std::str::from_utf8(line).map_err(|_| wrong("it isn't UTF-8"))?;
        let line = line.trim_end_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (user, hash) = line
            .split_once(':')
            .ok_or_else(|| wrong("there is no colon between user and hash"))?;
        if user.is_empty() || user.chars().any(char::is_control) {
            return Err(wrong("the user name is empty or has control characters"));
        }
        if user.starts_with(ROBOT) {
            return Err(wrong(
                "names that start with robot$ are for robots; choose another",
            ));
        }
        let hash = Hash::parse(hash).map_err(wrong)?;
        if users.insert(user.to_owned(), hash).is_some() {
            return Err(wrong("the user was named before"));
        }
    }
    if users.is_empty() {
        return Err(ErrorKind::RequestInvalid
            .error("the password file names no user; add one with htpasswd -B"));
    }
    Ok(users)
}

/// Says which line, and never what is in it.
fn malformed(line: usize, what: &str) -> Error {
    ErrorKind::RequestInvalid.error(format!("line {line} of the password file is wrong: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "$2y$05$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.";

    fn names(content: impl AsRef<[u8]>) -> Result<Vec<String>> {
        parse(content.as_ref()).map(|users| users.into_keys().collect())
    }

    #[test]
    fn users_are_read_with_comments_and_any_line_end() {
        let content =
            format!("# people\r\n\r\nalice:{HASH}\r\nünsal:{HASH} \n\n#bob:{HASH}\ncarol:{HASH}");
        assert_eq!(names(content).unwrap(), ["alice", "carol", "ünsal"]);
    }

    #[test]
    fn s_48_a_malformed_line_is_an_error_that_names_it_and_shows_nothing() {
        let multibyte = format!("$2y$05$DCq7YPn5Rq63x1Lad4cl.{}ab", "ä".repeat(14));
        for (line, what) in [
            ("alice", "colon"),
            (&format!(":{HASH}"), "user name"),
            (&format!("al\tice:{HASH}"), "user name"),
            ("alice:", "bcrypt"),
            ("alice:canary", "bcrypt"),
            ("alice:{SHA}canary", "bcrypt"),
            ("alice:$apr1$canary$canary", "bcrypt"),
            ("alice:$argon2i$v=19$m=256,t=2,p=1$canary$canary", "bcrypt"),
            (
                "alice:$argon2id$v=16$m=256,t=2,p=1$canary$canary",
                "version 19",
            ),
            (
                "alice:$argon2id$v=19$m=999999,t=2,p=1$canary$canary",
                "256 MiB",
            ),
            (
                "alice:$argon2id$v=19$m=256,t=2,p=1$canary$canary",
                "cut off",
            ),
            (
                "alice:$2x$05$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.",
                "bcrypt",
            ),
            (&format!("alice:{}", &HASH[..59]), "cut off"),
            (&format!("alice:{HASH}x"), "cut off"),
            (&format!("alice:{HASH}:x"), "cut off"),
            (&format!("alice:{}", HASH.replace("$05$", "$03$")), "cost"),
            (&format!("alice:{}", HASH.replace("$05$", "$15$")), "cost"),
            (
                &format!("alice:{}", HASH.replace("$05$", "$xx$")),
                "cut off",
            ),
            (
                &format!("alice:{}", HASH.replace("$05$", "$+5$")),
                "cut off",
            ),
            (&format!("alice:{multibyte}"), "cut off"),
            (&format!("bob:{HASH}"), "before"),
        ] {
            let error = names(format!("# users\nbob:{HASH}\n{line}\n")).expect_err(line);
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("line 3 "), "{shown}");
            assert!(shown.contains(what), "{line}: {shown}");
            assert!(
                !shown.contains("canary") && !shown.contains("alice"),
                "{shown}"
            );
        }
        assert!(
            names(b"a\xff:x")
                .unwrap_err()
                .to_string()
                .contains("line 1 ")
        );
    }

    #[test]
    fn a_file_without_users_is_an_error() {
        for content in ["", "\n\n", "# nobody\n"] {
            assert!(names(content).is_err(), "{content:?}");
        }
    }

    proptest! {
        #[test]
        fn no_content_panics(content in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&content);
        }

        #[test]
        fn no_hash_panics(hash in "\\$2[aby]\\$[0-9]{2}\\$\\PC{40,60}") {
            let _ = parse(format!("a:{hash}").as_bytes());
        }
    }
}
