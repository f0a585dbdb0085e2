//! What is refused, and what the author is told.

use super::*;

const HASH: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

#[test]
fn documents_that_are_image_and_index() {
    let sentence = "the manifest has both 'manifests' and 'config' or 'layers'; make it an \
                    index or an image";
    let mut image = image();
    image["manifests"] = json!(null);
    let mut index = index();
    index["layers"] = json!([]);
    for document in [image, index] {
        refused(parse(&document), sentence);
        refused(parse(&edit(document, "/mediaType", None)), sentence);
    }
}

#[test]
fn keys_that_are_repeated_at_any_depth() {
    for (text, place) in [
        (
            r#"{"layers":[],"layers":[]}"#,
            "'layers' is repeated; keep one at line 1 column 21",
        ),
        (
            r#"{"a":[{"b":{"c":1,"c":1}}]}"#,
            "'c' is repeated; keep one at line 1 column 21",
        ),
        (
            r#"{"a":1,"\u0061":1}"#,
            "'a' is repeated; keep one at line 1 column 15",
        ),
    ] {
        refused(
            parse_text(text, None),
            &format!("the manifest is not acceptable JSON: the key {place}"),
        );
    }
}

#[test]
fn keys_that_some_readers_take_for_known_ones() {
    let with = |pointer, value: Value| parse(&edit(image(), pointer, value));
    let sentence = |place: &str, key: &str, twin: &str| {
        format!(
            "{place} has a field '{key}' that some readers take for '{twin}'; write it so or \
             rename it"
        )
    };
    refused(
        with("/Layers", json!([])),
        &sentence("the manifest", "Layers", "layers"),
    );
    refused(
        with("/layer\u{17f}", json!([])),
        &sentence("the manifest", "layerſ", "layers"),
    );
    refused(
        with("/layers/1/SIZE", json!(1)),
        &sentence("layers[1]", "SIZE", "size"),
    );
    let platform = json!({"OS.version": "1"});
    let document = edit(index(), "/manifests/0/platform", platform);
    refused(
        parse(&document),
        &sentence("manifests[0].platform", "OS.version", "os.version"),
    );
    refused(
        parse_text(
            r#"{"schemaVersion":2,"Manifests":[]}"#,
            Some(MediaType::OCI_INDEX),
        ),
        &sentence("the manifest", "Manifests", "manifests"),
    );
}

#[test]
fn other_versions_of_the_schema() {
    for version in [json!(3), json!("2"), json!(2.0), json!(null), json!(-2)] {
        let document = edit(image(), "/schemaVersion", version);
        refused(parse(&document), "schemaVersion must be 2");
    }
}

#[test]
fn sizes_that_clients_cannot_read() {
    let sentence = "layers[1].size must be a whole number of bytes, from 0 to \
                    9223372036854775807";
    for size in [
        json!(-1),
        json!(1.0),
        json!("1"),
        json!(u64::MAX),
        json!(1_u64 << 63),
    ] {
        refused(parse(&edit(image(), "/layers/1/size", size)), sentence);
    }
    let largest = edit(image(), "/layers/1/size", json!(i64::MAX));
    parse(&largest).unwrap();
    refused(
        parse(&edit(image(), "/config/size", None)),
        "config.size is missing",
    );
}

#[test]
fn digests_that_nobody_can_verify() {
    let malformed = "the digest is malformed; write algorithm:hexadecimal in lower case";
    let unsupported = "the digest algorithm is not supported; use sha256 or sha512";
    for (digest, shown, sentence) in [
        ("", "''", malformed),
        (
            HASH,
            "'2c26b46b68ffc68ff99b453c1d30413413422d70…'",
            malformed,
        ),
        (
            "sha256:../../etc/passwd",
            "'sha256:../../etc/passwd'",
            malformed,
        ),
        (
            "md5:acbd18db4cc2f85cedef654fccc4a4d8",
            "'md5:acbd18db4cc2f85cedef654fccc4a4d8'",
            unsupported,
        ),
    ] {
        refused(
            parse(&edit(image(), "/layers/0/digest", json!(digest))),
            &format!("layers[0].digest is {shown}: {sentence}"),
        );
    }
    refused(
        parse(&edit(image(), "/config/digest", json!(["sha256"]))),
        "config.digest must be a string",
    );
    let mut document = image();
    document["subject"] = json!({"mediaType": MediaType::OCI_MANIFEST, "size": 1});
    refused(parse(&document), "subject.digest is missing");
}

#[test]
fn media_types_that_are_none() {
    for media_type in ["text", "text/plain; charset=utf-8", "text/\n", "/", "a/b/c"] {
        let document = edit(image(), "/layers/0/mediaType", json!(media_type));
        let shown = media_type.escape_debug();
        refused(
            parse(&document),
            &format!(
                "layers[0].mediaType is '{shown}', which is not a media type; write \
                 type/subtype without parameters"
            ),
        );
    }
    let untyped = edit(image(), "/layers/0/mediaType", json!(""));
    refused(parse(&untyped), "layers[0].mediaType is missing");
    let artifact_type = edit(image(), "/artifactType", json!(7));
    refused(parse(&artifact_type), "artifactType must be a string");
}

#[test]
fn annotations_that_are_not_text() {
    let sentence = "has a value that is not a string under 'a'; write it in quotes";
    for value in [json!(1), json!(null), json!(["a"]), json!({})] {
        let document = edit(image(), "/annotations", json!({"a": value}));
        refused(parse(&document), &format!("annotations {sentence}"));
        let document = edit(image(), "/layers/0/annotations", json!({"a": value}));
        refused(
            parse(&document),
            &format!("layers[0].annotations {sentence}"),
        );
    }
    let list = edit(index(), "/annotations", json!([]));
    refused(parse(&list), "annotations must be an object");
}

