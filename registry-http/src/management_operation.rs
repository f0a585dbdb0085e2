//! What the management API can do.
//!
//! It is below `/api/v1/`, and is no part of the distribution protocol. As with an
//! [`Operation`], one value says what a request asks for, and both the decision and
//! the handler go by it.

use http::Method;
use percent_encoding::percent_decode_str;
#[cfg(feature = "management")]
use registry_auth::ManagementNeed;
#[cfg(feature = "management")]
use registry_core::Action;
use registry_core::{ErrorKind, Operation, PageRequest, RepositoryName, Result};

/// What all of its paths start with.
pub(crate) const MANAGEMENT: &str = "/api/v1/";

const REPOSITORIES: &str = "repositories/";

/// Something that can be asked of the management API.
#[derive(Debug)]
pub(crate) enum ManagementOperation {
    /// List the robots.
    ListRobots { page: PageRequest },
    /// Make a robot.
    CreateRobot,
    /// Show a robot.
    ShowRobot { robot: String },
    /// Change a robot.
    ChangeRobot { robot: String },
    /// Delete a robot and its keys.
    DeleteRobot { robot: String },
    /// List the keys of a robot.
    ListRobotKeys { robot: String, page: PageRequest },
    /// Make a key of a robot.
    CreateRobotKey { robot: String },
    /// End a key of a robot.
    RevokeRobotKey { robot: String, id: String },
    /// List the caller's own keys.
    ListKeys { page: PageRequest },
    /// Make a key of the caller's own.
    CreateKey,
    /// End a key of the caller's own.
    RevokeKey { id: String },
    /// Say what somebody may do.
    Explain,
    /// End all tokens of somebody.
    RevokeTokens,
    /// Change the keys that sign tokens.
    RotateSigningKeys,
    /// Delete a whole repository.
    DeleteRepository { repository: RepositoryName },
}

/// What is at a path.
enum Resource<'p> {
    Robots,
    Robot(String),
    RobotKeys(String),
    RobotKey(String, String),
    Keys,
    Key(String),
    Explain,
    Revocations,
    SigningKeys,
    /// The name is spelled as in the protocol.
    Repository(&'p str),
}

impl<'p> Resource<'p> {
    /// What is at the path that `rest` ends. Names are decoded once.
    fn at(rest: &'p str) -> Option<Self> {
        if let Some(name) = rest.strip_prefix(REPOSITORIES) {
            return Some(Self::Repository(name));
        }
        let mut parts = rest.split('/');
        let parts = [
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ];
        Some(match parts {
            [Some("robots"), None, ..] => Self::Robots,
            [Some("robots"), Some(name), None, ..] => Self::Robot(decoded(name)?),
            [Some("robots"), Some(name), Some("keys"), None, _] => Self::RobotKeys(decoded(name)?),
            [Some("robots"), Some(name), Some("keys"), Some(id), None] => {
                Self::RobotKey(decoded(name)?, decoded(id)?)
            }
            [Some("keys"), None, ..] => Self::Keys,
            [Some("keys"), Some(id), None, ..] => Self::Key(decoded(id)?),
            [Some("explain"), None, ..] => Self::Explain,
            [Some("revocations"), None, ..] => Self::Revocations,
            [Some("signing-keys"), None, ..] => Self::SigningKeys,
            _ => return None,
        })
    }

    const fn methods(&self) -> &'static [Method] {
        match self {
            Self::Robots | Self::RobotKeys(_) | Self::Keys => {
                &[Method::GET, Method::HEAD, Method::POST]
            }
            Self::Robot(_) => &[Method::GET, Method::HEAD, Method::PATCH, Method::DELETE],
            Self::RobotKey(..) | Self::Key(_) | Self::Repository(_) => &[Method::DELETE],
            Self::Explain | Self::Revocations | Self::SigningKeys => &[Method::POST],
        }
    }
}

/// A part of a path in plain text. Nothing that is named has a slash in its name.
fn decoded(part: &str) -> Option<String> {
    let text = percent_decode_str(part).decode_utf8().ok()?;
    (!text.is_empty() && !text.contains('/')).then(|| text.into_owned())
}

