//! Hashing that stops and goes on.

use proptest::prelude::*;
use registry_core::{Actor, Algorithm, Digest, ErrorKind, Hasher, RequestOrigin, UploadOwner};

fn algorithms() -> impl Strategy<Value = Algorithm> {
    prop_oneof![Just(Algorithm::Sha256), Just(Algorithm::Sha512)]
}

#[test]
fn known_content_has_its_known_digest() {
    for (content, text) in [
        (
            "",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            "{}",
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        ),
        (
            "",
            "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b\
             0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
        ),
        (
            "{}",
            "sha512:27c74670adb75075fad058d5ceaf7b20c4e7786c83bae8a32f626f9782af34c9a33c2046ef60fd2\
             a7878d378e29fec851806bbd9a67878f3a9f1cda4830763fd",
        ),
    ] {
        let digest: Digest = text.parse().unwrap();
        assert_eq!(digest.algorithm().digest(content.as_bytes()), digest);
    }
}

#[test]
fn proof_is_only_of_the_digest_found() {
    let verified = {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"content");
        hasher.finish()
    };
    assert_eq!(verified.size(), 7);
    let expected = Algorithm::Sha256.digest(b"content");
    assert_eq!(verified.expect(&expected).unwrap(), verified);
    for other in [
        Algorithm::Sha256.digest(b"other"),
        Algorithm::Sha512.digest(b"content"),
    ] {
        assert_eq!(
            verified.expect(&other).unwrap_err().kind(),
            ErrorKind::DigestInvalid
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2048) })]

    #[test]
    fn pauses_change_nothing(
        algorithm in algorithms(),
        content in prop::collection::vec(any::<u8>(), 0..1000),
        pauses in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut ends: Vec<_> = pauses.iter().map(|pause| pause.index(content.len().saturating_add(1))).collect();
        ends.push(content.len());
        ends.sort_unstable();
        let mut hasher = Hasher::new(algorithm);
        let mut start = 0;
        for end in ends {
            hasher.update(&content[start..end]);
            let state = hasher.state();
            prop_assert!(state.len() <= 256);
            hasher = Hasher::resume(&state).unwrap();
            prop_assert_eq!(hasher.size(), end as u64);
            prop_assert_eq!(hasher.algorithm(), algorithm);
            start = end;
        }
        let verified = hasher.finish();
        prop_assert_eq!(verified.digest(), algorithm.digest(&content));
        prop_assert_eq!(verified.size(), content.len() as u64);
    }

    #[test]
    fn spoiled_state_is_refused_or_gives_some_digest(
        algorithm in algorithms(),
        seen in 0_usize..300,
        bytes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200),
        cut in any::<prop::sample::Index>(),
        shorten: bool,
    ) {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&vec![7; seen]);
        let mut state = hasher.state();
        for (place, byte) in bytes {
            let place = place.index(state.len());
            state[place] = byte;
        }
        if shorten {
            state.truncate(cut.index(state.len()));
        }
        match Hasher::resume(&state) {
            Ok(mut hasher) => {
                hasher.update(&[1; 300]);
                hasher.finish();
            }
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::Internal);
                prop_assert_eq!(error.to_string(), "the saved hash state is not readable");
            }
        }
    }
}

#[test]
fn state_full_of_ones_is_refused_or_gives_some_digest() {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let whole = Hasher::new(algorithm).state();
        for start in 2..whole.len() {
            let mut state = whole.clone();
            state[start..].fill(255);
            if let Ok(mut hasher) = Hasher::resume(&state) {
                hasher.update(&[1; 300]);
                hasher.finish();
            }
            let mut state = whole.clone();
            let end = whole.len().min(start + 8);
            state[start..end].fill(255);
            if let Ok(mut hasher) = Hasher::resume(&state) {
                hasher.update(&[1; 300]);
                hasher.finish();
            }
        }
    }
}

#[test]
fn state_after_more_bytes_than_any_blob_has_is_refused() {
    let resume = |size: u64| {
        let mut state = Hasher::new(Algorithm::Sha256).state();
        let (_, numbers) = state.split_at_mut(2);
        let (bytes, numbers) = numbers.split_at_mut(8);
        bytes.copy_from_slice(&size.to_be_bytes());
        numbers[32..40].copy_from_slice(&(size / 64).to_le_bytes());
        Hasher::resume(&state)
    };
    assert_eq!(resume(1 << 50).unwrap().size(), 1 << 50);
    resume(1 << 60).unwrap_err();
    resume(1 << 63).unwrap_err();
}

/// Registries write it down, and read it with a later version.
#[test]
fn the_owner_of_an_upload_is_told_by_the_same_bytes_in_every_version() {
    for (name, hash) in [
        (
            Some("ann"),
            "51c5be4623ac578793d64dc90d3eb424feaee0d9b290e1f3162bb5eef819ba38",
        ),
        (
            None,
            "6382b3cc881412b77bfcaeed026001c00d9e3025e66c20f6e7e92f079851462a",
        ),
    ] {
        let actor = Actor {
            name: name.map(str::to_owned),
            request: None,
        };
        let expected: Digest = format!("sha256:{hash}").parse().unwrap();
        let owner = UploadOwner::of(&actor);
        assert_eq!(owner.as_bytes().as_slice(), expected.hash(), "{name:?}");
        assert_eq!(UploadOwner::from_bytes(*owner.as_bytes()), owner);
    }
}

/// Somebody of this name, or nobody known, who asks by this request.
fn actor(name: Option<&str>, request: &str) -> Actor {
    Actor {
        name: name.map(str::to_owned),
        request: Some(RequestOrigin {
            id: request.to_owned(),
            ..RequestOrigin::default()
        }),
    }
}

fn names() -> impl Strategy<Value = Option<String>> {
    // Also what is written in front of one, and in place of one.
    prop_oneof![
        Just(None),
        "(name |nobody|n|a|A|\\$| |é|\\x00){0,4}".prop_map(Some),
    ]
}

proptest! {
    /// Whoever is somebody else goes on with nobody's upload, however alike the two are
    /// called.
    #[test]
    fn s_19_no_two_actors_own_one_upload(
        one in names(), other in names(), request in ".{0,4}", requests in ".{0,4}",
    ) {
        let (first, second) = (actor(one.as_deref(), &request), actor(other.as_deref(), &requests));
        let (first, second) = (UploadOwner::of(&first), UploadOwner::of(&second));
        prop_assert_eq!(first == second, one == other);
        prop_assert_eq!(first.as_bytes() == second.as_bytes(), one == other);
    }

    /// An owner is what is written down of it.
    #[test]
    fn s_19_the_owner_of_an_upload_comes_back_from_what_was_kept(
        bytes: [u8; 32], other: [u8; 32], name in names(),
    ) {
        let owner = UploadOwner::from_bytes(bytes);
        prop_assert_eq!(owner.as_bytes(), &bytes);
        prop_assert_eq!(owner == UploadOwner::from_bytes(other), bytes == other);
        for owner in [owner, UploadOwner::of(&actor(name.as_deref(), ""))] {
            prop_assert_eq!(UploadOwner::from_bytes(*owner.as_bytes()), owner);
            let kept = serde_json::to_string(&owner).unwrap();
            prop_assert_eq!(serde_json::from_str::<UploadOwner>(&kept).unwrap(), owner);
        }
    }
}
