//! What a directory is asked, how often, and what becomes of its answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use registry_auth::{AccessControl, Authenticator, GuardLimits, Principal, Rules, Standing};
use registry_core::{Clock, ErrorKind};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{advance, pause, resume};
use tokio_rustls::TlsAcceptor;

use crate::directory::{BOUND, DONE, Tap, entry, find};
use crate::{DISCONNECTION, REFERENCE, TLS, access, directory, login, login_by, trouble};

const LOGIN: u8 = 0x60;
const SEARCH: u8 = 0x63;

/// A request, and the number that it has on its connection.
#[derive(Debug, Clone)]
struct Question {
    number: u8,
    operation: u8,
    bytes: Vec<u8>,
}

impl Question {
    fn has(&self, part: &[u8]) -> bool {
        self.bytes.windows(part.len()).any(|window| window == part)
    }

    /// Whether it says this text.
    fn says(&self, text: &str) -> bool {
        let length = u8::try_from(text.len()).unwrap();
        self.has(&[&[4, length], text.as_bytes()].concat())
    }
}

/// What was asked on each connection.
#[derive(Debug, Clone, Default)]
struct Asked(Arc<Mutex<Vec<Vec<Question>>>>);

impl Asked {
    fn all(&self) -> Vec<Vec<Question>> {
        self.0.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.all().len()
    }

    fn count(&self) -> usize {
        self.all().concat().len()
    }
}

/// Answers each question with these messages; the connection ends where there are none.
fn serve(
    listener: TcpListener,
    answers: impl Fn(&Question) -> Vec<Vec<u8>> + Clone + Send + 'static,
) -> Asked {
    let asked = Asked::default();
    let noted = asked.clone();
    tokio::spawn(async move {
        for connection in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            noted.0.lock().unwrap().push(Vec::new());
            let (noted, answers) = (noted.clone(), answers.clone());
            tokio::spawn(async move {
                let note = |question: &Question| {
                    noted.0.lock().unwrap()[connection].push(question.clone());
                };
                converse(stream, note, answers).await;
            });
        }
    });
    asked
}

async fn converse(
    mut stream: TcpStream,
    note: impl Fn(&Question),
    answers: impl Fn(&Question) -> Vec<Vec<u8>>,
) {
    let mut request = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut request).await {
        let start = if request[1] < 0x80 {
            2
        } else {
            2 + usize::from(request[1] & 0x7f)
        };
        let question = Question {
            number: request[start + 2],
            operation: request[start + 3],
            bytes: request[..read].to_vec(),
        };
        note(&question);
        let messages = answers(&question);
        if messages.is_empty() {
            return;
        }
        for message in messages {
            // What it says unasked has no number.
            let number = if message == DISCONNECTION {
                0
            } else {
                question.number
            };
            let written = stream.write_all(&message.tap(4, number)).await;
            if written.is_err() {
                return;
            }
        }
    }
}

fn bound(code: u8) -> Vec<Vec<u8>> {
    vec![BOUND.to_vec().tap(9, code)]
}

fn done(code: u8) -> Vec<u8> {
    DONE.to_vec().tap(9, code)
}

/// Knows `ann` and `ben`, whose passwords are `right`.
fn people(question: &Question) -> Vec<Vec<u8>> {
    if question.operation == LOGIN {
        let is_wrong = question.bytes.ends_with(b"wrong");
        return bound(if is_wrong { 49 } else { 0 });
    }
    let found = ["ann", "ben"].into_iter().find(|name| question.says(name));
    let found = found.map(|name| entry(name, &[]));
    found.into_iter().chain([done(0)]).collect()
}

/// Seconds since 1970.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<AtomicU64>);

