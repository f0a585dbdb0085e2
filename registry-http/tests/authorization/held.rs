//! What becomes of a push whose client sends the rest after something has changed:
//! the same as of one that begins then.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Version};
use http_body::Frame;
use http_body_util::BodyExt;
use registry_auth::{
    AccessControl, Authenticator, Caller, Credentials, Decision, Keys, MemoryRecords, NewKey,
    Policy, Principal, Question, Rate, RateLimits, Review, RobotChange, Rules, Secret, Standing,
    TokenServer,
};
use registry_core::testkit::trusted;
use registry_core::{
    Access, Actions, Chunk, Clock, Descriptor, Digest, ErrorKind, Management, PageRequest,
    Reference, Registry, Result, SystemClock, Upload, UploadId, UploadOptions,
};
use registry_http::{Administration, RegistryService};
use registry_storage::Engine;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::exchange::{Answer, send};
use crate::principals::{basic, user};
use crate::world::{bearer, content, digest};

const NAME: &str = "team/app";

/// What allows ann and a robot to push.
const RULES: [&str; 3] = [
    "user ann may list, pull, push, overwrite team/**",
    "robot ci may list, pull, push team/**",
    "anyone may list, pull, push open/**",
];

/// Rules that others can replace.
#[derive(Debug)]
struct Changing(RwLock<Rules>);

impl Changing {
    fn turn_into(&self, sentences: &[&str], disabled: Option<&str>) {
        let rules = sentences
            .iter()
            .fold(Rules::new(), |rules, sentence| rules.sentence(sentence));
        let rules = disabled.into_iter().fold(rules, Rules::disable);
        *self.0.write().unwrap() = rules.check().unwrap();
    }
}

impl Policy for Changing {
    fn decide(&self, question: &Question<'_>) -> Decision {
        self.0.read().unwrap().decide(question)
    }

    fn is_disabled(&self, principal: &Principal) -> bool {
        self.0.read().unwrap().is_disabled(principal)
    }
}

/// Knows ann, whose password has been changed so many times; or not any more.
#[derive(Debug, Default)]
struct Ann(RwLock<Option<u8>>);

impl Ann {
    fn known(&self, name: &str) -> Option<Principal> {
        let stamp = (*self.0.read().unwrap())?;
        (name == "ann").then(|| Principal::new("ann").with_stamp([stamp; 16]))
    }
}

#[async_trait]
impl Authenticator for Ann {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Credentials::Basic { user, password } = caller.credentials else {
            return Ok(None);
        };
        let known = self.known(user);
        let right = known.as_ref().and_then(Principal::stamp) == Some(&[0; 16]);
        Ok(known.filter(|_| right && password.matches("right")))
    }

    fn source(&self) -> &'static str {
        "ann"
    }

    async fn standing(&self, principal: &Principal) -> Result<Standing> {
        let known = self.known(principal.name());
        Ok(known.map_or(Standing::Gone, Standing::Current))
    }
}

/// The machine's clock, so many seconds ahead.
#[derive(Debug, Clone, Default)]
struct Ahead(Arc<AtomicU64>);

impl Clock for Ahead {
    fn now(&self) -> SystemTime {
        SystemClock.now() + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// Says the same of everything, and how often it was asked.
#[derive(Debug, Default)]
struct Reviewer {
    asked: AtomicUsize,
    denies: RwLock<bool>,
}

#[async_trait]
impl Review for Reviewer {
    async fn review(&self, _: &Question<'_>, actions: Actions) -> Result<Decision> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(if *self.denies.read().unwrap() {
            Decision::deny(actions, "not today")
        } else {
            Decision::ABSTAIN
        })
    }
}

struct Place {
    engine: Engine,
    access: AccessControl,
    service: RegistryService,
    rules: Arc<Changing>,
    ann: Arc<Ann>,
    keys: Keys,
    clock: Ahead,
    _signing: tempfile::TempDir,
}

