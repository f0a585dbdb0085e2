//! The messages of LDAP (RFC 4511) that a login needs.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::ber::{self, BOOLEAN, ENUMERATED, INTEGER, Malformed, OCTETS, Reader, SEQUENCE, SET};
use super::filter::{Filter, Places};

/// The name of the request for TLS.
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// What a message is about.
const BIND: u8 = 0x60;
const BIND_DONE: u8 = 0x61;
const SEARCH: u8 = 0x63;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const SEARCH_REFERENCE: u8 = 0x73;
const EXTENDED: u8 = 0x77;
const EXTENDED_DONE: u8 = 0x78;

/// Results that are told apart.
pub(super) const SUCCESS: u32 = 0;
pub(super) const SIZE_LIMIT: u32 = 4;

/// A request, without its number.
pub(super) type Request = Zeroizing<Vec<u8>>;

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    /// The entry below which it is.
    pub(super) base: &'a str,
    pub(super) filter: &'a Filter,
    pub(super) places: Places<'a>,
    /// The most entries to be sent.
    pub(super) most: u32,
    /// How many seconds it may take.
    pub(super) seconds: u32,
    pub(super) attributes: &'a [&'a str],
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its distinguished name.
    pub(super) name: String,
    /// Its attributes by their names in lower case.
    attributes: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Entry {
    /// One of which nothing but the name is known.
    pub(super) fn named(name: String) -> Self {
        Self {
            name,
            attributes: BTreeMap::new(),
        }
    }

    /// The same with one value of an attribute.
    #[cfg(test)]
    pub(super) fn with(mut self, attribute: &str, value: &str) -> Self {
        let values = vec![value.as_bytes().to_vec()];
        self.attributes
            .insert(attribute.to_ascii_lowercase(), values);
        self
    }

    /// The values of an attribute.
    pub(super) fn values(&self, attribute: &str) -> &[Vec<u8>] {
        let values = self.attributes.get(&attribute.to_ascii_lowercase());
        values.map(Vec::as_slice).unwrap_or_default()
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) code: u32,
    /// What the directory has to say about it.
    pub(super) message: String,
}

/// A message from a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Bind(Outcome),
    Entry(Entry),
    /// Where else it could be looked for.
    Reference,
    SearchDone(Outcome),
    Extended(Outcome),
}

/// A login by password. Without both, nobody is logged in afterwards.
pub(super) fn bind(name: &str, password: &str) -> Request {
    // At its final size, since copies left behind by growing aren't overwritten.
    let room = name.len().saturating_add(password.len()).saturating_add(32);
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    ber::put_number(&mut content, INTEGER, 3);
    ber::put(&mut content, OCTETS, name.as_bytes());
    ber::put(&mut content, 0x80, password.as_bytes());
    operation(BIND, &content)
}

/// A request to go on with TLS.
pub(super) fn start_tls() -> Request {
    let mut content = Vec::new();
    ber::put(&mut content, 0x80, START_TLS);
    operation(EXTENDED, &content)
}

/// A search in the whole tree below an entry.
pub(super) fn search(search: &Search<'_>) -> Request {
    const WHOLE_TREE: u32 = 2;
    const FOLLOW_NO_ALIASES: u32 = 0;
    let mut content = Vec::new();
    ber::put(&mut content, OCTETS, search.base.as_bytes());
    ber::put_number(&mut content, ENUMERATED, WHOLE_TREE);
    ber::put_number(&mut content, ENUMERATED, FOLLOW_NO_ALIASES);
    ber::put_number(&mut content, INTEGER, search.most);
    ber::put_number(&mut content, INTEGER, search.seconds);
    ber::put(&mut content, BOOLEAN, &[0]);
    search.filter.put(&mut content, search.places);
    let mut attributes = Vec::new();
    for attribute in search.attributes {
        ber::put(&mut attributes, OCTETS, attribute.as_bytes());
    }
    ber::put(&mut content, SEQUENCE, &attributes);
    operation(SEARCH, &content)
}

fn operation(tag: u8, content: &[u8]) -> Request {
    let mut out = Zeroizing::new(Vec::with_capacity(content.len().saturating_add(8)));
    ber::put(&mut out, tag, content);
    out
}

/// The whole message of a request.
pub(super) fn numbered(number: u32, request: &Request) -> Request {
    let room = request.len().saturating_add(8);
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    ber::put_number(&mut content, INTEGER, number);
    content.extend_from_slice(request);
    let mut out = Zeroizing::new(Vec::with_capacity(room.saturating_add(8)));
    ber::put(&mut out, SEQUENCE, &content);
    out
}

