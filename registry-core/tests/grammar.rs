//! Names, tags, digests and media types against the specification's own
//! regular expressions, and what else is written and read as text.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "a step that fails is the test's result"
)]

use std::sync::LazyLock;

use proptest::prelude::*;
use regex::Regex;
use registry_core::{
    Algorithm, ByteRange, Digest, ErrorDetail, ErrorKind, MediaType, NAME_MAX, Reference,
    RepositoryName, Tag, UploadId,
};

const NAME: &str = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*";
const TAG: &str = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}";
const DIGEST: &str = r"(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})";
const MEDIA_TYPE: &str =
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}";

/// Some of what fits [`NAME`], short enough to be read.
const SOME_NAMES: &str = "[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}\
                          (/[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}){0,3}";

fn whole(expression: &str) -> Regex {
    Regex::new(&format!(r"\A(?:{expression})\z")).unwrap()
}

static NAMES: LazyLock<Regex> = LazyLock::new(|| whole(NAME));
static TAGS: LazyLock<Regex> = LazyLock::new(|| whole(TAG));
static DIGESTS: LazyLock<Regex> = LazyLock::new(|| whole(DIGEST));
static MEDIA_TYPES: LazyLock<Regex> = LazyLock::new(|| whole(MEDIA_TYPE));

/// Text that fits `expression`, text that nearly does, and any text.
fn text(expression: &'static str) -> impl Strategy<Value = String> {
    let valid = proptest::string::string_regex(expression).unwrap();
    let spoiled = (
        valid,
        any::<prop::sample::Index>(),
        prop_oneof!["[g-zG-Z.:/ \n-]", "\\PC"],
        0_usize..2,
    )
        .prop_map(|(text, index, inserted, removed)| {
            let mut chars: Vec<_> = text.chars().collect();
            let place = index.index(chars.len());
            chars.splice(place..place + removed, inserted.chars());
            chars.into_iter().collect::<String>()
        });
    prop_oneof![
        3 => proptest::string::string_regex(expression).unwrap(),
        3 => spoiled,
        2 => "[a-cA-F0-2._/:@%+ -]{0,24}",
        1 => "(sha256|sha512|sha384|SHA256|md5):[a-fA-F0-9]{60,68}",
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn repository_names_follow_the_specification(
        text in prop_oneof![9 => text(SOME_NAMES), 1 => "[a-z/]{250,260}"],
    ) {
        let expected = NAMES.is_match(&text) && text.len() <= NAME_MAX;
        match text.parse::<RepositoryName>() {
            Ok(name) => {
                prop_assert!(expected);
                prop_assert_eq!(name.to_string(), text);
            }
            Err(error) => {
                prop_assert!(!expected);
                prop_assert_eq!(error.kind(), ErrorKind::NameInvalid);
            }
        }
    }

    #[test]
    fn tags_follow_the_specification(text in text(TAG)) {
        let expected = TAGS.is_match(&text);
        match text.parse::<Tag>() {
            Ok(tag) => {
                prop_assert!(expected);
                prop_assert_eq!(tag.to_string(), text);
            }
            Err(error) => {
                prop_assert!(!expected);
                prop_assert_eq!(error.kind(), ErrorKind::TagInvalid);
            }
        }
    }

    #[test]
    fn digests_follow_the_specification(text in text(DIGEST)) {
        let expected = DIGESTS.is_match(&text);
        match text.parse::<Digest>() {
            Ok(digest) => {
                prop_assert!(expected);
                prop_assert_eq!(digest.to_string(), &*text);
                prop_assert_eq!(format!("{}:{}", digest.algorithm(), digest.hex()), text);
                let again = Digest::from_hash(digest.algorithm(), digest.hash()).unwrap();
                prop_assert_eq!(again, digest);
            }
            Err(error) => {
                prop_assert!(!expected);
                prop_assert_eq!(error.kind(), ErrorKind::DigestInvalid);
            }
        }
    }

    #[test]
    fn references_are_tags_or_digests(text in prop_oneof![text(TAG), text(DIGEST)]) {
        let expected = if text.contains(':') {
            text.parse().map(Reference::Digest)
        } else {
            text.parse().map(Reference::Tag)
        };
        match text.parse::<Reference>() {
            Ok(reference) => {
                prop_assert_eq!(reference.to_string(), text);
                prop_assert_eq!(reference, expected.unwrap());
            }
            Err(error) => prop_assert_eq!(error.kind(), expected.unwrap_err().kind()),
        }
    }

    #[test]
    fn media_types_follow_rfc_6838(text in text(MEDIA_TYPE)) {
        let media_type = text.parse::<MediaType>();
        prop_assert_eq!(media_type.is_ok(), MEDIA_TYPES.is_match(&text));
        if let Ok(media_type) = media_type {
            prop_assert_eq!(media_type.as_str(), text);
        }
    }

    #[test]
    fn names_survive_json(name in SOME_NAMES, tag in TAG, digest in DIGEST) {
        let name: RepositoryName = name.parse().unwrap();
        let tag: Tag = tag.parse().unwrap();
        let digest: Digest = digest.parse().unwrap();
        let json = serde_json::to_string(&(&name, &tag, digest)).unwrap();
        let read: (RepositoryName, Tag, Digest) = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read, (name, tag, digest));
    }

    #[test]
    fn names_are_ordered_as_their_text(a in SOME_NAMES, b in SOME_NAMES) {
        let expected = a.as_bytes().cmp(b.as_bytes());
        let [a, b] = [a, b].map(|name| name.parse::<RepositoryName>().unwrap());
        prop_assert_eq!(a.cmp(&b), expected);
    }

    #[test]
    fn uploads_have_one_spelling(bytes: [u8; 16]) {
        let id = UploadId::from_random(bytes);
        let text = id.to_string();
        prop_assert_eq!(text.parse::<UploadId>().unwrap(), id);
        let json = serde_json::to_string(&id).unwrap();
        prop_assert_eq!(serde_json::from_str::<UploadId>(&json).unwrap(), id);
        for other in [
            text.to_uppercase().replace(|char: char| char.is_ascii_digit(), "A"),
            text.replace('-', ""),
            format!("{{{text}}}"),
            format!("urn:uuid:{text}"),
            format!("{text} "),
            format!("../{text}"),
        ] {
            let error = other.parse::<UploadId>().unwrap_err();
            prop_assert_eq!(error.kind(), ErrorKind::UploadUnknown);
        }
    }

    #[test]
    fn ranges_hold_exactly_the_bytes_asked_for(
        size in 0_u64..12,
        first in 0_u64..14,
        last in prop::option::of(0_u64..14),
        count in 0_u64..14,
    ) {
        let from = |position: &u64| *position >= first && last.is_none_or(|last| *position <= last);
        let suffix = |position: &u64| size - *position <= count;
        let cases: [(ByteRange, Vec<u64>); 2] = [
            (ByteRange::From { first, last }, (0..size).filter(from).collect()),
            (ByteRange::Last(count), (0..size).filter(suffix).collect()),
        ];
        for (range, expected) in cases {
            match range.resolve(size) {
                Ok(bytes) => prop_assert_eq!(bytes.collect::<Vec<_>>(), expected),
                Err(error) => {
                    prop_assert!(expected.is_empty());
                    prop_assert_eq!(error.kind(), ErrorKind::RangeInvalid);
                    prop_assert_eq!(error.detail(), Some(&ErrorDetail::Size(size)));
                }
            }
        }
    }

    #[test]
    fn ranges_of_any_numbers_lie_inside_the_content(
        size: u64,
        first: u64,
        last: Option<u64>,
        count: u64,
    ) {
        for range in [ByteRange::From { first, last }, ByteRange::Last(count)] {
            if let Ok(bytes) = range.resolve(size) {
                prop_assert!(bytes.start < bytes.end && bytes.end <= size);
            }
        }
    }
}