impl Place {
    async fn new(more: impl FnOnce(AccessControl) -> AccessControl) -> Self {
        let engine = Engine::memory();
        let rules = Arc::new(Changing(RwLock::default()));
        rules.turn_into(&RULES, None);
        let ann = Arc::new(Ann(RwLock::new(Some(0))));
        let clock = Ahead::default();
        let records = Arc::new(MemoryRecords::new().clock(clock.clone()));
        let keys = Keys::new(Arc::clone(&records));
        let made = keys.create_robot("ci", RobotChange::default(), clock.now());
        made.await.unwrap();
        let signing = tempfile::tempdir().unwrap();
        let tokens = TokenServer::open(signing.path().join("keys")).unwrap();
        let access = AccessControl::new(Arc::clone(&rules))
            .authenticator(Arc::clone(&ann))
            .keys(keys.clone())
            .tokens(tokens.records(records))
            .clock(clock.clone());
        let access = more(access);
        let place = Self {
            service: RegistryService::new(engine.clone())
                .access(access.clone())
                .management(Administration::new().keys(keys.clone())),
            engine,
            access,
            rules,
            ann,
            keys,
            clock,
            _signing: signing,
        };
        place.fill().await;
        place
    }

    /// A repository with something in it, so that there is one.
    async fn fill(&self) {
        let path = format!("/v2/{NAME}/manifests/first");
        let headers = as_index(user("ann"));
        let pushed = send(&self.service, "PUT", &path, &headers, content("other"));
        assert_eq!(pushed.await.status, 201);
    }

    /// An upload of whoever shows these headers, of whom it is.
    async fn begin_upload(&self, headers: &[String]) -> String {
        let path = format!("/v2/{NAME}/blobs/uploads/");
        let begun = send(&self.service, "POST", &path, headers, "").await;
        assert_eq!(begun.status, 202, "{begun:?}");
        begun.headers["docker-upload-uuid"]
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// Whether nothing is there of what was pushed.
    async fn is_untouched(&self) -> bool {
        let access = trusted(NAME);
        let image = Reference::Digest(digest("image").parse().unwrap());
        let tags = self.engine.tags(&access, PageRequest::default()).await;
        let tags = tags.map_or_else(|_| Vec::new(), |page| page.items);
        let blob = digest("blob").parse().unwrap();
        self.engine.resolve(&access, &image).await.is_err()
            && self.engine.stat_blob(&access, &blob).await.is_err()
            && tags.iter().all(|tag| tag.as_str() == "first")
    }
}

fn as_index(mut headers: Vec<String>) -> Vec<String> {
    headers.push("content-type: application/vnd.oci.image.index.v1+json".to_owned());
    headers
}

/// A body whose parts come when somebody sends them.
struct Parts {
    coming: mpsc::UnboundedReceiver<Bytes>,
    /// Told when all that came was taken, and more is waited for.
    waits: Option<oneshot::Sender<()>>,
    left: usize,
}

impl http_body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.coming.poll_recv(cx);
        match &next {
            Poll::Pending if self.left == 0 => {
                if let Some(waits) = self.waits.take() {
                    let _ = waits.send(());
                }
            }
            Poll::Ready(Some(_)) => self.left = self.left.saturating_sub(1),
            _ => {}
        }
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A request of which the registry has read the beginning, and waits for the rest.
struct Held {
    rest: mpsc::UnboundedSender<Bytes>,
    answer: JoinHandle<Answer>,
}

impl Held {
    async fn begin(push: &Push, service: &RegistryService, headers: &[String]) -> Self {
        let request = Request::builder()
            .version(Version::HTTP_2)
            .method(push.method)
            .uri(&push.path);
        let request = headers.iter().fold(request, |request, header| {
            let (name, value) = header.split_once(": ").unwrap();
            request.header(name, value)
        });
        let (rest, coming) = mpsc::unbounded_channel();
        let (waits, waiting) = oneshot::channel();
        let (first, _) = push.parts();
        let body = Parts {
            coming,
            waits: Some(waits),
            left: usize::from(!first.is_empty()),
        };
        if !first.is_empty() {
            rest.send(first).unwrap();
        }
        let request = request.body(body).unwrap();
        let service = service.clone();
        let answer = tokio::spawn(async move {
            let (answer, body) = service.oneshot(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Answer {
                status: answer.status,
                headers: answer.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
                was_read: false,
            }
        });
        waiting.await.unwrap();
        Self { rest, answer }
    }

    async fn end(self, push: &Push) -> Answer {
        let (_, rest) = push.parts();
        if !rest.is_empty() {
            // Who was cut off hears nothing of it.
            let _ = self.rest.send(rest);
        }
        drop(self.rest);
        self.answer.await.unwrap()
    }
}

/// One way to push.
struct Push {
    method: &'static str,
    path: String,
    what: &'static str,
    /// How much of it comes before the change.
    first: usize,
}

impl Push {
    fn parts(&self) -> (Bytes, Bytes) {
        let mut first = if self.what.is_empty() {
            Bytes::new()
        } else {
            content(self.what)
        };
        let rest = first.split_off(self.first.min(first.len()));
        (first, rest)
    }