#[test]
fn data_that_is_not_the_content() {
    for (data, sentence) in [
        ("e30", "must be padded base64"),
        ("e30=\n", "must be padded base64"),
        ("e3", "must be padded base64"),
        ("", "has not the size that its descriptor states"),
        ("e30g", "has not the size that its descriptor states"),
        ("W10=", "has not the digest that its descriptor states"),
    ] {
        let mut document = edit(image(), "/config", descriptor(OCI_EMPTY, "{}"));
        document["config"]["data"] = json!(data);
        refused(parse(&document), &format!("config.data {sentence}"));
    }
}

#[test]
fn values_of_another_shape() {
    for (pointer, value, sentence) in [
        ("/config", json!([]), "config must be an object"),
        ("/config", json!(null), "config is missing"),
        ("/layers", json!({}), "layers must be an array"),
        ("/layers/0", json!(null), "layers[0] must be an object"),
        (
            "/layers/0/urls",
            json!("a"),
            "layers[0].urls must be an array",
        ),
        (
            "/layers/0/urls",
            json!(["a", 1]),
            "layers[0].urls[1] must be a string",
        ),
        (
            "/layers/0/platform",
            json!("linux"),
            "layers[0].platform must be an object",
        ),
        ("/subject", json!(true), "subject must be an object"),
    ] {
        refused(parse(&edit(image(), pointer, value)), sentence);
    }
    refused(parse_text("[]", None), "the manifest must be an object");
}

#[test]
fn text_that_is_not_json() {
    let prefix = "the manifest is not acceptable JSON: ";
    for text in [
        "",
        "{",
        "{}{}",
        "{\"a\":\"\\ud800\"}",
        "{'a':1}",
        "{\"a\":01}",
        "\u{feff}{}",
    ] {
        let error = parse_text(text, None).unwrap_err();
        assert!(error.to_string().starts_with(prefix), "{text}: {error}");
    }
    let rules = ManifestRules::default();
    let error = Document::parse(b"{\"a\":\"\xff\"}", None, &rules).unwrap_err();
    assert!(error.to_string().starts_with(prefix), "{error}");
}

#[test]
fn nesting_beyond_the_limit() {
    let rules = ManifestRules::default().max_depth(4);
    let nested = |depth: usize| {
        let value = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let text = format!(r#"{{"schemaVersion":2,"manifests":[],"a":{value}}}"#);
        Document::parse(text.as_bytes(), None, &rules)
    };
    nested(3).unwrap();
    refused(
        nested(4),
        "the manifest is not acceptable JSON: it is nested too deeply; move the content into \
         a blob of its own at line 1 column 43",
    );
}

#[test]
fn more_values_than_the_limit() {
    let items = "1,".repeat(1 << 18);
    let text = format!(r#"{{"schemaVersion":2,"manifests":[],"a":[{items}1]}}"#);
    let error = parse_text(&text, None).unwrap_err();
    assert!(
        error.to_string().contains("it holds too many values"),
        "{error}"
    );
}

#[test]
fn more_descriptors_than_the_limit() {
    let rules = ManifestRules::default().max_descriptors(4);
    let parse = |document: Value| Document::parse(document.to_string().as_bytes(), None, &rules);
    let sentence = "the manifest has more than 4 descriptors and other digests; split it";
    let mut document = image();
    document["subject"] = descriptor(MediaType::OCI_MANIFEST.as_str(), "subject");
    parse(document.clone()).unwrap();
    let mut repeated = document.clone();
    let layer = repeated["layers"][0].clone();
    repeated["layers"].as_array_mut().unwrap().push(layer);
    refused(parse(repeated), sentence);
    document["custom"] = json!(digest("stray"));
    refused(parse(document), sentence);
}

#[test]
fn long_input_without_repeating_it() {
    let long = "\u{1}".repeat(100_000);
    for document in [
        edit(image(), "/layers/0/digest", json!(long)),
        edit(image(), "/layers/0/mediaType", json!(long)),
        edit(image(), "/mediaType", json!(long)),
        edit(image(), "/annotations", json!({&*long: 1})),
    ] {
        let sentence = parse(&document).unwrap_err().to_string();
        assert!(sentence.len() < 400, "{sentence}");
        assert!(!sentence.contains('\u{1}'));
    }
    let repeated = format!("{{\"{long}\":1,\"{long}\":2}}").replace('\u{1}', "a");
    assert!(parse_text(&repeated, None).unwrap_err().to_string().len() < 400);
}

#[test]
fn pushes_with_more_tags_than_the_rules_allow() {
    let rules = ManifestRules::default().max_tags(2);
    let bytes = index().to_string();
    let push = |reference: Reference| {
        PutManifest::new(reference, None, bytes.clone().into(), &rules).unwrap()
    };
    let tags = |names: &'static str| names.split(' ').map(|name| name.parse::<Tag>().unwrap());
    let by_digest = || push(digest(&bytes).into());
    let by_tag = || push(Reference::Tag("a".parse().unwrap()));
    for (count, accepted) in [
        (2, by_digest().with_tags(tags("a b a"))),
        (2, by_tag().with_tags(tags("a b"))),
    ] {
        assert_eq!(accepted.unwrap().tags().len(), count);
    }
    for refused in [
        by_digest().with_tags(tags("a b c")),
        by_tag().with_tags(tags("b c")),
        by_tag()
            .with_tags(tags("b"))
            .and_then(|push| push.with_tags(tags("c"))),
    ] {
        let error = refused.map(|push| push.tags().len()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooManyTags);
        assert_eq!(
            error.to_string(),
            "there are too many tags; this registry accepts 2 in one push"
        );
    }
}
