//! Public keys, each with the one algorithm that it is for.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use registry_core::{ErrorKind, Result};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use super::material::{Material, Unfit};
use super::{Algorithm, Json, is_kid};

/// A public key that checks the signatures of tokens, with one algorithm.
#[derive(Clone)]
pub struct VerificationKey {
    kid: String,
    algorithm: Algorithm,
    material: Material,
    parsed: ParsedPublicKey,
}

impl VerificationKey {
    /// Reads a JWK (RFC 7517). Without `kid`, it is called by its
    /// [`thumbprint`](Self::thumbprint); without `alg`, an RSA key is for
    /// [`Algorithm::Rs256`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if it isn't a public key for signatures, is
    /// too weak (RSA below 2048 bits), or is of a kind that isn't known.
    pub fn from_jwk(json: &[u8]) -> Result<Self> {
        match Json::parse(json) {
            Ok(Json::Object(members)) => Ok(Self::from_members(&members)?),
            Ok(_) => Err(Unfit::Malformed("it must be a JSON object").into()),
            Err(source) => Err(ErrorKind::RequestInvalid
                .error("the key isn't acceptable JSON; write it anew")
                .with_source(source)),
        }
    }

    pub(super) fn from_members(members: &BTreeMap<String, Json>) -> Result<Self, Unfit> {
        let jwk = Jwk(members);
        if jwk.text("use")?.is_some_and(|purpose| purpose != "sig") {
            return Err(Unfit::Foreign("its use is another than sig"));
        }
        if let Some(operations) = members.get("key_ops") {
            let operations = operations
                .as_list()
                .ok_or(Unfit::Malformed("key_ops must be a list"))?;
            if !operations
                .iter()
                .any(|operation| operation.as_text() == Some("verify"))
            {
                return Err(Unfit::Foreign("its key_ops don't include verify"));
            }
        }
        let material = match (jwk.text("kty")?, jwk.text("crv")?) {
            (Some("EC"), Some("P-256")) => Material::P256(jwk.bytes("x")?, jwk.bytes("y")?),
            (Some("EC"), Some("P-384")) => Material::P384(jwk.bytes("x")?, jwk.bytes("y")?),
            (Some("OKP"), Some("Ed25519")) => Material::Ed25519(jwk.bytes("x")?),
            (Some("RSA"), _) => Material::rsa(&jwk.bytes("n")?, &jwk.bytes("e")?),
            (None, _) => return Err(Unfit::Malformed("there is no kty")),
            _ => return Err(Unfit::Foreign("its kind isn't known here")),
        };
        // Whoever publishes it has lost it.
        if members.contains_key("d") {
            return Err(Unfit::Malformed(
                "it is the private one; make a new one, and publish its public part only",
            ));
        }
        let algorithm = match jwk.text("alg")? {
            None => material.usual_algorithm(),
            Some(name) => {
                Algorithm::named(name).ok_or(Unfit::Foreign("its alg isn't taken here"))?
            }
        };
        let key = Self::new(material, algorithm)?;
        match jwk.text("kid")? {
            None => Ok(key),
            Some(kid) if is_kid(kid) => Ok(Self {
                kid: kid.to_owned(),
                ..key
            }),
            Some(_) => Err(Unfit::Foreign("its kid isn't 1 to 128 plain characters")),
        }
    }

    /// Reads a key in the DER form of certificates (`SubjectPublicKeyInfo`). It
    /// is called by its [`thumbprint`](Self::thumbprint); an RSA key is for
    /// [`Algorithm::Rs256`].
    ///
    /// # Errors
    ///
    /// As those of [`from_jwk`](Self::from_jwk).
    pub fn from_spki(der: &[u8]) -> Result<Self> {
        let material =
            Material::from_spki(der).ok_or(Unfit::Foreign("its kind isn't known here"))?;
        let algorithm = material.usual_algorithm();
        Ok(Self::new(material, algorithm)?)
    }