    fn new(method: &'static str, path: &str, what: &'static str, first: usize) -> Self {
        Self {
            method,
            path: format!("/v2/{NAME}/{path}"),
            what,
            first,
        }
    }

    fn of_a_manifest() -> Self {
        Self::new("PUT", "manifests/new", "image", 10)
    }

    fn of_a_blob() -> Self {
        let path = format!("blobs/uploads/?digest={}", digest("blob"));
        Self::new("POST", &path, "blob", 2)
    }

    async fn of_a_chunk(place: &Place, headers: &[String]) -> Self {
        let upload = place.begin_upload(headers).await;
        Self::new("PATCH", &format!("blobs/uploads/{upload}"), "blob", 2)
    }

    /// All ways of which somebody can hold the end, for whoever shows these headers.
    async fn all(place: &Place, headers: &[String]) -> Vec<Self> {
        let (image, blob) = (digest("image"), digest("blob"));
        let tags = format!("manifests/{image}?tag=a&tag=b");
        let whole = format!("blobs/uploads/?digest={blob}");
        let mut all = vec![
            Self::new("PUT", "manifests/new", "image", 0),
            Self::of_a_manifest(),
            Self::new("PUT", &tags, "image", 10),
            Self::new("POST", &whole, "blob", 0),
            Self::of_a_blob(),
            Self::new("POST", &whole, "", 0),
        ];
        let nothing = registry_core::Algorithm::Sha256.digest(b"").to_string();
        for (what, digest, first) in [
            ("blob", &blob, 0),
            ("blob", &blob, 2),
            ("blob", &blob, 4),
            ("", &nothing, 0),
        ] {
            let upload = place.begin_upload(headers).await;
            let path = format!("blobs/uploads/{upload}?digest={digest}");
            all.push(Self::new("PUT", &path, what, first));
        }
        for (what, first) in [("blob", 0), ("blob", 2), ("blob", 4), ("", 0)] {
            let mut chunk = Self::of_a_chunk(place, headers).await;
            (chunk.what, chunk.first) = (what, first);
            all.push(chunk);
        }
        all
    }

