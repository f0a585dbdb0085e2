//! Variables that stand in for keys of the configuration file.
//!
//! `REGISTRY_HTTP_TLS_KEY` is the key `http.tls.key`: upper case, and `_` for
//! every step. Lists are given as YAML or item by item, with the number of the
//! item as the last step.

use std::ffi::OsString;
use std::sync::Arc;

use super::choice;
use super::keys::{self, Key, Kind, Support};
use super::problem::{Origin, Problem};
use super::tree::{Node, Step, Value};
use super::yaml::{self, Place};

/// What all names begin with.
const PREFIX: &str = "REGISTRY_";

/// The variable that names the configuration file.
pub(crate) const FILE: &str = "REGISTRY_CONFIGURATION_PATH";

/// What other programs read, with what they are: it says nothing about this one.
const OTHERS: &[(&str, &str)] = &[(
    "REGISTRY_AUTH_FILE",
    "where podman, skopeo and buildah keep logins",
)];

/// Puts the variables that name keys into `tree`. Returns remarks on those that
/// were left out.
pub(crate) fn apply(
    tree: &mut Node,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) -> Vec<Problem> {
    let mut notes = Vec::new();
    let mut ours: Vec<_> = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX) && name != FILE)
        .collect();
    // Sections come before what is in them.
    ours.sort();
    for (name, value) in ours {
        let origin = Origin::Variable(Arc::from(name.as_str()));
        let Some(value) = value.to_str() else {
            problems.push(origin.problem("the value isn't UTF-8"));
            continue;
        };
        if let Some((_, what)) = OTHERS.iter().find(|(other, _)| *other == name) {
            notes.push(origin.problem(format!("ignored: it says {what}")));
            continue;
        }
        let rest = name.strip_prefix(PREFIX).unwrap_or_default();
        match meaning(rest) {
            Ok(meaning) => {
                if let Err(problem) = meaning.put(tree, value, &origin) {
                    problems.push(problem);
                }
            }
            Err(_) if is_service_link(rest, value) => notes.push(origin.problem(
                "ignored: it looks like the address of another container, not like a key",
            )),
            Err(advice) => {
                let message = format!("the configuration has no such key; {advice}");
                problems.push(origin.problem(message));
            }
        }
    }
    notes
}

/// What a name says.
struct Meaning {
    key: &'static Key,
    /// The names on the way to it.
    path: String,
    /// The names in the key that are the operator's own.
    own: Option<String>,
    index: Option<usize>,
}

/// Finds the key of a variable, or advice.
fn meaning(name: &str) -> Result<Meaning, String> {
    let name = name.to_ascii_lowercase();
    let mut names = name.split('_');
    let mut path = String::new();
    let mut found = None;
    for next in names.by_ref() {
        let Some(key) = keys::find_in(&path, next) else {
            return Err(as_variables(&keys::advice(&path, next)));
        };
        path = keys::join(&path, next);
        found = Some(key);
        // What is below isn't known.
        if key.support == Support::Not
            || matches!(key.kind, Kind::Texts | Kind::Names | Kind::NamesOfLists)
        {
            break;
        }
    }
    let key = found.ok_or_else(|| keys::advice("", ""))?;
    let rest = names.collect::<Vec<_>>().join("_");
    let (own, index) = match (key.kind, rest.rsplit_once('_')) {
        (Kind::NamesOfLists, Some((own, index))) if index.parse::<usize>().is_ok() => {
            (own.to_owned(), index.parse().ok())
        }
        (Kind::Texts, _) if rest.parse::<usize>().is_ok() => (String::new(), rest.parse().ok()),
        _ => (rest, None),
    };
    Ok(Meaning {
        key,
        path,
        own: (!own.is_empty()).then_some(own),
        index,
    })
}

/// Advice about a key, in terms of variables.
fn as_variables(advice: &str) -> String {
    match advice.split_once('`').and_then(|(before, rest)| {
        let (path, after) = rest.split_once('`')?;
        Some((before, path, after))
    }) {
        Some(("did you mean ", path, after)) => {
            let name = path.to_ascii_uppercase().replace('.', "_");
            format!("did you mean {PREFIX}{name}{after}")
        }
        _ => advice.to_owned(),
    }
}

