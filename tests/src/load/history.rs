//! What the registry was asked to change, what it acknowledged, and so what it may hold.
//!
//! Each blob, manifest and tag of a repository is a register. A request that changes it runs from a first moment to a
//! last one, and takes effect somewhere in between; one that was never answered has no last moment, and may have
//! happened or not. So a register may hold what any request wrote, unless another one that was acknowledged began when
//! that one had ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Content;

/// Something that a repository holds or doesn't.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A blob, by digest.
    Blob(String, String),
    /// A manifest, by digest.
    Manifest(String, String),
    /// A tag.
    Tag(String, String),
}

impl Place {
    /// The repository.
    pub fn repository(&self) -> &str {
        let (Self::Blob(repository, _) | Self::Manifest(repository, _) | Self::Tag(repository, _)) =
            self;
        repository
    }
}

/// What a request does to one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The place holds this digest.
    Set(Place, String),
    /// The place holds nothing.
    Clear(Place),
    /// A manifest goes, and every tag that points to it.
    ClearManifest(String, String),
}

/// A request that was begun.
#[derive(Clone, Copy, Debug)]
pub struct Ticket(usize);

/// A manifest that was pushed or was about to be.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its digest.
    pub digest: String,
    /// Its exact bytes.
    pub bytes: Vec<u8>,
    /// The blobs it refers to.
    pub blobs: Vec<String>,
    /// The manifest it refers to, if any.
    pub subject: Option<String>,
}

/// The requests of all clients since the last [settlement](History::settle), and what was there then.
#[derive(Debug, Default)]
pub struct History(Mutex<Records>);

#[derive(Clone, Debug, Default)]
struct Records {
    /// A moment for each thing that happens.
    now: u64,
    requests: Vec<Recorded>,
    settled: BTreeMap<Place, Option<String>>,
    contents: BTreeMap<String, Content>,
    images: BTreeMap<String, Image>,
}

#[derive(Clone, Debug)]
struct Recorded {
    effects: Vec<Effect>,
    begun: u64,
    ended: Option<u64>,
    /// It was answered in a way that says that nothing happened.
    refused: bool,
}

impl Recorded {
    /// Its last moment.
    fn end(&self) -> u64 {
        self.ended.unwrap_or(u64::MAX)
    }
}

impl History {
    /// One in which nothing has happened.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that goes on by itself from here.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Mutex::new(self.records().clone()))
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what the digest of a blob stands for.
    pub fn know(&self, content: &Content) {
        let mut records = self.records();
        records
            .contents
            .insert(content.digest().to_owned(), content.clone());
    }

    /// Remembers what the digest of a manifest stands for.
    pub fn know_image(&self, image: &Image) {
        let mut records = self.records();
        records.images.insert(image.digest.clone(), image.clone());
    }

    /// The blob with this digest.
    pub fn content(&self, digest: &str) -> Option<Content> {
        self.records().contents.get(digest).cloned()
    }

    /// The manifest with this digest.
    pub fn image(&self, digest: &str) -> Option<Image> {
        self.records().images.get(digest).cloned()
    }

    /// A request is about to be sent.
    pub fn begin(&self, effects: Vec<Effect>) -> Ticket {
        let mut records = self.records();
        let begun = records.tick();
        let ticket = Ticket(records.requests.len());
        records.requests.push(Recorded {
            effects,
            begun,
            ended: None,
            refused: false,
        });
        ticket
    }

    /// The registry said that it was done.
    pub fn acknowledge(&self, ticket: Ticket) {
        let mut records = self.records();
        let now = records.tick();
        if let Some(request) = records.requests.get_mut(ticket.0) {
            request.ended = Some(now);
        }
    }

    /// The registry said that nothing was changed.
    pub fn refuse(&self, ticket: Ticket) {
        let mut records = self.records();
        if let Some(request) = records.requests.get_mut(ticket.0) {
            request.refused = true;
        }
    }

    /// How many requests were acknowledged since the last settlement.
    pub fn acknowledged(&self) -> usize {
        let records = self.records();
        let requests = records.requests.iter();
        requests.filter(|request| request.ended.is_some()).count()
    }

    /// How many requests were never answered since the last settlement.
    pub fn unanswered(&self) -> usize {
        let records = self.records();
        let live = records.requests.iter().filter(|request| !request.refused);
        live.filter(|request| request.ended.is_none()).count()
    }