    async fn at_once(&self, service: &RegistryService, headers: &[String]) -> Answer {
        let bytes = if self.what.is_empty() {
            Bytes::new()
        } else {
            content(self.what)
        };
        let answer = send(service, self.method, &self.path, headers, bytes).await;
        Answer {
            was_read: false,
            ..answer
        }
    }
}

/// What somebody shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Password,
    Token,
    /// A key of the robot, or of ann.
    RobotKey,
    KeyAsPassword,
    KeyAsToken,
    TokenForKey,
}

struct Shown {
    headers: Vec<String>,
    key: Option<(Principal, String)>,
}

async fn shown(place: &Place, shows: Shows) -> Shown {
    let scopes = [format!("repository:{NAME}:pull,push")];
    let key_of = async |owner: Principal| {
        let now = place.clock.now();
        let made = place.keys.create(&owner, NewKey::default(), now).await;
        let (key, secret) = made.unwrap();
        (secret.expose().to_owned(), Some((owner, key.id)))
    };
    let ann = async || {
        let mut headers = http::HeaderMap::new();
        let header = basic("ann", "right");
        let (_, value) = header.split_once(": ").unwrap();
        headers.insert("authorization", value.parse().unwrap());
        let origin = registry_core::RequestOrigin::default();
        let sender = registry_auth::Sender::new(&headers, origin);
        place.access.identify(&sender).await.unwrap().unwrap()
    };
    let (headers, key) = match shows {
        Shows::Password => (user("ann"), None),
        Shows::Token => (bearer(&place.service, &user("ann"), &scopes).await, None),
        Shows::RobotKey => {
            let (secret, key) = key_of(Principal::robot("ci")).await;
            (vec![basic("robot$ci", &secret)], key)
        }
        Shows::KeyAsPassword => {
            let (secret, key) = key_of(ann().await).await;
            (vec![basic("ann", &secret)], key)
        }
        Shows::KeyAsToken => {
            let (secret, key) = key_of(ann().await).await;
            (vec![format!("authorization: Bearer {secret}")], key)
        }
        Shows::TokenForKey => {
            let (secret, key) = key_of(ann().await).await;
            let basic = [basic("ann", &secret)];
            (bearer(&place.service, &basic, &scopes).await, key)
        }
    };
    Shown {
        headers: as_index(headers),
        key,
    }
}

/// What happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    TokenExpires,
    Recreated,
    Disabled,
    Gone,
    OtherPassword,
    TokenRevoked,
    AllRevoked,
    EverybodysRevoked,
    SigningKeysReplaced,
    KeyRevoked,
    RobotDisabled,
    RulesChanged,
}

impl Change {
    async fn happen(self, place: &Place, shown: &Shown) {
        match self {
            Self::Nothing => {}
            Self::TokenExpires => {
                place.clock.0.store(3600, Ordering::SeqCst);
            }
            Self::Recreated => {
                let access = trusted(NAME);
                place.engine.delete_repository(&access).await.unwrap();
                place.fill().await;
            }
            Self::Disabled => place.rules.turn_into(&RULES, Some("ann")),
            Self::Gone => *place.ann.0.write().unwrap() = None,
            Self::OtherPassword => *place.ann.0.write().unwrap() = Some(1),
            Self::TokenRevoked => {
                let (_, token) = shown.headers[0].split_once("Bearer ").unwrap();
                place.access.revoke(&Secret::new(token)).await.unwrap();
            }
            Self::AllRevoked => {
                let ann = Principal::new("ann");
                place.access.revoke_all(&ann).await.unwrap();
            }
            Self::EverybodysRevoked => {
                place.access.revoke_everybodys().await.unwrap();
            }
            Self::SigningKeysReplaced => place.access.rotate_signing_keys(true).await.unwrap(),
            Self::KeyRevoked => {
                let (owner, id) = shown.key.as_ref().unwrap();
                place.keys.revoke(owner, id).await.unwrap();
            }
            Self::RobotDisabled => {
                let change = RobotChange {
                    disabled: Some(true),
                    ..RobotChange::default()
                };
                place.keys.change_robot("ci", change).await.unwrap();
            }
            Self::RulesChanged => place.rules.turn_into(
                &["user ann may pull team/**", "robot ci may pull team/**"],
                None,
            ),
        }
    }
}

