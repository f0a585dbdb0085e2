//! Public keys: what the standards and Docker's registry call them, and which of
//! them are taken.
#![cfg(feature = "token")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use registry_auth::jwt::{Algorithm, KeySet, VerificationKey};
use registry_core::ErrorKind;

/// RFC 7515, A.2.
const RSA: &str = r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#;
/// RFC 7515, A.3.
const P256: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
/// RFC 8037, A.2.
const ED25519: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
/// RFC 7638, 3.1.
const RSA_7638: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;

const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn key(jwk: &str) -> VerificationKey {
    VerificationKey::from_jwk(jwk.as_bytes()).expect(jwk)
}

fn refused(jwk: &str) -> String {
    let error = VerificationKey::from_jwk(jwk.as_bytes()).expect_err(jwk);
    assert_eq!(error.kind(), ErrorKind::RequestInvalid);
    error.to_string()
}

fn set(keys: &[&str]) -> registry_core::Result<KeySet> {
    KeySet::parse_jwks(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
}

#[test]
fn the_signatures_of_rfc_7515_and_8037_are_right() {
    let rs256 = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let es256 =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let eddsa =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    for (jwk, message, signature) in [
        (RSA, format!("eyJhbGciOiJSUzI1NiJ9.{JOE}"), rs256),
        (P256, format!("eyJhbGciOiJFUzI1NiJ9.{JOE}"), es256),
        (
            ED25519,
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
            eddsa,
        ),
    ] {
        let key = key(jwk);
        let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(key.verify(message.as_bytes(), &signature), "{jwk}");
        assert!(!key.verify(&message.as_bytes()[1..], &signature), "{jwk}");
        signature[40] ^= 1;
        assert!(!key.verify(message.as_bytes(), &signature), "{jwk}");
    }
}

#[test]
fn thumbprints_are_those_of_rfc_7638_and_8037() {
    for (jwk, thumbprint) in [
        (RSA_7638, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        // Docker's registry tests itself with this one, too, after it had
        // written "OTP" for "OKP".
        (ED25519, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        // The point times 379, whose x starts with a zero that counts.
        (
            r#"{"kty":"EC","crv":"P-256","x":"AFVDiUrz0A7X10Cr29dclrBod7eH219w7qeLkKjXwAo","y":"u0yFo9jqKe-q-iRAaRLdhNWxTcMr9lbvbGvVil2UP5I"}"#,
            "7Yxe6c_3bAa6kiaK1G-BZmi9EeNsUmlcbdnrtLeuK4E",
        ),
    ] {
        assert_eq!(key(jwk).thumbprint(), thumbprint);
        let plain = jwk.replace(r#","kid":"2011-04-29""#, "");
        assert_eq!(key(&plain).kid(), thumbprint);
    }
    assert_eq!(key(RSA_7638).kid(), "2011-04-29");
    // Zeros in front of a number change nothing.
    let padded = RSA_7638.replace(r#""e":"AQAB""#, r#""e":"AAEAAQ""#);
    assert_eq!(key(&padded).thumbprint(), key(RSA_7638).thumbprint());
}

#[test]
fn libtrust_names_are_those_of_old_manifests() {
    // From the signatures of manifests of Docker's first schema.
    let old = key(
        r#"{"crv":"P-256","kid":"OD6I:6DRK:JXEJ:KBM4:255X:NSAA:MUSF:E4VM:ZI6W:CUN2:L4Z6:LSF4","kty":"EC","x":"3gAwX48IQ5oaYQAYSxor6rYYc_6yjuLCjtQ9LUakg4A","y":"t72ge6kIA1XOjqjVoEOiPPAURltJFBMGDSQvEGVB010"}"#,
    );
    assert_eq!(old.libtrust_kid().unwrap(), old.kid());
}

#[test]
fn a_key_is_the_same_in_every_form() {
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    for (der, algorithm) in [
        (p256.public_key().as_der(), Algorithm::Es256),
        (p384.public_key().as_der(), Algorithm::Es384),
        (ed25519.public_key().as_der(), Algorithm::EdDsa),
        (rsa.public_key().as_der(), Algorithm::Rs256),
    ] {
        let der = der.unwrap();
        let der = der.as_ref();
        let key = VerificationKey::from_spki(der).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        assert_eq!(key.kid(), key.thumbprint());

        let text = STANDARD.encode(der);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
        let from_pem = VerificationKey::from_pem(pem.as_bytes()).unwrap();
        let set = KeySet::new().with(key.clone()).unwrap().to_document();
        let set = KeySet::parse_jwks(&set).unwrap();
        let from_jwk = set.iter().next().unwrap();
        for other in [&from_pem, from_jwk] {
            assert_eq!(other.kid(), key.kid());
            assert_eq!(other.algorithm(), algorithm);
            assert_eq!(other.libtrust_kid().unwrap(), key.libtrust_kid().unwrap());
        }

        // Neither a piece of it nor more than it, nor anything of another kind.
        for length in 0..der.len() {
            assert!(VerificationKey::from_spki(&der[..length]).is_err());
        }
        let longer = [der, &[0]].concat();
        assert!(VerificationKey::from_spki(&longer).is_err());
    }
    let private = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
    assert!(VerificationKey::from_pem(private.as_bytes()).is_err());
}

#[test]
fn weak_and_malformed_keys_are_refused() {
    // Of 1024 bits, with a good exponent.
    let n = URL_SAFE_NO_PAD.encode([0xc5; 128]);
    assert!(refused(&format!(r#"{{"kty":"RSA","e":"AQAB","n":"{n}"}}"#)).contains("2048"));
    let n = URL_SAFE_NO_PAD.encode([0x45; 256]);
    assert!(refused(&format!(r#"{{"kty":"RSA","e":"AQAB","n":"{n}"}}"#)).contains("2048"));
    let n = URL_SAFE_NO_PAD.encode([0xc5; 1025]);
    assert!(refused(&format!(r#"{{"kty":"RSA","e":"AQAB","n":"{n}"}}"#)).contains("2048"));
    // With these, everybody or nobody can sign; the last costs too much.
    for exponent in [&[][..], &[0], &[1], &[0, 1], &[2], &[1, 0, 1, 0, 1]] {
        let e = URL_SAFE_NO_PAD.encode(exponent);
        let jwk = RSA.replace("AQAB", &e);
        assert!(refused(&jwk).contains("exponent"), "{jwk}");
    }
    for (jwk, from, to) in [
        // Not on the curve, too short, too long.
        (P256, "f83O", "f83P"),
        (P256, "f83O", ""),
        (P256, "f83O", "AAAAf83O"),
        (P256, "P-256", "P-384"),
        (P256, "P-256", "P-521"),
        (P256, "P-256", "secp256k1"),
        (P256, r#""kty":"EC""#, r#""kty":"OKP""#),
        (P256, r#""kty":"EC""#, r#""kty":"ec""#),
        (P256, r#""kty":"EC","#, ""),
        (P256, r#""kty":"EC""#, r#""kty":["EC"]"#),
        (P256, r#""kty":"EC""#, r#""kty":"EC","alg":"RS256""#),
        (P256, r#""kty":"EC""#, r#""kty":"EC","alg":"ES384""#),
        (P256, r#""kty":"EC""#, r#""kty":"EC","alg":"HS256""#),
        (P256, r#""kty":"EC""#, r#""kty":"EC","alg":"none""#),
        (P256, r#""kty":"EC""#, r#""kty":"EC","alg":null"#),
        (P256, r#""kty":"EC""#, r#""kty":"EC","use":"enc""#),
        (P256, r#""kty":"EC""#, r#""kty":"EC","key_ops":["sign"]"#),
        (P256, r#""kty":"EC""#, r#""kty":"EC","key_ops":"verify""#),
        (P256, r#""kty":"EC""#, r#""kty":"EC","kid":"a b""#),
        (P256, r#""kty":"EC""#, r#""kty":"EC","kid":"""#),
        (P256, r#""kty":"EC""#, r#""kty":"EC","kid":1"#),
        (P256, r#""kty":"EC""#, r#""kty":"EC","kty":"EC""#),
        (P256, r#""kty":"EC""#, r#""kty":"EC","d":"AAAA""#),
        (RSA, r#""kty":"RSA""#, r#""kty":"RSA","alg":"ES256""#),
        (RSA, r#""kty":"RSA""#, r#""kty":"RSA","alg":"RSA-OAEP""#),
        (RSA, r#""e":"AQAB","#, ""),
        (RSA, "AQAB", "AQAB="),
        (ED25519, "Ed25519", "X25519"),
        (ED25519, "11qY", ""),
        (ED25519, "11qY", "AAAA11qY"),
    ] {
        let changed = jwk.replace(from, to);
        assert_ne!(changed, jwk);
        refused(&changed);
    }
    // The same bytes as those of a good key, cut in another place or in another
    // form: the key would have several thumbprints.
    let bytes = |digits: &str| URL_SAFE_NO_PAD.decode(digits).unwrap();
    let x = bytes("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
    let y = bytes("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    let (left, right) = x.split_at(31);
    refused(&format!(
        r#"{{"kty":"EC","crv":"P-256","x":"{}","y":"{}"}}"#,
        URL_SAFE_NO_PAD.encode(left),
        URL_SAFE_NO_PAD.encode([right, &y].concat())
    ));
    let point = bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    let der = [
        &b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"[..],
        &point,
    ]
    .concat();
    assert!(VerificationKey::from_spki(&der).is_ok());
    refused(&format!(
        r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#,
        URL_SAFE_NO_PAD.encode(&der)
    ));
    for jwk in [r#"{"kty":"oct","k":"AAAA"}"#, "[]", "", "{}", "null"] {
        refused(jwk);
    }
    assert!(key(P256).with_algorithm(Algorithm::Rs256).is_err());
    assert!(key(RSA).with_algorithm(Algorithm::Es256).is_err());
    let pss = key(RSA).called("a").unwrap();
    let pss = pss.with_algorithm(Algorithm::Ps256).unwrap();
    assert_eq!((pss.kid(), pss.algorithm()), ("a", Algorithm::Ps256));
    assert!(key(RSA).called("a\"b").is_err());
}

#[test]
fn keys_for_something_else_are_passed_over() {
    let weak = URL_SAFE_NO_PAD.encode([0xc5; 128]);
    let others = [
        r#"{"kty":"oct","k":"AAAA","kid":"secret"}"#.to_owned(),
        r#"{"kty":"XYZ","kid":"unheard-of"}"#.to_owned(),
        P256.replace("\"EC\"", r#""EC","use":"enc""#),
        P256.replace("\"EC\"", r#""EC","alg":"ECDH-ES""#),
        format!(r#"{{"kty":"RSA","e":"AQAB","n":"{weak}"}}"#),
    ];
    let mut keys: Vec<_> = others.iter().map(String::as_str).collect();
    assert!(set(&keys).is_err(), "no key is left");
    keys.push(ED25519);
    let found = set(&keys).unwrap();
    assert_eq!(found.len(), 1);
    assert!(found.find(None, Algorithm::EdDsa).is_some());
    assert!(found.find(Some("secret"), Algorithm::EdDsa).is_none());
    assert!(found.find(None, Algorithm::Es256).is_none());
}

#[test]
fn a_set_is_whole_or_refused() {
    let private = P256.replace("\"EC\"", r#""EC","d":"AAAA""#);
    let off_curve = P256.replace("f83O", "f83P");
    for malformed in [&private[..], &off_curve, "1", "null", "{}", r#"{"kty":1}"#] {
        let error = set(&[ED25519, malformed]).expect_err(malformed);
        assert_eq!(error.kind(), ErrorKind::RequestInvalid);
        assert!(error.to_string().contains("key 2"), "{error}");
    }
    for document in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[]}"#,
        &format!(r#"{{"keys":[],"keys":[{ED25519}]}}"#),
        &format!(r#"{{"keys":[{ED25519}]}} x"#),
        &format!(r#"{{"keys":[{ED25519}]{}}}"#, " ".repeat(256 << 10)),
        &format!(r#"{{"keys":[{}]}}"#, vec![ED25519; 101].join(",")),
    ] {
        let error = KeySet::parse_jwks(document.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid);
    }
}

#[test]
fn a_name_means_one_key() {
    let named = |jwk: &str, kid: &str| jwk.replacen('{', &format!(r#"{{"kid":"{kid}","#), 1);
    let other = r#"{"kid":"a","kty":"EC","crv":"P-256","x":"AFVDiUrz0A7X10Cr29dclrBod7eH219w7qeLkKjXwAo","y":"u0yFo9jqKe-q-iRAaRLdhNWxTcMr9lbvbGvVil2UP5I"}"#;
    let p256 = named(P256, "a");
    assert!(set(&[&p256, other]).is_err());
    // The same key twice is one key; another kind has names of its own.
    assert_eq!(set(&[&p256, &p256]).unwrap().len(), 1);
    let two = set(&[&p256, &named(ED25519, "a")]).unwrap();
    let algorithm = |algorithm| {
        let key = two.find(Some("a"), algorithm);
        key.map(VerificationKey::algorithm)
    };
    assert_eq!(algorithm(Algorithm::Es256), Some(Algorithm::Es256));
    assert_eq!(algorithm(Algorithm::EdDsa), Some(Algorithm::EdDsa));
    assert_eq!(algorithm(Algorithm::Rs256), None);
    assert!(two.find(Some("A"), Algorithm::Es256).is_none());
}

#[test]
fn a_set_may_be_as_large_as_it_is_said() {
    let named: Vec<_> = (0..101)
        .map(|number| ED25519.replacen('{', &format!(r#"{{"kid":"k{number}","#), 1))
        .collect();
    let named: Vec<_> = named.iter().map(String::as_str).collect();
    let hundred = set(&named[..100]).unwrap();
    assert_eq!((hundred.len(), hundred.iter().count()), (100, 100));
    assert!(set(&named).is_err());
    // One by one, too.
    assert!(hundred.clone().with(key(named[99])).is_ok());
    let error = hundred.with(key(named[100])).unwrap_err();
    assert!(error.to_string().contains("more than 100 keys"), "{error}");

    for (length, is_read) in [(256 << 10, true), ((256 << 10) + 1, false)] {
        let document = format!(r#"{{"keys":[{ED25519}]}}"#);
        let padded = format!("{document}{}", " ".repeat(length - document.len()));
        assert_eq!(KeySet::parse_jwks(padded.as_bytes()).is_ok(), is_read);
    }
}

#[test]
fn what_is_wrong_with_a_key_is_said() {
    for (jwk, from, to, said) in [
        (P256, "f83O", "", "a coordinate has a wrong length"),
        (P256, "x_FE", "", "a coordinate has a wrong length"),
        (P256, "f83O", "f83P", "no point of the curve"),
        (ED25519, "11qY", "", "x has a wrong length"),
        (
            ED25519,
            "Ed25519\"",
            "Ed25519\",\"alg\":\"ES256\"",
            "alg is none of its kind",
        ),
    ] {
        let changed = jwk.replace(from, to);
        assert_ne!(changed, jwk);
        let error = refused(&changed);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn an_exponent_has_four_bytes_at_most() {
    for (exponent, is_taken) in [(&[128, 0, 0, 1][..], true), (&[1, 0, 0, 0, 1], false)] {
        let jwk = RSA.replace("AQAB", &URL_SAFE_NO_PAD.encode(exponent));
        assert_eq!(VerificationKey::from_jwk(jwk.as_bytes()).is_ok(), is_taken);
    }
}

/// An element of DER, whose length is written in as few bytes as it takes.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
    match length {
        0..=0x7f => [&[tag, low], content].concat(),
        0x80..=0xff => [&[tag, 0x81, low], content].concat(),
        _ => [&[tag, 0x82, high, low], content].concat(),
    }
}

/// An RSA key of these elements in the form of certificates.
fn rsa(algorithm: &[u8], numbers: &[&[u8]]) -> registry_core::Result<VerificationKey> {
    let key = [&[0][..], &der(0x30, &numbers.concat())].concat();
    let content = [der(0x30, algorithm), der(0x03, &key)].concat();
    VerificationKey::from_spki(&der(0x30, &content))
}

const RSA_ENCRYPTION: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

#[test]
fn an_rsa_key_in_der_has_one_spelling() {
    // With the zero without which it would be negative.
    let modulus = |first: &[u8]| der(0x02, &[first, &[0xc5; 255]].concat());
    let exponent = der(0x02, &[1, 0, 1]);
    let good = modulus(&[0, 0x80]);
    rsa(RSA_ENCRYPTION, &[&good, &exponent]).unwrap();

    let foreign = |algorithm: &[u8], numbers: &[&[u8]]| {
        let error = rsa(algorithm, numbers).unwrap_err().to_string();
        assert!(error.contains("its kind isn't known here"), "{error}");
    };
    // RSASSA-PSS, and rsaEncryption without its parameters.
    foreign(
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a",
        &[&good, &exponent],
    );
    foreign(&RSA_ENCRYPTION[..11], &[&good, &exponent]);
    // Negative numbers.
    for first in [&[0x80][..], &[0x81], &[0xff]] {
        foreign(RSA_ENCRYPTION, &[&modulus(first), &exponent]);
        let negative = der(0x02, &[first, &[0, 1]].concat());
        foreign(RSA_ENCRYPTION, &[&good, &negative]);
    }
    // Lengths in more bytes than it takes, without an end, and of some number of
    // bytes.
    for length in [&[0x81, 3][..], &[0x82, 0, 3], &[0x83, 0, 0, 3]] {
        let exponent = [&[0x02], length, &[1, 0, 1]].concat();
        foreign(RSA_ENCRYPTION, &[&good, &exponent]);
    }
    for length in [0x80, 0x83_u8] {
        let exponent = [&[0x02, length][..], &vec![1; length.into()]].concat();
        foreign(RSA_ENCRYPTION, &[&good, &exponent]);
    }
    foreign(RSA_ENCRYPTION, &[&good, &exponent, &exponent]);

    // One that is too weak is known as such, so it was read.
    let weak = der(0x02, &[&[0][..], &[0xc5; 128]].concat());
    let error = rsa(RSA_ENCRYPTION, &[&weak, &exponent]).unwrap_err();
    assert!(error.to_string().contains("2048"), "{error}");
}