/// The part of a list that is asked for, as the protocol asks for it.
fn page(query: Option<&str>) -> Result<PageRequest> {
    match Operation::parse(&Method::GET, "/v2/_catalog", query)? {
        Operation::ListRepositories { page } => Ok(page),
        _ => Ok(PageRequest::default()),
    }
}

/// The repository that is spelled so, as the protocol spells it.
fn repository(spelled: &str) -> Result<RepositoryName> {
    let path = format!("/v2/{spelled}/tags/list");
    match Operation::parse(&Method::GET, &path, None)? {
        Operation::ListTags { repository, .. } => Ok(repository),
        _ => Err(nothing_there()),
    }
}

fn nothing_there() -> registry_core::Error {
    ErrorKind::NotFound.error("the management API has nothing at this path")
}

impl ManagementOperation {
    /// Understands a request to a path behind [`MANAGEMENT`].
    ///
    /// # Errors
    ///
    /// * [`NotFound`](ErrorKind::NotFound) if there is nothing at the path.
    /// * [`Unsupported`](ErrorKind::Unsupported) if it isn't for the method.
    /// * [`NameInvalid`](ErrorKind::NameInvalid) and
    ///   [`PageInvalid`](ErrorKind::PageInvalid).
    pub(crate) fn parse(method: &Method, rest: &str, query: Option<&str>) -> Result<Self> {
        let resource = Resource::at(rest).ok_or_else(nothing_there)?;
        if !resource.methods().contains(method) {
            return Err(ErrorKind::Unsupported.error("this path isn't for this method; see Allow"));
        }
        Ok(match (resource, method) {
            (Resource::Robots, &Method::POST) => Self::CreateRobot,
            (Resource::Robots, _) => Self::ListRobots { page: page(query)? },
            (Resource::Robot(robot), &Method::PATCH) => Self::ChangeRobot { robot },
            (Resource::Robot(robot), &Method::DELETE) => Self::DeleteRobot { robot },
            (Resource::Robot(robot), _) => Self::ShowRobot { robot },
            (Resource::RobotKeys(robot), &Method::POST) => Self::CreateRobotKey { robot },
            (Resource::RobotKeys(robot), _) => Self::ListRobotKeys {
                robot,
                page: page(query)?,
            },
            (Resource::RobotKey(robot, id), _) => Self::RevokeRobotKey { robot, id },
            (Resource::Keys, &Method::POST) => Self::CreateKey,
            (Resource::Keys, _) => Self::ListKeys { page: page(query)? },
            (Resource::Key(id), _) => Self::RevokeKey { id },
            (Resource::Explain, _) => Self::Explain,
            (Resource::Revocations, _) => Self::RevokeTokens,
            (Resource::SigningKeys, _) => Self::RotateSigningKeys,
            (Resource::Repository(spelled), _) => Self::DeleteRepository {
                repository: repository(spelled)?,
            },
        })
    }

