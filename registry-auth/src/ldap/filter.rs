//! Filters of searches (RFC 4515), with places for what a client sends.
//!
//! The operator's text is read once. What is put into its places later are
//! values of the finished filter, never text that is read again: whatever a
//! client calls itself, it can't change what is asked for.

use registry_core::{Error, ErrorKind, Result};

use super::ber::{self, OCTETS, SEQUENCE};

/// The longest text of a filter.
const TEXT_MAX: usize = 4096;

/// How deeply filters may be in each other.
const DEPTH_MAX: usize = 16;

/// A filter with places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter(Node);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Present(String),
    Compare {
        tag: u8,
        attribute: String,
        value: Value,
    },
    Substrings {
        attribute: String,
        initial: Value,
        any: Vec<Value>,
        last: Value,
    },
    Extensible {
        rule: String,
        attribute: String,
        of_name: bool,
        value: Value,
    },
}

type Value = Vec<Piece>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    /// Who wants to log in.
    User,
    /// The distinguished name of its entry.
    Name,
}

/// What is put into the places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) user: &'a str,
    pub(super) name: &'a str,
}

const AND: u8 = 0xa0;
const OR: u8 = 0xa1;
const NOT: u8 = 0xa2;
const EQUAL: u8 = 0xa3;
const SUBSTRINGS: u8 = 0xa4;
const AT_LEAST: u8 = 0xa5;
const AT_MOST: u8 = 0xa6;
const PRESENT: u8 = 0x87;
const ALIKE: u8 = 0xa8;
const EXTENSIBLE: u8 = 0xa9;

impl Filter {
    /// Reads the text of a filter in which `{user}` and `{dn}` are places.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.len() > TEXT_MAX {
            return Err(malformed(text, "it is longer than 4096 bytes"));
        }
        let mut parser = Parser { rest: text };
        parser
            .filter(DEPTH_MAX)
            .and_then(|node| match parser.rest {
                "" => Ok(Self(node)),
                _ => Err("something follows it"),
            })
            .map_err(|reason| malformed(text, reason))
    }

    /// Whether it depends on who wants to log in.
    pub(super) fn has_user(&self) -> bool {
        self.0.any(&|piece| *piece == Piece::User)
    }

    /// Whether it depends on the entry of whoever wants to log in.
    pub(super) fn has_name(&self) -> bool {
        self.0.any(&|piece| *piece == Piece::Name)
    }

    /// Appends it as LDAP sends it.
    pub(super) fn put(&self, out: &mut Vec<u8>, places: Places<'_>) {
        self.0.put(out, places);
    }
}

fn malformed(text: &str, reason: &str) -> Error {
    let text: String = text.chars().take(200).collect();
    ErrorKind::RequestInvalid.error(format!(
        "`{text}` is no filter such as (uid={{user}}): {reason}"
    ))
}

impl Node {
    fn any(&self, test: &dyn Fn(&Piece) -> bool) -> bool {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().any(|part| part.any(test)),
            Self::Not(part) => part.any(test),
            Self::Present(_) => false,
            Self::Compare { value, .. } | Self::Extensible { value, .. } => value.iter().any(test),
            Self::Substrings {
                initial, any, last, ..
            } => {
                let values = any.iter().chain([initial, last]);
                values.flatten().any(test)
            }
        }
    }

    fn put(&self, out: &mut Vec<u8>, places: Places<'_>) {
        let mut content = Vec::new();
        let tag = match self {
            Self::And(parts) | Self::Or(parts) => {
                for part in parts {
                    part.put(&mut content, places);
                }
                if matches!(self, Self::And(_)) {
                    AND
                } else {
                    OR
                }
            }
            Self::Not(part) => {
                part.put(&mut content, places);
                NOT
            }
            Self::Present(attribute) => {
                content.extend_from_slice(attribute.as_bytes());
                PRESENT
            }
            Self::Compare {
                tag,
                attribute,
                value,
            } => {
                ber::put(&mut content, OCTETS, attribute.as_bytes());
                ber::put(&mut content, OCTETS, &filled(value, places));
                *tag
            }
            Self::Substrings {
                attribute,
                initial,
                any,
                last,
            } => {
                ber::put(&mut content, OCTETS, attribute.as_bytes());
                let mut parts = Vec::new();
                let any = any.iter().map(|value| (0x81, value));
                for (tag, value) in [(0x80, initial)]
                    .into_iter()
                    .chain(any)
                    .chain([(0x82, last)])
                {
                    if !value.is_empty() {
                        ber::put(&mut parts, tag, &filled(value, places));
                    }
                }
                ber::put(&mut content, SEQUENCE, &parts);
                SUBSTRINGS
            }
            Self::Extensible {
                rule,
                attribute,
                of_name,
                value,
            } => {
                for (tag, text) in [(0x81, rule), (0x82, attribute)] {
                    if !text.is_empty() {
                        ber::put(&mut content, tag, text.as_bytes());
                    }
                }
                ber::put(&mut content, 0x83, &filled(value, places));
                if *of_name {
                    ber::put(&mut content, 0x84, &[0xff]);
                }
                EXTENSIBLE
            }
        };
        ber::put(out, tag, &content);
    }
}

