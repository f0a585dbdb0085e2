//! What public keys consist of, and how that is written.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use registry_core::{Error, ErrorKind};

use super::Algorithm;

/// Why a key is of no use.
pub(super) enum Unfit {
    /// It is for something else, or of a kind or strength that isn't taken.
    Foreign(&'static str),
    /// It isn't what it says it is.
    Malformed(&'static str),
}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        let (Unfit::Foreign(what) | Unfit::Malformed(what)) = unfit;
        ErrorKind::RequestInvalid.error(format!("the key can't be used: {what}"))
    }
}

const WRONG_ALGORITHM: Unfit = Unfit::Malformed("its alg is none of its kind");

/// What stands before the point in the DER form of a P-256 key.
const P256_PREFIX: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
/// The same of a P-384 key.
const P384_PREFIX: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
    \x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04";
/// The same of an Ed25519 key.
const ED25519_PREFIX: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// `rsaEncryption`, without parameters.
const RSA_ALGORITHM: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

/// What a key consists of.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Material {
    /// The coordinates of a point on P-256.
    P256(Vec<u8>, Vec<u8>),
    /// The coordinates of a point on P-384.
    P384(Vec<u8>, Vec<u8>),
    /// A point on Curve25519.
    Ed25519(Vec<u8>),
    /// Modulus and exponent, without leading zeros.
    Rsa(Vec<u8>, Vec<u8>),
}

