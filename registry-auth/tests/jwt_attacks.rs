//! Tokens as attackers write them. Each is signed as well as it can be, so that
//! nothing but the check in question stands between it and the registry.
#![cfg(feature = "token")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use registry_auth::Credentials;
use registry_auth::jwt::{
    Algorithm, Claims, KeySet, Profile, Rejected, TOKEN_MAX, VerificationKey, verify,
};

const NOW: u64 = 1_790_000_000;
const HEADER: &str = r#"{"alg":"ES256","typ":"JWT","kid":"trusted"}"#;
const CLAIMS: &str =
    r#"{"iss":"login","sub":"ann","aud":"registry","exp":1790000300,"iat":1790000000}"#;

/// The keys of the issuer, and one of an attacker.
struct Keys {
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    rsa: RsaKeyPair,
    attacker: EcdsaKeyPair,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
    p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
    ed25519: Ed25519KeyPair::generate().unwrap(),
    rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
    attacker: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
});

/// The DER of the public key that checks `algorithm`.
fn spki(algorithm: Algorithm) -> Vec<u8> {
    let der = match algorithm {
        Algorithm::Es256 => KEYS.p256.public_key().as_der(),
        Algorithm::Es384 => KEYS.p384.public_key().as_der(),
        Algorithm::EdDsa => KEYS.ed25519.public_key().as_der(),
        _ => KEYS.rsa.public_key().as_der(),
    };
    der.unwrap().as_ref().to_vec()
}

fn trusted(algorithm: Algorithm) -> VerificationKey {
    VerificationKey::from_spki(&spki(algorithm))
        .and_then(|key| key.with_algorithm(algorithm)?.called("trusted"))
        .unwrap()
}

/// The keys that count: P-256, and for RSA one algorithm of six.
fn keys() -> KeySet {
    [Algorithm::Es256, Algorithm::Rs256]
        .into_iter()
        .fold(KeySet::new(), |keys, algorithm| {
            keys.with(trusted(algorithm)).unwrap()
        })
}

fn sign(algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let ecdsa = |key: &EcdsaKeyPair| key.sign(&random, message).unwrap().as_ref().to_vec();
    let rsa = |padding: &'static dyn RsaEncoding| {
        let mut signature = vec![0; KEYS.rsa.public_modulus_len()];
        KEYS.rsa
            .sign(padding, &random, message, &mut signature)
            .unwrap();
        signature
    };
    match algorithm {
        Algorithm::Es256 => ecdsa(&KEYS.p256),
        Algorithm::Es384 => ecdsa(&KEYS.p384),
        Algorithm::EdDsa => KEYS.ed25519.sign(message).as_ref().to_vec(),
        Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_SHA256),
        Algorithm::Rs384 => rsa(&signature::RSA_PKCS1_SHA384),
        Algorithm::Rs512 => rsa(&signature::RSA_PKCS1_SHA512),
        Algorithm::Ps256 => rsa(&signature::RSA_PSS_SHA256),
        Algorithm::Ps384 => rsa(&signature::RSA_PSS_SHA384),
        Algorithm::Ps512 => rsa(&signature::RSA_PSS_SHA512),
        other => panic!("there is no key for {other}"),
    }
}

/// A token, signed by whatever `sign` does.
fn sealed(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(claims.as_bytes())
    );
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", encode(&signature))
}

/// A token, signed by the issuer.
fn token(header: &str, claims: &str) -> String {
    sealed(header, claims, |message| sign(Algorithm::Es256, message))
}

fn by_attacker(header: &str) -> String {
    sealed(header, CLAIMS, |message| {
        let signature = KEYS.attacker.sign(&SystemRandom::new(), message).unwrap();
        signature.as_ref().to_vec()
    })
}

fn profile() -> Profile {
    Profile::new("login", "registry")
}

fn seconds(time: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time)
}

fn check(token: &str) -> Result<Claims, Rejected> {
    verify(token, &keys(), &profile(), seconds(NOW))
}

