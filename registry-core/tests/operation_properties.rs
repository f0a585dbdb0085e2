//! What is true of every request and every operation.

#![allow(
    clippy::expect_used,
    reason = "what a test sets up is valid, or the test fails"
)]

use http::Method;
use proptest::prelude::*;
use registry_core::{
    Algorithm, Digest, Operation, PageRequest, Reference, ReferrerFilter, RepositoryName, Tag,
    UploadId,
};

const SHA256: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const UPLOAD: &str = "6b3c9a93-af5d-473f-a4cb-2d9c5f4f2c8e";

fn parse(method: &Method, target: &str) -> registry_core::Result<Operation> {
    let (path, query) = split(target);
    Operation::parse(method, path, query)
}

fn split(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

fn repository() -> impl Strategy<Value = RepositoryName> {
    let word = prop_oneof![
        "[a-z0-9]{1,5}",
        "[a-z0-9]{1,3}(\\.|_|__|-{1,3})[a-z0-9]{1,3}"
    ];
    let known = prop::sample::select(vec!["blobs", "uploads", "manifests", "tags", "list", "v2"]);
    prop::collection::vec(prop_oneof![word, known.prop_map(str::to_owned)], 1..6)
        .prop_map(|words| words.join("/").parse().expect("a repository name"))
}

fn tag() -> impl Strategy<Value = Tag> {
    prop_oneof!["[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}", "list", "uploads"]
        .prop_map(|tag| tag.parse().expect("a tag"))
}

fn digest() -> impl Strategy<Value = Digest> {
    (any::<bool>(), any::<u64>()).prop_map(|(long, seed)| {
        let algorithm = if long {
            Algorithm::Sha512
        } else {
            Algorithm::Sha256
        };
        algorithm.digest(&seed.to_be_bytes())
    })
}

fn page() -> impl Strategy<Value = PageRequest> {
    (any::<Option<usize>>(), prop::option::of("\\PC{1,12}"))
        .prop_map(|(limit, after)| PageRequest::default().limit(limit).after(after))
}

fn filter() -> impl Strategy<Value = ReferrerFilter> {
    prop::collection::btree_set("[a-z]{1,4}/[a-z0-9!#$&^_.+%-]{1,12}", 0..4)
        .prop_map(|types| ReferrerFilter::default().artifact_types(types.into_iter().collect()))
}

fn operation() -> impl Strategy<Value = Operation> {
    let reference = || {
        prop_oneof![
            tag().prop_map(Reference::Tag),
            digest().prop_map(Reference::Digest)
        ]
    };
    let upload = || any::<[u8; 16]>().prop_map(UploadId::from_random);
    let other = (repository(), digest(), upload(), reference()).prop_flat_map(
        |(repository, digest, id, reference)| {
            let repository = || repository.clone();
            prop::sample::select(vec![
                Operation::Ping,
                Operation::StatBlob {
                    repository: repository(),
                    digest,
                },
                Operation::GetBlob {
                    repository: repository(),
                    digest,
                },
                Operation::DeleteBlob {
                    repository: repository(),
                    digest,
                },
                Operation::BeginUpload {
                    repository: repository(),
                    algorithm: None,
                },
                Operation::BeginUpload {
                    repository: repository(),
                    algorithm: Some(digest.algorithm()),
                },
                Operation::PushBlob {
                    repository: repository(),
                    digest,
                },
                Operation::UploadStatus {
                    repository: repository(),
                    id,
                },
                Operation::AppendUpload {
                    repository: repository(),
                    id,
                },
                Operation::FinishUpload {
                    repository: repository(),
                    id,
                    digest,
                },
                Operation::CancelUpload {
                    repository: repository(),
                    id,
                },
                Operation::StatManifest {
                    repository: repository(),
                    reference: reference.clone(),
                },
                Operation::GetManifest {
                    repository: repository(),
                    reference: reference.clone(),
                },
                Operation::DeleteManifest {
                    repository: repository(),
                    reference: reference.clone(),
                },
                Operation::PutManifest {
                    repository: repository(),
                    reference,
                    tags: Vec::new(),
                },
            ])
        },
    );
    prop_oneof![
        1 => page().prop_map(|page| Operation::ListRepositories { page }),
        1 => (repository(), page())
            .prop_map(|(repository, page)| Operation::ListTags { repository, page }),
        1 => (repository(), digest(), filter(), page()).prop_map(
            |(repository, subject, filter, page)| Operation::ListReferrers {
                repository,
                subject,
                filter,
                page,
            }
        ),
        1 => (repository(), digest(), prop::option::of(repository())).prop_map(
            |(repository, digest, from)| Operation::MountBlob { repository, digest, from }
        ),
        1 => (
            repository(),
            digest(),
            prop::collection::btree_set(tag(), 0..4)
        )
            .prop_map(|(repository, digest, tags)| Operation::PutManifest {
                repository,
                reference: digest.into(),
                tags: tags.into_iter().collect(),
            }),
        5 => other,
    ]
}

fn method() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ])
}

