//! From the text of a policy file to rules.

use std::collections::BTreeSet;
use std::str::FromStr;

use jiff::Timestamp;
use registry_core::{Actions, Error};

use super::PolicyProblem;
use super::yaml::{self, Node, Value};
use crate::principal::{is_anonymous, nobody_in_particular};
use crate::suggestion::suggestion;
use crate::{Effect, Principal, PrincipalKind, Role, Rule, Rules, Who, rule};

/// What may stand at the top.
const KEYS: [&str; 5] = ["version", "groups", "roles", "disabled", "rules"];

/// What may stand beside a rule.
const CONDITIONS: [&str; 6] = ["rule", "name", "from", "times", "until", "reason"];

/// Reads a policy: all of it, or everything that is wrong with it. Its rules name no
/// other issuers than these, if somebody knows them.
pub(super) fn rules(
    file: &str,
    content: &[u8],
    issuers: Option<&BTreeSet<String>>,
) -> Result<Rules, Vec<PolicyProblem>> {
    let breaks = content.iter().filter(|byte| matches!(byte, b'\n' | b'\r'));
    let mut reader = Reader {
        file,
        issuers,
        last_line: breaks.count().saturating_add(1),
        problems: Vec::new(),
        roles: Vec::new(),
    };
    let rules = reader.document(content);
    if reader.problems.is_empty() {
        Ok(rules)
    } else {
        reader.problems.sort_by_key(|problem| problem.line);
        Err(reader.problems)
    }
}

struct Reader<'a> {
    file: &'a str,
    issuers: Option<&'a BTreeSet<String>>,
    /// No line is behind it. What is missing at the end is missing there.
    last_line: usize,
    problems: Vec<PolicyProblem>,
    /// The roles of the file.
    roles: Vec<Role>,
}

type Section = Vec<(String, usize, Node)>;

