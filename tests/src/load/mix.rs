//! Several clients at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use super::content::digest_of;
use super::{Broken, Client, Content, Effect, History, Image, Place, Reply, Way};

/// The repositories; the components that are words of the protocol are names like others.
const REPOSITORIES: [&str; 3] = ["one", "two/blobs/uploads", "three/manifests/deep"];

/// The tags that all clients move.
const SHARED_TAGS: u32 = 6;

/// Clients that work until the registry goes away or they are told to stop.
#[derive(Debug)]
pub struct Mix {
    clients: Vec<JoinHandle<Outcome>>,
    stop: Arc<AtomicBool>,
}

/// What the clients met.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many requests or sequences of requests were answered.
    pub answered: usize,
    /// What clients met that the registry left without an answer.
    pub broken: Vec<String>,
    /// Answers that nobody should get, such as a 5xx.
    pub faults: Vec<String>,
}

impl Mix {
    /// Starts the clients. The same seed makes them choose the same, but who is first is up to the machine.
    pub fn start(host: &str, history: &Arc<History>, clients: u64, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stock = Arc::new(Mutex::new(Stock::of(history)));
        let clients = (0..clients).map(|number| {
            let mut client = Client::new(host);
            if number == 0 {
                // One is slow, so that the end finds uploads in the middle.
                client = client.pace(Duration::from_millis(4));
            }
            let worker = Worker {
                client,
                number,
                random: Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                history: Arc::clone(history),
                stock: Arc::clone(&stock),
            };
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || worker.run(&stop))
        });
        Self {
            clients: clients.collect(),
            stop,
        }
    }

    /// Tells the clients to stop after what they are doing.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether a client has ended. Before anybody stopped it or the registry, it met a fault or got no answer.
    pub fn has_lost_one(&self) -> bool {
        self.clients.iter().any(JoinHandle::is_finished)
    }

    /// Waits for the clients. They end when the registry has gone, or after [`stop`](Self::stop).
    pub fn join(self) -> Outcome {
        let mut sum = Outcome::default();
        for client in self.clients {
            let outcome = client.join().expect("a client's thread");
            sum.answered = sum.answered.saturating_add(outcome.answered);
            sum.broken.extend(outcome.broken);
            sum.faults.extend(outcome.faults);
        }
        sum
    }
}

/// What there is to refer to.
#[derive(Debug, Default)]
struct Stock {
    blobs: BTreeMap<String, Vec<String>>,
    manifests: BTreeMap<String, Vec<String>>,
}

impl Stock {
    fn of(history: &History) -> Self {
        let mut stock = Self::default();
        for (place, value) in history.settled() {
            match (place, value) {
                (Place::Blob(repository, digest), Some(_)) => {
                    stock.blobs.entry(repository).or_default().push(digest);
                }
                (Place::Manifest(repository, digest), Some(_)) => {
                    stock.manifests.entry(repository).or_default().push(digest);
                }
                _ => {}
            }
        }
        stock
    }
}

/// What a step did.
enum Step {
    Done,
    Fault(String),
    Broken(String),
}

impl From<Broken> for Step {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken.0)
    }
}

struct Worker {
    client: Client,
    number: u64,
    random: Rng,
    history: Arc<History>,
    stock: Arc<Mutex<Stock>>,
}

impl Worker {
    fn run(mut self, stop: &AtomicBool) -> Outcome {
        let mut outcome = Outcome::default();
        while !stop.load(Ordering::Relaxed) {
            match self.step() {
                Step::Done => outcome.answered = outcome.answered.saturating_add(1),
                Step::Fault(fault) => outcome.faults.push(fault),
                Step::Broken(broken) => {
                    outcome.broken.push(broken);
                    break;
                }
            }
            if outcome.faults.len() >= 10 {
                break;
            }
        }
        outcome
    }

