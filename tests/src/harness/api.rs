//! Bare requests to a registry, to check what a client left behind.

use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::Body;
use ureq::http::Response;

use super::silence::assert_silent;

/// The manifest types a modern client accepts.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// The largest body that [`Answer::bytes`] reads; larger ones are streamed by [`Api::blob`].
const SMALL: u64 = 8 << 20;

/// Requests to one registry.
#[derive(Clone, Debug)]
pub struct Api {
    agent: Agent,
    base: String,
}

/// A response; statuses of 400 and above are answers, not errors.
#[derive(Debug)]
pub struct Answer(Response<Body>);

impl Api {
    /// For the registry at `host`, which is `address:port`.
    pub fn new(host: &str) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_mins(2)))
            .build()
            .into();
        Self {
            agent,
            base: format!("http://{host}"),
        }
    }

    /// `GET` of a path such as `/v2/`.
    pub fn get(&self, path: &str) -> Answer {
        let url = format!("{}{path}", self.base);
        Answer(
            self.agent
                .get(&url)
                .header("Accept", MANIFESTS)
                .call()
                .unwrap_or_else(|error| panic!("GET {url}: {error}")),
        )
    }

    /// The exact bytes of a manifest, by tag or digest.
    ///
    /// # Panics
    /// When there is no such manifest.
    pub fn manifest(&self, repository: &str, reference: &str) -> Vec<u8> {
        let answer = self.get(&format!("/v2/{repository}/manifests/{reference}"));
        assert_eq!(answer.status(), 200, "manifest {repository} {reference}");
        answer.bytes()
    }

    /// Whether a manifest can be pulled.
    ///
    /// # Panics
    /// When the answer is neither 200 nor 404.
    pub fn has_manifest(&self, repository: &str, reference: &str) -> bool {
        match self
            .get(&format!("/v2/{repository}/manifests/{reference}"))
            .status()
        {
            200 => true,
            404 => false,
            status => panic!("manifest {repository} {reference}: {status}"),
        }
    }

    /// The bytes of a blob, as they arrive.
    ///
    /// # Panics
    /// When there is no such blob.
    pub fn blob(&self, repository: &str, digest: &str) -> impl Read {
        let answer = self.get(&format!("/v2/{repository}/blobs/{digest}"));
        assert_eq!(answer.status(), 200, "blob {repository} {digest}");
        answer.0.into_body().into_reader()
    }

    /// The tags of a repository, in the order of the registry.
    ///
    /// # Panics
    /// When there is no list.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let list = self.get(&format!("/v2/{repository}/tags/list")).json();
        let tags = list
            .get("tags")
            .and_then(Value::as_array)
            .unwrap_or_else(|| panic!("no tags in {list}"));
        tags.iter()
            .map(|tag| tag.as_str().expect("a tag is a string").to_owned())
            .collect()
    }
}

impl Answer {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// A header's value, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// The body of an answer that is known to be small.
    ///
    /// # Panics
    /// When it breaks off, is larger than 8 MiB, or is an error that tells a secret.
    pub fn bytes(self) -> Vec<u8> {
        let is_error = self.status() >= 400;
        let bytes = self
            .0
            .into_body()
            .into_with_config()
            .limit(SMALL)
            .read_to_vec()
            .expect("a whole, small body");
        if is_error {
            assert_silent(&String::from_utf8_lossy(&bytes));
        }
        bytes
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is something else.
    pub fn json(self) -> Value {
        let bytes = self.bytes();
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&bytes)))
    }
}