impl Meaning {
    fn put(&self, tree: &mut Node, value: &str, origin: &Origin) -> Result<(), Problem> {
        let node = self.value(value, origin)?;
        let path = as_said(tree, &self.path);
        let path = path.as_str();
        // To choose by name keeps what was said about that choice before.
        if let (true, Value::Text(chosen)) = (choice::SECTIONS.contains(&path), &node.value) {
            choice::choose(tree, path, chosen, origin);
            return Ok(());
        }
        // Names that the file spells with capitals are the same.
        let own = self.own.as_deref().map(|own| {
            let said = tree.at(path).map(Node::entries).unwrap_or_default();
            let same = said
                .iter()
                .find(|entry| entry.name.eq_ignore_ascii_case(own));
            same.map_or(own, |entry| &entry.name).to_owned()
        });
        let mut steps: Vec<_> = path.split('.').map(Step::Name).collect();
        steps.extend(own.as_deref().map(Step::Name));
        steps.extend(self.index.map(Step::Index));
        tree.set(&steps, node).map_err(|length| {
            origin.problem(format!(
                "items before this one are missing: the list has {length}"
            ))
        })
    }

    fn value(&self, value: &str, origin: &Origin) -> Result<Node, Problem> {
        let is_structured = match self.key.kind {
            Kind::Section | Kind::NamesOfSections => true,
            Kind::Names => self.own.is_none(),
            Kind::Texts | Kind::NamesOfLists => self.index.is_none(),
            _ => false,
        };
        if is_structured {
            return yaml::read(value, &Place::Elsewhere(origin.clone()));
        }
        let value = if value.is_empty() {
            Value::Empty
        } else {
            Value::Text(value.to_owned())
        };
        Ok(Node {
            origin: origin.clone(),
            value,
        })
    }
}

/// A path with the operator's own names as they are spelled in `tree`, where
/// capitals make no difference.
fn as_said(tree: &Node, path: &str) -> String {
    let mut said = String::new();
    for name in path.split('.') {
        let entries = tree.at(&said).unwrap_or(tree).entries();
        let same = entries
            .iter()
            .find(|entry| entry.name.eq_ignore_ascii_case(name));
        said = keys::join(&said, same.map_or(name, |entry| &entry.name));
    }
    said
}