impl Reader<'_> {
    fn document(&mut self, content: &[u8]) -> Rules {
        let mut rules = Rules::new();
        let Ok(text) = std::str::from_utf8(content) else {
            self.wrong(1, "the file isn't UTF-8; save it as such");
            return rules;
        };
        let top = match yaml::read(text) {
            Ok(Some(node)) => self.section(node).unwrap_or_default(),
            Ok(None) => Vec::new(),
            Err((line, reason)) => {
                self.wrong(line, reason);
                return rules;
            }
        };
        let [version, groups, of_file, disabled, entries] = self.known(top, KEYS);
        match version {
            Some(node) => {
                let line = node.line;
                if self.text(node).is_some_and(|version| version != "1") {
                    self.wrong(line, "this version isn't known; write `version: 1`");
                }
            }
            None => self.wrong(1, "the version is missing; write `version: 1`"),
        }
        self.roles(of_file);
        for (group, _, members) in groups
            .and_then(|node| self.section(node))
            .unwrap_or_default()
        {
            let members = self.names(members);
            for (line, name) in &members {
                self.require_name(*line, name);
                let is_job = |known: &Principal| known.kind() == PrincipalKind::Workload;
                if Principal::called(name).as_ref().is_some_and(is_job) {
                    let reason = "groups have users and robots; write the rule about the workload";
                    self.wrong(*line, reason);
                }
            }
            for (line, name) in &members {
                rules = rules.mention(name, format!("{}:{line}", self.file));
            }
            let members: Vec<_> = members.iter().map(|(_, name)| name.as_str()).collect();
            rules = rules.group_members(&group, &members);
        }
        for (line, name) in disabled.map(|node| self.names(node)).unwrap_or_default() {
            self.require_name(line, &name);
            let is_no_job = |known: &Principal| {
                known.kind() == PrincipalKind::Workload && known.name().is_empty()
            };
            if Principal::called(&name).as_ref().is_some_and(is_no_job) {
                let reason = format!("`{name}` names no job; add its subject");
                self.wrong(line, reason);
            }
            rules = rules
                .mention(&name, format!("{}:{line}", self.file))
                .disable(&name);
        }
        for entry in entries.map(|node| self.list(node)).unwrap_or_default() {
            if let Some(rule) = self.rule(entry) {
                rules = rules.rule(rule);
            }
        }
        rules
    }

    fn require_name(&mut self, line: usize, name: &str) {
        if is_anonymous(name) {
            self.wrong(line, "nobody who is known is called `anonymous`");
        } else if let Some(reason) = nobody_in_particular(name).or_else(|| impossible(name)) {
            self.wrong(line, reason);
        }
    }

    fn roles(&mut self, roles: Option<Node>) {
        for (name, line, actions) in roles
            .and_then(|node| self.section(node))
            .unwrap_or_default()
        {
            let mut known = Actions::NONE;
            for (line, word) in self.texts(actions) {
                match rule::action(&word) {
                    Ok(action) => known = known | action.into(),
                    Err(error) => self.wrong(line, error.to_string()),
                }
            }
            match Role::new(name, known) {
                Ok(role) => self.roles.push(role),
                Err(error) => self.wrong(line, error.to_string()),
            }
        }
    }

    fn rule(&mut self, entry: Node) -> Option<Rule> {
        let line = entry.line;
        if matches!(entry.value, Value::Text(_)) {
            return self.sentence(entry);
        }
        let Value::Section(entries) = entry.value else {
            self.wrong(
                line,
                "a rule is a sentence, or a section with `rule: ` and conditions",
            );
            return None;
        };
        let [sentence, name, from, times, until, reason] = self.known(entries, CONDITIONS);
        let Some(sentence) = sentence else {
            self.wrong(
                line,
                "the rule itself is missing; write `rule: ` and a sentence",
            );
            return None;
        };
        let mut rule = self.sentence(sentence)?;
        if let Some(name) = name.and_then(|node| self.text(node)) {
            rule = rule.named(name);
        }
        for network in from.map(|node| self.parsed(node)).unwrap_or_default() {
            rule = rule.from(network);
        }
        for window in times.map(|node| self.parsed(node)).unwrap_or_default() {
            rule = rule.during(window);
        }
        if let Some(node) = until {
            let line = node.line;
            match self.text(node).map(|text| text.parse::<Timestamp>()) {
                Some(Ok(end)) => rule = rule.until(end.into()),
                Some(Err(_)) => self.wrong(
                    line,
                    "the time is malformed; write it such as 2027-01-31T00:00:00Z",
                ),
                None => {}
            }
        }
        if let Some(node) = reason {
            let line = node.line;
            if rule.effect() == Effect::Allow {
                self.wrong(line, "a rule that allows needs no reason; leave it out");
            } else if let Some(text) = self.text(node) {
                rule = rule.because(text);
            }
        }
        Some(rule)
    }

    fn sentence(&mut self, node: Node) -> Option<Rule> {
        let line = node.line;
        let text = self.text(node)?;
        match rule::parse(&text, &self.roles) {
            Ok(rule) => {
                if let Some(reason) = rule.impossible_name() {
                    self.wrong(line, reason);
                }
                for issuer in rule.issuers() {
                    self.require_issuer(line, issuer);
                }
                Some(rule.at(format!("{}:{line}", self.file)))
            }
            Err(error) => {
                self.wrong(line, error.to_string());
                None
            }
        }
    }

    fn require_issuer(&mut self, line: usize, issuer: &str) {
        let Some(known) = self.issuers.filter(|known| !known.contains(issuer)) else {
            return;
        };
        let names = || known.iter().map(String::as_str);
        let advice = if let Some(name) = suggestion(issuer, names()) {
            format!("; did you mean `{name}`?")
        } else if known.is_empty() {
            ", and none is configured; configure it, or leave the rule out".to_owned()
        } else {
            let names: Vec<_> = names().collect();
            format!("; configured are {}", names.join(", "))
        };
        self.wrong(line, format!("no issuer is called `{issuer}` here{advice}"));
    }

    /// The values of these keys. Others are wrong.
    fn known<const N: usize>(&mut self, entries: Section, keys: [&str; N]) -> [Option<Node>; N] {
        let mut values = [const { None }; N];
        for (name, line, node) in entries {
            let known = keys.iter().zip(&mut values).find(|(key, _)| **key == name);
            if let Some((_, value)) = known {
                *value = Some(node);
                continue;
            }
            let advice = suggestion(&name, keys).map_or_else(
                || format!("use {}", keys.join(", ")),
                |known| format!("did you mean `{known}`?"),
            );
            self.wrong(line, format!("the key `{name}` isn't known; {advice}"));
        }
        values
    }

    fn section(&mut self, node: Node) -> Option<Section> {
        if let Value::Section(entries) = node.value {
            return Some(entries);
        }
        let reason = "here must be names with values, such as `name: value`";
        self.wrong(node.line, reason);
        None
    }

    fn list(&mut self, node: Node) -> Vec<Node> {
        if let Value::List(items) = node.value {
            items
        } else {
            self.wrong(
                node.line,
                "here must be a list, each line of it with a `-` in front",
            );
            Vec::new()
        }
    }

    /// One text, or a list of them, with their lines.
    fn texts(&mut self, node: Node) -> Vec<(usize, String)> {
        let nodes = match node.value {
            Value::List(items) => items,
            _ => vec![node],
        };
        nodes
            .into_iter()
            .filter_map(|node| Some((node.line, self.text(node)?)))
            .collect()
    }

    /// Names, of which several are a list: one text with commas would be one name that
    /// nobody has.
    fn names(&mut self, node: Node) -> Vec<(usize, String)> {
        if let Value::Text(text) = &node.value
            && text.contains(',')
        {
            let reason = format!("several names are a list; write `[{text}]`");
            self.wrong(node.line, reason);
            return Vec::new();
        }
        self.texts(node)
    }

    fn parsed<T: FromStr<Err = Error>>(&mut self, node: Node) -> Vec<T> {
        let line = node.line;
        let texts = self.texts(node);
        if texts.is_empty() {
            // Without any, the rule would hold always.
            self.wrong(line, "the list is empty; leave it out or fill it");
        }
        texts
            .into_iter()
            .filter_map(|(line, text)| match text.parse::<T>() {
                Ok(value) => Some(value),
                Err(error) => {
                    self.wrong(line, error.to_string());
                    None
                }
            })
            .collect()
    }

    fn text(&mut self, node: Node) -> Option<String> {
        match node.value {
            Value::Text(text) if !text.is_empty() => Some(text),
            Value::Text(_) => {
                self.wrong(node.line, "here is nothing; write a text or leave it out");
                None
            }
            _ => {
                self.wrong(node.line, "here must be a text");
                None
            }
        }
    }

    fn wrong(&mut self, line: usize, reason: impl Into<String>) {
        self.problems.push(PolicyProblem {
            file: self.file.to_owned(),
            line: Some(line.clamp(1, self.last_line)),
            reason: reason.into(),
        });
    }
}

/// Why nobody can be called `name`.
fn impossible(name: &str) -> Option<String> {
    let known = Principal::called(name)?;
    let name = known.name().to_owned();
    match known.kind() {
        PrincipalKind::User => Who::User(name).impossible_name(),
        PrincipalKind::Robot => Who::Robot(name).impossible_name(),
        _ => None,
    }
}
