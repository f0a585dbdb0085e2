//! Private keys, which sign tokens.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use registry_core::{Error, ErrorKind, Result};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

use crate::Secret;
use crate::jwt::VerificationKey;

/// How a token server signs with the keys that it makes. Those that it finds
/// sign in their own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256, which every verifier knows.
    #[default]
    Es256,
    /// Ed25519, which is faster, and which many know.
    EdDsa,
}

/// A private key and its public part.
pub(super) struct SigningKey {
    pair: Pair,
    public: VerificationKey,
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl SigningKey {
    /// A new key, and the PEM file that keeps it.
    pub(super) fn generate(algorithm: SigningAlgorithm) -> Result<(Self, Secret)> {
        let random = SystemRandom::new();
        let der = match algorithm {
            SigningAlgorithm::Es256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            }
            SigningAlgorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
        };
        let der = der.map_err(|source| {
            Error::internal("the system could not make a key for tokens", source)
        })?;
        Ok((Self::from_pkcs8(der.as_ref())?, to_pem(der.as_ref())))
    }

    /// Reads the first `PRIVATE KEY` of a PEM file, and tries whether it works.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|source| {
            ErrorKind::RequestInvalid
                .error("there is no private key in it; write one as PRIVATE KEY (PKCS #8)")
                .with_source(source)
        })?;
        Self::from_pkcs8(der.secret_pkcs8_der())
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self> {
        let (pair, public) =
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
                let public = pair.public_key().as_der();
                (Pair::Es256(pair), public)
            } else {
                let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|source| {
                    ErrorKind::RequestInvalid
                        .error("the private key must be one of P-256 or Ed25519")
                        .with_source(source)
                })?;
                let public = pair.public_key().as_der();
                (Pair::EdDsa(pair), public)
            };
        let public: PublicKeyX509Der<'_> = public
            .map_err(|source| Error::internal("a public key can't be written as DER", source))?;
        let key = Self {
            pair,
            public: VerificationKey::from_spki(public.as_ref())?,
        };
        // What it signs is of no use if nobody can check it.
        let sample = b"does it work?";
        if !key.public.verify(sample, &key.signature(sample)?) {
            return Err(ErrorKind::Internal.error("a key doesn't verify what it signs"));
        }
        Ok(key)
    }

    /// What checks its signatures.
    pub(super) fn public(&self) -> &VerificationKey {
        &self.public
    }

    /// The token that makes these claims.
    pub(super) fn sign(&self, claims: &[u8]) -> Result<Secret> {
        let (algorithm, kid) = (self.public.algorithm(), self.public.kid());
        let header = format!(r#"{{"alg":"{algorithm}","typ":"JWT","kid":"{kid}"}}"#);
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.signature(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(Secret::new(token))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signature = match &self.pair {
            Pair::Es256(pair) => pair.sign(&SystemRandom::new(), message),
            Pair::EdDsa(pair) => pair.try_sign(message),
        };
        signature
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|source| Error::internal("a token could not be signed", source))
    }
}

/// A PKCS #8 document as PEM (RFC 7468).
fn to_pem(der: &[u8]) -> Secret {
    let encoded = Secret::new(STANDARD.encode(der));
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    for (character, number) in encoded.expose().chars().zip(1_usize..) {
        pem.push(character);
        if number.is_multiple_of(64) {
            pem.push('\n');
        }
    }
    if !pem.ends_with('\n') {
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    Secret::new(pem)
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{SigningAlgorithm, SigningKey};
    use crate::jwt::{KeySet, Profile, verify};

    #[test]
    fn a_key_survives_its_file() {
        for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
            let (made, pem) = SigningKey::generate(algorithm).unwrap();
            let read = SigningKey::from_pem(pem.expose().as_bytes()).unwrap();
            assert_eq!(made.public().kid(), read.public().kid());
            let claims = br#"{"iss":"a","aud":"b","iat":1000,"exp":1300}"#;
            let token = read.sign(claims).unwrap();
            let keys = KeySet::new().with(made.public().clone()).unwrap();
            let now = UNIX_EPOCH + Duration::from_secs(1100);
            verify(token.expose(), &keys, &Profile::new("a", "b"), now).unwrap();
        }
    }

    #[test]
    fn the_lines_of_a_file_are_short() {
        let (_, pem) = SigningKey::generate(SigningAlgorithm::Es256).unwrap();
        assert!(pem.expose().lines().all(|line| line.len() <= 64));
        assert!(!pem.expose().contains("\n\n"));
    }
}
