//! S-71: what this registry accepts, clients read as it does.
//!
//! Most clients are written in Go, whose JSON parser takes a key for another one that differs in case only, in all of
//! Unicode, and of repeated keys the last. What they see in a document that is accepted here has to be what is recorded
//! here; otherwise a manifest could refer to content that nobody keeps and no scanner looks at.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a step that fails is the test's result"
)]

use std::fmt::Write as _;
use std::fs::File;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use registry_http::registry_core::{
    Algorithm, Document, ManifestRules, MediaType, ReferenceKind, Result,
};
use registry_tests::harness::tool;

/// How many documents are read if nothing else is asked for.
const DOCUMENTS: usize = 20_000;

/// JSON as it is written, so that it can be written wrongly.
#[derive(Clone)]
enum Node {
    Plain(String),
    List(Vec<Node>),
    Object(Fields),
}

/// Keys as they stand between the quotes, and their values.
type Fields = Vec<(String, Node)>;

fn text(text: &str) -> Node {
    Node::Plain(format!("\"{text}\""))
}

fn object<const N: usize>(fields: [(&str, Node); N]) -> Node {
    Node::Object(fields.map(|(key, value)| (key.to_owned(), value)).into())
}

/// A descriptor of content that no other one names.
fn descriptor(random: &mut Rng, media_type: &str) -> Node {
    let digest = Algorithm::Sha256.digest(&random.u64(..).to_le_bytes());
    object([
        ("mediaType", text(media_type)),
        ("digest", text(&digest.to_string())),
        ("size", Node::Plain(random.u32(..).to_string())),
        ("annotations", object([("note", text("x"))])),
    ])
}

/// A manifest without fault: an image or an index, and its type.
fn manifest(random: &mut Rng) -> (MediaType, Node) {
    const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
    let is_image = random.bool();
    let media_type = if is_image {
        MediaType::OCI_MANIFEST
    } else {
        MediaType::OCI_INDEX
    };
    let mut fields = vec![
        ("schemaVersion".to_owned(), Node::Plain("2".to_owned())),
        ("mediaType".to_owned(), text(media_type.as_str())),
        ("subject".to_owned(), descriptor(random, IMAGE)),
        ("annotations".to_owned(), object([("note", text("x"))])),
    ];
    let of = |random: &mut Rng, media_type| {
        let items = (0..random.usize(1..4)).map(|_| descriptor(random, media_type));
        Node::List(items.collect())
    };
    if is_image {
        let config = descriptor(random, "application/vnd.oci.image.config.v1+json");
        fields.push(("config".to_owned(), config));
        let layers = of(random, "application/vnd.oci.image.layer.v1.tar");
        fields.push(("layers".to_owned(), layers));
    } else {
        fields.push(("manifests".to_owned(), of(random, IMAGE)));
    }
    (media_type, Node::Object(fields))
}

/// The object that comes as the `number`th from here.
fn find<'n>(node: &'n mut Node, number: &mut usize) -> Option<&'n mut Fields> {
    match node {
        Node::Plain(_) => None,
        Node::List(items) => items.iter_mut().find_map(|item| find(item, number)),
        Node::Object(fields) => {
            let Some(left) = number.checked_sub(1) else {
                return Some(fields);
            };
            *number = left;
            fields.iter_mut().find_map(|(_, value)| find(value, number))
        }
    }
}

/// A key that somebody may take for this one, or for one that isn't known.
fn twin(random: &mut Rng, key: &str) -> String {
    match random.u8(..6) {
        0 => key.to_owned(),
        1 => key.replacen('s', "\u{17f}", 1),
        2 => key.replace('k', "\u{212a}"),
        3 => key
            .chars()
            .map(|letter| {
                if random.u8(..4) == 0 {
                    letter.to_ascii_uppercase()
                } else {
                    letter
                }
            })
            .collect(),
        4 => key
            .chars()
            .map(|letter| {
                if random.bool() {
                    format!("\\u{:04x}", u32::from(letter))
                } else {
                    letter.to_string()
                }
            })
            .collect(),
        _ => format!(
            "{key}{}",
            random
                .choice(["x", "\\u0000", " ", "\u{301}", "ß"])
                .expect("one")
        ),
    }
}

