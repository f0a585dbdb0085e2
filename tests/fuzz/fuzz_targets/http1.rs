//! What comes over an HTTP/1.1 connection. Its first byte says in pieces of which
//! size the rest comes: that changes nothing.

#![no_main]

#[path = "../../../registry-http/src/server/head.rs"]
#[allow(dead_code, reason = "the server has more use for it")]
mod head;
#[path = "../../../registry-http/src/server/strict.rs"]
#[allow(dead_code, reason = "the server has more use for it")]
mod strict;

use head::HeadLimits;
use libfuzzer_sys::fuzz_target;
use strict::{Rest, Strict};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 4096,
    headers: 16,
    target: 1024,
};

/// How many heads and bytes are passed on, and what stops the others.
fn pass(bytes: &[u8], piece: usize) -> (u64, usize, Rest) {
    let mut strict = Strict::new(LIMITS);
    let (mut heads, mut count, mut waiting) = (0, 0, Vec::new());
    for piece in bytes.chunks(piece) {
        waiting.extend_from_slice(piece);
        let passed = strict.check(&waiting);
        assert!(passed.bytes <= waiting.len());
        heads += passed.heads;
        count += passed.bytes;
        waiting.drain(..passed.bytes);
        match passed.rest {
            Rest::Nothing => assert!(waiting.is_empty()),
            Rest::PartOfHead => assert!(waiting.len() <= LIMITS.bytes),
            stopped => return (heads, count, stopped),
        }
    }
    let rest = if waiting.is_empty() {
        Rest::Nothing
    } else {
        Rest::PartOfHead
    };
    (heads, count, rest)
}

fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else {
        return;
    };
    let piece = usize::from(*first).max(1);
    let (whole, pieces) = (pass(bytes, usize::MAX), pass(bytes, piece));
    // How much of a head is too much depends on when it is looked at, and what
    // is wrong with it on how much of it is there.
    assert_eq!(
        (whole.0, whole.1),
        (pieces.0, pieces.1),
        "{whole:?} {pieces:?}"
    );
    let goes_on = |rest| matches!(rest, Rest::Nothing | Rest::PartOfHead);
    assert_eq!(goes_on(whole.2), goes_on(pieces.2));
});
