//! Files of secrets and rules that others than their owner may read or change.

use std::fs;
use std::path::Path;

use registry_examples::configuration::{
    CertificateSource, Configuration, Origin, Problem, Said, Storage,
};

use crate::setup;

/// The most keys that sign tokens of which it is told.
const KEYS_MAX: usize = 64;

/// What a configuration names and others may read or change, with where it names
/// that.
///
/// As when the server reads them, a group may be meant: it is how several programs
/// share a secret.
pub(crate) fn shown_to_others(configuration: &Configuration) -> Vec<Problem> {
    let auth = &configuration.auth;
    let tls = configuration.http.tls.as_ref();
    let tls = tls.and_then(|tls| match &tls.certificate {
        CertificateSource::Files { key, .. } => Some(key),
        CertificateSource::LetsEncrypt(_) => None,
    });
    let searcher = auth.directory.as_ref().and_then(|of| of.searcher.as_ref());
    let webhook = auth.webhook.as_ref().and_then(|of| of.secret_file.as_ref());
    let named = [
        (
            "the password file",
            auth.password_file.as_ref().map(|of| &of.path),
        ),
        (
            "the password of who searches",
            searcher.map(|(_, file)| file),
        ),
        ("the secret of the webhook", webhook),
        ("the key of the certificate", tls),
    ];
    let named = named.into_iter().filter_map(|(what, file)| {
        let Said { value, origin } = file?;
        others_may(READ | WRITE, value).then(|| origin.problem(sentence(what, value)))
    });
    named
        .chain(signing_keys(configuration))
        .chain(rules(configuration))
        .collect()
}

/// The rules are no secret, but whoever writes them may do anything.
fn rules(configuration: &Configuration) -> Option<Problem> {
    let Said { value, origin } = configuration.auth.policy_file.as_ref()?;
    others_may(WRITE, value).then(|| {
        origin.problem(format!(
            "others may change the rules; let nobody but their owner do so (`chmod o-w {}`)",
            value.display()
        ))
    })
}

/// The keys that sign tokens. Where the configuration doesn't name their directory, it
/// is below the data.
fn signing_keys(configuration: &Configuration) -> Vec<Problem> {
    let Some(tokens) = &configuration.auth.tokens else {
        return Vec::new();
    };
    let directory = match (&tokens.keys, &configuration.storage) {
        (Some(keys), _) => keys.value.clone(),
        (None, Storage::Filesystem(root)) => root.join(setup::TOKEN_KEYS),
        (None, Storage::Memory) => return Vec::new(),
    };
    let files = fs::read_dir(&directory).into_iter().flatten().flatten();
    files
        .take(KEYS_MAX)
        .map(|file| file.path())
        .filter(|file| file.is_file() && others_may(READ | WRITE, file))
        .map(|file| {
            let origin = Origin::File(file.display().to_string().into());
            origin.problem(sentence("this key, which signs tokens", &file))
        })
        .collect()
}

fn sentence(what: &str, file: &Path) -> String {
    format!(
        "others may read or change {what}; let nobody but its owner do so (`chmod 600 {file}`)",
        file = file.display()
    )
}

const READ: u32 = 0o004;
const WRITE: u32 = 0o002;

/// Whether others than the owner and the group may do any of this.
#[cfg(unix)]
fn others_may(rights: u32, file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    // What isn't there is told otherwise.
    fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & rights != 0)
}

#[cfg(not(unix))]
fn others_may(_: u32, _: &Path) -> bool {
    false
}