    /// Every place that was ever written to.
    pub fn places(&self) -> BTreeSet<Place> {
        let records = self.records();
        let mut places: BTreeSet<_> = records.settled.keys().cloned().collect();
        places.extend(records.written().cloned());
        places
    }

    /// The places that requests may have changed since the last settlement.
    pub fn touched(&self) -> BTreeSet<Place> {
        let records = self.records();
        let mut touched: BTreeSet<_> = records.written().cloned().collect();
        let effects = records.requests.iter().flat_map(|request| &request.effects);
        let gone: BTreeSet<_> = effects
            .filter_map(|effect| match effect {
                Effect::ClearManifest(repository, digest) => {
                    Some((repository.as_str(), digest.as_str()))
                }
                Effect::Set(..) | Effect::Clear(_) => None,
            })
            .collect();
        let concerned = records.settled.iter().filter(|(place, value)| {
            let value = value.as_deref();
            let manifest = !matches!(place, Place::Blob(..));
            manifest && value.is_some_and(|value| gone.contains(&(place.repository(), value)))
        });
        touched.extend(concerned.map(|(place, _)| place.clone()));
        touched
    }

    /// What a place may hold now; `None` stands for nothing.
    pub fn allowed(&self, place: &Place) -> Vec<Option<String>> {
        self.records().allowed(place)
    }

    /// Unanswered requests that alone wrote to several places, each with what it wrote: all of it is there, or nothing.
    pub fn indivisible(&self) -> Vec<Vec<(Place, String)>> {
        let records = self.records();
        let unanswered = records.requests.iter().filter(|request| !request.refused);
        let unanswered = unanswered.filter(|request| request.ended.is_none());
        let written = |request: &Recorded| {
            let effects = request.effects.iter();
            let sets = effects.filter_map(|effect| match effect {
                Effect::Set(place, value) => Some((place.clone(), value.clone())),
                Effect::Clear(_) | Effect::ClearManifest(..) => None,
            });
            let alone = sets.filter(|(place, value)| {
                // If it held the same before, it tells nothing.
                records.settled.get(place).cloned().flatten().as_ref() != Some(value)
                    && records.writers(place, value) == 1
            });
            alone.collect::<Vec<_>>()
        };
        let groups = unanswered.map(written);
        groups.filter(|group| group.len() > 1).collect()
    }

    /// What was found in each place, at the last settlement that looked at it.
    pub fn settled(&self) -> BTreeMap<Place, Option<String>> {
        self.records().settled.clone()
    }

    /// From here on, these places hold what was found there.
    pub fn settle(&self, found: impl IntoIterator<Item = (Place, Option<String>)>) {
        let mut records = self.records();
        records.settled.extend(found);
        records.requests.clear();
        records.now = 0;
    }
}

impl Records {
    fn tick(&mut self) -> u64 {
        self.now = self.now.saturating_add(1);
        self.now
    }

    fn written(&self) -> impl Iterator<Item = &Place> {
        let effects = self.requests.iter().flat_map(|request| &request.effects);
        effects.filter_map(|effect| match effect {
            Effect::Set(place, _) | Effect::Clear(place) => Some(place),
            Effect::ClearManifest(..) => None,
        })
    }

    /// How many requests may have written to a place, or cleared it of this value.
    fn writers(&self, place: &Place, value: &str) -> usize {
        let concerns = |effect: &Effect| match effect {
            Effect::Set(other, _) | Effect::Clear(other) => other == place,
            Effect::ClearManifest(repository, digest) => clears(place, repository, digest, value),
        };
        let requests = self.requests.iter().filter(|request| !request.refused);
        requests
            .filter(|request| request.effects.iter().any(concerns))
            .count()
    }