    /// Reads the first `PUBLIC KEY` of a PEM file.
    ///
    /// # Errors
    ///
    /// As those of [`from_jwk`](Self::from_jwk).
    pub fn from_pem(pem: &[u8]) -> Result<Self> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|source| {
            ErrorKind::RequestInvalid
                .error("there is no public key in the PEM file; write it as PUBLIC KEY")
                .with_source(source)
        })?;
        Self::from_spki(&der)
    }

    /// Calls it `kid` from now on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if `kid` isn't 1 to 128 visible ASCII
    /// characters other than `"` and `\`.
    pub fn called(mut self, kid: &str) -> Result<Self> {
        if !is_kid(kid) {
            return Err(ErrorKind::RequestInvalid.error(
                "the name of a key must be 1 to 128 visible ASCII characters without quotes",
            ));
        }
        kid.clone_into(&mut self.kid);
        Ok(self)
    }

    /// The same key for another algorithm, such as [`Algorithm::Ps256`] for an
    /// RSA key of a certificate.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if a key of this kind can't do that.
    pub fn with_algorithm(self, algorithm: Algorithm) -> Result<Self> {
        Ok(Self {
            kid: self.kid,
            ..Self::new(self.material, algorithm)?
        })
    }

    fn new(material: Material, algorithm: Algorithm) -> Result<Self, Unfit> {
        Ok(Self {
            kid: material.thumbprint(),
            algorithm,
            parsed: material.parse(algorithm)?,
            material,
        })
    }

    /// Its name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm it is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What the key itself is called by: the SHA-256 of its JWK in base64url (RFC
    /// 7638). Docker's registry looks for it in `kid` since version 3; there, it
    /// is a different one if a coordinate starts with a zero.
    pub fn thumbprint(&self) -> String {
        self.material.thumbprint()
    }

    /// What Docker's registry called a key by up to version 2: the first 240 bits
    /// of the SHA-256 of its DER form, in twelve groups of base32.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] if the key can't be written as DER.
    pub fn libtrust_kid(&self) -> Result<String> {
        let der = self.parsed.as_der().map_err(|source| {
            ErrorKind::Internal
                .error("a public key can't be written as DER")
                .with_source(source)
        })?;
        let hash = digest(&SHA256, der.as_ref());
        // Five bytes are eight digits, two groups of four.
        let groups = hash.as_ref().chunks_exact(5).map(|bytes| {
            let digits = base32(bytes);
            let (left, right) = digits.split_at(4);
            format!("{left}:{right}")
        });
        Ok(groups.collect::<Vec<_>>().join(":"))
    }

    /// Whether `signature` is this key's of `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }

    /// Whether both are the same key, whatever they are called by.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.material == other.material
    }

    /// Its JWK.
    pub(super) fn to_jwk(&self) -> String {
        // Nothing in it needs an escape; see `is_kid`.
        format!(
            r#"{{{},"use":"sig","alg":"{}","kid":"{}"}}"#,
            self.material.members(),
            self.algorithm,
            self.kid
        )
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The members of a JWK.
struct Jwk<'a>(&'a BTreeMap<String, Json>);

impl<'a> Jwk<'a> {
    fn text(&self, name: &str) -> Result<Option<&'a str>, Unfit> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Unfit::Malformed("a member that must be text isn't")),
        }
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, Unfit> {
        let text = self.text(name)?.unwrap_or_default();
        URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| Unfit::Malformed("one of its numbers isn't base64url"))
    }
}

/// Five bytes in eight digits of base32.
fn base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let number = bytes.iter().fold(0_u64, |number, byte| {
        (number << 8).saturating_add((*byte).into())
    });
    (0..8_u32)
        .rev()
        .filter_map(|place| {
            let value = (number >> place.saturating_mul(5)) & 31;
            let digit = DIGITS.get(usize::try_from(value).ok()?)?;
            Some(char::from(*digit))
        })
        .collect()
}
