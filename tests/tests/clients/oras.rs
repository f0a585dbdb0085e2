//! oras: artifacts, what refers to them, and copies that take the referrers along.

use std::fs;

use async_trait::async_trait;
use registry_core::{
    Access, Descriptor, Manifest, ManifestRules, PutManifest, Reference, Registry, Result,
};
use registry_http::TestServer;
use registry_storage::{Engine, EngineOptions, MemoryBlobs, MemoryMetadata};
use registry_tests::harness::{Launch, Tool, tool};
use serde_json::{Value, json};

use super::content::{self, path};
use super::layout::{assert_same_file, text};

const PLAIN: &str = "--plain-http";

fn oras() -> Option<Tool> {
    tool("oras")
}

#[test]
fn oras_moves_a_root_file_system() {
    let Some(oras) = oras() else { return };
    let Some(system) = content::root_file_system() else {
        return;
    };
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let repository = format!("{}/library/debian", server.host());
    let source = format!("{}:latest", system.image.path());

    oras.run([
        "cp",
        "--from-oci-layout",
        &source,
        "--to-plain-http",
        &format!("{repository}:stable"),
    ]);
    system
        .image
        .assert_served(&server.api(), "library/debian", "stable");

    let by_digest = format!("{repository}@{}", system.image.digest());
    for (name, reference) in [
        ("tag", format!("{repository}:stable")),
        ("digest", by_digest),
    ] {
        let pulled = scratch.path().join(name);
        oras.run([
            "cp",
            "--from-plain-http",
            &reference,
            "--to-oci-layout",
            &format!("{}:latest", path(&pulled)),
        ]);
        system.image.assert_pulled(&pulled);
    }
}

#[test]
fn oras_copies_lists_and_deletes_an_index() {
    let Some(oras) = oras() else { return };
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let (api, layout) = (
        server.api(),
        content::platforms(&scratch.path().join("pushed")),
    );
    let (first, second) = (
        format!("{}/team/app", server.host()),
        format!("{}/copy/app", server.host()),
    );
    let both = ["cp", "--from-plain-http", "--to-plain-http"];

    oras.run([
        "cp",
        "--from-oci-layout",
        &format!("{}:latest", layout.path()),
        "--to-plain-http",
        &format!("{first}:v1"),
    ]);
    oras.run(["tag", PLAIN, &format!("{first}:v1"), "v2"]);
    oras.run(both.into_iter().chain([
        format!("{first}@{}", layout.digest()).as_str(),
        &format!("{second}:v1"),
    ]));
    layout.assert_served(&api, "team/app", "v2");
    layout.assert_served(&api, "copy/app", "v1");
    assert_eq!(
        oras.run(["repo", "tags", PLAIN, &first]).sorted_lines(),
        ["v1", "v2"]
    );
    assert_eq!(
        oras.run(["repo", "ls", PLAIN, server.host()])
            .sorted_lines(),
        ["copy/app", "team/app"]
    );

    oras.run([
        "manifest",
        "delete",
        PLAIN,
        "--force",
        &format!("{first}@{}", layout.digest()),
    ]);
    assert!(
        !api.has_manifest("team/app", &layout.digest()),
        "the manifest is gone"
    );
    oras.fails(["manifest", "fetch", PLAIN, &format!("{first}:v1")]);
    layout.assert_served(&api, "copy/app", "v1");
}

