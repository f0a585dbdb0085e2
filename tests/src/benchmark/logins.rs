//! A server that asks who is there: what a login costs, what guessing does to others, and whether it tells who exists.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    client::{Answer, Body, Connection},
    requests::{self, Request},
    results::Sample,
    server::Server,
    statistics::mean,
};

/// How many users there are beside [`PUSHER`] and [`PULLER`].
const USERS: u32 = 2_000;

/// Who pushes what is read.
const PUSHER: &str = "bench";

/// Who pulls while others guess.
const PULLER: &str = "puller";

const PASSWORD: &str = "correct";

/// Of the password: bcrypt with the cost that `htpasswd -B` has by default, argon2id with 4 MiB and two passes.
const BCRYPT: &str = "$2b$05$DCq7YPn5Rq63x1Lad4cll.9Vo3s/dli77eTHJ8Kv.QzxT4GljFg7C";

const ARGON2ID: &str = "$argon2id$v=19$m=4096,t=2,p=1$YmVuY2htYXJrLXNhbHQtMQ$Bn9Nj4KyEFKXDYNfJFpf0p+nVdxXG/7i8/J/VccMk5o";

/// How many guesses there are in a second, and the connections that they come over: more than may wait for a check.
const GUESSES: u32 = 1_000;
const GUESSERS: u32 = 250;

/// How many wait for the answer before they guess again.
const EAGER: u32 = 64;

/// How many names are tried, once each, to see how long it takes: every other user.
const TRIES: u32 = USERS / 2;

/// How somebody shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    Bearer,
    Basic,
}

/// How others guess passwords meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guesses {
    None,
    OneAddress,
    ManyAddresses,
    AsFastAsAnswered,
}

impl Guesses {
    /// Those that are compared with none, by the names of their rows.
    pub(super) const ALL: [(Self, &str); 3] = [
        (Self::OneAddress, "from one address"),
        (Self::ManyAddresses, "from many addresses"),
        (Self::AsFastAsAnswered, "as fast as answered"),
    ];
}

/// What the passwords of the users of every other number, which are those that are tried, are kept as; the others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hashes {
    Bcrypt,
    Argon2id,
    /// Half of them each; the users that are tried have what takes less.
    Mixed,
}

impl Hashes {
    fn of(self, number: u32) -> &'static str {
        match self {
            Self::Bcrypt => BCRYPT,
            Self::Mixed if number.is_multiple_of(2) => BCRYPT,
            Self::Mixed | Self::Argon2id => ARGON2ID,
        }
    }
}

/// The rows of what a login is compared with, and of names that nobody has.
pub(super) const ANONYMOUS: &str = "without a login";
pub(super) const NOBODY: &str = "a name nobody has";

/// The password file, below the directory of a server.
const FILE: &str = "users";

/// The password file's content.
fn users(hashes: Hashes) -> String {
    let numbered = (0..USERS).map(|number| (user(number), hashes.of(number)));
    let [pusher, puller] = [PUSHER, PULLER].map(|name| (name.to_owned(), hashes.of(0)));
    let all = [pusher, puller].into_iter().chain(numbered);
    all.fold(String::new(), |users, (name, hash)| {
        users + &name + ":" + hash + "\n"
    })
}