/// Whether container platforms set the variable to tell where a service called
/// `registry`, or `registry-` and something, is to be found.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let has_port = name.starts_with("PORT_") || name.contains("_PORT_");
    let has_protocol = ["_TCP", "_UDP", "_SCTP"]
        .iter()
        .any(|protocol| name.contains(protocol));
    let is_service = name.starts_with("SERVICE_") || name.contains("_SERVICE_");
    let is_named = name == "NAME" || name.ends_with("_NAME");
    (has_port && has_protocol)
        || (is_url && (name == "PORT" || name.ends_with("_PORT")))
        || (is_service && (name.ends_with("SERVICE_HOST") || name.contains("SERVICE_PORT")))
        || (is_named && value.starts_with('/'))
        || name.starts_with("ENV_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        yaml::read(text, &Place::File("c.yml".into())).unwrap()
    }

    fn applied(text: &str, variables: &[(&str, &str)]) -> (Node, Vec<String>, usize) {
        let mut tree = tree(text);
        let mut problems = Vec::new();
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let notes = apply(&mut tree, variables, &mut problems);
        let problems = problems.iter().map(ToString::to_string).collect();
        (tree, problems, notes.len())
    }

    #[test]
    fn a_variable_replaces_what_the_file_says_and_makes_what_it_does_not() {
        let (tree, problems, _) = applied(
            "http: {addr: ':1', headers: {A: [x, y]}}\nlog: {level: info}\n",
            &[
                ("REGISTRY_HTTP_ADDR", ":2"),
                ("REGISTRY_HTTP_TLS_KEY", "/k"),
                ("REGISTRY_HTTP_HEADERS_X-FRAME-OPTIONS", "[DENY]"),
                ("REGISTRY_HTTP_HEADERS_A_1", "z"),
                ("REGISTRY_LOG_FIELDS_MY_HOST", "h"),
                ("REGISTRY_HEALTH", "{storagedriver: {enabled: true}}"),
                ("REGISTRY_LOG_LEVEL", ""),
                ("PATH", "/bin"),
            ],
        );
        assert_eq!(problems, Vec::<String>::new());
        let text = |path| tree.at(path).and_then(Node::text);
        assert_eq!(text("http.addr"), Some(":2"));
        assert_eq!(text("http.tls.key"), Some("/k"));
        assert_eq!(text("log.fields.my_host"), Some("h"));
        assert_eq!(text("health.storagedriver.enabled"), Some("true"));
        assert_eq!(text("log.level"), None);
        assert_eq!(
            tree.at("http.addr").unwrap().origin.to_string(),
            "REGISTRY_HTTP_ADDR"
        );
        let list = |path| match tree.at(path).map(|node| &node.value) {
            Some(Value::List(items)) => items.iter().filter_map(Node::text).collect(),
            _ => Vec::new(),
        };
        assert_eq!(list("http.headers.A"), ["x", "z"]);
        assert_eq!(list("http.headers.x-frame-options"), ["DENY"]);
    }

    #[test]
    fn a_variable_reaches_into_sections_that_the_operator_named() {
        let (tree, problems, _) = applied(
            "auth: {oidc: {GitHub: {issuer: a}}}",
            &[
                ("REGISTRY_AUTH_OIDC_GITHUB_ISSUER", "b"),
                ("REGISTRY_AUTH_OIDC_GITHUB_AUDIENCE", "c"),
                ("REGISTRY_AUTH_OIDC_GITLAB", "{issuer: d}"),
                ("REGISTRY_AUTH_OIDC_GITLAB_JWKS", "e"),
            ],
        );
        assert_eq!(problems, Vec::<String>::new());
        let text = |path| tree.at(path).and_then(Node::text);
        assert_eq!(text("auth.oidc.GitHub.issuer"), Some("b"));
        assert_eq!(text("auth.oidc.GitHub.audience"), Some("c"));
        assert_eq!(text("auth.oidc.gitlab.issuer"), Some("d"));
        assert_eq!(text("auth.oidc.gitlab.jwks"), Some("e"));
        let (_, problems, _) = applied("", &[("REGISTRY_AUTH_OIDC_GITHUB_ISUER", "b")]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let advice = "did you mean REGISTRY_AUTH_OIDC_GITHUB_ISSUER?";
        assert!(problems[0].contains(advice), "{problems:?}");
    }

    #[test]
    fn a_choice_ends_the_others_and_keeps_the_rest() {
        let (tree, problems, _) = applied(
            "storage: {filesystem: {rootdirectory: /x}, delete: {enabled: true}}\nauth: {htpasswd: {realm: r}}",
            &[
                ("REGISTRY_AUTH", "htpasswd"),
                ("REGISTRY_AUTH_HTPASSWD_PATH", "/p"),
                ("REGISTRY_STORAGE", "inmemory"),
            ],
        );
        assert_eq!(problems, Vec::<String>::new());
        let text = |path| tree.at(path).and_then(Node::text);
        assert_eq!(text("auth.htpasswd.realm"), Some("r"));
        assert_eq!(text("auth.htpasswd.path"), Some("/p"));
        assert_eq!(text("storage.delete.enabled"), Some("true"));
        let storage = &tree.entry("storage").unwrap().node;
        assert!(storage.entry("inmemory").is_some());
        assert!(storage.entry("filesystem").is_none());
    }

    #[test]
    fn unknown_variables_are_errors_with_advice() {
        for (name, advice) in [
            ("REGISTRY_HTTP_ADR", "did you mean REGISTRY_HTTP_ADDR?"),
            ("REGISTRY_STORGE", "did you mean REGISTRY_STORAGE?"),
            (
                "REGISTRY_STORAGE_ROOTDIRECTORY",
                "did you mean REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY?",
            ),
            ("REGISTRY_PORT", "has no such key"),
            ("REGISTRY_HTTP_HEADERS_A_3", "the list has 0"),
        ] {
            let (_, problems, notes) = applied("", &[(name, "5000")]);
            assert_eq!((problems.len(), notes), (1, 0), "{name}");
            assert!(
                problems[0].starts_with(&format!("{name}: ")),
                "{problems:?}"
            );
            assert!(problems[0].contains(advice), "{problems:?}");
        }
    }

    #[test]
    fn addresses_of_other_containers_are_left_out() {
        for (name, value) in [
            ("REGISTRY_PORT", "tcp://10.0.0.1:5000"),
            ("REGISTRY_PORT_5000_TCP", "tcp://10.0.0.1:5000"),
            ("REGISTRY_PORT_5000_TCP_ADDR", "10.0.0.1"),
            ("REGISTRY_SERVICE_HOST", "10.0.0.1"),
            ("REGISTRY_SERVICE_PORT", "5000"),
            ("REGISTRY_SERVICE_PORT_HTTP", "5000"),
            ("REGISTRY_UI_SERVICE_HOST", "10.0.0.1"),
            ("REGISTRY_UI_PORT", "tcp://10.0.0.1:80"),
            ("REGISTRY_NAME", "/web/registry"),
            ("REGISTRY_ENV_X", "y"),
            ("REGISTRY_AUTH_FILE", "/run/containers/auth.json"),
        ] {
            let (tree, problems, notes) = applied("", &[(name, value)]);
            assert_eq!(problems, Vec::<String>::new(), "{name}");
            assert_eq!(notes, 1, "{name}");
            assert_eq!(tree.value, Value::Empty, "{name}");
        }
    }
}
