//! A registry that listens, and the steps that many promises share.

use registry_http::{RegistryService, TestServer};
use registry_storage::{Durability, Engine, EngineOptions, MemoryBlobs, MemoryMetadata};
use registry_tests::harness::{Launch, Server};
use tempfile::TempDir;

use crate::content::{Document, sha256};
use crate::ways::Way;
use crate::wire::{Answer, Ask, Wire};

/// A registry to send requests to.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) wire: Wire,
    /// What the names of repositories start with, to keep promises on one server apart.
    promise: &'static str,
    _running: Running,
}

/// What has to live as long as the registry is asked.
#[derive(Debug)]
#[expect(dead_code, reason = "it is there to be dropped")]
enum Running {
    Memory(TestServer),
    Directory(TestServer, TempDir),
    Program(Box<Server>),
}

impl Served {
    pub(crate) async fn in_memory(promise: &'static str) -> Self {
        Self::by_service(promise, service(Engine::memory())).await
    }

    pub(crate) async fn by_service(promise: &'static str, service: RegistryService) -> Self {
        let server = TestServer::with_service(service).await;
        Self {
            wire: Wire::new(server.address()),
            promise,
            _running: Running::Memory(server),
        }
    }

    /// In memory, accepting manifests without the content they refer to.
    pub(crate) async fn sparse_in_memory() -> Self {
        let engine = Engine::builder(MemoryBlobs::default(), MemoryMetadata::default());
        Self::by_service("sparse", service(engine.options(sparse()).build())).await
    }

    pub(crate) async fn in_a_directory(promise: &'static str) -> Self {
        Self::directory(promise, EngineOptions::default()).await
    }

    /// In a directory, accepting manifests without the content they refer to.
    pub(crate) async fn sparse_in_a_directory() -> Self {
        Self::directory("sparse", sparse()).await
    }

    async fn directory(promise: &'static str, options: EngineOptions) -> Self {
        let root = TempDir::with_prefix("registry-").expect("a temporary directory");
        // What survives a power failure is shown elsewhere.
        let engine = Engine::root(root.path(), Durability::None).await.unwrap();
        let server = TestServer::with_service(service(engine.options(options).build())).await;
        Self {
            wire: Wire::new(server.address()),
            promise,
            _running: Running::Directory(server, root),
        }
    }

    pub(crate) fn by_the_program() -> Self {
        Self::program(Launch::new())
    }

    /// The program, accepting manifests without the content they refer to.
    pub(crate) fn sparse_by_the_program() -> Self {
        Self::program(Launch::new().env("REGISTRY_VALIDATION_MANIFESTS_SPARSE", "true"))
    }

    fn program(launch: Launch) -> Self {
        let server = launch.start();
        Self {
            wire: Wire::new(server.host().parse().unwrap()),
            promise: "program",
            _running: Running::Program(Box::new(server)),
        }
    }

    /// Starts the next promise on the same server.
    pub(crate) fn promise(&mut self, promise: &'static str) {
        self.promise = promise;
    }

    /// A repository that no other promise uses.
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.promise)
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Answer {
        self.wire.ask(ask).await
    }

    pub(crate) async fn get(&self, target: impl Into<String>) -> Answer {
        self.ask(Ask::get(target)).await
    }

    pub(crate) async fn head(&self, target: impl Into<String>) -> Answer {
        self.ask(Ask::head(target)).await
    }

    pub(crate) async fn delete(&self, target: impl Into<String>) -> Answer {
        self.ask(Ask::delete(target)).await
    }

    /// Starts an upload and returns where it goes on.
    pub(crate) async fn begin(&self, repository: &str) -> String {
        let target = format!("/v2/{repository}/blobs/uploads/");
        self.ask(Ask::post(target)).await.expect(202).goes_on(0)
    }

    /// Stores a blob and returns its address.
    pub(crate) async fn push_blob(&self, repository: &str, content: &[u8]) -> String {
        let digest = sha256(content);
        Way::PostPut.push(self, repository, &digest, content).await;
        format!("/v2/{repository}/blobs/{digest}")
    }

    /// Sends a manifest as most clients do.
    pub(crate) async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        document: &Document,
    ) -> Answer {
        let put = Ask::put(format!("/v2/{repository}/manifests/{reference}"))
            .header("content-type", document.media_type)
            .body(&document.bytes);
        self.ask(put).await
    }

    /// Stores a manifest under a tag or its digest, and returns its address by digest.
    pub(crate) async fn push(
        &self,
        repository: &str,
        reference: &str,
        document: &Document,
    ) -> String {
        let answer = self.put_manifest(repository, reference, document).await;
        answer.expect(201).header("location").to_owned()
    }
}

fn service(engine: Engine) -> RegistryService {
    RegistryService::new(engine).catalog(true)
}

fn sparse() -> EngineOptions {
    EngineOptions::default().sparse_manifests(true)
}
