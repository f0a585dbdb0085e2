//! Content that belongs together, and everything that can be done with it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::content::{Algorithm, CONFIG, Document, EMPTY, LAYER, bytes, descriptor};
use crate::served::Served;
use crate::ways::{Way, encode};
use crate::wire::Ask;

/// Content that belongs together.
pub(crate) struct DataSet {
    algorithm: Algorithm,
    pub(crate) blobs: Vec<Vec<u8>>,
    /// What others refer to comes first.
    pub(crate) manifests: Vec<Document>,
    /// Which manifest each tag points to.
    tags: Vec<(String, usize)>,
}

impl DataSet {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            blobs: Vec::new(),
            manifests: Vec::new(),
            tags: Vec::new(),
        }
    }

    pub(crate) fn blob(&mut self, media_type: &str, content: impl Into<Vec<u8>>) -> Value {
        let content = content.into();
        let described = descriptor(media_type, &content, self.algorithm);
        if !self.blobs.contains(&content) {
            self.blobs.push(content);
        }
        described
    }

    /// The layers and the configuration of one platform.
    pub(crate) fn image(&mut self, platform: &str) -> Document {
        let layers = [0, 1].map(|layer| {
            let content = bytes(&format!("{platform} {layer}"), 600);
            self.blob(LAYER, content)
        });
        let config = json!({"architecture": platform, "os": "linux", "rootfs": {"type": "layers"}});
        let config = self.blob(CONFIG, config.to_string());
        Document::image(config, layers.to_vec())
    }

    /// An artifact that is described by its only layer.
    pub(crate) fn artifact(&mut self, name: &str) -> Document {
        let empty = self.blob(EMPTY, "{}");
        let layer = self.blob("application/vnd.example.content", bytes(name, 300));
        Document::image(empty, vec![layer]).and(json!({
            "artifactType": format!("application/vnd.example.{name}+json"),
            "annotations": {"org.example.name": name, "org.example.empty": ""},
        }))
    }

    pub(crate) fn manifest(&mut self, document: Document) -> Value {
        let described = document.descriptor(self.algorithm);
        self.manifests.push(document);
        described
    }

    /// The manifest that everybody asks for, with tags.
    pub(crate) fn tagged(mut self, document: Document, tags: &[&str]) -> Self {
        self.manifest(document);
        let last = self.manifests.len() - 1;
        self.tags
            .extend(tags.iter().map(|tag| ((*tag).to_owned(), last)));
        self
    }

    /// Does everything that can be done with it.
    pub(crate) async fn round_trip(&self, served: &Served) {
        let app = served.repository("app");
        for content in &self.blobs {
            let digest = (self.algorithm)(content);
            Way::PostPut.push(served, &app, &digest, content).await;
        }
        self.push_manifests(served, &app).await;
        self.list_tags(served, &app).await;
        self.pull(served, &app).await;
        self.list_referrers(served, &app).await;
        self.delete(served, &app).await;
    }

    /// All by digest, then each tag: by name where that gives the digest, else as a parameter.
    async fn push_manifests(&self, served: &Served, app: &str) {
        let by_digest = self.manifests.iter().map(|document| {
            let digest = (self.algorithm)(&document.bytes);
            (document, encode(&digest), None)
        });
        let by_tag = self.tags.iter().map(|(tag, manifest)| {
            let document = &self.manifests[*manifest];
            let digest = (self.algorithm)(&document.bytes);
            if digest == document.digest() {
                (document, tag.clone(), None)
            } else {
                (document, format!("{digest}?tag={tag}"), Some(tag))
            }
        });
        for (document, reference, tag) in by_digest.chain(by_tag) {
            let put = Ask::put(format!("/v2/{app}/manifests/{reference}"))
                .header("content-type", document.media_type)
                .chunked(&document.bytes);
            let pushed = served.ask(put).await.expect(201);
            let subject = &document.json()["subject"]["digest"];
            assert_eq!(pushed.find("oci-subject"), subject.as_str());
            assert_eq!(pushed.find("oci-tag"), tag.map(String::as_str));
            self.is_served(served, pushed.header("location"), document)
                .await;
        }
    }

    async fn is_served(&self, served: &Served, target: &str, document: &Document) {
        let answer = served
            .ask(
                Ask::get(target)
                    .header("accept", document.media_type)
                    .header("accept", "application/json"),
            )
            .await
            .expect(200);
        assert_eq!(answer.body, document.bytes);
        assert_eq!(answer.header("content-type"), document.media_type);
        let digest = (self.algorithm)(&document.bytes);
        assert_eq!(answer.header("docker-content-digest"), digest);
        let head = served.head(target).await.expect(200);
        assert_eq!(head.lasting_headers(), answer.lasting_headers());
    }

    async fn list_tags(&self, served: &Served, app: &str) {
        let mut tags: Vec<&str> = self.tags.iter().map(|(tag, _)| &**tag).collect();
        tags.sort_unstable();
        let list = format!("/v2/{app}/tags/list");
        let listed = served.get(&list).await.expect(200).json();
        assert_eq!(listed, json!({"name": app, "tags": tags}));
        if let Some(middle) = tags.get(tags.len() / 2) {
            let rest = served
                .get(format!("{list}?last={middle}"))
                .await
                .expect(200);
            assert_eq!(rest.json()["tags"], json!(tags[tags.len() / 2 + 1..]));
        }
    }

    async fn pull(&self, served: &Served, app: &str) {
        for (tag, manifest) in &self.tags {
            let target = format!("/v2/{app}/manifests/{tag}");
            self.is_served(served, &target, &self.manifests[*manifest])
                .await;
        }
        for document in &self.manifests {
            let digest = (self.algorithm)(&document.bytes);
            let target = format!("/v2/{app}/manifests/{digest}");
            self.is_served(served, &target, document).await;
        }
        for content in &self.blobs {
            let digest = (self.algorithm)(content);
            let blob = served.get(format!("/v2/{app}/blobs/{digest}")).await;
            let blob = blob.expect(200);
            assert_eq!(blob.body, content);
            assert_eq!(blob.header("docker-content-digest"), digest);
        }
    }

    /// What the manifests themselves say about the lists.
    fn referrers(&self) -> Vec<(String, Value)> {
        let entry = |document: &Document| {
            let json = document.json();
            let subject = json["subject"]["digest"].as_str()?.to_owned();
            let mut entry = document.descriptor(self.algorithm);
            let artifact_type = match &json["artifactType"] {
                Value::Null => &json["config"]["mediaType"],
                artifact_type => artifact_type,
            };
            for (name, value) in [
                ("artifactType", artifact_type),
                ("annotations", &json["annotations"]),
            ] {
                if !value.is_null() {
                    entry[name] = value.clone();
                }
            }
            Some((subject, entry))
        };
        self.manifests.iter().filter_map(entry).collect()
    }

    async fn list_referrers(&self, served: &Served, app: &str) {
        let referrers = self.referrers();
        let subjects: BTreeSet<_> = referrers.iter().map(|(subject, _)| subject).collect();
        for subject in subjects {
            let of_subject: Vec<_> = referrers
                .iter()
                .filter(|(other, _)| other == subject)
                .map(|(_, entry)| entry.clone())
                .collect();
            let list = format!("/v2/{app}/referrers/{}", encode(subject));
            assert_list(served, &list, &of_subject).await;
            for entry in &of_subject {
                let Some(wanted) = entry["artifactType"].as_str() else {
                    continue;
                };
                let list = format!("{list}?artifactType={}", encode(wanted));
                let filtered: Vec<_> = of_subject
                    .iter()
                    .filter(|entry| entry["artifactType"] == *wanted)
                    .cloned()
                    .collect();
                assert_list(served, &list, &filtered).await;
            }
        }
    }

    /// Tags, manifests, blobs: each is gone at once, the others stay.
    async fn delete(&self, served: &Served, app: &str) {
        let tags = self.tags.iter().map(|(tag, _)| format!("manifests/{tag}"));
        let manifests = self
            .manifests
            .iter()
            .rev()
            .map(|document| format!("manifests/{}", (self.algorithm)(&document.bytes)));
        let blobs = self
            .blobs
            .iter()
            .map(|content| format!("blobs/{}", (self.algorithm)(content)));
        let mut targets: Vec<_> = tags
            .chain(manifests)
            .chain(blobs)
            .map(|target| format!("/v2/{app}/{target}"))
            .collect();
        targets.reverse();
        while let Some(target) = targets.pop() {
            served.head(&target).await.expect(200);
            served.delete(&target).await.expect(202);
            served.head(&target).await.expect(404);
        }
        for (subject, _) in self.referrers() {
            assert_list(served, &format!("/v2/{app}/referrers/{subject}"), &[]).await;
        }
    }
}

async fn assert_list(served: &Served, target: &str, expected: &[Value]) {
    let answer = served.get(target).await.expect(200);
    assert_eq!(
        answer.find("oci-filters-applied"),
        target.contains('?').then_some("artifactType")
    );
    let listed = answer.json()["manifests"].take();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), expected.len(), "{answer:?}");
    for entry in expected {
        assert!(listed.contains(entry), "{entry} in {answer:?}");
    }
}