fn filled(value: &Value, places: Places<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in value {
        bytes.extend_from_slice(match piece {
            Piece::Bytes(literal) => literal,
            Piece::User => places.user.as_bytes(),
            Piece::Name => places.name.as_bytes(),
        });
    }
    bytes
}

struct Parser<'a> {
    rest: &'a str,
}

type Parsed<T> = std::result::Result<T, &'static str>;

impl<'a> Parser<'a> {
    fn skip(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Everything before one of `ends`.
    fn until(&mut self, ends: &[char]) -> Parsed<&'a str> {
        let at = self.rest.find(ends).ok_or("it ends too early")?;
        let (before, rest) = self.rest.split_at_checked(at).ok_or("it ends too early")?;
        self.rest = rest;
        Ok(before)
    }

    fn filter(&mut self, depth: usize) -> Parsed<Node> {
        let depth = depth.checked_sub(1).ok_or("it is nested too deeply")?;
        if !self.skip("(") {
            return Err("each part begins with `(`");
        }
        let node = if self.skip("&") {
            Node::And(self.list(depth)?)
        } else if self.skip("|") {
            Node::Or(self.list(depth)?)
        } else if self.skip("!") {
            Node::Not(Box::new(self.filter(depth)?))
        } else {
            self.item()?
        };
        if self.skip(")") {
            Ok(node)
        } else {
            Err("each part ends with `)`")
        }
    }

    fn list(&mut self, depth: usize) -> Parsed<Vec<Node>> {
        let mut parts = Vec::new();
        while self.rest.starts_with('(') {
            parts.push(self.filter(depth)?);
        }
        if parts.is_empty() {
            // It would mean everything, or nothing.
            return Err("`&` and `|` are followed by at least one part");
        }
        Ok(parts)
    }

    fn item(&mut self) -> Parsed<Node> {
        let left = self.until(&['=', '(', ')'])?;
        if !self.skip("=") {
            return Err("an attribute is compared by `=`");
        }
        if let Some(left) = left.strip_suffix(':') {
            return self.extensible(left);
        }
        let (attribute, tag) = match left.split_at_checked(left.len().saturating_sub(1)) {
            Some((attribute, ">")) => (attribute, AT_LEAST),
            Some((attribute, "<")) => (attribute, AT_MOST),
            Some((attribute, "~")) => (attribute, ALIKE),
            _ => (left, EQUAL),
        };
        let attribute = described(attribute)?;
        let mut values = self.values()?;
        let last = values.pop().unwrap_or_default();
        if values.is_empty() {
            let value = last;
            return Ok(Node::Compare {
                tag,
                attribute,
                value,
            });
        }
        if tag != EQUAL {
            return Err("`*` is for comparisons by `=` alone");
        }
        let mut values = values.into_iter();
        let initial = values.next().unwrap_or_default();
        let any: Vec<_> = values.collect();
        if any.iter().any(Vec::is_empty) {
            return Err("there is nothing between two `*`");
        }
        if initial.is_empty() && last.is_empty() && any.is_empty() {
            return Ok(Node::Present(attribute));
        }
        Ok(Node::Substrings {
            attribute,
            initial,
            any,
            last,
        })
    }