/// Reads what is in a message: the number of its request, and the answer.
pub(super) fn read(content: &[u8]) -> Result<(u32, Answer), Malformed> {
    let mut message = Reader::new(content);
    let number = message.number(INTEGER)?;
    let (tag, content) = message.element()?;
    let mut operation = Reader::new(content);
    let answer = match tag {
        BIND_DONE => Answer::Bind(outcome(operation)?),
        SEARCH_ENTRY => Answer::Entry(entry(&mut operation)?),
        SEARCH_REFERENCE => Answer::Reference,
        SEARCH_DONE => Answer::SearchDone(outcome(operation)?),
        EXTENDED_DONE => Answer::Extended(outcome(operation)?),
        _ => return Err(Malformed),
    };
    Ok((number, answer))
}

fn outcome(mut operation: Reader<'_>) -> Result<Outcome, Malformed> {
    let code = operation.number(ENUMERATED)?;
    operation.expect(OCTETS)?;
    let message = operation.expect(OCTETS)?;
    // It goes to the log.
    let message = String::from_utf8_lossy(message);
    let plain = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    Ok(Outcome {
        code,
        message: message.chars().take(200).map(plain).collect(),
    })
}

fn entry(operation: &mut Reader<'_>) -> Result<Entry, Malformed> {
    let name = text(operation.expect(OCTETS)?)?;
    let mut list = operation.within(SEQUENCE)?;
    let mut attributes = BTreeMap::<_, Vec<_>>::new();
    while !list.is_empty() {
        let mut attribute = list.within(SEQUENCE)?;
        let name = text(attribute.expect(OCTETS)?)?.to_ascii_lowercase();
        let mut set = attribute.within(SET)?;
        let values = attributes.entry(name).or_default();
        while !set.is_empty() {
            values.push(set.expect(OCTETS)?.to_vec());
        }
    }
    Ok(Entry { name, attributes })
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_those_that_other_clients_send() {
        // By hand, from the standard. That a real server understands them is tested with one.
        assert_eq!(
            **numbered(1, &bind("cn=a", "secret")),
            *b"0\x16\x02\x01\x01`\x11\x02\x01\x03\x04\x04cn=a\x80\x06secret"
        );
        assert_eq!(
            **numbered(1, &start_tls()),
            *b"0\x1d\x02\x01\x01w\x18\x80\x161.3.6.1.4.1.1466.20037"
        );
        let filter = Filter::parse("(uid={user})").unwrap();
        let all = Search {
            base: "dc=b",
            filter: &filter,
            places: Places {
                user: "ann",
                name: "",
            },
            most: 2,
            seconds: 5,
            attributes: &["uid"],
        };
        assert_eq!(
            **numbered(3, &search(&all)),
            *b"0\x2d\x02\x01\x03c\x28\x04\x04dc=b\x0a\x01\x02\x0a\x01\x00\x02\x01\x02\x02\x01\x05\x01\x01\x00\
              \xa3\x0a\x04\x03uid\x04\x03ann0\x05\x04\x03uid"
        );
    }

    #[test]
    fn answers_are_read() {
        let (number, answer) =
            read(b"\x02\x01\x02a\x0c\x0a\x01\x31\x04\x00\x04\x05no\nno").unwrap();
        let outcome = Outcome {
            code: 49,
            message: "no no".into(),
        };
        assert_eq!((number, answer), (2, Answer::Bind(outcome)));
        let entry =
            b"\x02\x01\x03d\x1a\x04\x05uid=a0\x11\x30\x0f\x04\x03UID1\x08\x04\x01a\x04\x03b\xff ";
        let (_, Answer::Entry(entry)) = read(entry).unwrap() else {
            panic!("no entry");
        };
        assert_eq!(entry.name, "uid=a");
        assert_eq!(entry.values("uid"), [b"a".to_vec(), b"b\xff ".to_vec()]);
        assert_eq!(entry.values("uid"), entry.values("Uid"));
        assert!(entry.values("cn").is_empty());
    }

    proptest! {
        #[test]
        fn no_answer_panics(tag in prop_oneof![Just(BIND_DONE), Just(SEARCH_ENTRY), Just(SEARCH_DONE), any::<u8>()], content in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut message = b"\x02\x01\x01".to_vec();
            ber::put(&mut message, tag, &content);
            drop(read(&message));
            drop(read(&content));
        }
    }
}
