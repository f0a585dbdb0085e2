//! OCI image layouts: the form in which most clients take content in and give it back.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use registry_tests::harness::Api;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A layout directory with one tagged manifest.
#[derive(Debug)]
pub(crate) struct Layout {
    directory: PathBuf,
}

impl Layout {
    /// Makes an empty layout.
    pub(crate) fn create(directory: &Path) -> Self {
        fs::create_dir_all(directory.join("blobs/sha256")).expect("a directory for blobs");
        write_json(
            &directory.join("oci-layout"),
            &json!({"imageLayoutVersion": "1.0.0"}),
        );
        Self::open(directory)
    }

    /// Takes a layout that somebody else made.
    pub(crate) fn open(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// The directory as clients take it on their command line.
    pub(crate) fn path(&self) -> String {
        self.directory.to_string_lossy().into_owned()
    }

    /// The file of a blob.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        self.directory.join("blobs").join(digest.replace(':', "/"))
    }

    /// Stores bytes and describes them.
    pub(crate) fn add(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        fs::write(self.blob(&digest), bytes).expect("a blob written");
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Moves a file in and describes it.
    pub(crate) fn add_file(&self, media_type: &str, file: &Path, digest: &str) -> Value {
        let size = file.metadata().expect("the size of a blob").len();
        fs::rename(file, self.blob(digest)).expect("a blob moved");
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    /// Stores an image for a platform with these layers, which stand for themselves: they are not compressed.
    pub(crate) fn image(&self, architecture: &str, layers: &[Value]) -> Value {
        let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.add(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().as_bytes(),
        );
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let mut descriptor = self.add(MANIFEST, manifest.to_string().as_bytes());
        descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
        descriptor
    }

    /// Names the one manifest of this layout.
    pub(crate) fn tag(&self, tag: &str, mut descriptor: Value) {
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]});
        write_json(&self.directory.join("index.json"), &index);
    }

    /// The digest of the one manifest of this layout.
    pub(crate) fn digest(&self) -> String {
        let index = read_json(&self.directory.join("index.json"));
        let manifests = index["manifests"]
            .as_array()
            .expect("an index with manifests");
        assert_eq!(manifests.len(), 1, "one manifest in {index}");
        text(&manifests[0]["digest"])
    }

    /// Everything that the tagged manifest refers to, itself included: digest, and whether it is a manifest.
    pub(crate) fn content(&self) -> BTreeSet<(String, bool)> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![self.digest()];
        while let Some(digest) = waiting.pop() {
            let manifest = read_json(&self.blob(&digest));
            found.insert((digest, true));
            waiting.extend(list(&manifest["manifests"]).map(|child| text(&child["digest"])));
            let config = manifest.get("config");
            found.extend(
                config
                    .into_iter()
                    .chain(list(&manifest["layers"]))
                    .map(|blob| (text(&blob["digest"]), false)),
            );
        }
        found
    }

    /// Expects a layout that a client pulled to hold exactly the bytes of this one.
    pub(crate) fn assert_pulled(&self, directory: &Path) {
        let pulled = Self::open(directory);
        for (digest, _) in self.content() {
            let (expected, got) = (self.blob(&digest), pulled.blob(&digest));
            assert_same(
                &digest,
                File::open(expected).expect("pushed content"),
                open(&got),
            );
        }
    }

    /// Expects a registry to serve exactly the bytes of this layout under a tag and under their digests.
    pub(crate) fn assert_served(&self, api: &Api, repository: &str, tag: &str) {
        let tagged = fs::read(self.blob(&self.digest())).expect("the tagged manifest");
        assert_eq!(api.manifest(repository, tag), tagged, "{repository}:{tag}");
        for (digest, is_manifest) in self.content() {
            let pushed = File::open(self.blob(&digest)).expect("pushed content");
            if is_manifest {
                assert_same(
                    &digest,
                    pushed,
                    api.manifest(repository, &digest).as_slice(),
                );
            } else {
                assert_same(&digest, pushed, api.blob(repository, &digest));
            }
        }
    }
}

/// Expects two files to hold the same bytes.
pub(crate) fn assert_same_file(left: &Path, right: &Path) {
    assert_same(&right.to_string_lossy(), open(left), open(right));
}

fn assert_same(name: &str, left: impl Read, right: impl Read) {
    let (mut left, mut right) = (BufReader::new(left), BufReader::new(right));
    let (mut a, mut b) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    let mut offset = 0_usize;
    loop {
        let (n, m) = (fill(&mut left, &mut a), fill(&mut right, &mut b));
        assert!(
            a[..n] == b[..m],
            "{name} differs in the {} bytes from {offset}",
            n.max(m)
        );
        if n == 0 {
            return;
        }
        offset = offset.saturating_add(n);
    }
}

/// Reads until the buffer is full or the input ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]).expect("bytes to compare") {
            0 => break,
            n => filled = filled.saturating_add(n),
        }
    }
    filled
}

fn open(path: &Path) -> File {
    File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The sha256 digest of bytes, with its algorithm.
pub(crate) fn digest(bytes: &[u8]) -> String {
    spell(&Sha256::digest(bytes))
}

/// A finished sha256 hash as a digest.
pub(crate) fn spell(hash: &[u8]) -> String {
    hash.iter().fold("sha256:".to_owned(), |digest, byte| {
        format!("{digest}{byte:02x}")
    })
}

/// A JSON document in a file.
pub(crate) fn read_json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write_json(path: &Path, value: &Value) {
    fs::write(path, value.to_string()).expect("a JSON document written");
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A JSON string.
pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is not a string"))
        .to_owned()
}