/// A text in which some bytes are percent-encoded.
fn encode(text: &str, choices: &[bool], upper: bool) -> String {
    text.bytes()
        .zip(choices.iter().chain(std::iter::repeat(&false)))
        .map(|(byte, encoded)| match (encoded, upper) {
            (false, _) => char::from(byte).to_string(),
            (true, true) => format!("%{byte:02X}"),
            (true, false) => format!("%{byte:02x}"),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_rendered_operation_is_understood_as_itself(operation in operation()) {
        let (method, target) = operation.render();
        prop_assert_eq!(parse(&method, &target).expect("a valid request"), operation);
    }

    #[test]
    fn an_encoded_path_means_the_same_or_nothing(
        operation in operation(),
        choices in prop::collection::vec(prop::bool::weighted(0.2), 0..120),
        upper: bool,
    ) {
        let (method, target) = operation.render();
        let (path, query) = split(&target);
        if let Ok(other) = Operation::parse(&method, &encode(path, &choices, upper), query) {
            prop_assert_eq!(other, operation);
        }
    }

    #[test]
    fn encoding_what_is_no_slash_changes_nothing(
        operation in operation(),
        choices in prop::collection::vec(any::<bool>(), 0..120),
    ) {
        let (method, target) = operation.render();
        let (path, query) = split(&target);
        let rest = path.strip_prefix("/v2/").expect("the base");
        let choices: Vec<bool> = rest.bytes().zip(&choices).map(|(byte, encoded)| byte != b'/' && *encoded).collect();
        let encoded = format!("/v2/{}", encode(rest, &choices, true));
        prop_assert_eq!(Operation::parse(&method, &encoded, query).expect("the same request"), operation);
    }

    #[test]
    fn no_request_is_too_odd(method in method(), path in "(/v2)?/?\\PC{0,60}", query in prop::option::of("\\PC{0,60}")) {
        let _ = Operation::parse(&method, &path, query.as_deref());
        let _ = Operation::allowed_methods(&path);
    }

    #[test]
    fn an_odd_request_has_one_operation(
        method in method(),
        words in prop::collection::vec(prop::sample::select(vec![
            "a", "blobs", "uploads", "manifests", "tags", "list", "referrers", "", "..", ".", "%2f", "%2e%2e", "%00", "_catalog", SHA256, UPLOAD, "V", "a%2Fb", "%zz",
        ]), 0..7),
        query in prop::sample::select(vec![None, Some("digest=x"), Some("mount=x&from=a"), Some("n=1"), Some("tag=v1")]),
    ) {
        let path = format!("/v2/{}", words.join("/"));
        if let Ok(operation) = Operation::parse(&method, &path, query) {
            // Whatever is understood renders to a request with the same meaning.
            let (method, target) = operation.render();
            prop_assert_eq!(parse(&method, &target).expect("a valid request"), operation);
        }
    }
}