impl Watch {
    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for Watch {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

fn name_of(known: Option<Principal>) -> String {
    known.expect("somebody").name().to_owned()
}

#[tokio::test]
async fn a_right_password_counts_for_a_minute_for_its_user_alone() {
    let (listener, ldap) = directory().await;
    let asked = serve(listener, people);
    let watch = Watch::default();
    watch.set(1_000);
    let access = access(ldap.clock(watch.clone()));
    let name =
        async |user: &str, password: &str| login_by(&access, user, password).await.map(name_of);
    assert_eq!(name("ann", "right").await, Ok("ann".to_owned()));
    let once = asked.count();
    for seconds in [1_000, 1_059] {
        watch.set(seconds);
        assert_eq!(name("ann", "right").await, Ok("ann".to_owned()));
        assert_eq!(asked.count(), once, "{seconds}");
    }
    // Nor for another password.
    assert_eq!(name("ann", "wrong").await, Err(ErrorKind::Unauthorized));
    assert_eq!(name("ben", "right").await, Ok("ben".to_owned()));
    // At its end, and where the clock was set back since.
    for seconds in [1_060, 1_059] {
        watch.set(seconds);
        let before = asked.count();
        assert_eq!(name("ann", "right").await, Ok("ann".to_owned()));
        assert!(asked.count() > before, "{seconds}");
    }
}

#[tokio::test]
async fn whoever_is_there_counts_as_there_for_a_minute() {
    let (listener, ldap) = directory().await;
    let asked = serve(listener, people);
    let watch = Watch::default();
    watch.set(1_000);
    let ldap = ldap.clock(watch.clone()).build().unwrap();
    let mut before = 0;
    for (seconds, is_asked) in [
        (1_000, true),
        (1_000, false),
        (1_059, false),
        (1_060, true),
        (1_059, true),
    ] {
        watch.set(seconds);
        for (name, is_there) in [("ann", true), ("eve", false)] {
            let standing = ldap.standing(&Principal::new(name)).await.unwrap();
            assert_eq!(matches!(standing, Standing::Current(_)), is_there, "{name}");
        }
        assert_eq!(asked.count() > before, is_asked, "{seconds}");
        before = asked.count();
    }
}

#[tokio::test]
async fn a_directory_is_not_asked_about_whom_it_can_not_know() {
    let (listener, ldap) = directory().await;
    // It lets in whoever has no password, as nobody in particular.
    let asked = serve(listener, people);
    let built = ldap.build().unwrap();
    for nobody in [
        Principal::robot("ann"),
        Principal::new("a\nb"),
        Principal::new(""),
    ] {
        let standing = built.standing(&nobody).await.unwrap();
        assert_eq!(standing, Standing::Gone, "{nobody:?}");
    }
    let access = AccessControl::new(Rules::new())
        .authenticator(built)
        .guard(GuardLimits::NONE);
    for (user, password) in [("ann", ""), ("", "right"), ("a\nb", "right")] {
        let known = login_by(&access, user, password).await;
        assert_eq!(known, Err(ErrorKind::Unauthorized), "{user:?} {password}");
    }
    assert_eq!(asked.count(), 0);
}

#[tokio::test]
async fn exactly_one_entry_is_a_user() {
    let ann = || entry("ann", &[]);
    let all = [
        (vec![done(0)], false),
        (vec![done(4)], false),
        (vec![ann(), done(0)], true),
        (vec![REFERENCE.to_vec(), ann(), done(0)], true),
        // There are more.
        (vec![ann(), done(4)], false),
        (vec![ann(), entry("eve", &[]), done(0)], false),
        (vec![ann(), entry("eve", &[]), done(4)], false),
    ];
    join_all(all.map(async |(answers, is_user)| {
        let (listener, ldap) = directory().await;
        let shown = format!("{answers:?}");
        serve(listener, move |question| match question.operation {
            LOGIN => bound(0),
            _ => answers.clone(),
        });
        let expected = if is_user {
            Ok("ann".to_owned())
        } else {
            Err(ErrorKind::Unauthorized)
        };
        assert_eq!(
            login(&access(ldap), "ann").await.map(name_of),
            expected,
            "{shown}"
        );
    }))
    .await;
}

#[tokio::test]
async fn groups_count_if_the_directory_tells_all_of_them() {
    for (code, is_all) in [(0, true), (4, false)] {
        for (filter, asks) in [
            ("(member={dn})", ["member", "uid=x"]),
            ("(memberUid={user})", ["memberUid", "ann"]),
        ] {
            let (listener, ldap) = directory().await;
            serve(listener, move |question| {
                if question.operation == LOGIN {
                    return bound(0);
                }
                if asks.iter().all(|text| question.says(text)) {
                    let group = |name| entry("group", &[("cn", name)]);
                    return vec![group("web"), group("release"), done(code)];
                }
                people(question)
            });
            let access = access(ldap.groups("ou=groups", filter, "cn"));
            if is_all {
                let ann = login(&access, "ann").await.unwrap().unwrap();
                let groups: Vec<_> = ann.groups().collect();
                assert_eq!(groups, ["release", "web"], "{filter}");
            } else {
                let said = trouble(&access, "ann").await;
                assert!(said.contains("more groups"), "{said}");
            }
        }
    }
}

#[tokio::test]
async fn a_directory_is_told_how_long_a_search_may_take() {
    for (timeout, seconds) in [
        (Duration::from_hours(1), &[2, 2, 0x0e, 0x10][..]),
        (Duration::from_secs(30), &[2, 1, 30]),
        // Nothing would mean for ever.
        (Duration::from_millis(900), &[2, 1, 1]),
    ] {
        let (listener, ldap) = directory().await;
        let asked = serve(listener, people);
        let ldap = ldap.groups("ou=groups", "(member={dn})", "cn");
        let ldap = ldap.timeout(timeout).build().unwrap();
        let standing = ldap.standing(&Principal::new("ann")).await.unwrap();
        assert!(matches!(standing, Standing::Current(_)));
        let asked = asked.all().concat();
        let searches = asked.iter().filter(|asked| asked.operation == SEARCH);
        // Two entries of a user, and a thousand groups.
        for (search, most) in searches.zip([&[2, 1, 2][..], &[2, 2, 3, 0xe8]]) {
            assert!(search.has(&[most, seconds].concat()), "{search:?}");
        }
    }
}

#[tokio::test]
async fn a_message_may_have_256_kib() {
    let long = |tag: u8, content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x83], &length[1..], content].concat()
    };
    let padded = |padding: usize| {
        let attribute = |name: &[u8], value: &[u8]| {
            let values = long(0x31, &long(4, value));
            long(0x30, &[long(4, name), values].concat())
        };
        let attributes = [
            attribute(b"uid", b"ann"),
            attribute(b"padding", &vec![b'x'; padding]),
        ];
        let found = [long(4, b"uid=x"), long(0x30, &attributes.concat())].concat();
        // Who searches has the first number.
        [&[2, 1, 2][..], &long(0x64, &found)].concat()
    };
    let room = (256 << 10) - padded(0).len();
    let (listener, ldap) = directory().await;
    let message = long(0x30, &padded(room));
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        for answer in [
            BOUND.to_vec(),
            [message, DONE.to_vec()].concat(),
            BOUND.to_vec().tap(4, 3),
        ] {
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(&answer).await.unwrap();
        }
    });
    assert_eq!(
        login(&access(ldap), "ann").await.map(name_of),
        Ok("ann".to_owned())
    );
    served.await.unwrap();
}