/// The claims with one of them changed, written by hand because some are no JSON
/// that a writer would write. `None` leaves it out.
fn with_claim(name: &str, value: Option<&str>) -> String {
    let usual = [
        ("iss", "\"login\""),
        ("sub", "\"ann\""),
        ("aud", "\"registry\""),
        ("exp", "1790000300"),
        ("iat", "1790000000"),
    ];
    let others = usual
        .into_iter()
        .filter(|(usual, _)| *usual != name)
        .map(|(name, value)| format!("\"{name}\":{value}"));
    let changed = value.map(|value| format!("\"{name}\":{value}"));
    let members: Vec<_> = others.chain(changed).collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn a_good_token_is_accepted_with_every_algorithm_and_only_whole() {
    for algorithm in Algorithm::ALL {
        let keys = KeySet::new().with(trusted(algorithm)).unwrap();
        let header = format!(r#"{{"kid":"trusted","typ":"JWT","alg":"{algorithm}"}}"#);
        let good = sealed(&header, CLAIMS, |message| sign(algorithm, message));
        let check = |token: &str| verify(token, &keys, &profile(), seconds(NOW));

        let claims = check(&good).unwrap();
        assert_eq!(claims.key(), "trusted");
        assert_eq!(claims.issuer(), "login");
        assert_eq!(claims.subject(), Some("ann"));
        assert_eq!(claims.audiences(), ["registry"]);
        assert_eq!(claims.issued_at(), seconds(NOW));
        assert_eq!(claims.expires_at(), seconds(NOW + 300));

        let other = sealed(&header, &CLAIMS.replace("ann", "bob"), |_| {
            let signature = good.rsplit_once('.').unwrap().1;
            URL_SAFE_NO_PAD.decode(signature).unwrap()
        });
        assert_eq!(check(&other), Err(Rejected::Signature), "{algorithm}");
        for position in 0..good.len() {
            let mut changed = good.clone().into_bytes();
            changed[position] = if changed[position] == b'A' {
                b'B'
            } else {
                b'A'
            };
            let changed = String::from_utf8(changed).unwrap();
            assert!(check(&changed).is_err(), "{algorithm} {position}");
            assert!(check(&good[..position]).is_err(), "{algorithm} {position}");
        }
    }
}

#[test]
fn the_claims_that_have_no_name_here_are_kept() {
    let claims = r#"{"iss":"login","aud":["other","registry"],"exp":1790000300,"nbf":1790000000,
        "iat":1790000000,"jti":"a1","access":[{"type":"repository","name":"a/b","actions":["pull"]}]}"#;
    let claims = check(&token(HEADER, claims)).unwrap();
    assert_eq!(claims.subject(), None);
    assert_eq!(claims.id(), Some("a1"));
    assert_eq!(claims.not_before(), Some(seconds(NOW)));
    assert_eq!(claims.audiences(), ["other", "registry"]);
    let access = claims.get("access").and_then(|access| access.as_list());
    let entry = access.unwrap()[0].as_object().unwrap();
    assert_eq!(entry["name"].as_text(), Some("a/b"));
    let others: Vec<_> = claims.others().map(|(name, _)| name).collect();
    assert_eq!(others, ["access"]);
}

#[test]
fn s_40_a_token_never_brings_its_own_key() {
    let jwk = String::from_utf8(
        KeySet::new()
            .with(
                VerificationKey::from_spki(KEYS.attacker.public_key().as_der().unwrap().as_ref())
                    .and_then(|key| key.called("trusted"))
                    .unwrap(),
            )
            .unwrap()
            .to_document(),
    )
    .unwrap();
    let jwk = jwk
        .trim_start_matches(r#"{"keys":["#)
        .trim_end_matches("]}");
    let url = r#""https://attacker.example/keys""#;
    for (name, value) in [
        ("jwk", jwk),
        ("x5c", r#"["MIIB"]"#),
        ("jku", url),
        ("x5u", url),
        ("jwk", r#""text""#),
        ("x5c", r#""text""#),
    ] {
        for kid in [r#","kid":"trusted""#, ""] {
            let header = format!(r#"{{"alg":"ES256","typ":"JWT"{kid},"{name}":{value}}}"#);
            for token in [by_attacker(&header), token(&header, CLAIMS)] {
                for profile in [profile(), profile().workload()] {
                    let answer = verify(&token, &keys(), &profile, seconds(NOW));
                    assert!(matches!(answer, Err(Rejected::Header(_))), "{header}");
                }
            }
        }
    }
    assert_eq!(check(&by_attacker(HEADER)), Err(Rejected::Signature));
}

#[test]
fn s_41_a_claim_of_a_wrong_type_is_no_absent_claim() {
    let times = [
        r#""1790000100""#,
        "1790000100.0",
        "1790000100.5",
        "1.7900001e9",
        "-1",
        "-1790000100",
        "1e400",
        "-1e400",
        "9223372036854775808",
        "18446744073709551616",
        "null",
        "true",
        "[]",
        "[1790000100]",
        "{}",
        r#"{"$date":1790000100}"#,
    ];
    let names = [
        "1",
        "1.5",
        "1e400",
        "null",
        "true",
        "{}",
        "[]",
        r#"["login"]"#,
        r#""a\nb""#,
        r#""a\u0000b""#,
    ];
    let audiences = [
        "1",
        "1e400",
        "null",
        "true",
        "{}",
        "[]",
        r#"[["registry"]]"#,
        r#"["registry",1]"#,
        r#"["registry",null]"#,
        r#"{"registry":"registry"}"#,
    ];
    let wrong = [
        ("exp", &times[..]),
        ("iat", &times),
        ("nbf", &times),
        ("iss", &names),
        ("sub", &names),
        ("jti", &names),
        ("aud", &audiences),
    ];
    assert!(check(&token(HEADER, &with_claim("nbf", Some("1790000000")))).is_ok());
    for (name, values) in wrong {
        for value in values {
            let claims = with_claim(name, Some(value));
            let answer = check(&token(HEADER, &claims));
            // Without an audience, there is none that fits.
            let told = match answer {
                Err(Rejected::Claim(claim)) => claim == name,
                Err(Rejected::Malformed(_)) => value.contains("1e400"),
                Err(Rejected::Audience) => *value == "[]",
                _ => false,
            };
            assert!(told, "{claims}: {answer:?}");
        }
    }
    for name in ["iss", "aud", "exp", "iat"] {
        let claims = with_claim(name, None);
        assert_eq!(check(&token(HEADER, &claims)), Err(Rejected::Claim(name)));
    }
}

#[test]
fn s_41_a_claim_that_is_repeated_is_refused() {
    for claims in [
        r#"{"iss":"login","aud":"registry","exp":1790000300,"exp":1790000300,"iat":1790000000}"#,
        r#"{"iss":"login","iss":"login","aud":"registry","exp":1790000300,"iat":1790000000}"#,
        r#"{"iss":"login","\u0069ss":"login","aud":"registry","exp":1790000300,"iat":1790000000}"#,
        r#"{"iss":"login","aud":"registry","exp":1790000300,"iat":1790000000,"x":[{"a":1,"a":1}]}"#,
        r#"{"iss":"login","aud":"registry","exp":1790000300,"iat":1790000000} {}"#,
        r#"["iss","login"]"#,
        "",
    ] {
        let answer = check(&token(HEADER, claims));
        assert!(matches!(answer, Err(Rejected::Malformed(_))), "{claims}");
    }
    let deep = format!("{}{}", "[".repeat(8), "]".repeat(8));
    let answer = check(&token(HEADER, &with_claim("x", Some(&deep))));
    assert!(matches!(answer, Err(Rejected::Malformed(_))));
}

#[test]
fn s_42_the_key_says_which_algorithm_is_meant() {
    let header =
        |algorithm: &str| format!(r#"{{"alg":"{algorithm}","typ":"JWT","kid":"trusted"}}"#);

    for algorithm in [
        "none", "None", "NONE", "nOnE", "", "es256", "ES256K", "ES512", "HS256", "HS384", "HS512",
        "Ed25519", "RSA-OAEP", "dir",
    ] {
        for token in [
            token(&header(algorithm), CLAIMS),
            sealed(&header(algorithm), CLAIMS, |_| Vec::new()),
        ] {
            assert_eq!(check(&token), Err(Rejected::Algorithm), "{algorithm}");
        }
    }
    // Known ones that no key here is for.
    for algorithm in [
        "ES384", "EdDSA", "RS384", "RS512", "PS256", "PS384", "PS512",
    ] {
        let algorithm = Algorithm::named(algorithm).unwrap();
        let token = sealed(&header(algorithm.name()), CLAIMS, |message| {
            sign(algorithm, message)
        });
        let unknown = Rejected::UnknownKey(Some("trusted".into()));
        assert_eq!(check(&token), Err(unknown), "{algorithm}");
    }
    // RS256 with the key for ES256, and the other way round.
    for (named, used) in [
        (Algorithm::Rs256, Algorithm::Es256),
        (Algorithm::Es256, Algorithm::Rs256),
        (Algorithm::Rs256, Algorithm::Ps256),
        (Algorithm::Rs256, Algorithm::Rs512),
    ] {
        let token = sealed(&header(named.name()), CLAIMS, |message| sign(used, message));
        assert_eq!(check(&token), Err(Rejected::Signature), "{named} {used}");
    }
    // What the profile leaves out isn't taken, though there is a key.
    let narrow = profile().algorithms([Algorithm::Rs256]);
    let answer = verify(&token(HEADER, CLAIMS), &keys(), &narrow, seconds(NOW));
    assert_eq!(answer, Err(Rejected::Algorithm));
}

#[test]
fn s_42_a_public_key_is_no_secret() {
    let pem = |der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n").into_bytes()
    };
    for public in [Algorithm::Es256, Algorithm::Rs256] {
        let der = spki(public);
        let document = keys().to_document();
        let point = KEYS.p256.public_key().as_ref();
        for secret in [&der[..], &pem(&der), &document, point, b""] {
            for claimed in ["HS256", "ES256", "RS256"] {
                let header = format!(r#"{{"alg":"{claimed}","typ":"JWT","kid":"trusted"}}"#);
                let token = sealed(&header, CLAIMS, |message| {
                    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                    hmac::sign(&key, message).as_ref().to_vec()
                });
                let answer = check(&token);
                let told = matches!(answer, Err(Rejected::Algorithm | Rejected::Signature));
                assert!(told, "{answer:?}");
            }
        }
    }
}

#[test]
fn s_42_no_signature_is_no_signature() {
    let whole = token(HEADER, CLAIMS);
    let (signed, signature) = whole.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let zeros = vec![0; 64];
    let doubled = [&signature[..], &signature].concat();
    // The form that certificates use, where a token has the bare numbers.
    let (r, s) = signature.split_at(32);
    let asn1 = [&[0x30, 0x46, 0x02, 0x21, 0][..], r, &[0x02, 0x21, 0], s].concat();
    for signature in [&[][..], &[0], &zeros, &signature[..63], &doubled, &asn1] {
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(check(&token), Err(Rejected::Signature), "{signature:?}");
    }
}

#[test]
fn s_42_a_header_holds_nothing_else() {
    for member in [
        r#""crit":["exp"]"#,
        r#""crit":"exp""#,
        r#""crit":[]"#,
        r#""b64":false"#,
        r#""b64":"false""#,
        r#""zip":"DEF""#,
        r#""cty":"JWT""#,
        r#""enc":"A128GCM""#,
        r#""x5t":"AAAA""#,
        r#""x5t#S256":"AAAA""#,
        r#""Alg":"ES256""#,
        r#""alg":"ES256""#,
        r#""kid":"trusted""#,
        r#""typ":"JWT""#,
        r#""":"""#,
    ] {
        let header = HEADER.replace('}', &format!(",{member}}}"));
        let answer = check(&token(&header, CLAIMS));
        assert!(matches!(answer, Err(Rejected::Header(_))), "{header}");
    }
    for header in [
        "",
        "null",
        "[]",
        "\"ES256\"",
        "{}",
        r#"{"typ":"JWT","kid":"trusted"}"#,
        r#"{"alg":["ES256"],"typ":"JWT","kid":"trusted"}"#,
        r#"{"alg":null,"typ":"JWT","kid":"trusted"}"#,
        r#"{"alg":"ES256","typ":null,"kid":"trusted"}"#,
        r#"{"alg":"ES256","typ":"JWE","kid":"trusted"}"#,
        r#"{"alg":"ES256","typ":"","kid":"trusted"}"#,
        r#"{"alg":"ES256","kid":"trusted"}"#,
        r#"{"alg":"ES256","typ":"JWT","kid":null}"#,
        r#"{"alg":"ES256","typ":"JWT","kid":1}"#,
        r#"{"alg":"ES256","typ":"JWT","kid":"trusted"} "x""#,
    ] {
        let answer = check(&token(header, CLAIMS));
        assert!(matches!(answer, Err(Rejected::Header(_))), "{header}");
    }
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT"] {
        let header = format!(r#"{{"alg":"ES256","typ":"{typ}","kid":"trusted"}}"#);
        assert!(check(&token(&header, CLAIMS)).is_ok(), "{typ}");
    }
    let padded = format!(
        r#"{{"alg":"ES256","typ":"JWT","kid":"trusted"{}}}"#,
        " ".repeat(1 << 10)
    );
    assert!(matches!(
        check(&token(&padded, CLAIMS)),
        Err(Rejected::Header(_))
    ));
}

#[test]
fn s_42_a_workload_may_leave_out_the_type_and_name_a_certificate() {
    let workload = |header: &str| {
        let token = token(header, CLAIMS);
        verify(&token, &keys(), &profile().workload(), seconds(NOW))
    };
    for header in [
        HEADER,
        r#"{"alg":"ES256","kid":"trusted"}"#,
        r#"{"alg":"ES256","kid":"trusted","typ":"JWT","x5t":"AAAA"}"#,
        r#"{"alg":"ES256","kid":"trusted","typ":"JWT","x5t#S256":"AAAA"}"#,
    ] {
        assert!(workload(header).is_ok(), "{header}");
    }
    for header in [
        r#"{"alg":"ES256","kid":"trusted","crit":"exp"}"#,
        r#"{"alg":"ES256","kid":"trusted","typ":"JWE"}"#,
        r#"{"alg":"ES256","kid":"trusted","x5t":["AAAA"]}"#,
        r#"{"alg":"ES256","kid":"trusted","x5c":"AAAA"}"#,
    ] {
        assert!(
            matches!(workload(header), Err(Rejected::Header(_))),
            "{header}"
        );
    }
}

#[test]
fn s_42_the_name_of_a_key_is_only_compared() {
    let named = |kid: &str| {
        let kid = serde_json::to_string(kid).unwrap();
        check(&token(
            &format!(r#"{{"alg":"ES256","typ":"JWT","kid":{kid}}}"#),
            CLAIMS,
        ))
    };
    assert!(named("trusted").is_ok());
    for kid in [
        "../../dev/null",
        "/dev/null",
        "file:///dev/null",
        "https://attacker.example/key",
        "trusted/../trusted",
        "TRUSTED",
        "trusted'--",
        "*",
        &"k".repeat(128),
    ] {
        assert_eq!(named(kid), Err(Rejected::UnknownKey(Some(kid.into()))));
    }
    for kid in [
        "",
        "trusted ",
        "trusted\0",
        "trusted\n",
        "trusteD\u{301}",
        "tru\"sted",
        "tru\\sted",
        &"k".repeat(129),
        &"k".repeat(64 << 10),
    ] {
        let answer = named(kid);
        let told = matches!(answer, Err(Rejected::Header(_) | Rejected::Malformed(_)));
        assert!(told, "{kid:.20}: {answer:?}");
    }
}

#[test]
fn s_42_without_a_name_there_must_be_one_key_it_could_be() {
    let nameless = token(r#"{"alg":"ES256","typ":"JWT"}"#, CLAIMS);
    assert!(check(&nameless).is_ok());
    let attacker = KEYS.attacker.public_key().as_der().unwrap();
    let another = VerificationKey::from_spki(attacker.as_ref()).unwrap();
    let two = keys().with(another).unwrap();
    let answer = verify(&nameless, &two, &profile(), seconds(NOW));
    assert_eq!(answer, Err(Rejected::UnknownKey(None)));
    let none = verify(&nameless, &KeySet::new(), &profile(), seconds(NOW));
    assert_eq!(none, Err(Rejected::UnknownKey(None)));
}

#[test]
fn s_42_one_of_two_headers_is_never_chosen() {
    let good = format!("Bearer {}", token(HEADER, CLAIMS));
    let mut headers = HeaderMap::new();
    headers.append(AUTHORIZATION, good.parse().unwrap());
    assert!(Credentials::from_headers(&headers).is_ok());
    headers.append(AUTHORIZATION, good.parse().unwrap());
    assert!(Credentials::from_headers(&headers).is_err());
}

#[test]
fn s_44_thousands_of_dots_cost_nothing() {
    let keys = keys();
    for length in [1, 2, 3, TOKEN_MAX, TOKEN_MAX + 1, 64 << 10] {
        let dots = ".".repeat(length);
        let mut answer = None;
        let measured = allocation_counter::measure(|| {
            answer = Some(verify(&dots, &keys, &profile(), seconds(NOW)));
        });
        let answer = answer.unwrap();
        let told = matches!(answer, Err(Rejected::Malformed(_) | Rejected::Header(_)));
        assert!(told, "{answer:?}");
        assert!(measured.bytes_total < 4 << 10, "{length}: {measured:?}");

        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {dots}").parse().unwrap());
        let measured = allocation_counter::measure(|| {
            let _ = Credentials::from_headers(&headers);
        });
        assert!(measured.bytes_total < 64 << 10, "{length}: {measured:?}");
    }
}

#[test]
fn a_token_has_three_parts_each_written_in_one_way() {
    let good = token(HEADER, CLAIMS);
    let parts: Vec<_> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("{good}")
    };
    // The last digit of 64 bytes has four bits to spare.
    let spare = signature[..signature.len() - 1].to_owned();
    let last = signature.chars().last().unwrap();
    let twin = char::from(last as u8 + 1);
    for token in [
        String::new(),
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{signature}."),
        format!(".{header}.{payload}.{signature}"),
        format!("{header}..{payload}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}.{signature}"),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}=="),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{spare}{twin}"),
        format!("{header}.{payload}.+{}", &signature[1..]),
        format!("{header}.{payload}./{}", &signature[1..]),
        format!("ä{good}"),
    ] {
        let answer = check(&token);
        assert!(matches!(answer, Err(Rejected::Malformed(_))), "{token}");
    }
    let long = with_claim("x", Some(&format!("\"{}\"", "x".repeat(TOKEN_MAX))));
    let answer = check(&token(HEADER, &long));
    assert!(matches!(answer, Err(Rejected::Malformed(_))));
    let short = with_claim("x", Some(&format!("\"{}\"", "x".repeat(TOKEN_MAX / 2))));
    assert!(check(&token(HEADER, &short)).is_ok());
}

#[test]
fn a_token_and_its_header_may_be_as_long_as_it_is_said() {
    let padded = |length: usize| format!("{HEADER:length$}");
    assert!(check(&token(&padded(1024), CLAIMS)).is_ok());
    let answer = check(&token(&padded(1025), CLAIMS));
    assert!(matches!(answer, Err(Rejected::Header(_))), "{answer:?}");

    // Not every length can be had by claims alone.
    let lengths = (0..3).flat_map(|more| (0..4).map(move |rest| (more, rest)));
    let mut seen = Vec::new();
    for (more, rest) in lengths {
        let header = padded(HEADER.len() + more);
        let claims = |length| format!("{CLAIMS:length$}");
        let base = token(&header, &claims(12_000)).len();
        let longest = token(&header, &claims(12_000 + (TOKEN_MAX - base) * 3 / 4 + rest));
        seen.push(longest.len());
        match longest.len() {
            0..=TOKEN_MAX => drop(check(&longest).unwrap()),
            _ => assert!(matches!(check(&longest), Err(Rejected::Malformed(_)))),
        }
    }
    assert!(
        seen.contains(&TOKEN_MAX) && seen.contains(&(TOKEN_MAX + 1)),
        "{seen:?}"
    );
}

#[test]
fn the_log_says_why_a_token_was_refused_and_shows_nothing_of_it() {
    for (rejected, said) in [
        (Rejected::Malformed("it is short"), "it is short"),
        (Rejected::Header("there is no alg"), "there is no alg"),
        (Rejected::Algorithm, "algorithm"),
        (
            Rejected::UnknownKey(Some("first".to_owned())),
            "the key first",
        ),
        (Rejected::UnknownKey(None), "names no key"),
        (Rejected::Signature, "signature"),
        (Rejected::Claim("aud"), "aud"),
        (Rejected::Issuer, "issuer"),
        (Rejected::Audience, "audience"),
        (Rejected::Lifetime, "longer"),
        (Rejected::TooEarly, "yet"),
        (Rejected::Expired, "expired"),
    ] {
        let shown = rejected.to_string();
        assert!(shown.contains(said), "{shown}");
    }
    let header = HEADER.replace("trusted", "../secret key");
    let refused = check(&token(&header, CLAIMS)).unwrap_err().to_string();
    assert!(
        refused.contains("the kid") && !refused.contains("secret"),
        "{refused}"
    );
}

#[test]
fn nothing_of_the_claims_is_read_before_the_signature_is_right() {
    for claims in ["", "{", r#"{"exp":1}"#, &with_claim("aud", Some("1"))] {
        let forged = sealed(HEADER, claims, |_| vec![1; 64]);
        assert_eq!(check(&forged), Err(Rejected::Signature), "{claims}");
    }
}

#[test]
fn a_token_is_for_one_registry_by_one_issuer() {
    for (claim, value, wanted) in [
        ("iss", r#""Login""#, Rejected::Issuer),
        ("iss", r#""login/""#, Rejected::Issuer),
        ("iss", r#""""#, Rejected::Issuer),
        ("aud", r#""Registry""#, Rejected::Audience),
        ("aud", r#""registry.example.com""#, Rejected::Audience),
        ("aud", r#""other registry""#, Rejected::Audience),
        ("aud", r#"["other"]"#, Rejected::Audience),
        ("aud", r#"["reg","istry"]"#, Rejected::Audience),
        ("aud", r#""""#, Rejected::Audience),
    ] {
        let claims = with_claim(claim, Some(value));
        assert_eq!(check(&token(HEADER, &claims)), Err(wanted), "{claims}");
    }
    // What wasn't configured fits nothing, not even itself.
    let issuerless = token(HEADER, &with_claim("iss", Some(r#""""#)));
    let profile = Profile::new("", "registry");
    let answer = verify(&issuerless, &keys(), &profile, seconds(NOW));
    assert_eq!(answer, Err(Rejected::Issuer));
    let for_nobody = token(HEADER, &with_claim("aud", Some(r#""""#)));
    let profile = Profile::new("login", "");
    let answer = verify(&for_nobody, &keys(), &profile, seconds(NOW));
    assert_eq!(answer, Err(Rejected::Audience));
}

#[test]
fn a_token_is_good_from_when_it_begins_to_when_it_ends() {
    let good = token(HEADER, &with_claim("nbf", Some("1790000100")));
    let at = |time: SystemTime| verify(&good, &keys(), &profile(), time);
    let (begin, end) = (seconds(NOW + 100), seconds(NOW + 300));
    let (minute, moment) = (Duration::from_mins(1), Duration::from_nanos(1));
    assert_eq!(at(begin - minute - moment), Err(Rejected::TooEarly));
    assert!(at(begin - minute).is_ok());
    assert!(at(end + minute).is_ok());
    assert_eq!(at(end + minute + moment), Err(Rejected::Expired));
    assert_eq!(at(UNIX_EPOCH), Err(Rejected::TooEarly));
    assert_eq!(at(UNIX_EPOCH - minute), Err(Rejected::TooEarly));

    // Without nbf, it can't be older than its issue.
    let plain = token(HEADER, CLAIMS);
    let at = |time| verify(&plain, &keys(), &profile(), time);
    assert_eq!(at(seconds(NOW) - minute - moment), Err(Rejected::TooEarly));
    let claims = at(seconds(NOW) - minute).unwrap();

    // Whoever remembers the claims asks for the time alone.
    let strict = profile().grace(Duration::from_secs(5));
    let (last, late) = (end + Duration::from_secs(5), end + Duration::from_secs(6));
    assert_eq!(claims.check_times(&strict, last), Ok(()));
    assert_eq!(claims.check_times(&strict, late), Err(Rejected::Expired));
    let answer = verify(&plain, &keys(), &strict, late);
    assert_eq!(answer, Err(Rejected::Expired));
}

#[test]
fn a_token_does_not_live_longer_than_is_accepted() {
    let living = |exp: u64, profile: &Profile| {
        let claims = with_claim("exp", Some(&exp.to_string()));
        verify(&token(HEADER, &claims), &keys(), profile, seconds(NOW))
    };
    let hour = 60 * 60;
    for (longest, profile) in [(hour, profile()), (24 * hour, profile().workload())] {
        assert!(living(NOW + longest, &profile).is_ok());
        let long = living(NOW + longest + 1, &profile);
        assert_eq!(long, Err(Rejected::Lifetime));
    }
    let short = profile().longest(Duration::from_mins(5));
    assert!(living(NOW + 300, &short).is_ok());
    assert_eq!(living(NOW + 301, &short), Err(Rejected::Lifetime));
    let longest = living(i64::MAX.unsigned_abs(), &profile());
    assert_eq!(longest, Err(Rejected::Lifetime));
    for ended in [NOW, NOW - 1, 0] {
        assert_eq!(living(ended, &profile()), Err(Rejected::Lifetime));
    }
}

#[test]
fn a_reason_shows_nothing_of_the_token() {
    let secret = "canary";
    let claims = with_claim("aud", Some(&format!("\"{secret}\"")));
    for token in [
        token(HEADER, &claims),
        token(HEADER, &with_claim("exp", Some(&format!("\"{secret}\"")))),
        token(&HEADER.replace("JWT", secret), CLAIMS),
        token(&HEADER.replace("ES256", secret), CLAIMS),
        secret.to_owned(),
    ] {
        let rejected = check(&token).unwrap_err();
        let shown = format!("{rejected} {rejected:?}");
        let signature = token.rsplit('.').next().unwrap();
        assert!(
            !shown.contains(secret) && !shown.contains(signature),
            "{shown}"
        );
    }
}