#[tokio::test]
async fn what_is_held_ends_as_if_it_began_now() {
    use Change as C;
    use Shows as S;
    for (shows, change) in [
        (S::Password, C::Disabled),
        (S::Password, C::Gone),
        (S::Password, C::OtherPassword),
        (S::Password, C::RulesChanged),
        (S::Token, C::Recreated),
        (S::Token, C::Disabled),
        (S::Token, C::Gone),
        (S::Token, C::OtherPassword),
        (S::Token, C::TokenRevoked),
        (S::Token, C::AllRevoked),
        (S::Token, C::EverybodysRevoked),
        (S::Token, C::SigningKeysReplaced),
        (S::Token, C::RulesChanged),
        (S::RobotKey, C::KeyRevoked),
        (S::RobotKey, C::RobotDisabled),
        (S::RobotKey, C::RulesChanged),
        (S::KeyAsPassword, C::KeyRevoked),
        (S::KeyAsPassword, C::Disabled),
        (S::KeyAsToken, C::KeyRevoked),
        (S::KeyAsToken, C::Gone),
        (S::TokenForKey, C::KeyRevoked),
        (S::TokenForKey, C::Recreated),
    ] {
        for number in 0.. {
            let place = Place::new(|access| access).await;
            let shown = shown(&place, shows).await;
            let pushes = Push::all(&place, &shown.headers).await;
            let Some(push) = pushes.get(number) else {
                break;
            };
            let what = format!("{shows:?} {change:?} {} {}", push.method, push.path);
            let held = Held::begin(push, &place.service, &shown.headers).await;
            change.happen(&place, &shown).await;
            let answer = held.end(push).await;
            let now = push.at_once(&place.service, &shown.headers).await;
            assert!([401, 403].contains(&now.status.as_u16()), "{what}: {now:?}");
            assert_eq!(answer, now, "{what}");
            assert!(place.is_untouched().await, "{what}");
        }
    }
}

#[tokio::test]
async fn what_nothing_happens_to_ends_well() {
    use Change as C;
    use Shows as S;
    for (shows, change) in [
        (S::Password, C::Nothing),
        (S::Password, C::Recreated),
        (S::Token, C::Nothing),
        // It was good when the push began.
        (S::Token, C::TokenExpires),
        (S::RobotKey, C::Nothing),
        (S::KeyAsPassword, C::Nothing),
        (S::KeyAsToken, C::Nothing),
        (S::TokenForKey, C::Nothing),
        // Tokens are revoked, not passwords.
        (S::Password, C::AllRevoked),
        (S::RobotKey, C::EverybodysRevoked),
    ] {
        for number in 0.. {
            let place = Place::new(|access| access).await;
            let shown = shown(&place, shows).await;
            let pushes = Push::all(&place, &shown.headers).await;
            let Some(push) = pushes.get(number) else {
                break;
            };
            let what = format!("{shows:?} {change:?} {} {}", push.method, push.path);
            let held = Held::begin(push, &place.service, &shown.headers).await;
            change.happen(&place, &shown).await;
            let answer = held.end(push).await;
            // An upload goes with its repository.
            let is_gone = change == C::Recreated && push.path.contains("uploads/");
            let expected = match push.what {
                _ if is_gone && answer.status == 404 => 404,
                "" if push.method == "POST" => 202,
                _ if push.method == "PATCH" => 202,
                _ => 201,
            };
            assert_eq!(answer.status, expected, "{what}: {answer:?}");
        }
    }
}

/// It is kept for longer than the token is good.
#[tokio::test]
async fn a_revoked_token_that_has_expired_is_revoked_still() {
    for change in [Change::TokenRevoked, Change::AllRevoked] {
        let place = Place::new(|access| access).await;
        let shown = shown(&place, Shows::Token).await;
        let push = Push::of_a_manifest();
        let held = Held::begin(&push, &place.service, &shown.headers).await;
        change.happen(&place, &shown).await;
        place.clock.0.store(6 * 60, Ordering::SeqCst);
        let answer = held.end(&push).await;
        assert_eq!(answer.status, 401, "{change:?}: {answer:?}");
        assert!(place.is_untouched().await);
    }
}

#[tokio::test]
async fn a_right_to_move_tags_that_is_gone_moves_none() {
    let place = Place::new(|access| access).await;
    let push = Push {
        method: "PUT",
        path: format!("/v2/{NAME}/manifests/first"),
        what: "image",
        first: 10,
    };
    let headers = as_index(user("ann"));
    let held = Held::begin(&push, &place.service, &headers).await;
    let less = ["user ann may list, pull, push team/**"];
    place.rules.turn_into(&less, None);
    assert_eq!(held.end(&push).await.status, 403);
    assert!(place.is_untouched().await);
}

