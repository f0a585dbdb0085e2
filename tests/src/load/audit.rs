//! What a registry holds, compared with what it may hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use fastrand::Rng;
use serde_json::Value;

use super::{Client, History, Place};

/// How many requests are sent at once.
const READERS: usize = 4;

/// How many tags are asked for at once, so that lists have several pages.
const PAGE: usize = 20;

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Depth {
    /// Every blob, manifest and tag that there ever was.
    Everything,
    /// What may have changed, and this many others, chosen by a seed.
    Changed {
        /// How many others.
        others: usize,
        /// Which ones.
        seed: u64,
    },
}

/// Pulls what the history speaks of, byte for byte, and compares the lists with it. Returns what is wrong; then the
/// history goes on from what was found.
pub fn audit(host: &str, history: &History, depth: Depth) -> Vec<String> {
    let client = Client::new(host);
    let mut audit = Audit {
        client: &client,
        history,
        found: BTreeMap::new(),
        wrong: Vec::new(),
    };
    audit.look(&places(history, depth));
    audit.compare();
    let settled = audit.settle();
    audit.references(&settled);
    audit.lists(&settled);
    audit.wrong
}

fn places(history: &History, depth: Depth) -> Vec<Place> {
    match depth {
        Depth::Everything => history.places().into_iter().collect(),
        Depth::Changed { others, seed } => {
            let mut chosen = history.touched();
            let rest: Vec<_> = history.places().difference(&chosen).cloned().collect();
            let sample = Rng::with_seed(seed).choose_multiple(rest, others);
            chosen.extend(sample);
            chosen.into_iter().collect()
        }
    }
}

type Holdings = BTreeMap<Place, Option<String>>;

struct Audit<'a> {
    client: &'a Client,
    history: &'a History,
    found: Holdings,
    wrong: Vec<String>,
}

