//! Argon2id hashes, as the `argon2` program and most libraries write them.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::Secret;

/// The most memory that a check may take, in KiB.
const MEMORY_MAX: u32 = 256 << 10;

/// How often a check may go through it.
const PASSES_MAX: u32 = 10;

/// How many lanes it may be divided into.
const LANES_MAX: u32 = 4;

/// What Argon2 needs at least for a lane, in KiB.
const MEMORY_OF_LANE: u32 = 8;

/// The length of the hash itself: with any other, one that is cut off would
/// be taken for a shorter one.
const DIGEST: usize = 32;

/// A well-formed hash that takes no more work than is allowed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Argon2id {
    cost: Cost,
    salt: Box<[u8]>,
    digest: [u8; DIGEST],
}

/// How much work a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    memory: u32,
    passes: u32,
    lanes: u32,
}

impl Argon2id {
    /// Reads what follows `$argon2id$`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let malformed = "the argon2id hash is malformed or cut off; make it anew";
        let fields: Vec<_> = text.split('$').collect();
        let [version, costs, salt, digest] = fields.as_slice() else {
            return Err(malformed);
        };
        if *version != "v=19" {
            return Err("the argon2id hash must be of version 19; make it anew");
        }
        let cost = Cost::parse(costs).ok_or(malformed)?;
        if !cost.is_allowed() {
            return Err(
                "the argon2id hash takes too much work, or none; make it with at least 8 KiB for \
                 each lane and at most 256 MiB (m=262144), 10 passes (t=10) and 4 lanes (p=4)",
            );
        }
        // The engine accepts one spelling of each.
        let salt = STANDARD_NO_PAD.decode(salt).map_err(|_| malformed)?;
        let digest = STANDARD_NO_PAD.decode(digest).map_err(|_| malformed)?;
        if !(8..=64).contains(&salt.len()) {
            return Err(malformed);
        }
        Ok(Self {
            cost,
            salt: salt.into(),
            digest: digest.try_into().map_err(|_| malformed)?,
        })
    }

    pub(super) fn cost(&self) -> Cost {
        self.cost
    }

    /// The hash itself.
    pub(super) fn digest(&self) -> &[u8] {
        &self.digest
    }

    pub(super) fn verify(&self, password: &Secret) -> Result<bool, argon2::Error> {
        let digest = self.cost.digest(password, &self.salt)?;
        let difference = digest
            .iter()
            .zip(self.digest)
            .fold(0, |difference, (ours, theirs)| difference | (ours ^ theirs));
        Ok(std::hint::black_box(difference) == 0)
    }
}

impl Cost {
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<_> = text.split(',').collect();
        let [memory, passes, lanes] = fields.as_slice() else {
            return None;
        };
        let number = |field: &str, name| {
            let digits = field.strip_prefix(name)?;
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits
                .parse()
                .ok()
                .filter(|_| plain && !digits.starts_with('0'))
        };
        Some(Self {
            memory: number(memory, "m=")?,
            passes: number(passes, "t=")?,
            lanes: number(lanes, "p=")?,
        })
    }

    fn is_allowed(self) -> bool {
        (1..=LANES_MAX).contains(&self.lanes)
            && (1..=PASSES_MAX).contains(&self.passes)
            && self.memory <= MEMORY_MAX
            && self.memory >= self.lanes.saturating_mul(MEMORY_OF_LANE)
    }

    /// How much is filled in all: about how long it takes.
    pub(super) fn volume(self) -> u64 {
        u64::from(self.memory).saturating_mul(self.passes.into())
    }

    /// Does the work of a check, for nothing.
    pub(super) fn spend(self, password: &Secret) -> Result<(), argon2::Error> {
        self.digest(password, &[0; 16]).map(drop)
    }

    fn digest(self, password: &Secret, salt: &[u8]) -> Result<[u8; DIGEST], argon2::Error> {
        let params = Params::new(self.memory, self.passes, self.lanes, Some(DIGEST))?;
        let mut digest = [0; DIGEST];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
            password.expose().as_bytes(),
            salt,
            &mut digest,
        )?;
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: &str = "c29tZXNhbHQ";
    const REST: &str = "c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    /// Whether it is accepted with these costs.
    fn with_costs(costs: &str) -> Result<Argon2id, &'static str> {
        Argon2id::parse(&format!("v=19${costs}${REST}"))
    }

    #[test]
    fn costs_beyond_the_limits_are_refused() {
        for allowed in ["m=8,t=1,p=1", "m=32,t=1,p=4", "m=262144,t=10,p=4"] {
            assert!(with_costs(allowed).is_ok(), "{allowed}");
        }
        for refused in [
            "m=262145,t=1,p=1",
            "m=4294967295,t=1,p=1",
            "m=65536,t=11,p=1",
            "m=65536,t=1,p=5",
            "m=7,t=1,p=1",
            "m=31,t=1,p=4",
        ] {
            let error = with_costs(refused).err().unwrap();
            assert!(error.contains("at most 256 MiB"), "{refused}: {error}");
        }
        for malformed in [
            "m=65536,t=0,p=1",
            "m=65536,t=1,p=0",
            "m=4294967296,t=1,p=1",
            "m=+65536,t=1,p=1",
            "m=065536,t=1,p=1",
            "m=65536,t=1",
            "t=1,m=65536,p=1",
            "m=65536,t=1,p=1,keyid=x",
            "m=,t=1,p=1",
            "",
        ] {
            let error = with_costs(malformed).err().unwrap();
            assert!(error.contains("malformed"), "{malformed}: {error}");
        }
    }

    #[test]
    fn a_hash_of_another_length_or_spelling_is_refused() {
        let good = format!("v=19$m=256,t=2,p=1${REST}");
        assert!(Argon2id::parse(&good).is_ok());
        for end in 1..good.len() {
            assert!(Argon2id::parse(&good[..end]).is_err(), "{end}");
        }
        for wrong in [
            good.replace("v=19", "v=16"),
            good.replace("v=19$", ""),
            format!("{good}A"),
            format!("{good}="),
            format!("{good}$"),
            // Bits that are left over.
            good.replace("Gi/4", "Gi/5"),
            good.replace(SALT, "c29tZXNhbHR"),
            good.replace(SALT, "c29tZQ"),
            good.replace(SALT, ""),
            good.replace(SALT, &"A".repeat(88)),
        ] {
            assert!(Argon2id::parse(&wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "v=19\\$m=[0-9]{0,11},t=[0-9]{0,3},p=[0-9]\\$\\PC{0,20}(\\$\\PC{0,50})?") {
            let _ = Argon2id::parse(&text);
        }
    }
}
