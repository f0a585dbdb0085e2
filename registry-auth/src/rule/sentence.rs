//! Rules as sentences.

use std::fmt;
use std::str::FromStr;

use registry_core::{Action, Actions, Error, ErrorKind, Result};

use super::{Rule, Who, hint};
use crate::principal::is_anonymous;
use crate::suggestion::suggestion;
use crate::{Effect, Pattern, Role, TagPattern};

/// The longest sentence in bytes.
const SENTENCE_MAX: usize = 4096;

/// What a rule may look like, for whoever wrote another.
const HELP: &str = "write a rule such as `group web may push, pull team/**`, `users are readers of \
                    **` or `nobody may delete v* in products/**`";

/// Whom a rule may be about, where it begins and behind `except`.
const SUBJECTS: &str =
    "`anyone`, `nobody`, `users`, `robots`, `user`, `group`, `robot` or `workload`";
const OTHER_SUBJECTS: &str = "`anyone`, `users`, `robots`, `user`, `group`, `robot` or `workload`";

/// Words that mean something wherever a repository, tag or subject may stand.
const WORDS: [&str; 8] = ["may", "not", "is", "are", "of", "to", "in", "except"];

/// A word, or a comma.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Comma,
    Word {
        text: String,
        /// Where its first `=` outside of quotes is.
        equals: Option<usize>,
        /// Then it is no word of the language.
        quoted: bool,
    },
}

/// What is left of a sentence.
struct Words<'a> {
    rest: &'a [Token],
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text, &[])
    }
}

/// Reads a sentence in which these roles may stand besides the ready-made ones.
pub(crate) fn parse(text: &str, roles: &[Role]) -> Result<Rule> {
    if text.len() > SENTENCE_MAX {
        return Err(wrong("the rule is too long; write several"));
    }
    let tokens = tokens(text)?;
    let mut words = Words { rest: &tokens };
    let nobody = words.take("nobody");
    let who = if nobody {
        Who::Anyone
    } else {
        words.who_of(SUBJECTS)?
    };
    let except = if words.take("except") {
        words.list(Words::who)?
    } else {
        Vec::new()
    };
    let mut rule = if words.take("may") {
        words.permission(who, nobody)?
    } else if !nobody && (words.take("is") || words.take("are")) {
        words.role(who, roles)?
    } else if nobody {
        return Err(words.unexpected("`may` and what nobody may"));
    } else {
        return Err(words.unexpected("`may`, `is` or `are`"));
    };
    if words.rest.is_empty() {
        rule.except = except;
        Ok(rule)
    } else {
        Err(words.unexpected("the end of the rule"))
    }
}

impl<'a> Words<'a> {
    /// `[not] ACTIONS [TAGS to|in] REPOSITORIES`
    fn permission(&mut self, who: Who, nobody: bool) -> Result<Rule> {
        let not = self.take("not");
        if nobody && not {
            return Err(wrong(
                "`nobody may not` says two things at once; write `nobody may` or `anyone may`",
            ));
        }
        let actions = self.list(Self::action)?;
        let mut tags = Vec::new();
        let repositories = if self.take("to") || self.take("in") {
            self.list(Self::repository)?
        } else {
            // Which of both it is shows behind it.
            let start = self.rest;
            let words = self.list(Self::place)?.join(", ");
            if self.take("to") || self.take("in") {
                let end = self.rest;
                self.rest = start;
                tags = self.list(Self::tag)?;
                self.rest = end;
                self.list(Self::repository)?
            } else if self.rest.is_empty() {
                self.rest = start;
                self.list(Self::repository)?
            } else {
                return Err(self.unexpected_for("the end of the rule", &hint::behind(&words)));
            }
        };
        let effect = if nobody || not {
            Effect::Deny
        } else {
            Effect::Allow
        };
        let actions = actions.into_iter().collect();
        Ok(Rule {
            tags,
            ..Rule::new(who, effect, actions, repositories)
        })
    }

    /// `ROLE of REPOSITORIES`
    fn role(&mut self, who: Who, roles: &[Role]) -> Result<Rule> {
        let role = self.text()?;
        let actions = find_role(&role, roles)?;
        if !self.take("of") {
            return Err(self.unexpected("`of` and repositories"));
        }
        let repositories = self.list(Self::repository)?;
        Ok(Rule::new(who, Effect::Allow, actions, repositories))
    }

    fn who(&mut self) -> Result<Who> {
        self.who_of(OTHER_SUBJECTS)
    }