impl Audit<'_> {
    fn look(&mut self, places: &[Place]) {
        let results = Mutex::new(Vec::new());
        let share = places.len().div_ceil(READERS).max(1);
        std::thread::scope(|scope| {
            for share in places.chunks(share) {
                let (results, client, history) = (&results, self.client, self.history);
                scope.spawn(move || {
                    for place in share {
                        let found = look_at(client, history, place);
                        results
                            .lock()
                            .expect("the results")
                            .push((place.clone(), found));
                    }
                });
            }
        });
        for (place, found) in results.into_inner().expect("the results") {
            match found {
                Ok(value) => {
                    self.found.insert(place, value);
                }
                Err(problem) => self.wrong.push(format!("{place:?}: {problem}")),
            }
        }
    }

    fn compare(&mut self) {
        for (place, value) in &self.found {
            let allowed = self.history.allowed(place);
            if !allowed.contains(value) {
                let problem =
                    format!("{place:?} holds {value:?} and should hold one of {allowed:?}");
                self.wrong.push(problem);
            }
        }
        for group in self.history.indivisible() {
            let there = |(place, value): &(Place, String)| {
                let found = self.found.get(place);
                found.is_some_and(|found| found.as_ref() == Some(value))
            };
            let count = group.iter().filter(|written| there(written)).count();
            if count != 0 && count != group.len() {
                self.wrong
                    .push(format!("a push happened in part: {group:?}"));
            }
        }
    }

    fn settle(&self) -> Holdings {
        self.history.settle(self.found.clone());
        self.history.settled()
    }

    /// Nothing that was found refers to what isn't there.
    fn references(&mut self, settled: &Holdings) {
        let there = |place: &Place| settled.get(place).is_some_and(Option::is_some);
        for (place, value) in &self.found {
            let Some(digest) = value else {
                continue;
            };
            let repository = place.repository();
            match place {
                Place::Blob(..) => {}
                Place::Tag(..) => {
                    if !there(&Place::Manifest(repository.to_owned(), digest.clone())) {
                        self.wrong
                            .push(format!("{place:?} leads to {digest}, which is gone"));
                    }
                }
                Place::Manifest(..) => {
                    let image = self.history.image(digest).expect("a pushed manifest");
                    for blob in image.blobs {
                        let path = format!("/v2/{repository}/blobs/{blob}");
                        match self.client.pull(&path, true) {
                            Ok(pulled) if pulled.status == 200 => {}
                            other => self.wrong.push(format!(
                                "{place:?} is served and its blob {blob} is not: {other:?}"
                            )),
                        }
                    }
                }
            }
        }
    }

    fn lists(&mut self, settled: &Holdings) {
        let mut tags: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut repositories = BTreeSet::new();
        for (place, value) in settled {
            let listed = tags.entry(place.repository()).or_default();
            match place {
                Place::Tag(_, tag) if value.is_some() => listed.push(tag),
                Place::Manifest(repository, _) if value.is_some() => {
                    repositories.insert(repository.as_str());
                }
                _ => {}
            }
        }
        for (repository, expected) in tags {
            let path = format!("/v2/{repository}/tags/list?n={PAGE}");
            match self.list(&path, "tags") {
                Ok(found) if found == expected => {}
                Ok(found) => self.wrong.push(format!(
                    "the tags of {repository} are {found:?} and should be {expected:?}"
                )),
                // Nothing was ever pushed there.
                Err(_) if expected.is_empty() => {}
                Err(problem) => self.wrong.push(problem),
            }
        }
        match self.list("/v2/_catalog?n=1", "repositories") {
            Ok(found) => {
                for missing in repositories
                    .iter()
                    .filter(|name| !found.iter().any(|f| f == *name))
                {
                    self.wrong
                        .push(format!("{missing} is not listed: {found:?}"));
                }
            }
            Err(problem) => self.wrong.push(problem),
        }
        self.referrers(settled);
    }

    fn referrers(&mut self, settled: &Holdings) {
        let mut expected: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for (place, value) in settled {
            let Place::Manifest(repository, digest) = place else {
                continue;
            };
            let image = self.history.image(digest).expect("a pushed manifest");
            if let Some(subject) = image.subject {
                let referrers = expected.entry((repository.clone(), subject)).or_default();
                referrers.extend(value.clone());
            }
        }
        for ((repository, subject), expected) in expected {
            let path = format!("/v2/{repository}/referrers/{subject}");
            let found = self.json(&path).map(|list| {
                let manifests = list.get("manifests").and_then(Value::as_array).cloned();
                let digests = manifests.unwrap_or_default().into_iter();
                let digest = |entry: Value| entry.get("digest")?.as_str().map(str::to_owned);
                digests.filter_map(digest).collect::<BTreeSet<_>>()
            });
            if found.as_ref() != Ok(&expected) {
                let problem = format!("{path}: {found:?}, should be {expected:?}");
                self.wrong.push(problem);
            }
        }
    }

    /// A list, page by page.
    fn list(&self, path: &str, key: &str) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        let mut path = path.to_owned();
        loop {
            let pulled = self.client.pull(&path, false).map_err(|broken| broken.0)?;
            if pulled.status != 200 {
                return Err(format!("{path}: {pulled:?}"));
            }
            let page: Value = parse(&path, &pulled.bytes)?;
            let listed = page.get(key).and_then(Value::as_array);
            let listed = listed.ok_or_else(|| format!("{path}: no {key} in {page}"))?;
            names.extend(listed.iter().filter_map(Value::as_str).map(str::to_owned));
            match pulled.next {
                Some(next) => path = next,
                None => return Ok(names),
            }
        }
    }

    fn json(&self, path: &str) -> Result<Value, String> {
        let pulled = self.client.pull(path, false).map_err(|broken| broken.0)?;
        if pulled.status != 200 {
            return Err(format!("{path}: {pulled:?}"));
        }
        parse(path, &pulled.bytes)
    }
}

fn parse(path: &str, bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("{path}: {error}"))
}

/// What one place holds, once its bytes have proved to be right.
fn look_at(client: &Client, history: &History, place: &Place) -> Result<Option<String>, String> {
    let path = match place {
        Place::Blob(repository, digest) => format!("/v2/{repository}/blobs/{digest}"),
        Place::Manifest(repository, name) | Place::Tag(repository, name) => {
            format!("/v2/{repository}/manifests/{name}")
        }
    };
    let pulled = client.pull(&path, false).map_err(|broken| broken.0)?;
    match pulled.status {
        200 => {}
        404 => return Ok(None),
        _ => return Err(format!("{pulled:?}")),
    }
    if pulled.stated.as_ref() != Some(&pulled.digest) {
        let stated = pulled.stated;
        return Err(format!(
            "the bytes are {} and said to be {stated:?}",
            pulled.digest
        ));
    }
    let size = match place {
        Place::Blob(_, digest) => history.content(digest).map(|content| content.size()),
        _ => history
            .image(&pulled.digest)
            .map(|image| image.bytes.len() as u64),
    };
    match place {
        Place::Blob(_, digest) | Place::Manifest(_, digest) if *digest != pulled.digest => {
            Err(format!("the bytes are {}", pulled.digest))
        }
        _ if size != Some(pulled.size) => Err(format!("{} bytes instead of {size:?}", pulled.size)),
        _ => Ok(Some(pulled.digest)),
    }
}
