//! Requests become operations, and operations requests.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what a test sets up is valid, or the test fails"
)]

use http::Method;
use registry_core::{Actions, Algorithm, ErrorKind, Operation, PageRequest, RepositoryName, Tag};

const SHA256: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const UPLOAD: &str = "6b3c9a93-af5d-473f-a4cb-2d9c5f4f2c8e";

fn parse(method: &str, target: &str) -> registry_core::Result<Operation> {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    match target.split_once('?') {
        Some((path, query)) => Operation::parse(&method, path, Some(query)),
        None => Operation::parse(&method, target, None),
    }
}

fn name_of(method: &str, target: &str) -> String {
    match parse(method, target) {
        Ok(operation) => operation.name().to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn page_of(query: &str) -> registry_core::Result<PageRequest> {
    match parse("GET", &format!("/v2/a/tags/list?{query}"))? {
        Operation::ListTags { page, .. } => Ok(page),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_endpoint_has_its_operation() {
    for (method, target, name) in [
        ("GET", "/v2/", "ping"),
        ("HEAD", "/v2", "ping"),
        ("GET", "/v2/_catalog", "list_repositories"),
        ("HEAD", "/v2/a/blobs/{d}", "stat_blob"),
        ("GET", "/v2/a/blobs/{d}", "get_blob"),
        ("DELETE", "/v2/a/blobs/{d}", "delete_blob"),
        ("POST", "/v2/a/blobs/uploads/", "begin_upload"),
        ("POST", "/v2/a/blobs/uploads", "begin_upload"),
        (
            "POST",
            "/v2/a/blobs/uploads/?digest-algorithm=sha512",
            "begin_upload",
        ),
        ("POST", "/v2/a/blobs/uploads/?digest={d}", "push_blob"),
        ("POST", "/v2/a/blobs/uploads/?mount={d}", "mount_blob"),
        (
            "POST",
            "/v2/a/blobs/uploads/?mount={d}&from=b",
            "mount_blob",
        ),
        (
            "POST",
            "/v2/a/blobs/uploads/?from=b&digest={d}&mount={d}",
            "mount_blob",
        ),
        ("GET", "/v2/a/blobs/uploads/{u}", "upload_status"),
        ("HEAD", "/v2/a/blobs/uploads/{u}", "upload_status"),
        ("PATCH", "/v2/a/blobs/uploads/{u}", "append_upload"),
        ("PUT", "/v2/a/blobs/uploads/{u}?digest={d}", "finish_upload"),
        ("DELETE", "/v2/a/blobs/uploads/{u}", "cancel_upload"),
        ("HEAD", "/v2/a/manifests/v1", "stat_manifest"),
        ("GET", "/v2/a/manifests/{d}", "get_manifest"),
        ("PUT", "/v2/a/manifests/v1", "put_manifest"),
        ("PUT", "/v2/a/manifests/{d}?tag=v1&tag=v2", "put_manifest"),
        ("DELETE", "/v2/a/manifests/v1", "delete_manifest"),
        ("GET", "/v2/a/tags/list", "list_tags"),
        ("HEAD", "/v2/a/tags/list", "list_tags"),
        ("GET", "/v2/a/referrers/{d}", "list_referrers"),
        ("HEAD", "/v2/a/referrers/{d}", "list_referrers"),
    ] {
        let target = target.replace("{d}", SHA256).replace("{u}", UPLOAD);
        assert_eq!(name_of(method, &target), name, "{method} {target}");
    }
}

#[test]
fn a_head_of_a_list_or_of_the_base_asks_the_same_as_a_get() {
    for target in ["/v2/", "/v2/_catalog?n=3", "/v2/a/tags/list?last=x"] {
        assert_eq!(
            parse("HEAD", target).unwrap(),
            parse("GET", target).unwrap(),
            "{target}"
        );
    }
}

#[test]
fn names_may_contain_the_words_of_the_protocol() {
    for name in [
        "blobs",
        "a/blobs",
        "a/blobs/uploads",
        "a/manifests/b",
        "a/tags/list",
        "tags",
        "manifests/manifests",
        "referrers/uploads",
        "v2",
    ] {
        let repository: RepositoryName = name.parse().unwrap();
        for (method, rest) in [
            ("GET", "tags/list"),
            ("POST", "blobs/uploads/"),
            ("POST", "blobs/uploads"),
            ("PATCH", "blobs/uploads/{u}"),
            ("GET", "blobs/{d}"),
            ("GET", "manifests/list"),
            ("PUT", "manifests/uploads"),
            ("GET", "referrers/{d}"),
        ] {
            let rest = rest.replace("{d}", SHA256).replace("{u}", UPLOAD);
            let operation = parse(method, &format!("/v2/{name}/{rest}")).unwrap();
            assert_eq!(operation.repository(), Some(&repository), "{operation:?}");
        }
    }
}

#[test]
fn what_the_protocol_does_not_know_is_not_found() {
    for target in [
        "",
        "/",
        "/v1/",
        "/v2x",
        "/V2/",
        "//v2/",
        "/v2/a",
        "/v2/a/",
        "/v2/a/tags",
        "/v2/a/tags/list/",
        "/v2/a/manifests/",
        "/v2/a/manifests/v1/",
        "/v2/a/blobs/",
        "/v2/tags/list",
        "/v2/blobs/uploads/",
        "/v2/manifests/v1",
        "/v2/_catalog/",
        "/v2/_oci/ext/discover",
        "/v2/a/_oci/ext/discover",
        "/v2/a/tags%2Flist",
        "/v2/a/manifests%2fv1",
        "/v2/a%/manifests/v1",
        "/v2/a/manifests/v%zz",
        "/v2/a/manifests/v%ff",
    ] {
        assert_eq!(name_of("GET", target), "NotFound", "{target}");
        assert!(Operation::allowed_methods(target).is_empty(), "{target}");
    }
}

#[test]
fn a_part_that_breaks_its_grammar_is_named() {
    for (method, target, kind) in [
        ("GET", "/v2/A/manifests/v1", "NameInvalid"),
        ("GET", "/v2//a/manifests/v1", "NameInvalid"),
        ("GET", "/v2/a//b/manifests/v1", "NameInvalid"),
        ("GET", "/v2/a/../b/manifests/v1", "NameInvalid"),
        ("GET", "/v2/a/%2e%2E/b/manifests/v1", "NameInvalid"),
        ("GET", "/v2/./b/manifests/v1", "NameInvalid"),
        ("GET", "/v2/a%2fb/manifests/v1", "NameInvalid"),
        ("GET", "/v2/a%00/manifests/v1", "NameInvalid"),
        ("GET", "/v2/a%252fb/manifests/v1", "NameInvalid"),
        ("GET", "/v2/a/blobs/sha256:12", "DigestInvalid"),
        ("GET", "/v2/a/blobs/latest", "DigestInvalid"),
        ("GET", "/v2/a/blobs/{d}%2f", "DigestInvalid"),
        ("GET", "/v2/a/manifests/sha256:12", "DigestInvalid"),
        ("PUT", "/v2/a/manifests/sha256:12", "DigestInvalid"),
        ("GET", "/v2/a/referrers/latest", "DigestInvalid"),
        ("GET", "/v2/a/manifests/-v1", "ManifestUnknown"),
        ("HEAD", "/v2/a/manifests/..", "ManifestUnknown"),
        ("DELETE", "/v2/a/manifests/v1%2f..", "ManifestUnknown"),
        ("PUT", "/v2/a/manifests/-v1", "TagInvalid"),
        ("PUT", "/v2/a/manifests/{d}?tag=-v1", "TagInvalid"),
        ("PUT", "/v2/a/manifests/{d}?tag=", "TagInvalid"),
        ("PUT", "/v2/a/manifests/{d}?tag=%ff", "TagInvalid"),
        ("PUT", "/v2/a/manifests/v1?tag=v2", "RequestInvalid"),
        ("PATCH", "/v2/a/blobs/uploads/nobody", "UploadUnknown"),
        ("PUT", "/v2/a/blobs/uploads/{u}", "DigestInvalid"),
        ("PUT", "/v2/a/blobs/uploads/{u}?digest=", "DigestInvalid"),
        (
            "PUT",
            "/v2/a/blobs/uploads/{u}?digest=md5:12",
            "DigestInvalid",
        ),
        (
            "POST",
            "/v2/a/blobs/uploads/?mount=nothing",
            "DigestInvalid",
        ),
        (
            "POST",
            "/v2/a/blobs/uploads/?digest=nothing",
            "DigestInvalid",
        ),
        (
            "POST",
            "/v2/a/blobs/uploads/?digest-algorithm=md5",
            "DigestInvalid",
        ),
        (
            "GET",
            "/v2/a/referrers/{d}?artifactType=%ff",
            "RequestInvalid",
        ),
    ] {
        let target = target.replace("{d}", SHA256).replace("{u}", UPLOAD);
        assert_eq!(name_of(method, &target), kind, "{method} {target}");
    }
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let error = parse("PATCH", "/v2/a/tags/list").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        "the method is not supported here; use GET or HEAD"
    );
    assert_eq!(
        Operation::allowed_methods("/v2/a/blobs/uploads/"),
        [Method::POST]
    );
    for target in [
        "/v2/",
        "/v2/_catalog",
        "/v2/a/blobs/uploads/",
        "/v2/a/manifests/v1",
    ] {
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get",
        ] {
            let allowed = Operation::allowed_methods(target)
                .iter()
                .any(|allowed| allowed == method);
            let refused =
                parse(method, target).is_err_and(|error| error.kind() == ErrorKind::Unsupported);
            assert_eq!(allowed, !refused, "{method} {target}");
        }
    }
}

#[test]
fn a_mount_that_names_no_possible_source_is_an_upload() {
    let upload = |query: &str| {
        parse(
            "POST",
            &format!("/v2/a/blobs/uploads/?mount={SHA256}&{query}"),
        )
    };
    for query in [
        "from=",
        "from=B",
        "from=b/",
        "from=b%2f",
        "from=..",
        "from=b&from=c",
        "from=%ff",
    ] {
        assert_eq!(
            upload(query).unwrap(),
            Operation::BeginUpload {
                repository: "a".parse().unwrap(),
                algorithm: Some(Algorithm::Sha256),
            },
            "{query}"
        );
    }
    let mount = upload("from=b%2Fc&from=b/c&origin=example.org").unwrap();
    let source = mount.source_need().unwrap();
    assert_eq!(source.repository.as_str(), "b/c");
    assert!(upload("").unwrap().source_need().is_none());
}

#[test]
fn the_number_wanted_is_digits_and_nothing_else() {
    for (query, limit) in [
        ("", None),
        ("n=0", Some(0)),
        ("n=007", Some(7)),
        ("n=2147483648", Some(1 << 31)),
        ("n=18446744073709551616", Some(usize::MAX)),
        ("n=1&n=1", Some(1)),
        ("%6e=5", Some(5)),
    ] {
        assert_eq!(page_of(query).unwrap().limit, limit, "{query}");
    }
    for query in [
        "n=",
        "n",
        "n=-1",
        "n=+1",
        "n=%2B1",
        "n=1e9",
        "n=%20",
        "n=1.0",
        "n=0x1",
        "n=1&n=2",
        "n=%ff",
        "n=%D9%A1",
        "last=a&last=b",
        "last=%ff",
    ] {
        assert_eq!(
            page_of(query).unwrap_err().kind(),
            ErrorKind::PageInvalid,
            "{query}"
        );
    }
    assert_eq!(page_of("last=").unwrap().after, None);
    assert_eq!(page_of("last=v1").unwrap().after.as_deref(), Some("v1"));
}

#[test]
fn artifact_types_add_up_and_survive_an_unencoded_plus() {
    let operation = parse(
        "GET",
        &format!("/v2/a/referrers/{SHA256}?artifactType=a/b+json&artifactType=c%2Fd&artifactType="),
    )
    .unwrap();
    let Operation::ListReferrers { filter, .. } = operation else {
        panic!("{operation:?}");
    };
    assert_eq!(filter.artifact_types, ["a/b+json", "c/d"]);
}

#[test]
fn unknown_parameters_change_nothing() {
    for (method, target) in [
        ("GET", "/v2/?"),
        ("GET", "/v2/a/tags/list?n=1&"),
        ("GET", "/v2/a/manifests/v1?"),
        ("POST", "/v2/a/blobs/uploads/?"),
    ] {
        assert_eq!(
            parse(
                method,
                &format!("{target}&ns=docker.io&_state=%zz&%ff=1&==&N=7")
            )
            .unwrap(),
            parse(method, target).unwrap(),
            "{target}"
        );
    }
}

#[test]
fn each_operation_needs_its_actions() {
    let needs = |method: &str, target: &str| {
        let target = target.replace("{d}", SHA256).replace("{u}", UPLOAD);
        let need = parse(method, &target).unwrap().need()?;
        let actions: Vec<_> = need
            .actions
            .iter()
            .map(registry_core::Action::as_str)
            .collect();
        let tags: Vec<_> = need.tags.iter().map(Tag::to_string).collect();
        Some(format!(
            "{} {} {}",
            need.repository,
            actions.join(","),
            tags.join(",")
        ))
    };
    assert_eq!(needs("GET", "/v2/"), None);
    assert_eq!(needs("GET", "/v2/_catalog"), None);
    for (method, target, need) in [
        ("HEAD", "/v2/a/blobs/{d}", "a pull "),
        ("GET", "/v2/a/blobs/{d}", "a pull "),
        ("DELETE", "/v2/a/blobs/{d}", "a delete "),
        ("POST", "/v2/a/blobs/uploads/", "a push "),
        ("POST", "/v2/a/blobs/uploads/?digest={d}", "a push "),
        ("POST", "/v2/a/blobs/uploads/?mount={d}&from=b", "a push "),
        ("GET", "/v2/a/blobs/uploads/{u}", "a push "),
        ("PATCH", "/v2/a/blobs/uploads/{u}", "a push "),
        ("PUT", "/v2/a/blobs/uploads/{u}?digest={d}", "a push "),
        ("DELETE", "/v2/a/blobs/uploads/{u}", "a push "),
        ("HEAD", "/v2/a/manifests/v1", "a pull v1"),
        ("GET", "/v2/a/manifests/{d}", "a pull "),
        ("PUT", "/v2/a/manifests/v1", "a push v1"),
        (
            "PUT",
            "/v2/a/manifests/{d}?tag=v1&tag=v2&tag=v1",
            "a push v1,v2",
        ),
        ("DELETE", "/v2/a/manifests/v1", "a delete v1"),
        ("GET", "/v2/a/tags/list", "a list "),
        ("GET", "/v2/a/referrers/{d}", "a list "),
    ] {
        assert_eq!(
            needs(method, target).as_deref(),
            Some(need),
            "{method} {target}"
        );
    }
    let mount = parse(
        "POST",
        &format!("/v2/a/blobs/uploads/?mount={SHA256}&from=b"),
    )
    .unwrap();
    let source = mount.source_need().unwrap();
    assert_eq!(source.actions, Actions::from(registry_core::Action::Pull));
}