#[test]
fn repository_names_have_at_most_255_bytes() {
    let longest = "a".repeat(255);
    longest.parse::<RepositoryName>().unwrap();
    let error = format!("{longest}a").parse::<RepositoryName>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the repository name is too long; use at most 255 characters"
    );
}

#[test]
fn repository_names_may_hold_words_of_paths() {
    for name in [
        "a/blobs",
        "blobs/uploads",
        "a/manifests/b",
        "tags/list",
        "referrers",
        "a---b",
    ] {
        assert_eq!(name.parse::<RepositoryName>().unwrap().as_str(), name);
    }
}

#[test]
fn tags_have_at_most_128_bytes() {
    "a".repeat(128).parse::<Tag>().unwrap();
    "a".repeat(129).parse::<Tag>().unwrap_err();
}

#[test]
fn media_types_have_at_most_127_bytes_on_either_side() {
    let [longest, longer] = [127, 128].map(|length| "a".repeat(length));
    format!("{longest}/{longest}").parse::<MediaType>().unwrap();
    format!("{longer}/a").parse::<MediaType>().unwrap_err();
    format!("a/{longer}").parse::<MediaType>().unwrap_err();
}

#[test]
fn ranges_end_at_the_largest_position() {
    let range = ByteRange::From {
        first: 0,
        last: Some(u64::MAX),
    };
    assert_eq!(range.resolve(u64::MAX).unwrap(), 0..u64::MAX);
}

#[test]
fn digests_hold_lower_case_hexadecimal_digits_only() {
    for char in '\0'..='\u{ff}' {
        for text in [
            format!("sha256:{char}{}", "0".repeat(63)),
            format!("sha512:{}{char}", "0".repeat(127)),
        ] {
            assert_eq!(
                text.parse::<Digest>().is_ok(),
                DIGESTS.is_match(&text),
                "{text}"
            );
        }
    }
}

#[test]
fn digests_of_unsupported_algorithms_say_so() {
    let error = format!("blake3:{}", "0".repeat(64))
        .parse::<Digest>()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the digest algorithm is not supported; use sha256 or sha512"
    );
}

#[test]
fn digests_of_equal_bytes_differ_by_algorithm() {
    let [short, long] = [Algorithm::Sha256, Algorithm::Sha512].map(|it| it.digest(b"{}"));
    assert_ne!(short, long);
    let hash = [0; 32];
    Digest::from_hash(Algorithm::Sha512, &hash).unwrap_err();
    Digest::from_hash(Algorithm::Sha256, &hash[1..]).unwrap_err();
    Digest::from_hash(Algorithm::Sha256, &[0; 65]).unwrap_err();
}

#[test]
fn media_types_that_need_not_be_pushed() {
    for (text, expected) in [
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            true,
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            true,
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            true,
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            true,
        ),
        ("application/vnd.oci.image.layer.v1.tar+gzip", false),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", false),
        ("application/vnd.oci.image.config.v1+json", false),
    ] {
        let media_type: MediaType = text.parse().unwrap();
        assert_eq!(media_type.is_non_distributable(), expected, "{text}");
    }
}
