//! A CI job pushes without a password: the system that runs it vouches for it with
//! a token, which the job exchanges for one of the registry's own.
//!
//! All three are in this program: the system, which publishes its keys and says
//! for each job what it is; the registry, which knows what such jobs may do; and
//! two jobs, of which one may push.
//!
//! `cargo run --bin keyless_ci 127.0.0.1:5000`

use std::error::Error;
use std::time::UNIX_EPOCH;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use registry_auth::jwt::{KeySet, VerificationKey};
use registry_auth::{AccessControl, Fetch, Rules, TokenServer, Workload};
use registry_core::{Algorithm, Clock, SystemClock};
use registry_examples::say;
use registry_http::{HttpFetch, RegistryService};
use registry_storage::Engine;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What the registry is called by the tokens that are for it.
const AUDIENCE: &str = "registry.example.com";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = registry_examples::listen().await?;
    let address = listener.local_addr()?.to_string();
    let ci = Ci::start().await?;

    // The registry asks the system for its keys, and nobody else.
    let fetch = HttpFetch::builder().host(&ci.address).build()?;
    let jobs = Workload::new("ci", &ci.issuer(), AUDIENCE)?.discover(fetch)?;
    let rules = Rules::new()
        .sentence("workload ci repository=org/app branch=main may push, pull org/app")
        .sentence("anyone may pull org/app")
        .check()?;
    let engine = Engine::memory();
    let access = AccessControl::new(rules)
        .authenticator(jobs)
        // A token is of the repository that is there, not of one that gets its name later.
        .tokens(TokenServer::ephemeral()?.service(AUDIENCE));
    let registry = RegistryService::new(engine).access(access);
    let serving = tokio::spawn(registry_http::serve(listener, registry));

    for branch in ["main", "feature"] {
        let job = Job::new(&address, &ci.vouch(branch)?).await?;
        match job.push(branch).await? {
            StatusCode::CREATED => say(&format!("the job of {branch} pushed org/app:{branch}")),
            status => say(&format!("the job of {branch} may not push: {status}")),
        }
    }
    serving.await??;
    Ok(())
}

/// The system that runs jobs, such as GitHub Actions.
struct Ci {
    key: Ed25519KeyPair,
    address: String,
}

impl Ci {
    /// Publishes its keys on a port of this machine.
    async fn start() -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let ci = Self {
            key: Ed25519KeyPair::generate()?,
            address: listener.local_addr()?.to_string(),
        };
        let description = json!({
            "issuer": ci.issuer(),
            "jwks_uri": format!("{}/keys", ci.issuer()),
        });
        let keys = String::from_utf8(KeySet::new().with(ci.public()?)?.to_document())?;
        let description = description.to_string();
        let pages = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async || description),
            )
            .route("/keys", get(async || keys));
        tokio::spawn(async { axum::serve(listener, pages).await });
        Ok(ci)
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    fn public(&self) -> Result<VerificationKey, Box<dyn Error>> {
        let der = self.key.public_key().as_der()?;
        Ok(VerificationKey::from_spki(der.as_ref())?)
    }

    /// The token of a job: who it is, and for whom to know.
    fn vouch(&self, branch: &str) -> Result<String, Box<dyn Error>> {
        let now = SystemClock.now().duration_since(UNIX_EPOCH)?.as_secs();
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.public()?.kid()});
        let claims = json!({
            "iss": self.issuer(), "aud": AUDIENCE, "sub": format!("org/app:{branch}"),
            "iat": now, "exp": now.saturating_add(300),
            "repository": "org/app", "branch": branch,
        });
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = signed.join(".");
        let signature = self.key.sign(signed.as_bytes());
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// A job that pushes: any client would do, or `curl`.
struct Job {
    client: HttpFetch,
    registry: String,
    authorization: String,
}

impl Job {
    /// Exchanges what the system said for a token of the registry (RFC 8693).
    async fn new(address: &str, vouched: &str) -> Result<Self, Box<dyn Error>> {
        let mut job = Self {
            client: HttpFetch::builder().host(address).build()?,
            registry: format!("http://{address}/v2"),
            authorization: String::new(),
        };
        let form = format!(
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
             &subject_token_type=urn:ietf:params:oauth:token-type:id_token\
             &subject_token={vouched}&audience={AUDIENCE}&scope=repository:org/app:pull,push"
        );
        let kind = "application/x-www-form-urlencoded";
        let (_, answer) = job.send(Method::POST, "/token", kind, form.into()).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let token = answer.get("access_token").and_then(Value::as_str);
        let token = token.ok_or("there is no token")?;
        job.authorization = format!("Bearer {token}");
        Ok(job)
    }

    /// Pushes an artifact that holds nothing.
    async fn push(&self, tag: &str) -> Result<StatusCode, Box<dyn Error>> {
        let content = b"{}";
        let digest = Algorithm::Sha256.digest(content).to_string();
        let upload = format!("/org/app/blobs/uploads/?digest={digest}");
        let kind = "application/octet-stream";
        let (status, _) = self
            .send(Method::POST, &upload, kind, content.to_vec())
            .await?;
        if status != StatusCode::CREATED {
            return Ok(status);
        }
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let empty = json!({
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": digest,
            "size": content.len(),
        });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind,
            "artifactType": "application/vnd.example.nothing",
            "config": empty, "layers": [empty],
        });
        let path = format!("/org/app/manifests/{tag}");
        let manifest = manifest.to_string().into();
        let (status, _) = self.send(Method::PUT, &path, kind, manifest).await?;
        Ok(status)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Vec<u8>), Box<dyn Error>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.registry))
            .header(CONTENT_TYPE, kind)
            .header(AUTHORIZATION, &self.authorization);
        let answer = self.client.fetch(request.body(body)?, 64 << 10).await?;
        Ok((answer.status(), answer.into_body()))
    }
}