#[tokio::test]
async fn a_push_counts_once() {
    let once = RateLimits {
        per_identity: Some(Rate::per_second(1).burst(2)),
        ..RateLimits::default()
    };
    // The first one was to fill the repository.
    let place = Place::new(|access| access.rates(once)).await;
    let push = &Push::of_a_manifest();
    let headers = as_index(user("ann"));
    let held = Held::begin(push, &place.service, &headers).await;
    assert_eq!(held.end(push).await.status, 201);
}

#[tokio::test]
async fn a_review_is_asked_again_after_a_second() {
    let reviewer = Arc::new(Reviewer::default());
    let place = Place::new(|access| access.review(Arc::clone(&reviewer))).await;
    let asked = || reviewer.asked.swap(0, Ordering::SeqCst);
    let headers = as_index(user("ann"));
    let push = &Push::of_a_manifest();
    asked();
    let held = Held::begin(push, &place.service, &headers).await;
    assert_eq!(asked(), 1);
    place.clock.0.store(2, Ordering::SeqCst);
    *reviewer.denies.write().unwrap() = true;
    let answer = held.end(push).await;
    assert_eq!((answer.status.as_u16(), asked()), (403, 1), "{answer:?}");
    assert!(answer.body.contains("not today"), "{answer:?}");
    assert!(place.is_untouched().await);
}

/// What everybody may do, whoever has no name does, until the rules say otherwise.
#[tokio::test]
async fn nobody_in_particular_is_asked_about_too() {
    let place = Place::new(|access| access).await;
    let push = Push {
        method: "PUT",
        path: "/v2/open/app/manifests/new".to_owned(),
        what: "image",
        first: 10,
    };
    for (allowed, status) in [(true, 201), (false, 401)] {
        let held = Held::begin(&push, &place.service, &as_index(Vec::new())).await;
        if !allowed {
            place.rules.turn_into(&RULES[..2], None);
        }
        assert_eq!(held.end(&push).await.status, status);
    }
}

/// A registry that needs no end of a body to know that it has all of it.
#[derive(Debug, Default)]
struct Eager(RwLock<Vec<u8>>);

#[async_trait]
impl Registry for Eager {
    async fn begin_upload(&self, _: &Access, _: UploadOptions) -> Result<Upload> {
        Ok(Upload {
            id: UploadId::from_random([1; 16]),
            offset: 0,
        })
    }

    async fn finish_upload(
        &self,
        _: &Access,
        _: &UploadId,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        let mut body = last.unwrap().body;
        while let Some(Ok(bytes)) = body.next().await {
            let mut all = self.0.write().unwrap();
            all.extend_from_slice(&bytes);
            if digest.algorithm().digest(&all) == *digest {
                return Ok(Descriptor::blob(*digest, all.len() as u64));
            }
        }
        Err(ErrorKind::DigestInvalid.error("that isn't all of it"))
    }
}

#[tokio::test]
async fn no_registry_gets_the_last_bytes_before() {
    let place = Place::new(|access| access).await;
    let eager = Arc::new(Eager::default());
    let service = RegistryService::new(Arc::clone(&eager)).access(place.access.clone());
    let push = &Push::of_a_blob();
    for (disabled, status) in [(None, 201), (Some("ann"), 401)] {
        eager.0.write().unwrap().clear();
        let held = Held::begin(push, &service, &user("ann")).await;
        place.rules.turn_into(&RULES, disabled);
        assert_eq!(held.end(push).await.status, status);
        let is_there = *eager.0.read().unwrap() == content("blob");
        assert_eq!(is_there, disabled.is_none());
    }
}