    /// One of these subjects.
    fn who_of(&mut self, subjects: &str) -> Result<Who> {
        let Some(word) = self.keyword() else {
            return Err(self.unexpected(subjects));
        };
        let who = match word {
            "anyone" => Who::Anyone,
            "users" => Who::SignedIn,
            "robots" => Who::Robots,
            "user" => {
                self.next();
                let name = self.text()?;
                if is_anonymous(&name) {
                    return Err(wrong(
                        "no user is called `anonymous`; say `anyone` for everybody, known or not",
                    ));
                }
                return Ok(Who::User(name));
            }
            "group" => {
                self.next();
                return self.text().map(Who::Group);
            }
            "robot" => {
                self.next();
                return self.text().map(Who::Robot);
            }
            "workload" => {
                self.next();
                return self.workload();
            }
            _ => {
                let behind = Words {
                    rest: self.rest.get(1..).unwrap_or_default(),
                };
                let is_all = matches!(behind.keyword(), Some("may" | "is" | "are" | "except"));
                let hint = hint::subject(word, is_all);
                return Err(self.unexpected_for(subjects, hint.as_deref().unwrap_or(HELP)));
            }
        };
        self.next();
        Ok(who)
    }

    fn workload(&mut self) -> Result<Who> {
        let issuer = self.text()?;
        let mut claims = Vec::new();
        while let Some(Token::Word {
            text,
            equals: Some(equals),
            ..
        }) = self.rest.first()
        {
            let (name, glob) = text.split_at_checked(*equals).unwrap_or_default();
            let glob = glob.strip_prefix('=').unwrap_or(glob);
            if name.is_empty() {
                return Err(self.unexpected("a claim such as `repository=org/app`"));
            }
            claims.push((name.to_owned(), glob.parse()?));
            self.next();
        }
        Ok(Who::Workload { issuer, claims })
    }

    fn action(&mut self) -> Result<Action> {
        action(&self.text()?)
    }

    /// An action among the tags was probably meant as one, and as a tag it would leave
    /// the rule about less.
    fn tag(&mut self) -> Result<TagPattern> {
        match self.keyword().filter(|word| is_action(word)) {
            Some(word) => Err(wrong(format!(
                "`{word}` stands among the tags here; put all actions before them, or write the tag \
                 in double quotes"
            ))),
            None => self.parsed(),
        }
    }

    fn repository(&mut self) -> Result<Pattern> {
        let text = self.place()?;
        text.parse()
            .map_err(|error| hint::pattern(&text).unwrap_or(error))
    }

    /// The next word, which is a repository, or a tag in front of one.
    fn place(&mut self) -> Result<String> {
        match self.rest.first() {
            Some(Token::Word { .. }) => self.text(),
            _ => Err(self.unexpected_for("a repository", hint::REPOSITORY)),
        }
    }

    fn parsed<T: FromStr<Err = Error>>(&mut self) -> Result<T> {
        self.text()?.parse()
    }

