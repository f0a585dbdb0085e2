//! A key as its holder has it.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use registry_core::{Error, Result};

use crate::Secret;

/// What keys start with, so that they are found where they shouldn't be.
const MARK: &str = "rgk_";

/// `rgk_`, 16 digits for the owner, 16 for the key, `_`, 43 characters of secret,
/// `_`, and 8 digits of a checksum, which refuses what somebody made up without a
/// look at what is kept.
pub(super) struct KeyText {
    pub(super) owner: String,
    pub(super) id: String,
    secret: Secret,
}

impl KeyText {
    /// A new key of `owner`.
    pub(super) fn new(owner: String, id: String) -> Result<Self> {
        let mut secret = zeroize::Zeroizing::new([0_u8; 32]);
        aws_lc_rs::rand::fill(&mut *secret)
            .map_err(|source| Error::internal("the system gives no random numbers", source))?;
        Ok(Self {
            owner,
            id,
            secret: Secret::new(URL_SAFE_NO_PAD.encode(*secret)),
        })
    }

    /// Whether `text` is meant to be a key.
    pub(super) fn is_meant(text: &Secret) -> bool {
        text.expose().starts_with(MARK)
    }

    pub(super) fn parse(text: &Secret) -> Option<Self> {
        let (signed, checksum) = text.expose().rsplit_once('_')?;
        if checksum != checksum_of(signed) {
            return None;
        }
        let (names, secret) = signed.strip_prefix(MARK)?.split_once('_')?;
        let (owner, id) = names.split_at_checked(16)?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        (id.len() == 16 && names.bytes().all(is_hex)).then(|| Self {
            owner: owner.to_owned(),
            id: id.to_owned(),
            secret: Secret::new(secret),
        })
    }

    pub(super) fn text(&self) -> Secret {
        let Self { owner, id, secret } = self;
        let signed = Secret::new(format!("{MARK}{owner}{id}_{}", secret.expose()));
        let checksum = checksum_of(signed.expose());
        Secret::new(format!("{}_{checksum}", signed.expose()))
    }

    /// What is kept of the secret: nobody who reads it can use it.
    pub(super) fn hash(&self) -> Secret {
        let hash = digest(&SHA256, self.secret.expose().as_bytes());
        Secret::new(URL_SAFE_NO_PAD.encode(hash))
    }
}

fn checksum_of(text: &str) -> String {
    let mut checksum = String::with_capacity(8);
    // Writing into memory doesn't fail.
    let _ = write!(checksum, "{:08x}", crc32c::crc32c(text.as_bytes()));
    checksum
}