    /// The methods of a path behind [`MANAGEMENT`].
    pub(crate) fn methods(rest: &str) -> &'static [Method] {
        Resource::at(rest).map_or(&[], |resource| resource.methods())
    }

    /// Whether a path behind [`MANAGEMENT`] is one of content.
    pub(crate) fn is_content(rest: &str) -> bool {
        rest.starts_with(REPOSITORIES)
    }

    /// What whoever asks has to be, or to be allowed.
    #[cfg(feature = "management")]
    pub(crate) fn need(&self) -> ManagementNeed {
        match self {
            Self::ListRobots { .. } | Self::ShowRobot { .. } | Self::ListRobotKeys { .. } => {
                ManagementNeed::Registry(Action::Audit)
            }
            Self::CreateRobot
            | Self::ChangeRobot { .. }
            | Self::DeleteRobot { .. }
            | Self::CreateRobotKey { .. }
            | Self::RevokeRobotKey { .. }
            | Self::RevokeTokens
            | Self::RotateSigningKeys => ManagementNeed::Registry(Action::Administer),
            Self::ListKeys { .. } | Self::CreateKey | Self::RevokeKey { .. } => {
                ManagementNeed::Login
            }
            // More is asked of who asks about others.
            Self::Explain => ManagementNeed::Known,
            Self::DeleteRepository { repository } => {
                // What a rule protects from deletion isn't deleted with all the rest.
                let needed = [Action::Administer, Action::Delete];
                ManagementNeed::Repository(needed.into(), repository.clone())
            }
        }
    }

    /// The name for metrics and logs. It never changes.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ListRobots { .. } => "list_robots",
            Self::CreateRobot => "create_robot",
            Self::ShowRobot { .. } => "show_robot",
            Self::ChangeRobot { .. } => "change_robot",
            Self::DeleteRobot { .. } => "delete_robot",
            Self::ListRobotKeys { .. } => "list_robot_keys",
            Self::CreateRobotKey { .. } => "create_robot_key",
            Self::RevokeRobotKey { .. } => "revoke_robot_key",
            Self::ListKeys { .. } => "list_keys",
            Self::CreateKey => "create_key",
            Self::RevokeKey { .. } => "revoke_key",
            Self::Explain => "explain",
            Self::RevokeTokens => "revoke_tokens",
            Self::RotateSigningKeys => "rotate_signing_keys",
            Self::DeleteRepository { .. } => "delete_repository",
        }
    }

    /// The repository that it is about, if it is about one.
    pub(crate) fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::DeleteRepository { repository } => Some(repository),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &Method, rest: &str) -> Result<ManagementOperation> {
        ManagementOperation::parse(method, rest, None)
    }

    #[test]
    fn names_are_decoded_once_and_hold_no_slash() {
        for (rest, robot) in [
            ("robots/ci", "ci"),
            ("robots/%63i", "ci"),
            ("robots/%2563i", "%63i"),
            ("robots/..", ".."),
        ] {
            match parse(&Method::GET, rest).unwrap() {
                ManagementOperation::ShowRobot { robot: parsed } => assert_eq!(parsed, robot),
                other => panic!("{rest}: {other:?}"),
            }
        }
        for rest in [
            "",
            "robots/",
            "robots//keys",
            "robots/a%2fb",
            "robots/a/b",
            "robots/a/keys/",
            "robots/a/keys/b/c",
            "robots/%ff",
            "%72obots",
            "keys/",
            "keys/a/b",
            "explain/",
            "Explain",
            "/explain",
            "repositories",
        ] {
            let error = parse(&Method::GET, rest).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{rest}");
        }
    }

    #[test]
    fn repositories_are_spelled_as_in_the_protocol() {
        for rest in [
            "repositories/team/app",
            "repositories/%74eam/app",
            "repositories/team/%61pp",
        ] {
            let operation = parse(&Method::DELETE, rest).unwrap();
            assert_eq!(operation.repository().unwrap().as_str(), "team/app");
        }
        let named = parse(&Method::DELETE, "repositories/a/manifests/b").unwrap();
        assert_eq!(named.repository().unwrap().as_str(), "a/manifests/b");
        for rest in [
            "repositories/",
            "repositories/team%2fapp",
            "repositories/team//app",
            "repositories/team/app/",
            "repositories/../app",
            "repositories/A",
        ] {
            assert!(parse(&Method::DELETE, rest).is_err(), "{rest}");
        }
    }

    #[test]
    fn a_method_that_a_path_has_not_is_refused() {
        for (rest, methods) in [
            ("robots", "GET, HEAD, POST"),
            ("robots/a", "GET, HEAD, PATCH, DELETE"),
            ("robots/a/keys/b", "DELETE"),
            ("explain", "POST"),
            ("repositories/a", "DELETE"),
        ] {
            let known = ManagementOperation::methods(rest);
            let names: Vec<_> = known.iter().map(Method::as_str).collect();
            assert_eq!(names.join(", "), methods);
            for method in [
                Method::GET,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ] {
                let parsed = parse(&method, rest);
                assert_eq!(parsed.is_ok(), known.contains(&method), "{method} {rest}");
            }
        }
    }
}