    /// One or more of these, with commas between them.
    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut list = vec![one(self)?];
        while self.rest.first() == Some(&Token::Comma) {
            self.next();
            list.push(one(self)?);
        }
        Ok(list)
    }

    /// The next word, whatever it is.
    fn text(&mut self) -> Result<String> {
        match self.rest.first() {
            Some(Token::Word { text, .. }) => {
                let text = text.clone();
                self.next();
                Ok(text)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    /// Goes past the next word if it is this one.
    fn take(&mut self, word: &str) -> bool {
        let is = self.keyword() == Some(word);
        if is {
            self.next();
        }
        is
    }

    fn keyword(&self) -> Option<&'a str> {
        match self.rest.first() {
            Some(Token::Word {
                text,
                quoted: false,
                ..
            }) => Some(text),
            _ => None,
        }
    }

    fn next(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    fn unexpected(&self, expected: &str) -> Error {
        self.unexpected_for(expected, HELP)
    }

    /// The same with another advice.
    fn unexpected_for(&self, expected: &str, advice: &str) -> Error {
        let found = match self.rest.first() {
            Some(Token::Word { text, .. }) => format!("`{text}`"),
            Some(Token::Comma) => "a comma".to_owned(),
            None => "the end".to_owned(),
        };
        wrong(format!(
            "here is {found}, but {expected} was expected; {advice}"
        ))
    }
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.peek().copied() {
        if first == ',' {
            chars.next();
            tokens.push(Token::Comma);
        } else if first.is_whitespace() {
            chars.next();
        } else {
            tokens.push(word(&mut chars)?);
        }
    }
    Ok(tokens)
}

fn word(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token> {
    let mut word = String::new();
    let mut equals = None;
    let mut quoted = false;
    let mut inside = false;
    while let Some(char) = chars.next_if(|char| inside || *char != ',' && !char.is_whitespace()) {
        match char {
            '"' => {
                inside = !inside;
                quoted = true;
            }
            '\\' if inside => word.extend(chars.next()),
            '=' if !inside && equals.is_none() => {
                equals = Some(word.len());
                word.push('=');
            }
            char => word.push(char),
        }
    }
    if inside {
        return Err(wrong("a quotation has no end; add a double quote"));
    }
    if word.chars().any(char::is_control) {
        return Err(wrong("a name has control characters; leave them out"));
    }
    Ok(Token::Word {
        text: word,
        equals,
        quoted,
    })
}

fn is_action(word: &str) -> bool {
    word.parse::<Action>().is_ok()
}

/// Reads the name of an action.
pub(crate) fn action(word: &str) -> Result<Action> {
    word.parse().map_err(|_| {
        let known = Action::ALL.map(Action::as_str);
        let advice = suggestion(word, known).map_or_else(
            || format!("use {}", known.join(", ")),
            |known| format!("did you mean `{known}`?"),
        );
        wrong(format!("there is no action `{word}`; {advice}"))
    })
}

fn find_role(word: &str, roles: &[Role]) -> Result<Actions> {
    let known: Vec<_> = Role::ALL.into_iter().chain(roles.iter().cloned()).collect();
    let find = |word: &str| {
        let found = known.iter().find(|role| role.name() == word);
        found.map(Role::actions)
    };
    find(word)
        .or_else(|| word.strip_suffix('s').and_then(find))
        .or_else(|| word.strip_suffix("es").and_then(find))
        .ok_or_else(|| {
            let names: Vec<_> = known.iter().map(Role::name).collect();
            let advice = match (hint::role(word), suggestion(word, names.iter().copied())) {
                (Some(hint), _) => hint.to_owned(),
                (None, Some(known)) => format!("did you mean `{known}`?"),
                (None, None) => format!("use {}", names.join(", ")),
            };
            wrong(format!("there is no role `{word}`; {advice}"))
        })
}

pub(super) fn wrong(reason: impl Into<String>) -> Error {
    ErrorKind::RequestInvalid.error(reason)
}

/// The sentence. What it can't say, such as networks and times, is left out.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let denies = self.effect == Effect::Deny;
        let nobody = denies && self.who == Who::Anyone;
        if nobody {
            f.write_str("nobody")?;
        } else {
            self.who.fmt(f)?;
        }
        if !self.except.is_empty() {
            write!(f, " except {}", List(&self.except))?;
        }
        let repositories = Quoted(&self.repositories);
        if let Some(role) = Role::of(self.actions)
            && !denies
            && self.tags.is_empty()
        {
            let (verb, plural) = match self.who {
                Who::SignedIn | Who::Robots | Who::Group(_) => ("are", "s"),
                _ => ("is", ""),
            };
            return write!(f, " {verb} {role}{plural} of {repositories}");
        }
        f.write_str(if denies && !nobody {
            " may not "
        } else {
            " may "
        })?;
        let actions: Vec<_> = self.actions.iter().map(Action::as_str).collect();
        f.write_str(&actions.join(", "))?;
        if !self.tags.is_empty() {
            let pushes = self.actions.contains(Action::Push.into());
            let preposition = if pushes { "to" } else { "in" };
            write!(f, " {} {preposition}", Quoted(&self.tags))?;
        }
        write!(f, " {repositories}")
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::SignedIn => f.write_str("users"),
            Self::Robots => f.write_str("robots"),
            Self::User(name) => write!(f, "user {}", quoted(name)),
            Self::Group(name) => write!(f, "group {}", quoted(name)),
            Self::Robot(name) => write!(f, "robot {}", quoted(name)),
            Self::Workload { issuer, claims } => {
                write!(f, "workload {}", quoted(issuer))?;
                for (name, glob) in claims {
                    write!(f, " {}={}", quoted(name), quoted(&glob.to_string()))?;
                }
                Ok(())
            }
        }
    }
}

struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            item.fmt(f)?;
        }
        Ok(())
    }
}

/// The same, where each is one word.
struct Quoted<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Quoted<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self
            .0
            .iter()
            .map(|item| quoted(&item.to_string()))
            .collect();
        List(&words).fmt(f)
    }
}

/// One word, in quotes where it would be read otherwise without.
pub(super) fn quoted(word: &str) -> String {
    let special = |char: char| char.is_whitespace() || matches!(char, ',' | '"' | '=');
    if word.is_empty() || WORDS.contains(&word) || is_action(word) || word.contains(special) {
        let escaped = word.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\"")
    } else {
        word.to_owned()
    }
}
