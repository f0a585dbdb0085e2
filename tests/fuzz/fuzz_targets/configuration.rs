//! A configuration file, a line of `%%`, and variables of the environment, one
//! in each line. Without the line of `%%` there are no variables; if it is the
//! first, there is no file.

#![no_main]

#[path = "../../../examples/src"]
#[allow(dead_code, unused_imports, reason = "the server has more use for it")]
mod server {
    pub(crate) mod configuration;
}

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use server::configuration::{
    CertificateSource, Changes, Configuration, LogFormat, Origin, Problem, Sources, Storage, Text,
    understand,
};

const NAME: &str = "config.yml";

type Variables = Vec<(OsString, OsString)>;

fn split(input: &[u8]) -> (Option<&[u8]>, Variables) {
    const MARK: &[u8] = b"%%\n";
    let mark = if input.starts_with(MARK) {
        Some(0)
    } else {
        let inner = input.windows(4).position(|window| window == b"\n%%\n");
        inner.map(|place| place + 1)
    };
    let Some(mark) = mark else {
        return (Some(input), Vec::new());
    };
    let variables = input[mark + MARK.len()..].split(|byte| *byte == b'\n');
    let variables = variables.filter_map(|line| {
        let equals = line.iter().position(|byte| *byte == b'=')?;
        let [name, value] = [&line[..equals], &line[equals + 1..]];
        // What no environment can hold.
        let possible = !name.is_empty() && !line.contains(&0);
        possible.then(|| {
            [name, value]
                .map(|part| OsString::from_vec(part.to_owned()))
                .into()
        })
    });
    ((mark > 0).then_some(&input[..mark]), variables.collect())
}

fn read(file: Option<&[u8]>, variables: Variables) -> Result<Configuration, Vec<Problem>> {
    let text = file.map(|content| Text {
        name: NAME.into(),
        content: content.to_owned(),
    });
    let sources = Sources {
        variables,
        ..Sources::default()
    };
    understand(text, sources)
}

/// A problem leads to where it can be mended.
fn check(problem: &Problem, file: Option<&[u8]>, variables: &Variables) {
    assert!(!problem.message.is_empty());
    match &problem.origin {
        Origin::Line { file: name, line } => {
            assert_eq!(&**name, NAME);
            let text = std::str::from_utf8(file.unwrap()).unwrap();
            // YAML has more line ends than one.
            let lines = text
                .replace("\r\n", "\n")
                .replace('\r', "\n")
                .lines()
                .count();
            assert!((1..=lines.max(1)).contains(line), "{problem}");
        }
        Origin::File(name) => assert_eq!(&**name, NAME),
        Origin::Variable(name) => {
            let known = variables.iter().any(|(other, _)| **name == **other);
            assert!(known, "{problem}");
        }
        Origin::Flag(_) => panic!("{problem}"),
    }
}

/// Text in quotation marks.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// The same time in two parts, since the language has no exact numbers.
fn time(duration: Duration) -> String {
    format!("{}s{}ns", duration.as_secs(), duration.subsec_nanos())
}

