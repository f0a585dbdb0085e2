//! The keys that tokens of one issuer may be signed with.

use registry_core::{ErrorKind, Result};

use super::material::Unfit;
use super::{Algorithm, Json, VerificationKey};

/// The longest document in bytes. A dozen keys with their chains of certificates
/// take a tenth.
const DOCUMENT_MAX: usize = 256 << 10;

/// The most keys in a set.
const KEYS_MAX: usize = 100;

/// Keys, of which no two have the same name and algorithm.
#[derive(Debug, Clone, Default)]
pub struct KeySet(Vec<VerificationKey>);

impl KeySet {
    /// No key at all, with which every token is refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key. One that is there already is left as it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if another one has its name and algorithm,
    /// or if there are too many.
    pub fn with(mut self, key: VerificationKey) -> Result<Self> {
        let twin = self
            .0
            .iter()
            .find(|known| known.kid() == key.kid() && known.algorithm() == key.algorithm());
        match twin {
            Some(twin) if twin.is_same(&key) => {}
            Some(_) => {
                return Err(ErrorKind::RequestInvalid.error(format!(
                    "two keys are called {}; name each of them differently",
                    key.kid()
                )));
            }
            None if self.0.len() >= KEYS_MAX => return Err(too_many()),
            None => self.0.push(key),
        }
        Ok(self)
    }

    /// Reads a JWK set (RFC 7517). Keys for other purposes, and those of a kind
    /// or strength that isn't taken, are passed over.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if the document or a key is malformed, or if
    /// no key is left.
    pub fn parse_jwks(document: &[u8]) -> Result<Self> {
        let malformed = |what: &str| {
            ErrorKind::RequestInvalid.error(format!("the key set can't be used: {what}"))
        };
        if document.len() > DOCUMENT_MAX {
            return Err(malformed("it is longer than 256 KiB"));
        }
        let document = Json::parse(document)
            .map_err(|source| malformed("it isn't acceptable JSON").with_source(source))?;
        let keys = document
            .as_object()
            .and_then(|members| members.get("keys")?.as_list())
            .ok_or_else(|| malformed("it has no list of keys"))?;
        if keys.len() > KEYS_MAX {
            return Err(too_many());
        }
        let mut set = Self::new();
        for (key, number) in keys.iter().zip(1_usize..) {
            let members = key
                .as_object()
                .ok_or_else(|| malformed(&format!("key {number} isn't an object")))?;
            match VerificationKey::from_members(members) {
                Ok(key) => set = set.with(key)?,
                Err(Unfit::Foreign(reason)) => {
                    tracing::debug!(number, reason, "a key of a set is passed over");
                }
                Err(Unfit::Malformed(what)) => {
                    return Err(malformed(&format!("of key {number}, {what}")));
                }
            }
        }
        if set.is_empty() {
            return Err(malformed("it has no key for signatures that is taken here"));
        }
        Ok(set)
    }

    /// The key called `kid` for `algorithm`; or, if the token names none, the
    /// only one for it.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&VerificationKey> {
        let mut fitting = self
            .0
            .iter()
            .filter(|key| key.algorithm() == algorithm && kid.is_none_or(|kid| key.kid() == kid));
        let key = fitting.next()?;
        fitting.next().is_none().then_some(key)
    }

    /// Writes the set as a document that [`parse_jwks`](Self::parse_jwks) and
    /// every other verifier reads.
    pub fn to_document(&self) -> Vec<u8> {
        let keys: Vec<_> = self.0.iter().map(VerificationKey::to_jwk).collect();
        format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Every key.
    pub fn iter(&self) -> impl Iterator<Item = &VerificationKey> {
        self.0.iter()
    }
}

fn too_many() -> registry_core::Error {
    ErrorKind::RequestInvalid.error("the key set can't be used: it has more than 100 keys")
}