/// Writes the files, and gives the part of the configuration that names them.
pub(super) fn configuration(directory: &Path) -> io::Result<String> {
    let policy = "\
version: 1
rules:
  - anyone is reader of bench/**
  - users are writers of bench/**
";
    let (users_file, policy_file) = (directory.join(FILE), directory.join("policy.yml"));
    fs::write(&users_file, users(Hashes::Bcrypt))?;
    fs::write(&policy_file, policy)?;
    // Guesses come from everywhere, so that nobody is told to wait for those of others.
    Ok(format!(
        "  trustedproxies: [127.0.0.0/8]
auth:
  htpasswd: {{realm: bench, path: '{}'}}
  policy: {{path: '{}'}}
  tokenserver: {{lifetime: 1h}}
",
        users_file.display(),
        policy_file.display()
    ))
}

fn user(number: u32) -> String {
    format!("user{number}")
}

/// The header of whoever pushes what is read.
pub(super) fn pusher() -> String {
    basic(PUSHER, PASSWORD)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let all = chunk
            .iter()
            .fold(0_u32, |all, &byte| all << 8 | u32::from(byte));
        let all = all << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = (all >> (18 - 6 * place)) & 63;
            text.push(match DIGITS.get(digit as usize) {
                Some(&digit) if place <= chunk.len() => char::from(digit),
                _ => '=',
            });
        }
    }
    text
}

/// Asks for the same manifest again and again, with a login or without.
pub(super) async fn measure(
    server: &Server,
    mut request: Request,
    login: Option<Login>,
    connections: u32,
    time: Duration,
) -> Result<Sample> {
    request.authorization = match login {
        Some(Login::Bearer) => Some(format!("Bearer {}", token(server).await?)),
        Some(Login::Basic) => Some(pusher()),
        None => None,
    };
    requests::measure(server, request, connections, time).await
}

/// A token to pull with.
async fn token(server: &Server) -> Result<String> {
    let target = "/v2/token?service=registry&scope=repository:bench/content:pull";
    let mut connection = server.connection()?;
    let (answer, body) = connection.get(target, &[]).await?;
    answer.expect(200, target)?;
    let answer: serde_json::Value = serde_json::from_slice(&body)?;
    let token = answer.get("token").and_then(serde_json::Value::as_str);
    Ok(token.context("an answer without a token")?.to_owned())
}

/// How long it takes somebody whose password is remembered to get the manifest while others guess theirs: the value is
/// what all but one in a hundred requests took at most.
pub(super) async fn flooded(
    server: &Server,
    mut request: Request,
    guesses: Guesses,
    time: Duration,
) -> Result<Sample> {
    let login = basic(PULLER, PASSWORD);
    remembered(server, &request, &login).await?;
    request.authorization = Some(login);
    let stop = Arc::new(AtomicBool::new(false));
    let mut others = guess(server, guesses, &stop)?;
    let measured = requests::measure(server, request, 1, time).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = others.join_next().await {
        done??;
    }
    let mut sample = measured?;
    sample.value = sample.p99_ms.context("no requests")?;
    Ok(sample)
}

/// Logs in until the password is known to be right: those who guessed before may still be waiting.
async fn remembered(server: &Server, request: &Request, login: &str) -> Result<()> {
    let mut connection = Connection::new(&server.host()?).authorized(login.to_owned());
    for _ in 0..100 {
        let target = &request.target;
        let answer = connection.request("HEAD", target, &[], Body::None).await?;
        if answer.status == 200 {
            return Ok(());
        }
        if answer.status != 429 {
            return answer.expect(200, target);
        }
        sleep(Duration::from_millis(50)).await;
    }
    bail!("nobody gets in after a flood")
}

/// Guesses until it is told to stop.
fn guess(server: &Server, guesses: Guesses, stop: &Arc<AtomicBool>) -> Result<JoinSet<Result<()>>> {
    let mut tasks = JoinSet::new();
    let (count, pause) = match guesses {
        Guesses::None => return Ok(tasks),
        Guesses::AsFastAsAnswered => (EAGER, Duration::ZERO),
        _ => (GUESSERS, Duration::from_secs(1) * GUESSERS / GUESSES),
    };
    let number = Arc::new(AtomicU32::new(fastrand::u32(..)));
    let started = Instant::now();
    for guesser in 0..count {
        let mut connection = Connection::new(&server.host()?);
        let (stop, number) = (Arc::clone(stop), Arc::clone(&number));
        tasks.spawn(async move {
            // They don't all come at the same moment.
            let mut next = started + pause * guesser / count;
            while !stop.load(Ordering::Relaxed) {
                sleep_until(next).await;
                let number = number.fetch_add(1, Ordering::Relaxed);
                let (name, address) = if guesses == Guesses::OneAddress {
                    (user(0), "192.0.2.1".to_owned())
                } else {
                    (user(number % USERS), address(number))
                };
                let answer = attempt(&mut connection, &name, &address).await?;
                if !matches!(answer.status, 401 | 429) {
                    answer.expect(401, "a wrong password")?;
                }
                // Those who were kept waiting don't make up for it.
                next = (next + pause).max(Instant::now());
            }
            Ok(())
        });
    }
    Ok(tasks)
}

/// One of many addresses, none of which is told to wait.
fn address(number: u32) -> String {
    let [_, b, c, d] = number.to_be_bytes();
    format!("10.{b}.{c}.{d}")
}

/// Logs in with a wrong password, from an address.
async fn attempt(connection: &mut Connection, name: &str, address: &str) -> Result<Answer> {
    ask(connection, "/v2/", &basic(name, "wrong"), address).await
}

/// Asks with a login, from an address.
async fn ask(
    connection: &mut Connection,
    target: &str,
    login: &str,
    address: &str,
) -> Result<Answer> {
    let headers = [
        ("Authorization", login),
        ("X-Forwarded-For", address),
        ("X-Forwarded-Proto", "https"),
    ];
    connection
        .request("GET", target, &headers, Body::None)
        .await
}

/// Has the server keep all passwords as these hashes, and waits until it does.
async fn keep_as(server: &Server, hashes: Hashes) -> Result<()> {
    // Nobody else in the file has this name.
    let mark = format!("mark{}", fastrand::u64(..));
    let file = users(hashes) + &mark + ":" + hashes.of(0) + "\n";
    let directory = server.directory()?;
    let new = directory.join("users.new");
    fs::write(&new, file)?;
    fs::rename(new, directory.join(FILE))?;
    let mut connection = Connection::new(&server.host()?);
    let login = basic(&mark, PASSWORD);
    let began = Instant::now();
    loop {
        let from = address(fastrand::u32(..));
        let answer = ask(&mut connection, "/v2/", &login, &from).await?;
        if answer.status == 200 {
            return Ok(());
        }
        ensure!(
            began.elapsed() < Duration::from_mins(1),
            "the password file isn't read again"
        );
        sleep(Duration::from_millis(200)).await;
    }
}

/// How long wrong passwords take: those of users, and those of names that nobody has. They take turns, each first half
/// of the time.
pub(super) async fn strangers(
    server: &Server,
    hashes: Hashes,
    target: &str,
) -> Result<[Sample; 2]> {
    keep_as(server, hashes).await?;
    let mut connection = Connection::new(&server.host()?);
    let mut times = [Vec::new(), Vec::new()];
    let mut from = fastrand::u32(..);
    for number in 0..TRIES {
        let first = usize::from(fastrand::bool());
        for place in [first, 1 - first] {
            let name = if place == 0 {
                user(2 * number)
            } else {
                // As long as a name that somebody has.
                format!("none{}", 2 * number)
            };
            let login = basic(&name, "wrong");
            from = from.wrapping_add(1);
            let began = Instant::now();
            let answer = ask(&mut connection, target, &login, &address(from)).await?;
            let took = began.elapsed().as_secs_f64() * 1e3;
            answer.expect(401, "a wrong password")?;
            if let Some(times) = times.get_mut(place) {
                times.push(took);
            }
        }
    }
    Ok(times.map(|times| Sample {
        value: mean(&times),
        times_ms: times,
        ..Sample::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_written_as_headers_have_them() {
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
            ("a:\u{ff}?>", "YTrDvz8+"),
        ] {
            assert_eq!(base64(text.as_bytes()), encoded, "{text}");
        }
    }
}