#[tokio::test]
async fn one_connection_serves_one_login_after_the_other_until_it_is_old() {
    let (listener, ldap) = directory().await;
    let asked = serve(listener, people);
    let access = access(ldap.remember(Duration::ZERO));
    for user in ["ann", "ben", "ann"] {
        assert!(login(&access, user).await.is_ok());
    }
    assert_eq!(asked.connections(), 1);
    // Before each search, who searches logs in again: it isn't asked as a user.
    let operations: Vec<_> = asked.all()[0].iter().map(|asked| asked.operation).collect();
    assert_eq!(operations, [LOGIN, SEARCH, LOGIN].repeat(3));
    pause();
    advance(Duration::from_mins(1)).await;
    resume();
    assert!(login(&access, "ann").await.is_ok());
    assert_eq!(asked.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_ended_between_two_logins_is_made_anew() {
    for is_said in [false, true] {
        let (listener, ldap) = directory().await;
        // Whoever logs in second is the fourth to ask.
        let asked = serve(listener, move |question| match question.number {
            4 if is_said => vec![DISCONNECTION.to_vec()],
            4 => Vec::new(),
            _ => people(question),
        });
        let access = access(ldap.remember(Duration::ZERO));
        for user in ["ann", "ben", "ann"] {
            assert!(login(&access, user).await.is_ok(), "{user}");
        }
        assert_eq!(asked.connections(), 3);
    }
}

#[tokio::test]
async fn tls_begins_when_the_directory_says_so() {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    for (answer, expected) in [
        (TLS.to_vec(), None),
        (
            TLS.to_vec().tap(9, 52),
            Some("refuses to start TLS: result 52"),
        ),
        (BOUND.to_vec(), Some("doesn't answer what it was asked")),
    ] {
        let (listener, ldap) = directory().await;
        let acceptor = acceptor.clone();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].ends_with(b"1.3.6.1.4.1.1466.20037"));
            stream.write_all(&answer).await.unwrap();
            // Also where it refuses: nobody is to come.
            let stream = acceptor.accept(stream).await.ok()?;
            Some(find(stream, Some(entry("ann", &[]))).await)
        });
        let ldap = ldap.start_tls().certificates(own.cert.pem());
        match expected {
            None => assert_eq!(
                login(&access(ldap), "ann").await.map(name_of),
                Ok("ann".to_owned())
            ),
            Some(expected) => {
                let said = trouble(&access(ldap), "ann").await;
                assert!(said.contains(expected), "{said}");
            }
        }
        let asked = served.await.unwrap();
        assert_eq!(asked, expected.is_none().then_some(3));
    }
}