/// Behind an empty piece nothing has to come.
#[tokio::test]
async fn no_empty_piece_lets_out_the_last_bytes_before() {
    let place = Place::new(|access| access).await;
    let eager = Arc::new(Eager::default());
    let service = RegistryService::new(Arc::clone(&eager)).access(place.access.clone());
    let push = &Push::of_a_blob();
    for (disabled, status) in [(None, 201), (Some("ann"), 401)] {
        eager.0.write().unwrap().clear();
        let held = Held::begin(push, &service, &user("ann")).await;
        place.rules.turn_into(&RULES, disabled);
        let (_, rest) = push.parts();
        for piece in [Bytes::new(), rest, Bytes::new(), Bytes::new()] {
            held.rest.send(piece).unwrap();
        }
        drop(held.rest);
        assert_eq!(held.answer.await.unwrap().status, status);
        let is_there = *eager.0.read().unwrap() == content("blob");
        assert_eq!(is_there, disabled.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_for_ever_is_cut_off() {
    for disabled in [None, Some("ann")] {
        let place = Place::new(|access| access).await;
        let chunk = Push::of_a_chunk(&place, &user("ann")).await;
        // Of other bytes than the blob's; more of them may follow a chunk.
        for (push, otherwise) in [(Push::of_a_blob(), 400), (chunk, 202)] {
            place.rules.turn_into(&RULES, None);
            let held = Held::begin(&push, &place.service, &user("ann")).await;
            place.rules.turn_into(&RULES, disabled);
            for _ in 0..60 {
                let _ = held.rest.send(Bytes::from(vec![0; 1 << 20]));
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            assert_eq!(held.answer.is_finished(), disabled.is_some());
            let answer = held.end(&push).await;
            let expected = if disabled.is_some() { 401 } else { otherwise };
            assert_eq!(answer.status, expected, "{}: {answer:?}", push.method);
        }
    }
}

/// Who manages is asked about again, too, and what is managed is judged as it is then.
#[tokio::test]
async fn what_an_administrator_holds_is_decided_when_it_has_come() {
    const ADMIN: [&str; 2] = [
        "user ann is admin of **",
        "group secret may not pull kept/**",
    ];
    let all = |path, what, status| {
        let push = Push {
            method: if path == "robots/ci" { "PATCH" } else { "POST" },
            path: format!("/api/v1/{path}"),
            what,
            first: 3,
        };
        (push, status)
    };
    for disabled in [false, true] {
        for (push, status) in [
            all("robots", r#"{"name": "new"}"#, 201),
            all("robots/ci", r#"{"disabled": true}"#, 200),
            all("robots/ci/keys", r#"{"label": "new"}"#, 201),
            all("keys", r#"{"label": "new"}"#, 201),
            all("revocations", r#"{"who": "ben"}"#, 204),
            all("signing-keys", r#"{"replace": true}"#, 204),
            all(
                "explain",
                r#"{"actions": ["pull"], "repository": "a"}"#,
                200,
            ),
        ] {
            let place = Place::new(|access| access).await;
            place.rules.turn_into(&ADMIN, None);
            let mut headers = user("ann");
            headers.push("content-type: application/json".to_owned());
            let held = Held::begin(&push, &place.service, &headers).await;
            let expected = if disabled {
                place.rules.turn_into(&ADMIN, Some("ann"));
                401
            } else {
                status
            };
            let answer = held.end(&push).await;
            assert_eq!(answer.status, expected, "{}: {answer:?}", push.path);
            if disabled {
                let now = push.at_once(&place.service, &headers).await;
                assert_eq!(answer, now);
            }
        }
    }
    // The robot gets into a group of which ann may not have anybody.
    let (push, _) = all("robots/ci/keys", r#"{"label": "new"}"#, 201);
    let place = Place::new(|access| access).await;
    let rules = [
        "user ann may administer, audit **",
        "nobody except group free may push, pull, list, overwrite, delete **",
    ];
    place.rules.turn_into(&rules, None);
    let into = async |group: Option<&str>| {
        let change = RobotChange {
            groups: Some(group.into_iter().map(str::to_owned).collect()),
            ..RobotChange::default()
        };
        place.keys.change_robot("ci", change).await.unwrap();
    };
    for (group, status) in [(None, 201), (Some("free"), 403)] {
        into(None).await;
        let mut headers = user("ann");
        headers.push("content-type: application/json".to_owned());
        let held = Held::begin(&push, &place.service, &headers).await;
        into(group).await;
        assert_eq!(held.end(&push).await.status, status, "{group:?}");
    }
}
