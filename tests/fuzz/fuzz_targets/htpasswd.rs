//! A password file.

#![no_main]

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use registry_auth::Htpasswd;
use tempfile::TempDir;

thread_local! {
    // In memory where there is such a file system.
    static DIRECTORY: TempDir = {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() {
            TempDir::new_in(memory).unwrap()
        } else {
            TempDir::new().unwrap()
        }
    };
}

const DIGITS: &str = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Whether an argon2id hash is right, and takes no more than is allowed.
fn argon2id(costs: &str, salt: &str, hash: &str) -> Option<bool> {
    let costs: Vec<_> = costs.split(',').collect();
    let [memory, passes, lanes] = costs[..] else {
        return None;
    };
    let number = |text: &str, name: &str| {
        let number: u32 = text.strip_prefix(name)?.parse().ok()?;
        // Without a sign, or zeros in front.
        (text == format!("{name}{number}")).then_some(number)
    };
    let (memory, passes, lanes) = (
        number(memory, "m=")?,
        number(passes, "t=")?,
        number(lanes, "p=")?,
    );
    let allowed = (1..=4).contains(&lanes)
        && (1..=10).contains(&passes)
        && (8 * lanes..=262_144).contains(&memory);
    // How many bytes, if no bit is left over.
    let bytes = |text: &str| {
        let digits: Option<Vec<_>> = text.chars().map(|char| BASE64.find(char)).collect();
        let digits = digits?;
        let exact = match digits.len() % 4 {
            0 => true,
            2 => digits.last()? % 16 == 0,
            3 => digits.last()? % 4 == 0,
            _ => false,
        };
        exact.then_some(digits.len() * 3 / 4)
    };
    Some(allowed && (8..=64).contains(&bytes(salt)?) && bytes(hash)? == 32)
}

/// The user of a line, if it is right.
fn user(line: &str) -> Option<&str> {
    let (user, hash) = line.split_once(':')?;
    // Robots' names are nobody else's.
    let name = !user.is_empty() && !user.contains(char::is_control) && !user.starts_with("robot$");
    let fields: Vec<_> = hash.split('$').collect();
    let (cost, rest) = match fields[..] {
        ["", "2a" | "2b" | "2y", cost, rest] => (cost, rest),
        ["", "argon2id", "v=19", costs, salt, hash] => {
            return (name && argon2id(costs, salt, hash)?).then_some(user);
        }
        _ => return None,
    };
    let plain = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    let cost = plain && (4..=14).contains(&cost.parse::<u32>().ok()?);
    let digits: Option<Vec<_>> = rest.chars().map(|char| DIGITS.find(char)).collect();
    let digits = digits.filter(|digits| digits.len() == 53)?;
    // 22 digits for 16 bytes of salt, 31 for 23 bytes of hash: the bits that
    // are left over are zero.
    let exact = digits[21] % 16 == 0 && digits[52] % 4 == 0;
    (name && cost && exact).then_some(user)
}

/// Whether the file is right, or the first line that isn't.
fn expected(content: &[u8]) -> Result<(), Option<usize>> {
    let mut users = HashSet::new();
    for (line, number) in content.split(|byte| *byte == b'\n').zip(1..) {
        let line = std::str::from_utf8(line).map_err(|_| Some(number))?;
        let line = line.trim_end_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let user = user(line).ok_or(Some(number))?;
        if !users.insert(user.to_owned()) {
            return Err(Some(number));
        }
    }
    if users.is_empty() { Err(None) } else { Ok(()) }
}

fuzz_target!(|content: &[u8]| {
    let path = DIRECTORY.with(|directory| directory.path().join("htpasswd"));
    fs::write(&path, content).unwrap();
    let expected = expected(content);
    match Htpasswd::open(&path) {
        Ok(_) => assert_eq!(expected, Ok(())),
        Err(error) => {
            let shown = format!("{error} {error:?}");
            let line = expected.expect_err(&shown);
            if let Some(line) = line {
                assert!(shown.contains(&format!("htpasswd:{line}: ")), "{shown}");
            }
            // Never a hash, nor a password that somebody took for one. With
            // spaces, it can be the sentence itself, which gets into the file
            // in time.
            for line in String::from_utf8_lossy(content).lines() {
                let hash = line.split_once(':').map_or("", |(_, hash)| hash.trim());
                let telling = hash.len() >= 24 && !hash.contains(' ');
                assert!(!telling || !shown.contains(hash), "{shown}");
            }
        }
    }
});