impl Material {
    /// An RSA key, however many zeros its numbers start with.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Self {
        let digits = |number: &[u8]| {
            let significant = number.iter().skip_while(|byte| **byte == 0);
            significant.copied().collect()
        };
        Self::Rsa(digits(modulus), digits(exponent))
    }

    /// What a key in DER consists of, if its kind is known.
    pub(super) fn from_spki(der: &[u8]) -> Option<Self> {
        let point = |coordinates: &[u8]| {
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            (x.to_vec(), y.to_vec())
        };
        if let Some(coordinates) = der.strip_prefix(P256_PREFIX) {
            let (x, y) = point(coordinates);
            Some(Self::P256(x, y))
        } else if let Some(coordinates) = der.strip_prefix(P384_PREFIX) {
            let (x, y) = point(coordinates);
            Some(Self::P384(x, y))
        } else if let Some(point) = der.strip_prefix(ED25519_PREFIX) {
            Some(Self::Ed25519(point.to_vec()))
        } else {
            let (modulus, exponent) = rsa_numbers(der)?;
            Some(Self::rsa(modulus, exponent))
        }
    }

    /// What a key of this kind is for if nobody says.
    pub(super) fn usual_algorithm(&self) -> Algorithm {
        match self {
            Self::P256(..) => Algorithm::Es256,
            Self::P384(..) => Algorithm::Es384,
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::Rsa(..) => Algorithm::Rs256,
        }
    }

    /// Makes it ready to verify signatures by `algorithm`.
    pub(super) fn parse(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, Unfit> {
        match (self, algorithm) {
            (Self::P256(x, y), Algorithm::Es256) => {
                on_curve(&ECDSA_P256_SHA256_FIXED, &point(x, y, 32)?)
            }
            (Self::P384(x, y), Algorithm::Es384) => {
                on_curve(&ECDSA_P384_SHA384_FIXED, &point(x, y, 48)?)
            }
            (Self::Ed25519(point), Algorithm::EdDsa) if point.len() == 32 => {
                on_curve(&ED25519, point)
            }
            (Self::Ed25519(_), Algorithm::EdDsa) => Err(Unfit::Malformed("x has a wrong length")),
            (Self::Rsa(modulus, exponent), _) => {
                let parameters = algorithm.rsa().ok_or(WRONG_ALGORITHM)?;
                check_rsa(modulus, exponent)?;
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                key.to_parsed_public_key(parameters)
                    .map_err(|_| Unfit::Malformed("its numbers are no RSA key"))
            }
            _ => Err(WRONG_ALGORITHM),
        }
    }

    /// The members of a JWK that make the key, as JSON, in the order of their
    /// names.
    pub(super) fn members(&self) -> String {
        let encode = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
        match self {
            Self::P256(x, y) | Self::P384(x, y) => {
                let curve = if matches!(self, Self::P256(..)) {
                    "P-256"
                } else {
                    "P-384"
                };
                let (x, y) = (encode(x), encode(y));
                format!(r#""crv":"{curve}","kty":"EC","x":"{x}","y":"{y}""#)
            }
            Self::Ed25519(point) => {
                format!(r#""crv":"Ed25519","kty":"OKP","x":"{}""#, encode(point))
            }
            Self::Rsa(modulus, exponent) => {
                let (n, e) = (encode(modulus), encode(exponent));
                format!(r#""e":"{e}","kty":"RSA","n":"{n}""#)
            }
        }
    }

    /// The SHA-256 of the shortest JWK (RFC 7638).
    pub(super) fn thumbprint(&self) -> String {
        let jwk = format!("{{{}}}", self.members());
        URL_SAFE_NO_PAD.encode(digest(&SHA256, jwk.as_bytes()))
    }
}

fn on_curve(
    scheme: &'static dyn VerificationAlgorithm,
    point: &[u8],
) -> Result<ParsedPublicKey, Unfit> {
    ParsedPublicKey::new(scheme, point)
        .map_err(|_| Unfit::Malformed("its numbers are no point of the curve"))
}

/// A point as it is written: both coordinates, each of `length` bytes.
fn point(x: &[u8], y: &[u8], length: usize) -> Result<Vec<u8>, Unfit> {
    if x.len() != length || y.len() != length {
        return Err(Unfit::Malformed("a coordinate has a wrong length"));
    }
    Ok([&[4], x, y].concat())
}

/// Refuses keys that are too weak, or so large that they cost too much.
fn check_rsa(modulus: &[u8], exponent: &[u8]) -> Result<(), Unfit> {
    let unused = modulus.first().map_or(0, |first| first.leading_zeros());
    let bits = u32::try_from(modulus.len())
        .unwrap_or(u32::MAX)
        .saturating_mul(8)
        .saturating_sub(unused);
    if !(2048..=8192).contains(&bits) {
        return Err(Unfit::Foreign("an RSA key must have 2048 to 8192 bits"));
    }
    // With 1, everybody can sign.
    let odd = exponent.last().is_some_and(|last| last % 2 == 1);
    if !odd || exponent == [1] || exponent.len() > 4 {
        return Err(Unfit::Malformed("its exponent is none for signatures"));
    }
    Ok(())
}

/// Modulus and exponent of an RSA key in DER.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const INTEGER: u8 = 0x02;
    const BIT_STRING: u8 = 0x03;
    const SEQUENCE: u8 = 0x30;
    let (algorithm, rest) = element(SEQUENCE, sole(SEQUENCE, der)?)?;
    let key = sole(BIT_STRING, rest)?.strip_prefix(&[0])?;
    let (modulus, rest) = element(INTEGER, sole(SEQUENCE, key)?)?;
    let exponent = sole(INTEGER, rest)?;
    // Negative numbers have the first bit set.
    let positive = |number: &[u8]| number.first().is_some_and(|first| *first < 0x80);
    (algorithm == RSA_ALGORITHM && positive(modulus) && positive(exponent))
        .then_some((modulus, exponent))
}

/// The content of the one element that `der` consists of.
fn sole(tag: u8, der: &[u8]) -> Option<&[u8]> {
    let (content, rest) = element(tag, der)?;
    rest.is_empty().then_some(content)
}

/// The content of the element that `der` starts with, and what follows it. The
/// length is written in as few bytes as it takes.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match der.strip_prefix(&[tag])? {
        [0x81, low, rest @ ..] if *low >= 0x80 => (usize::from(*low), rest),
        [0x82, high, low, rest @ ..] if *high > 0 => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        [length, rest @ ..] if *length < 0x80 => (usize::from(*length), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}