#[test]
fn oras_attaches_discovers_and_pulls_artifacts() {
    let Some(oras) = oras() else { return };
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let (api, layout) = (
        server.api(),
        content::platforms(&scratch.path().join("pushed")),
    );
    let (first, second) = (
        format!("{}/team/app", server.host()),
        format!("{}/copy/app", server.host()),
    );
    let subject = format!("{first}@{}", layout.digest());
    fs::write(scratch.path().join("bill.json"), r#"{"components": []}"#).expect("a file");
    fs::write(scratch.path().join("nothing"), "").expect("a file");
    let oras_here = oras.clone().directory(scratch.path());

    oras.run([
        "cp",
        "--from-oci-layout",
        &format!("{}:latest", layout.path()),
        "--to-plain-http",
        &format!("{first}:v1"),
    ]);
    oras_here.run([
        "attach",
        PLAIN,
        "--artifact-type",
        "application/vnd.example.bill",
        &subject,
        "bill.json:application/json",
    ]);
    oras_here.run([
        "attach",
        PLAIN,
        "--artifact-type",
        "application/vnd.example.mark",
        &subject,
        "nothing",
    ]);

    let all = discover(&oras, &subject, &[]);
    assert_eq!(all.len(), 2, "{all:?}");
    let bills = discover(
        &oras,
        &subject,
        &["--artifact-type", "application/vnd.example.bill"],
    );
    let [bill] = bills.as_slice() else {
        panic!("one bill in {bills:?}")
    };

    // Copied with what refers to it, and pulled by digest from there.
    oras.run([
        "cp",
        "--recursive",
        "--from-plain-http",
        "--to-plain-http",
        &subject,
        &format!("{second}:v1"),
    ]);
    layout.assert_served(&api, "copy/app", "v1");
    let copied = format!("{second}@{}", layout.digest());
    assert_eq!(discover(&oras, &copied, &[]), all);
    for digest in &all {
        oras.run([
            "pull",
            PLAIN,
            "--output",
            path(&scratch.path().join("pulled")),
            &format!("{second}@{digest}"),
        ]);
    }
    for name in ["bill.json", "nothing"] {
        assert_same_file(
            &scratch.path().join(name),
            &scratch.path().join("pulled").join(name),
        );
    }

    oras.run([
        "manifest",
        "delete",
        PLAIN,
        "--force",
        &format!("{first}@{bill}"),
    ]);
    let left: Vec<String> = all
        .iter()
        .filter(|digest| *digest != bill)
        .cloned()
        .collect();
    assert_eq!(discover(&oras, &subject, &[]), left);
    assert_eq!(discover(&oras, &copied, &[]), all);
}

#[test]
fn oras_stores_and_deletes_blobs() {
    let Some(oras) = oras() else { return };
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let oras = oras.directory(scratch.path());
    for (name, bytes) in [("empty", Vec::new()), ("some", vec![7; 100_000])] {
        let (file, back) = (
            scratch.path().join(name),
            scratch.path().join(format!("{name}.back")),
        );
        fs::write(&file, &bytes).expect("a file");
        let blob = format!(
            "{}/blobs/{name}@{}",
            server.host(),
            super::layout::digest(&bytes)
        );
        oras.run(["blob", "push", PLAIN, &blob, path(&file)]);
        oras.run(["blob", "fetch", PLAIN, "--output", path(&back), &blob]);
        assert_same_file(&file, &back);
        oras.run(["blob", "delete", PLAIN, "--force", &blob]);
        oras.fails(["blob", "fetch", PLAIN, "--descriptor", &blob]);
    }
}

/// A registry that lists no referrers, as any is that implements a part of the trait.
#[derive(Debug)]
struct WithoutReferrers(Engine);

#[async_trait]
impl Registry for WithoutReferrers {
    async fn resolve(&self, access: &Access, reference: &Reference) -> Result<Descriptor> {
        self.0.resolve(access, reference).await
    }

    async fn get_manifest(&self, access: &Access, reference: &Reference) -> Result<Manifest> {
        self.0.get_manifest(access, reference).await
    }
}

/// Pushes a manifest under a tag, without what it refers to.
async fn push(engine: &Engine, tag: &str, manifest: &Value) -> Descriptor {
    let reference = tag.parse().expect("a tag");
    let bytes = manifest.to_string().into();
    let push = PutManifest::new(reference, None, bytes, &ManifestRules::default());
    let access = Access::trusted("team/app".parse().expect("a name"));
    let pushed = engine
        .put_manifest(&access, push.expect("a manifest"))
        .await;
    pushed.expect("a push").descriptor
}

#[test]
fn oras_keeps_the_list_itself_where_a_registry_lists_no_referrers() {
    let Some(oras) = oras() else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let engine = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default())
        .options(EngineOptions::default().sparse_manifests(true))
        .build();
    let digest = format!("sha256:{}", "0".repeat(64));
    let nothing =
        json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": 2});
    let mut image = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": nothing,
        "layers": [],
    });
    let (server, subject) = runtime.block_on(async {
        let subject = push(&engine, "v1", &image).await;
        (
            TestServer::start(WithoutReferrers(engine.clone())).await,
            subject,
        )
    });
    let name = format!("{}/team/app:v1", server.host());
    assert_eq!(discover(&oras, &name, &[]), [""; 0]);

    // As clients keep it: an index under a tag that is made of the digest.
    image["subject"] = json!(subject);
    image["artifactType"] = json!("application/vnd.example.mark");
    let tag = subject.digest.to_string().replace(':', "-");
    let signature = runtime.block_on(async {
        let signature = push(&engine, "signature", &image).await;
        let list = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [signature],
        });
        push(&engine, &tag, &list).await;
        signature
    });
    assert_eq!(discover(&oras, &name, &[]), [signature.digest.to_string()]);
}

/// The digests of everything that refers to a manifest, sorted.
fn discover(oras: &Tool, subject: &str, filter: &[&str]) -> Vec<String> {
    let shape = ["discover", PLAIN, "--format", "json", "--depth", "1"];
    let output = oras.run(shape.iter().chain(filter).chain([&subject]));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let referrers = found["referrers"].as_array().into_iter().flatten();
    let mut digests: Vec<String> = referrers
        .map(|referrer| text(&referrer["digest"]))
        .collect();
    digests.sort();
    digests
}