    fn allowed(&self, place: &Place) -> Vec<Option<String>> {
        let requests = || self.requests.iter().filter(|request| !request.refused);
        let effects = || {
            requests()
                .flat_map(|request| request.effects.iter().map(move |effect| (request, effect)))
        };
        let acknowledged = || effects().filter(|(request, _)| request.ended.is_some());
        let initial = self.settled.get(place).cloned().flatten();

        // What may have been there at some time, and when it was certainly written.
        let written = effects().filter_map(|(request, effect)| match effect {
            Effect::Set(other, value) if other == place => {
                Some((Some(value.clone()), request.begun, request.end()))
            }
            _ => None,
        });
        let written: Vec<_> = std::iter::once((initial, 0, 0)).chain(written).collect();
        let clears_value = |effect: &Effect, value: &str| match effect {
            Effect::Clear(other) => other == place,
            Effect::ClearManifest(repository, digest) => clears(place, repository, digest, value),
            Effect::Set(..) => false,
        };
        let sets = |effect: &Effect| matches!(effect, Effect::Set(other, _) if other == place);

        let mut allowed = Vec::new();
        for (value, _, ended) in &written {
            let overwritten = acknowledged().any(|(request, effect)| {
                let later = request.begun > *ended;
                later
                    && (sets(effect)
                        || value
                            .as_ref()
                            .is_some_and(|value| clears_value(effect, value)))
            });
            if !overwritten {
                allowed.push(value.clone());
            }
        }
        let cleared = effects().any(|(clearing, effect)| {
            let something_to_clear = written.iter().any(|(value, begun, _)| {
                *begun < clearing.end()
                    && value
                        .as_ref()
                        .is_some_and(|value| clears_value(effect, value))
            });
            let set_again = acknowledged()
                .any(|(request, effect)| request.begun > clearing.end() && sets(effect));
            something_to_clear && !set_again
        });
        if cleared {
            allowed.push(None);
        }
        allowed.sort();
        allowed.dedup();
        allowed
    }
}

/// Whether the end of a manifest also clears a place that holds `value`.
fn clears(place: &Place, repository: &str, digest: &str, value: &str) -> bool {
    match place {
        Place::Manifest(holder, _) | Place::Tag(holder, _) => {
            holder == repository && value == digest
        }
        Place::Blob(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag() -> Place {
        Place::Tag("a".to_owned(), "latest".to_owned())
    }

    fn set(value: &str) -> Vec<Effect> {
        vec![Effect::Set(tag(), value.to_owned())]
    }

    fn some(values: &[&str]) -> Vec<Option<String>> {
        values
            .iter()
            .map(|value| Some((*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_was_acknowledged_last_is_all_that_may_be_there() {
        let history = History::new();
        for value in ["one", "two"] {
            let ticket = history.begin(set(value));
            history.acknowledge(ticket);
        }
        assert_eq!(history.allowed(&tag()), some(&["two"]));
    }

    #[test]
    fn requests_at_the_same_time_may_end_either_way() {
        let history = History::new();
        let one = history.begin(set("one"));
        let two = history.begin(set("two"));
        history.acknowledge(two);
        history.acknowledge(one);
        assert_eq!(history.allowed(&tag()), some(&["one", "two"]));
    }

    #[test]
    fn an_unanswered_request_may_have_happened_or_not() {
        let history = History::new();
        history.begin(set("one"));
        let nothing_or_one = [vec![None], some(&["one"])].concat();
        assert_eq!(history.allowed(&tag()), nothing_or_one);
        history.settle([(tag(), Some("one".to_owned()))]);
        history.begin(vec![Effect::Clear(tag())]);
        assert_eq!(history.allowed(&tag()), nothing_or_one);
        history.settle([(tag(), None)]);
        assert_eq!(history.allowed(&tag()), [None]);
    }

    #[test]
    fn a_refused_request_did_nothing() {
        let history = History::new();
        let ticket = history.begin(set("one"));
        history.refuse(ticket);
        assert_eq!(history.allowed(&tag()), [None]);
    }

    #[test]
    fn a_deleted_manifest_takes_its_tags_along_and_no_others() {
        let history = History::new();
        history.settle([(tag(), Some("one".to_owned()))]);
        let other = history.begin(vec![Effect::ClearManifest("a".into(), "two".into())]);
        history.acknowledge(other);
        assert_eq!(history.allowed(&tag()), some(&["one"]));
        let gone = history.begin(vec![Effect::ClearManifest("a".into(), "one".into())]);
        history.acknowledge(gone);
        assert_eq!(history.allowed(&tag()), [None]);
        let again = history.begin(set("one"));
        history.acknowledge(again);
        assert_eq!(history.allowed(&tag()), some(&["one"]));
    }
}