/// A file that says all of a configuration. Nothing, if it holds what can't be
/// said exactly.
fn write(configuration: &Configuration) -> Option<String> {
    let Configuration { log, http, .. } = configuration;
    let mut text = String::new();
    let mut say = |line: String| writeln!(text, "{line}").unwrap();
    let mut exact = true;
    let mut time = |duration: Duration| {
        exact &= duration.as_secs() < 1 << 40;
        time(duration)
    };

    say("version: 0.1".to_owned());
    say(format!(
        "log:\n  level: {}",
        log.level.to_string().to_lowercase()
    ));
    let format = match log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
        LogFormat::Logstash => "logstash",
    };
    say(format!(
        "  formatter: {format}\n  accesslog: {{disabled: {}}}",
        !log.access
    ));
    say("  fields:".to_owned());
    for (name, value) in &log.fields {
        say(format!("    ? {}\n    : {}", quoted(name), quoted(value)));
    }

    say("storage:".to_owned());
    match &configuration.storage {
        Storage::Memory => say("  inmemory:".to_owned()),
        Storage::Filesystem(root) => say(format!(
            "  filesystem: {{rootdirectory: {}, maxthreads: {}}}",
            quoted(root.to_str().unwrap()),
            configuration.blocking_threads
        )),
    }
    let changes = configuration.changes;
    say(format!(
        "  delete: {{enabled: {}}}",
        changes == Changes::All
    ));
    say(format!(
        "  maintenance:\n    readonly: {{enabled: {}}}",
        changes == Changes::None
    ));
    match configuration.upload_expiry {
        Some(expiry) => say(format!(
            "    uploadpurging: {{enabled: true, age: {}, interval: {}}}",
            time(expiry.idle),
            time(expiry.interval)
        )),
        None => say("    uploadpurging: {enabled: false}".to_owned()),
    }
    say(format!(
        "validation: {{manifests: {{sparse: {}, exactsizes: {}}}}}",
        configuration.engine.sparse_manifests, configuration.engine.exact_sizes
    ));
    say(format!(
        "health: {{storagedriver: {{enabled: {}}}}}",
        configuration.storage_health
    ));
    if let Some(file) = &configuration.auth.password_file {
        say(format!(
            "auth: {{htpasswd: {{realm: {}, path: {}}}}}",
            quoted(&file.realm.value),
            quoted(file.path.value.to_str().unwrap())
        ));
    }
    if let Some(most) = http.max_catalog {
        say(format!("catalog: {{maxentries: {most}}}"));
    }

    say(format!(
        "http:\n  addr: {}",
        quoted(&http.address.value.to_string())
    ));
    say(format!("  prefix: {}", quoted(&http.prefix)));
    if let Some(host) = &http.host {
        say(format!("  host: {}", quoted(&host.value)));
    }
    say(format!("  http2: {{disabled: {}}}", !http.http2));
    say("  h2c: {enabled: true}".to_owned());
    let limits = &http.limits;
    let limits = [
        ("uploads", limits.uploads.map(|most| most as u64)),
        ("downloads", limits.downloads.map(|most| most as u64)),
        ("requests", limits.requests.map(|most| most as u64)),
        ("addressshare", limits.address_share.map(u64::from)),
        ("connections", limits.connections.map(|most| most as u64)),
        (
            "addressconnections",
            limits.address_connections.map(|most| most as u64),
        ),
        ("blobbytes", limits.blob_bytes),
        (
            "manifestbytes",
            limits.manifest_bytes.map(|most| most as u64),
        ),
    ];
    let limits = limits
        .iter()
        .filter_map(|(name, most)| Some(format!("{name}: {}", (*most)?)));
    let limits: Vec<_> = limits.collect();
    say(format!("  limits: {{{}}}", limits.join(", ")));
    if let Some(drain) = http.drain {
        say(format!("  draintimeout: {}", time(drain)));
    }
    if let Some(tls) = &http.tls {
        let minimum = if tls.newest_only {
            ", minimumtls: tls1.3"
        } else {
            ""
        };
        let source = match &tls.certificate {
            CertificateSource::Files { certificate, key } => format!(
                "certificate: {}, key: {}",
                quoted(certificate.value.to_str().unwrap()),
                quoted(key.value.to_str().unwrap())
            ),
            CertificateSource::LetsEncrypt(server) => {
                let hosts: Vec<_> = server.hosts.iter().map(|host| quoted(host)).collect();
                let mut keys = vec![
                    format!(
                        "cachefile: {}",
                        quoted(server.cache.value.to_str().unwrap())
                    ),
                    format!("hosts: [{}]", hosts.join(", ")),
                ];
                let email = server.email.iter().map(|email| ("email", email));
                let directory = server.directory.iter().map(|url| ("directoryurl", url));
                for (name, value) in email.chain(directory) {
                    keys.push(format!("{name}: {}", quoted(value)));
                }
                format!("letsencrypt: {{{}}}", keys.join(", "))
            }
        };
        say(format!("  tls: {{{source}{minimum}}}"));
    }
    say("  headers:".to_owned());
    let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in http.headers.iter().map(|header| &header.value) {
        let values = headers.entry(name.as_str()).or_default();
        // What isn't ASCII stays as it is.
        values.push(quoted(std::str::from_utf8(value.as_bytes()).unwrap()));
    }
    for (name, values) in headers {
        say(format!(
            "    ? {}\n    : [{}]",
            quoted(name),
            values.join(", ")
        ));
    }
    if let Some(debug) = &configuration.debug {
        say(format!(
            "  debug:\n    addr: {}",
            quoted(&debug.address.to_string())
        ));
        let path = debug.metrics.as_deref().map(quoted);
        say(match path {
            Some(path) => format!("    prometheus: {{enabled: true, path: {path}}}"),
            None => "    prometheus: {enabled: false}".to_owned(),
        });
    }
    exact.then_some(text)
}

fuzz_target!(|input: &[u8]| {
    let (file, variables) = split(input);
    match read(file, variables.clone()) {
        Ok(configuration) => {
            configuration
                .notes
                .iter()
                .for_each(|note| check(note, file, &variables));
            // What was understood can be written out, and means the same.
            let Some(written) = write(&configuration) else {
                return;
            };
            let again = read(Some(written.as_bytes()), Vec::new());
            let again = again.unwrap_or_else(|problems| panic!("{problems:?}\n{written}"));
            assert_eq!(write(&again).as_deref(), Some(&*written));
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            problems
                .iter()
                .for_each(|problem| check(problem, file, &variables));
        }
    }
});