    /// What stands before `:=` is an attribute, `:dn` and a rule, some of which
    /// may be missing.
    fn extensible(&mut self, left: &str) -> Parsed<Node> {
        let mut parts = left.split(':');
        let attribute = parts.next().unwrap_or_default();
        let mut rest: Vec<_> = parts.collect();
        let of_name = rest
            .first()
            .is_some_and(|part| part.eq_ignore_ascii_case("dn"));
        if of_name {
            rest.remove(0);
        }
        let rule = match rest.as_slice() {
            [] => "",
            [rule] => rule,
            _ => return Err("there is more than one rule before `:=`"),
        };
        if attribute.is_empty() && rule.is_empty() {
            return Err("there is neither an attribute nor a rule before `:=`");
        }
        let mut values = self.values()?;
        match (values.pop(), values.is_empty()) {
            (Some(value), true) => Ok(Node::Extensible {
                rule: optional(rule)?,
                attribute: optional(attribute)?,
                of_name,
                value,
            }),
            _ => Err("`*` is for comparisons by `=` alone"),
        }
    }

    /// What stands between the `*` of a value.
    fn values(&mut self) -> Parsed<Vec<Value>> {
        let text = self.until(&['(', ')'])?;
        text.split('*').map(value).collect()
    }
}

fn optional(text: &str) -> Parsed<String> {
    if text.is_empty() {
        Ok(String::new())
    } else {
        described(text)
    }
}

/// The name or number of an attribute or rule, with options.
fn described(text: &str) -> Parsed<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b';');
    if text.is_empty() || !text.bytes().all(is_plain) {
        return Err("what is compared is an attribute such as uid");
    }
    Ok(text.to_owned())
}

