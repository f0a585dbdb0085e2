//! The format of a password file.

use std::collections::BTreeMap;

use bcrypt::HashParts;
use registry_core::{Error, ErrorKind, Result};

use super::PASSWORD_MAX;
use super::argon2::{self, Argon2id};
use crate::Secret;
use crate::principal::ROBOT;

/// How many lines an error tells of.
const PROBLEMS_MAX: usize = 20;

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
        let malformed = "the bcrypt hash is malformed or cut off; make it anew with htpasswd -B";
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
            _ => Err(
                "the cost of the bcrypt hash must be from 4 to 14; make it anew, such as with \
                 htpasswd -B -C 10",
            ),
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

/// Reads the whole of the file called `name`: all of it, or an error that says of each line
/// that is wrong which it is, and never what is in it.
pub(super) fn parse(name: &str, content: &[u8]) -> Result<BTreeMap<String, Hash>> {
    let mut users = BTreeMap::new();
    let mut problems = Vec::new();
    let mut more: usize = 0;
    for (line, number) in content.split(|byte| *byte == b'\n').zip(1_usize..) {
        let read = user(line).and_then(|found| {
            let Some((user, hash)) = found else {
                return Ok(());
            };
            match users.insert(user.to_owned(), hash) {
                None => Ok(()),
                Some(_) => Err("the user was named before; leave one of the two out"),
            }
        });
        match read {
            Err(what) if problems.len() < PROBLEMS_MAX => {
                problems.push(format!("{name}:{number}: {what}"));
            }
            Err(_) => more = more.saturating_add(1),
            Ok(()) => {}
        }
    }
    if more > 0 {
        problems.push(format!("{name}: {more} more lines are wrong"));
    }
    if users.is_empty() && problems.is_empty() {
        problems.push(format!(
            "{name}: there is no user in it; add one with `htpasswd -B {name} USER`"
        ));
    }
    if problems.is_empty() {
        Ok(users)
    } else {
        Err(ErrorKind::RequestInvalid.error(problems.join("\n")))
    }
}

/// The user of a line, if one is in it, or what is wrong with it.
fn user(line: &[u8]) -> Result<Option<(&str, Hash)>, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "this isn't UTF-8; save the file as such")?;
    let line = line.trim_end_matches([' ', '\t', '\r']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (user, hash) = line
        .split_once(':')
        .ok_or("there is no colon between user and hash; make the line with htpasswd -B")?;
    if user.is_empty() || user.chars().any(char::is_control) {
        return Err("the user name is empty or has control characters; choose another");
    }
    if user.starts_with(ROBOT) {
        return Err("names that start with robot$ are for robots; choose another");
    }
    Ok(Some((user, Hash::parse(hash)?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "$2y$05$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.";

    fn names(content: impl AsRef<[u8]>) -> Result<Vec<String>> {
        parse("users", content.as_ref()).map(|users| users.into_keys().collect())
    }

    /// How long it takes is for benchmarks; what it fills is seen here.
    #[test]
    fn s_46_work_for_nobody_is_that_of_a_check() {
        let password = Secret::new("password");
        let hash = "$argon2id$v=19$m=1024,t=1,p=1$c29tZXNhbHQ\
                    $nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let hash = Hash::parse(hash).unwrap();
        let filled =
            |work: &dyn Fn() -> bool| allocation_counter::measure(|| assert!(work())).bytes_total;
        let checked = filled(&|| hash.verify(&password).is_ok());
        let spent = filled(&|| hash.cost().spend(&password).is_ok());
        assert!(checked >= 1 << 20, "{checked}");
        assert!(spent >= 1 << 20, "{spent}");
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
            assert!(shown.contains("users:3: "), "{shown}");
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
                .contains("users:1: ")
        );
    }

    #[test]
    fn all_lines_that_are_wrong_are_told_up_to_a_bound() {
        let error = names(format!("alice\nbob:{HASH}\nbob:{HASH}\ncarol:x\n"));
        let error = error.unwrap_err().to_string();
        let lines: Vec<_> = error.lines().collect();
        assert_eq!(lines.len(), 3, "{error}");
        assert!(lines[0].starts_with("users:1: there is no colon"));
        assert!(lines[1].starts_with("users:3: the user was named before"));
        assert!(lines[2].starts_with("users:4: the hash is neither"));
        let error = names("x\n".repeat(50)).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 21);
        assert!(error.ends_with("users: 30 more lines are wrong"), "{error}");
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
            let _ = parse("users", &content);
        }

        #[test]
        fn no_hash_panics(hash in "\\$2[aby]\\$[0-9]{2}\\$\\PC{40,60}") {
            let _ = parse("users", format!("a:{hash}").as_bytes());
        }
    }
}
