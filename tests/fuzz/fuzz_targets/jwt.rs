//! A token as it is sent; a header, and the claims from the second line on,
//! which are signed here; or a key set.

#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use registry_auth::jwt::{Claims, KeySet, Profile, Rejected, VerificationKey, verify};
use serde_json::Value;

const NOW: u64 = 1_790_000_000;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());

static KEYS: LazyLock<KeySet> = LazyLock::new(|| key_set(&KEY));

/// Of a key that signs nothing here.
static STRANGERS: LazyLock<KeySet> =
    LazyLock::new(|| key_set(&Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap()));

fn key_set(key: &Ed25519KeyPair) -> KeySet {
    let der = key.public_key().as_der().unwrap();
    let key = VerificationKey::from_spki(der.as_ref()).unwrap();
    KeySet::new().with(key.called("fuzz").unwrap()).unwrap()
}

fn check(token: &str, keys: &KeySet) -> Result<Claims, Rejected> {
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    verify(token, keys, &Profile::new("login", "registry"), now)
}

fn sign(header: &str, claims: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = KEY.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn header_is_right(header: &Value) -> bool {
    let Value::Object(members) = header else {
        return false;
    };
    let typ = members.get("typ").and_then(Value::as_str).unwrap_or("");
    members
        .keys()
        .all(|name| ["alg", "typ", "kid"].contains(&&**name))
        && header["alg"] == "EdDSA"
        && ["jwt", "at+jwt"].contains(&&*typ.to_ascii_lowercase())
        && members.get("kid").is_none_or(|kid| kid == "fuzz")
}

fn claims_are_right(claims: &Value) -> bool {
    let time = |name: &str| {
        let time = claims[name].as_i64()?;
        u64::try_from(time).ok()
    };
    let (Some(exp), Some(iat)) = (time("exp"), time("iat")) else {
        return false;
    };
    let missing = |name: &str| claims.get(name).is_none();
    let name = |name: &str| {
        let text = claims[name].as_str();
        text.is_some_and(|text| !text.contains(char::is_control))
    };
    let audience = match &claims["aud"] {
        Value::Array(names) => {
            names.iter().all(Value::is_string) && names.iter().any(|name| name == "registry")
        }
        name => name == "registry",
    };
    claims["iss"] == "login"
        && audience
        && (missing("sub") || name("sub"))
        && (missing("jti") || name("jti"))
        && exp > iat
        && exp - iat <= HOUR
        && iat <= NOW + MINUTE
        && exp + MINUTE >= NOW
        && (missing("nbf") || time("nbf").is_some_and(|nbf| nbf <= NOW + MINUTE))
}

fuzz_target!(|input: &[u8]| {
    if let Ok(keys) = KeySet::parse_jwks(input) {
        let written = keys.to_document();
        let again = KeySet::parse_jwks(&written).unwrap();
        assert_eq!(again.to_document(), written);
        assert_eq!(again.len(), keys.len());
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    assert!(check(text, &STRANGERS).is_err());

    let (header, claims) = text.split_once('\n').unwrap_or((text, ""));
    let token = sign(header, claims);
    assert!(check(&token, &STRANGERS).is_err());
    let answer = check(&token, &KEYS);
    let parsed = (
        serde_json::from_str::<Value>(header),
        serde_json::from_str::<Value>(claims),
    );
    let right = match &parsed {
        (Ok(header), Ok(claims)) => header_is_right(header) && claims_are_right(claims),
        _ => false,
    };
    if let Ok(accepted) = &answer {
        assert!(right, "{text}");
        for (name, value) in accepted.others() {
            assert_eq!(value.as_text(), parsed.1.as_ref().unwrap()[name].as_str());
        }
    }
    // Written anew, nothing is repeated, and only the size can be against it.
    if let (true, (Ok(header), Ok(claims))) = (right, parsed) {
        let token = sign(&header.to_string(), &claims.to_string());
        let fits = depth(&claims) <= 8 && token.len() <= 16 << 10;
        assert_eq!(check(&token, &KEYS).is_ok(), fits, "{text}");
    }
});