    fn step(&mut self) -> Step {
        let repository = self.random.choice(REPOSITORIES).expect("a repository");
        match self.random.u32(0..100) {
            0..30 => self.push_blob(repository),
            30..37 => self.push_known_blob(repository),
            37..44 => self.mount(repository),
            44..74 => self.push_image(repository),
            74..82 => self.tag_again(repository),
            82..88 => self.delete_tag(repository),
            88..92 => self.delete_manifest(repository),
            92..96 => self.delete_blob(repository),
            _ => self.leave_upload(repository),
        }
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blob(&mut self, repository: &str) -> Option<String> {
        let stock = Arc::clone(&self.stock);
        let stock = stock.lock().unwrap_or_else(PoisonError::into_inner);
        let blobs = stock.blobs.get(repository)?;
        self.random.choice(blobs).cloned()
    }

    fn manifest(&mut self, repository: &str) -> Option<String> {
        let stock = Arc::clone(&self.stock);
        let stock = stock.lock().unwrap_or_else(PoisonError::into_inner);
        let manifests = stock.manifests.get(repository)?;
        self.random.choice(manifests).cloned()
    }

    fn new_content(&mut self) -> Content {
        let size = match self.random.u32(0..100) {
            0..3 => 0,
            3..50 => self.random.u64(1..2_000),
            50..85 => self.random.u64(2_000..100_000),
            85..98 => self.random.u64(100_000..600_000),
            _ => self.random.u64(600_000..4_000_000),
        };
        Content::new(self.random.u64(..), size)
    }

    fn way(&mut self, size: u64) -> Way {
        match self.random.u32(0..4) {
            0 => Way::Whole,
            1 => Way::Single,
            2 => Way::Chunked(size.div_ceil(self.random.u64(1..4)).max(1)),
            _ => Way::Streamed,
        }
    }

    fn push_blob(&mut self, repository: &str) -> Step {
        let content = self.new_content();
        self.push(repository, &content)
    }

    fn push_known_blob(&mut self, repository: &str) -> Step {
        let from = self.random.choice(REPOSITORIES).expect("a repository");
        let digest = self.blob(from);
        match digest.and_then(|digest| self.history.content(&digest)) {
            Some(content) => self.push(repository, &content),
            None => self.push_blob(repository),
        }
    }

    fn push(&mut self, repository: &str, content: &Content) -> Step {
        let step = self.push_privately(repository, content);
        if let Step::Done = step {
            self.offer_blob(repository, content.digest());
        }
        step
    }

    /// Pushes a blob that others don't get to know of.
    fn push_privately(&mut self, repository: &str, content: &Content) -> Step {
        let way = self.way(content.size());
        self.history.know(content);
        let place = Place::Blob(repository.to_owned(), content.digest().to_owned());
        let ticket = self
            .history
            .begin(vec![Effect::Set(place, content.digest().to_owned())]);
        match self.client.push_blob(repository, content, way) {
            Ok(reply) if reply.status == 201 => {
                self.history.acknowledge(ticket);
                Step::Done
            }
            Ok(reply) => fault(&format!("{way:?} push of {content:?}"), &reply),
            Err(broken) => broken.into(),
        }
    }

    fn offer_blob(&self, repository: &str, digest: &str) {
        let mut stock = self.stock();
        let blobs = stock.blobs.entry(repository.to_owned()).or_default();
        blobs.push(digest.to_owned());
    }

    fn mount(&mut self, repository: &str) -> Step {
        let from = self.random.choice(REPOSITORIES).expect("a repository");
        let Some(digest) = self.blob(from) else {
            return self.push_blob(repository);
        };
        let place = Place::Blob(repository.to_owned(), digest.clone());
        let ticket = self.history.begin(vec![Effect::Set(place, digest.clone())]);
        match self.client.mount(repository, &digest, from) {
            Ok(reply) if reply.status == 201 => {
                self.history.acknowledge(ticket);
                self.offer_blob(repository, &digest);
                Step::Done
            }
            Ok(reply) => fault(&format!("mount of {digest} from {from}"), &reply),
            Err(broken) => broken.into(),
        }
    }

    /// Some tags: the client's own, those that all clients move, or none.
    fn tags(&mut self) -> Vec<String> {
        let mut tags = Vec::new();
        for _ in 0..self.random.u32(0..4) {
            tags.push(self.tag());
        }
        tags.sort();
        tags.dedup();
        tags
    }

    fn tag(&mut self) -> String {
        if self.random.bool() {
            format!("shared-{}", self.random.u32(0..SHARED_TAGS))
        } else {
            format!("own-{}.{}", self.number, self.random.u32(0..12))
        }
    }

    fn push_image(&mut self, repository: &str) -> Step {
        let mut blobs = Vec::new();
        for _ in 0..self.random.u32(1..4) {
            blobs.extend(self.blob(repository));
        }
        blobs.dedup();
        let contents = blobs.iter().filter_map(|blob| self.history.content(blob));
        let mut contents: Vec<_> = contents.collect();
        if contents.is_empty() {
            let content = self.new_content();
            match self.push(repository, &content) {
                Step::Done => contents.push(content),
                other => return other,
            }
        }
        let subject = if self.random.u32(0..5) == 0 {
            self.manifest(repository)
        } else {
            None
        };
        let subject = subject.and_then(|subject| self.history.image(&subject));
        let image = image(&contents, subject.as_ref(), self.random.u64(..));
        self.history.know_image(&image);
        let tags = self.tags();
        self.push_manifest(repository, &image, &tags)
    }

    fn tag_again(&mut self, repository: &str) -> Step {
        let digest = self.manifest(repository);
        match digest.and_then(|digest| self.history.image(&digest)) {
            Some(image) => {
                let tags = self.tags();
                self.push_manifest(repository, &image, &tags)
            }
            None => self.push_image(repository),
        }
    }

    fn push_manifest(&mut self, repository: &str, image: &Image, tags: &[String]) -> Step {
        let repository_name = || repository.to_owned();
        let digest = || image.digest.clone();
        let mut effects = vec![Effect::Set(
            Place::Manifest(repository_name(), digest()),
            digest(),
        )];
        let places = tags.iter();
        effects.extend(places.map(|tag| {
            let place = Place::Tag(repository_name(), tag.clone());
            Effect::Set(place, digest())
        }));
        let ticket = self.history.begin(effects);
        let pushed = self
            .client
            .push_manifest(repository, &image.digest, tags, &image.bytes);
        match pushed {
            Ok(reply) if reply.status == 201 => {
                self.history.acknowledge(ticket);
                let mut stock = self.stock();
                let manifests = stock.manifests.entry(repository_name()).or_default();
                manifests.push(digest());
                Step::Done
            }
            Ok(reply) => fault(&format!("push of manifest {}", image.digest), &reply),
            Err(broken) => broken.into(),
        }
    }

    fn delete_tag(&mut self, repository: &str) -> Step {
        let tag = self.tag();
        let place = Place::Tag(repository.to_owned(), tag.clone());
        self.delete(repository, "manifests", &tag, Effect::Clear(place))
    }

    fn delete_manifest(&mut self, repository: &str) -> Step {
        let Some(digest) = self.manifest(repository) else {
            return Step::Done;
        };
        let effect = Effect::ClearManifest(repository.to_owned(), digest.clone());
        self.delete(repository, "manifests", &digest, effect)
    }

    /// Only blobs that no manifest refers to: deleting others is allowed, and breaks the manifest.
    fn delete_blob(&mut self, repository: &str) -> Step {
        let size = self.random.u64(64..50_000);
        let content = Content::new(self.random.u64(..), size);
        match self.push_privately(repository, &content) {
            Step::Done => {}
            other => return other,
        }
        let digest = content.digest();
        let place = Place::Blob(repository.to_owned(), digest.to_owned());
        self.delete(repository, "blobs", digest, Effect::Clear(place))
    }

    fn delete(&mut self, repository: &str, kind: &str, name: &str, effect: Effect) -> Step {
        let ticket = self.history.begin(vec![effect]);
        match self.client.delete(repository, kind, name) {
            Ok(reply) if reply.status == 202 => {
                self.history.acknowledge(ticket);
                Step::Done
            }
            Ok(reply) if reply.status == 404 && kind == "manifests" => {
                self.history.refuse(ticket);
                Step::Done
            }
            Ok(reply) => fault(&format!("delete of {name}"), &reply),
            Err(broken) => broken.into(),
        }
    }

    /// Uploads a part, if there is any, and goes away.
    fn leave_upload(&mut self, repository: &str) -> Step {
        let content = self.new_content();
        let end = content.size().div_ceil(2);
        let left = self
            .client
            .begin(repository)
            .and_then(|begun| match begun.location.clone() {
                Some(location) if end > 0 => self.client.append(&location, &content, 0..end),
                _ => Ok(begun),
            });
        match left {
            Ok(reply) if reply.status == 202 => Step::Done,
            Ok(reply) => fault("an upload that is left", &reply),
            Err(broken) => broken.into(),
        }
    }
}

fn fault(what: &str, reply: &Reply) -> Step {
    Step::Fault(format!("{what}: {} {}", reply.status, reply.body))
}

/// A manifest of these blobs that no other equals.
fn image(contents: &[Content], subject: Option<&Image>, nonce: u64) -> Image {
    let descriptor = |media_type: &str, content: &Content| json!({"mediaType": media_type, "digest": content.digest(), "size": content.size()});
    let layers = contents
        .iter()
        .map(|content| descriptor("application/vnd.oci.image.layer.v1.tar", content));
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": contents
            .first()
            .map(|content| descriptor("application/vnd.oci.image.config.v1+json", content)),
        "layers": layers.collect::<Vec<_>>(),
        "annotations": {"nonce": nonce.to_string()},
    });
    if let (Some(subject), Some(document)) = (subject, document.as_object_mut()) {
        let subject = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": subject.digest,
            "size": subject.bytes.len(),
        });
        document.insert("subject".to_owned(), subject);
    }
    let bytes = document.to_string().into_bytes();
    Image {
        digest: digest_of(&bytes),
        bytes,
        blobs: contents
            .iter()
            .map(|content| content.digest().to_owned())
            .collect(),
        subject: subject.map(|subject| subject.digest.clone()),
    }
}