fn value(text: &str) -> Parsed<Value> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let place = [("{user}", Piece::User), ("{dn}", Piece::Name)]
            .into_iter()
            .find_map(|(name, piece)| Some((rest.strip_prefix(name)?, piece)));
        if let Some((after, piece)) = place {
            if !literal.is_empty() {
                pieces.push(Piece::Bytes(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
            rest = after;
            continue;
        }
        match first {
            '\\' => {
                let digits = rest
                    .get(1..3)
                    .filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let digits = digits.ok_or("`\\` is followed by two digits of base 16")?;
                literal.push(u8::from_str_radix(digits, 16).map_err(|_| "a digit is none")?);
                rest = rest.get(3..).unwrap_or_default();
            }
            '{' | '}' => {
                return Err("its places are {user} and {dn}; a brace is written \\7b or \\7d");
            }
            '\0' => return Err("a zero byte is written \\00"),
            _ => {
                let after = rest.get(first.len_utf8()..).unwrap_or_default();
                let length = rest.len().saturating_sub(after.len());
                literal.extend_from_slice(rest.as_bytes().get(..length).unwrap_or_default());
                rest = after;
            }
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Bytes(literal));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(text: &str, user: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let name = "uid=a,dc=b";
        Filter::parse(text)
            .unwrap()
            .put(&mut out, Places { user, name });
        out
    }

    fn equal(attribute: &str, value: &str) -> Vec<u8> {
        let mut content = Vec::new();
        ber::put(&mut content, OCTETS, attribute.as_bytes());
        ber::put(&mut content, OCTETS, value.as_bytes());
        let mut out = Vec::new();
        ber::put(&mut out, EQUAL, &content);
        out
    }

    #[test]
    fn the_examples_of_the_standard_are_sent_as_it_says() {
        assert_eq!(put("(cn=Babs Jensen)", ""), equal("cn", "Babs Jensen"));
        assert_eq!(
            put("(!(cn=Tim Howes))", ""),
            [&[0xa2, 17][..], &equal("cn", "Tim Howes")].concat()
        );
        assert_eq!(
            put("(o=univ*of*mich*)", ""),
            b"\xa4\x15\x04\x01o0\x10\x80\x04univ\x81\x02of\x81\x04mich"
        );
        assert_eq!(put("(seeAlso=)", ""), equal("seeAlso", ""));
        assert_eq!(put("(objectClass=*)", ""), b"\x87\x0bobjectClass");
        assert_eq!(
            put("(cn:caseExactMatch:=Fred Flintstone)", ""),
            b"\xa9\x25\x81\x0ecaseExactMatch\x82\x02cn\x83\x0fFred Flintstone"
        );
        assert_eq!(
            put("(sn:dn:2.4.6.8.10:=Barney Rubble)", ""),
            b"\xa9\x22\x81\x0a2.4.6.8.10\x82\x02sn\x83\x0dBarney Rubble\x84\x01\xff"
        );
        assert_eq!(put("(:1.2.3:=W)", ""), b"\xa9\x0a\x81\x051.2.3\x83\x01W");
        assert_eq!(
            put(
                "(o=Parens R Us \\28for all your parenthetical needs\\29)",
                ""
            ),
            equal("o", "Parens R Us (for all your parenthetical needs)")
        );
        assert_eq!(put("(cn=*\\2A*)", ""), b"\xa4\x09\x04\x02cn0\x03\x81\x01*");
        assert_eq!(
            put("(filename=C:\\5cMyFile)", ""),
            equal("filename", "C:\\MyFile")
        );
        assert_eq!(put("(sn=Lu\\c4\\8di\\c4\\87)", ""), equal("sn", "Lučić"));
        assert_eq!(put("(a>=1)", "")[0], AT_LEAST);
        assert_eq!(put("(a<=1)", "")[0], AT_MOST);
        assert_eq!(put("(a~=1)", "")[0], ALIKE);
        let both = put("(&(a=1)(|(b=2)(c=3)))", "");
        assert_eq!(both[0], AND);
        assert_eq!(both[2..10], equal("a", "1"));
        assert_eq!(both[10], OR);
    }

    #[test]
    fn what_is_put_into_a_place_is_a_value() {
        for user in ["*", "a)(uid=*", "\\2a", "(", ")", "a*b", "{dn}", "é\\"] {
            assert_eq!(put("(uid={user})", user), equal("uid", user));
            assert_eq!(
                put("(mail={user}@example.com)", user),
                equal("mail", &format!("{user}@example.com"))
            );
        }
        assert_eq!(put("(member={dn})", "x"), equal("member", "uid=a,dc=b"));
        assert_eq!(
            put("(cn=a {user}, {dn}{user} z)", "x"),
            equal("cn", "a x, uid=a,dc=bx z")
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "uid={user}",
            "(uid={user}",
            "(uid={user}))",
            "(uid={user})(a=b)",
            "(&)",
            "(|)",
            "(!(a=b)(c=d))",
            "(a)",
            "(=b)",
            "(a b=c)",
            "(a=b\\2)",
            "(a=b\\zz)",
            "(a=\\é)",
            "(a=(b)",
            "(a=**)",
            "(a=b**c)",
            "(a>=b*)",
            "(:=a)",
            "(a:b:c:=d)",
            "(uid={username})",
            "(uid={user)",
            "(a=\0)",
            "(&(a=b)c)",
        ] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
        let deep = |depth: usize| format!("{}(a=b){}", "(!".repeat(depth), ")".repeat(depth));
        assert!(Filter::parse(&deep(DEPTH_MAX - 1)).is_ok());
        assert!(Filter::parse(&deep(DEPTH_MAX)).is_err());
        let long = |length: usize| format!("(a={})", "b".repeat(length - "(a=)".len()));
        assert!(Filter::parse(&long(TEXT_MAX)).is_ok());
        assert!(Filter::parse(&long(TEXT_MAX + 1)).is_err());
    }

    #[test]
    fn places_are_found_wherever_they_are() {
        for text in [
            "(a={user})",
            "(!(a=x{user}))",
            "(a=*{user})",
            "(|(a=b)(c:={user}))",
            "(a={user}*)",
        ] {
            let filter = Filter::parse(text).unwrap();
            assert!(filter.has_user() && !filter.has_name(), "{text}");
        }
        assert!(!Filter::parse("(user=user)").unwrap().has_user());
        assert!(Filter::parse("(a=*{dn}*)").unwrap().has_name());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[(){}a-c*&|!=:\\\\<>~u-]{0,40}") {
            drop(Filter::parse(&text));
        }

        #[test]
        fn a_name_never_changes_the_shape(user in "\\PC{1,40}") {
            prop_assert_eq!(put("(uid={user})", &user), equal("uid", &user));
        }
    }
}