/// Does something to a document that readers may take differently.
fn spoil(random: &mut Rng, document: &mut Node) {
    let names = [
        "config",
        "layers",
        "manifests",
        "subject",
        "digest",
        "size",
        "mediaType",
    ];
    let mut number = random.usize(..6);
    let other = match manifest(random).1 {
        Node::Object(mut fields) => fields.swap_remove(random.usize(..fields.len())),
        other => ("other".to_owned(), other),
    };
    let fields = match find(document, &mut number) {
        Some(fields) if !fields.is_empty() => fields,
        _ => return,
    };
    let place = random.usize(..fields.len());
    let (key, value) = fields[place].clone();
    let written = twin(random, &key);
    match random.u8(..4) {
        // A key in another spelling, ...
        0 => fields[place].0 = written,
        // beside it, with another value, ...
        1 => fields.insert(random.usize(..=fields.len()), (written, other.1)),
        // or with the same one.
        2 => fields.insert(random.usize(..=fields.len()), (written, value)),
        // A key that belongs elsewhere.
        _ => {
            let name = random.choice(names).expect("a name");
            let name = twin(random, name);
            fields.insert(random.usize(..=fields.len()), (name, other.1));
        }
    }
}

fn write(node: &Node, to: &mut String) {
    let (open, close) = match node {
        Node::Plain(text) => return to.push_str(text),
        Node::List(_) => ('[', ']'),
        Node::Object(_) => ('{', '}'),
    };
    to.push(open);
    let mut separator = "";
    if let Node::List(items) = node {
        for item in items {
            to.push_str(std::mem::replace(&mut separator, ","));
            write(item, to);
        }
    } else if let Node::Object(fields) = node {
        for (key, value) in fields {
            let _ = write!(to, "{}\"{key}\":", std::mem::replace(&mut separator, ","));
            write(value, to);
        }
    }
    to.push(close);
}

/// What is read here, in the words of the other reader.
fn ours(text: &str, media_type: MediaType) -> Result<String> {
    let document = Document::parse(text.as_bytes(), Some(media_type), &ManifestRules::default())?;
    let mut found: Vec<_> = document.references().iter().collect();
    // The other one names the subject last.
    found.sort_by_key(|reference| reference.kind == ReferenceKind::Subject);
    let mut line = String::new();
    for reference in found {
        let kind = match reference.kind {
            ReferenceKind::Config => "config",
            ReferenceKind::Layer => "layer",
            ReferenceKind::Manifest | ReferenceKind::Other => "manifest",
            ReferenceKind::Subject => "subject",
            ReferenceKind::Unknown => continue,
        };
        let descriptor = &reference.descriptor;
        let (digest, size) = (descriptor.digest, descriptor.size);
        let _ = write!(line, "{kind} {digest} {size} {};", descriptor.media_type);
    }
    Ok(line)
}

#[test]
fn s_71_clients_read_what_is_accepted_as_it_is_read_here() {
    let Some(go) = tool("go") else { return };
    let seed = std::env::var("REGISTRY_TESTS_SEED").ok();
    let seed = seed.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a seed"));
    let mut random = Rng::with_seed(seed);
    let documents: Vec<_> = (0..DOCUMENTS)
        .map(|_| {
            let (media_type, mut document) = manifest(&mut random);
            for _ in 0..random.u8(..3) {
                spoil(&mut random, &mut document);
            }
            let mut text = String::new();
            write(&document, &mut text);
            (text, media_type)
        })
        .collect();

    let scratch = tempfile::TempDir::new().expect("a directory");
    let (program, given) = (
        scratch.path().join("reader.go"),
        scratch.path().join("given"),
    );
    std::fs::write(&program, include_str!("readers/reader.go")).expect("the program");
    let lines = documents
        .iter()
        .map(|(text, _)| STANDARD.encode(text) + "\n");
    std::fs::write(&given, lines.collect::<String>()).expect("the documents");
    let mut run = go.command(["run".as_ref(), program.as_os_str()]);
    let output = run
        .stdin(File::open(&given).expect("the documents"))
        .output();
    let output = output.expect("what Go reads");
    assert!(output.status.success(), "{output:?}");
    let theirs = String::from_utf8(output.stdout).expect("text");
    let theirs: Vec<_> = theirs.lines().collect();
    assert_eq!(theirs.len(), documents.len());

    let (mut accepted, mut refused) = (0_usize, 0_usize);
    for ((text, media_type), theirs) in documents.into_iter().zip(theirs) {
        match ours(&text, media_type) {
            Ok(ours) => {
                assert_eq!(ours, theirs, "REGISTRY_TESTS_SEED={seed}: {text}");
                accepted = accepted.saturating_add(1);
            }
            Err(_) => refused = refused.saturating_add(1),
        }
    }
    // There was something to tell apart.
    assert!(
        accepted > DOCUMENTS / 4 && refused > DOCUMENTS / 4,
        "{accepted} {refused}"
    );
}
