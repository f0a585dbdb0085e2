//! Values of `WWW-Authenticate`, one in each line, from a registry that is
//! asked. The lines also serve as realm, service and scope of a challenge.

#![no_main]

#[path = "../../../registry-http/src/client/challenge.rs"]
mod challenge;

use challenge::Challenge;
use libfuzzer_sys::fuzz_target;

fn challenge<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    Challenge::strongest(values.into_iter())
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn write(challenge: &Challenge) -> String {
    match challenge {
        Challenge::Bearer {
            realm,
            service,
            scope,
        } => {
            let mut text = format!("Bearer realm={}", quoted(realm));
            for (name, value) in [("service", service), ("scope", scope)] {
                if let Some(value) = value {
                    text.push_str(&format!(",{name}={}", quoted(value)));
                }
            }
            text
        }
        Challenge::Basic => "Basic realm=\"r\"".to_owned(),
    }
}

fuzz_target!(|text: &str| {
    // What a header can hold, and is handed on.
    if text
        .bytes()
        .any(|byte| !matches!(byte, b'\n' | b'\t' | b' '..=b'~'))
    {
        return;
    }
    if let Some(found) = challenge(text.lines()) {
        let written = write(&found);
        assert_eq!(challenge([&*written]).as_ref(), Some(&found), "{written}");
    }

    let mut lines = text.lines();
    let sent = Challenge::Bearer {
        realm: lines.next().unwrap_or_default().to_owned(),
        service: lines.next().map(str::to_owned),
        scope: lines.next().map(str::to_owned),
    };
    let written = write(&sent);
    let basic = format!(
        "Basic realm={}",
        quoted(text.lines().last().unwrap_or_default())
    );
    let together = format!("{basic}, {written}, Negotiate YQ==");
    for values in [
        &[&*written][..],
        &[&*together],
        &[&*basic, &*written],
        &[&*written, &*basic],
    ] {
        assert_eq!(
            challenge(values.iter().copied()).as_ref(),
            Some(&sent),
            "{values:?}"
        );
    }
    assert_eq!(challenge([&*basic]), Some(Challenge::Basic));
});
