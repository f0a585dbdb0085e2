//! Whom a name stands for.

use super::{ANONYMOUS, ROBOT, USER, WORKLOAD};

/// Whom a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Called<'a> {
    Nobody,
    User(&'a str),
    Robot(&'a str),
    Workload(&'a str, &'a str),
}

impl<'a> Called<'a> {
    pub(super) fn read(name: &'a str) -> Self {
        if name == ANONYMOUS {
            return Self::Nobody;
        }
        match name.split_once(' ') {
            Some((USER, name)) => return Self::User(name),
            Some(("robot", name)) => return Self::Robot(name),
            Some((WORKLOAD, of)) => {
                if let Some((issuer, subject)) = of.split_once(' ') {
                    return Self::Workload(issuer, subject);
                }
            }
            _ => {}
        }
        match (name.strip_prefix(ROBOT), name.split_once(':')) {
            (Some(robot), _) => Self::Robot(robot),
            // Who has a password has no colon in its name: there that begins. But
            // certificates have URLs.
            (None, Some((issuer, subject))) if !subject.starts_with("//") => {
                Self::Workload(issuer, subject)
            }
            (None, _) => Self::User(name),
        }
    }
}

/// Why a name says nobody, if it does: it may be meant as in a rule, where it stands for
/// many.
pub(crate) fn nobody_in_particular(name: &str) -> Option<String> {
    const HOW: &str = "write `user NAME`, `robot NAME` or `workload ISSUER SUBJECT`";
    let (kind, rest) = name.split_once(' ').unwrap_or((name, ""));
    let rest = rest.trim();
    match kind {
        "" => return Some(format!("the name is empty; {HOW}")),
        "anyone" | "nobody" | "users" | "robots" => {
            return Some(format!(
                "`{kind}` is nobody in particular; name one, such as `user ann` or `robot ci`"
            ));
        }
        "group" => {
            return Some(format!(
                "`{name}` is nobody in particular; name one who is in the group, such as `user ann`"
            ));
        }
        USER | "robot" if rest.is_empty() => {
            return Some(format!("`{kind}` lacks the name; write `{kind} NAME`"));
        }
        WORKLOAD if !rest.contains(' ') => {
            return Some(format!(
                "`{name}` lacks the subject; write `workload ISSUER SUBJECT`"
            ));
        }
        _ => {}
    }
    let is_nothing = match Called::read(name) {
        Called::Nobody => false,
        Called::User(name) | Called::Robot(name) => name.trim().is_empty(),
        Called::Workload(issuer, _) => issuer.is_empty(),
    };
    is_nothing.then(|| format!("`{name}` lacks a name; {HOW}"))
}
