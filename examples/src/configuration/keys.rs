//! Every key of a Docker registry's configuration file, and what becomes of it
//! here; with a few of our own.

#[cfg(test)]
mod enforced;
mod lookup;
#[cfg(test)]
mod own;

pub(crate) use self::lookup::{advice, elsewhere, find, find_in, is_near, join, lacks_name};

/// What a key's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// More keys.
    Section,
    /// Names of the operator's own, each with more keys: those below `*`.
    NamesOfSections,
    /// Any text.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Number,
    /// A whole number from the first to the last of these.
    Between(u64, u64),
    /// A time such as `1h30m`.
    Duration,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// How important a message has to be, in capitals or not.
    Level,
    /// Texts.
    Texts,
    /// Names of the operator's own, each with a text.
    Names,
    /// Names of the operator's own, each with texts.
    NamesOfLists,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    Yes,
    /// It changes nothing, for this reason.
    NoEffect(&'static str),
    /// Nothing yet: it is an error, with everything below.
    Not,
}

/// A key of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// The names on the way to it, separated by dots; `*` is any name.
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    pub(crate) support: Support,
}

/// More threads than the last never make a disk faster, and each takes memory.
const THREADS: Kind = Kind::Between(2, 4096);

/// Things in progress at once.
const PLACES: Kind = Kind::Between(1, 1_000_000);

/// Clients read 4 MiB. Each that is pushed takes memory, and is kept in it.
const MANIFEST_BYTES: Kind = Kind::Between(1 << 10, 16 << 20);

/// Wrong passwords.
const GUESSES: Kind = Kind::Between(1, 1_000_000);

/// Requests a second.
const RATE: Kind = Kind::Between(1, 1_000_000);

pub(crate) const LEVELS: &[&str] = &[
    "panic", "fatal", "error", "warn", "warning", "info", "debug", "trace",
];

const fn yes(path: &'static str, kind: Kind) -> Key {
    Key {
        path,
        kind,
        support: Support::Yes,
    }
}

const fn no_effect(path: &'static str, kind: Kind, why: &'static str) -> Key {
    Key {
        path,
        kind,
        support: Support::NoEffect(why),
    }
}

const fn not(path: &'static str) -> Key {
    Key {
        path,
        kind: Kind::Section,
        support: Support::Not,
    }
}

const OWN_CACHE: &str = "manifests are always cached in memory";

/// The Docker registry's words for whether clients need a certificate.
const CLIENT_AUTH: Kind = Kind::Choice(&["require-and-verify-client-cert", CERTIFICATE_IF_GIVEN]);
pub(crate) const CERTIFICATE_IF_GIVEN: &str = "verify-client-cert-if-given";

/// All keys, each behind the section that it is in.
pub(crate) const KEYS: &[Key] = &[
    yes("version", Kind::Choice(&["0.1"])),
    yes("loglevel", Kind::Level),
    yes("log", Kind::Section),
    yes("log.level", Kind::Level),
    yes("log.formatter", Kind::Choice(&["text", "json", "logstash"])),
    yes("log.fields", Kind::Names),
    yes("log.accesslog", Kind::Section),
    yes("log.accesslog.disabled", Kind::Flag),
    no_effect(
        "log.reportcaller",
        Kind::Flag,
        "messages name the part of the program that they come from",
    ),
    not("log.hooks"),
    yes("storage", Kind::Section),
    yes("storage.filesystem", Kind::Section),
    yes("storage.filesystem.rootdirectory", Kind::Text),
    yes("storage.filesystem.maxthreads", THREADS),
    yes("storage.inmemory", Kind::Section),
    not("storage.s3"),
    not("storage.gcs"),
    not("storage.azure"),
    not("storage.swift"),
    not("storage.oss"),
    yes("storage.delete", Kind::Section),
    yes("storage.delete.enabled", Kind::Flag),
    yes("storage.maintenance", Kind::Section),
    yes("storage.maintenance.readonly", Kind::Section),
    yes("storage.maintenance.readonly.enabled", Kind::Flag),
    yes("storage.maintenance.uploadpurging", Kind::Section),
    yes("storage.maintenance.uploadpurging.enabled", Kind::Flag),
    yes("storage.maintenance.uploadpurging.age", Kind::Duration),
    yes("storage.maintenance.uploadpurging.interval", Kind::Duration),
    yes("storage.maintenance.uploadpurging.dryrun", Kind::Flag),
    // Ours: whether what is pulled is compared with its digest.
    yes("storage.verifyreads", Kind::Flag),
    yes("storage.cache", Kind::Section),
    no_effect(
        "storage.cache.blobdescriptor",
        Kind::Choice(&["inmemory"]),
        OWN_CACHE,
    ),
    no_effect("storage.cache.blobdescriptorsize", Kind::Number, OWN_CACHE),
    no_effect(
        "storage.cache.layerinfo",
        Kind::Choice(&["inmemory"]),
        OWN_CACHE,
    ),
    yes("storage.redirect", Kind::Section),
    no_effect(
        "storage.redirect.disable",
        Kind::Flag,
        "blobs are always served from here",
    ),
    yes("storage.tag", Kind::Section),
    no_effect(
        "storage.tag.concurrencylimit",
        Kind::Number,
        "looking up a tag takes one step, however many there are",
    ),
    yes("auth", Kind::Section),
    yes("auth.htpasswd", Kind::Section),
    yes("auth.htpasswd.realm", Kind::Text),
    yes("auth.htpasswd.path", Kind::Text),
    yes("auth.none", Kind::Section),
    // Ours: what a client's certificate calls its holder.
    yes("auth.certificate", Kind::Section),
    yes(
        "auth.certificate.name",
        Kind::Choice(&["cn", "email", "dns", "spiffe"]),
    ),
    // Ours, beside any way to log in: what everybody may do, and tokens.
    yes("auth.policy", Kind::Section),
    yes("auth.policy.path", Kind::Text),
    yes("auth.tokenserver", Kind::Section),
    yes("auth.tokenserver.enabled", Kind::Flag),
    yes("auth.tokenserver.realm", Kind::Text),
    yes("auth.tokenserver.service", Kind::Text),
    yes("auth.tokenserver.issuer", Kind::Text),
    yes("auth.tokenserver.lifetime", Kind::Duration),
    yes("auth.tokenserver.refreshlifetime", Kind::Duration),
    yes("auth.tokenserver.keys", Kind::Text),
    yes(
        "auth.tokenserver.algorithm",
        Kind::Choice(&["es256", "eddsa"]),
    ),
    yes("auth.keys", Kind::Section),
    yes("auth.keys.enabled", Kind::Flag),
    // Ours: the users of a directory.
    yes("auth.ldap", Kind::Section),
    yes("auth.ldap.url", Kind::Text),
    yes("auth.ldap.starttls", Kind::Flag),
    yes("auth.ldap.rootcertbundle", Kind::Text),
    yes("auth.ldap.binddn", Kind::Text),
    yes("auth.ldap.bindpasswordfile", Kind::Text),
    yes("auth.ldap.base", Kind::Text),
    yes("auth.ldap.filter", Kind::Text),
    yes("auth.ldap.nameattribute", Kind::Text),
    yes("auth.ldap.groupbase", Kind::Text),
    yes("auth.ldap.groupfilter", Kind::Text),
    yes("auth.ldap.groupattribute", Kind::Text),
    // Ours: systems that vouch for the programs which they run.
    yes("auth.oidc", Kind::NamesOfSections),
    yes("auth.oidc.*", Kind::Section),
    yes("auth.oidc.*.issuer", Kind::Text),
    yes("auth.oidc.*.audience", Kind::Text),
    yes("auth.oidc.*.jwks", Kind::Text),
    // Ours: a service that has a say in each decision.
    yes("auth.webhook", Kind::Section),
    yes("auth.webhook.url", Kind::Text),
    yes("auth.webhook.secretfile", Kind::Text),
    yes("auth.webhook.timeout", Kind::Duration),
    yes("auth.webhook.remember", Kind::Duration),
    yes("auth.limits", Kind::Section),
    yes("auth.limits.peraddress", RATE),
    yes("auth.limits.peridentity", RATE),
    yes("auth.limits.burst", RATE),
    yes("auth.limits.wrongpasswords", GUESSES),
    yes("auth.limits.wrongperaddress", GUESSES),
    yes("auth.limits.wrongpername", GUESSES),
    yes("auth.limits.longestwait", Kind::Duration),
    yes("auth.token", Kind::Section),
    yes("auth.token.realm", Kind::Text),
    yes("auth.token.service", Kind::Text),
    yes("auth.token.issuer", Kind::Text),
    yes("auth.token.rootcertbundle", Kind::Text),
    yes("auth.token.jwks", Kind::Text),
    yes("auth.token.signingalgorithms", Kind::Texts),
    yes("auth.token.autoredirect", Kind::Flag),
    yes("auth.token.autoredirectpath", Kind::Text),
    not("auth.silly"),
    not("middleware"),
    not("reporting"),
    yes("http", Kind::Section),
    yes("http.addr", Kind::Text),
    yes("http.net", Kind::Choice(&["tcp"])),
    yes("http.host", Kind::Text),
    yes("http.prefix", Kind::Text),
    no_effect(
        "http.secret",
        Kind::Text,
        "uploads are kept by the server and need no secret",
    ),
    no_effect(
        "http.relativeurls",
        Kind::Flag,
        "answers name paths, and absolute URLs once http.host is set",
    ),
    yes("http.draintimeout", Kind::Duration),
    yes("http.headers", Kind::NamesOfLists),
    // Ours: whose word about their clients is taken, and whether others than
    // this machine may be spoken to without TLS.
    yes("http.trustedproxies", Kind::Texts),
    yes("http.plaintext", Kind::Flag),
    // Ours: how much clients may hold and send.
    yes("http.limits", Kind::Section),
    yes("http.limits.uploads", PLACES),
    yes("http.limits.downloads", PLACES),
    yes("http.limits.requests", PLACES),
    yes("http.limits.addressshare", Kind::Between(0, 1_000_000)),
    yes("http.limits.connections", PLACES),
    yes("http.limits.addressconnections", PLACES),
    yes("http.limits.blobbytes", Kind::Between(1, 1 << 50)),
    yes("http.limits.manifestbytes", MANIFEST_BYTES),
    yes("http.tls", Kind::Section),
    yes("http.tls.certificate", Kind::Text),
    yes("http.tls.key", Kind::Text),
    yes("http.tls.minimumtls", Kind::Choice(&["tls1.2", "tls1.3"])),
    yes("http.tls.clientcas", Kind::Texts),
    yes("http.tls.clientauth", CLIENT_AUTH),
    not("http.tls.ciphersuites"),
    yes("http.tls.letsencrypt", Kind::Section),
    yes("http.tls.letsencrypt.cachefile", Kind::Text),
    yes("http.tls.letsencrypt.email", Kind::Text),
    yes("http.tls.letsencrypt.hosts", Kind::Texts),
    yes("http.tls.letsencrypt.directoryurl", Kind::Text),
    yes("http.debug", Kind::Section),
    yes("http.debug.addr", Kind::Text),
    yes("http.debug.prometheus", Kind::Section),
    yes("http.debug.prometheus.enabled", Kind::Flag),
    yes("http.debug.prometheus.path", Kind::Text),
    yes("http.http2", Kind::Section),
    yes("http.http2.disabled", Kind::Flag),
    yes("http.h2c", Kind::Section),
    yes("http.h2c.enabled", Kind::Flag),
    not("notifications"),
    not("redis"),
    yes("health", Kind::Section),
    yes("health.storagedriver", Kind::Section),
    yes("health.storagedriver.enabled", Kind::Flag),
    no_effect(
        "health.storagedriver.interval",
        Kind::Duration,
        "the storage is looked at whenever somebody asks",
    ),
    no_effect(
        "health.storagedriver.threshold",
        Kind::Number,
        "the storage says itself whether it works",
    ),
    not("health.file"),
    not("health.http"),
    not("health.tcp"),
    not("proxy"),
    not("compatibility"),
    yes("validation", Kind::Section),
    no_effect(
        "validation.enabled",
        Kind::Flag,
        "manifests are always checked",
    ),
    no_effect(
        "validation.disabled",
        Kind::Flag,
        "it ends checks that there are none of here, of URLs and platforms; \
         `validation.manifests.sparse: true` takes manifests without their content",
    ),
    yes("validation.manifests", Kind::Section),
    // Ours: whether a manifest may come without the content that it names.
    yes("validation.manifests.sparse", Kind::Flag),
    // Ours: whether a manifest is refused that has a size wrong.
    yes("validation.manifests.exactsizes", Kind::Flag),
    not("validation.manifests.urls"),
    yes("validation.manifests.indexes", Kind::Section),
    yes(
        "validation.manifests.indexes.platforms",
        Kind::Choice(&["all"]),
    ),
    not("validation.manifests.indexes.platformlist"),
    not("policy"),
    yes("catalog", Kind::Section),
    yes("catalog.maxentries", Kind::Number),
];

/// Words that the Docker registry takes and this one doesn't yet.
pub(crate) const WORDS_ELSEWHERE: &[(&str, &str)] = &[
    ("storage.cache.blobdescriptor", "redis"),
    ("storage.cache.layerinfo", "redis"),
    ("http.net", "unix"),
    ("http.tls.minimumtls", "tls1.0"),
    ("http.tls.minimumtls", "tls1.1"),
    // Certificates that nobody vouches for say nothing.
    ("http.tls.clientauth", "request-client-cert"),
    ("http.tls.clientauth", "require-any-client-cert"),
    ("validation.manifests.indexes.platforms", "none"),
    ("validation.manifests.indexes.platforms", "list"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_behind_its_section_and_said_once() {
        for (at, key) in KEYS.iter().enumerate() {
            let before = &KEYS[..at];
            assert!(before.iter().all(|other| other.path != key.path), "{key:?}");
            if let Some((section, _)) = key.path.rsplit_once('.') {
                let section = before.iter().find(|other| other.path == section);
                let kind = section.map(|key| key.kind);
                let expected = if key.path.ends_with(".*") {
                    Kind::NamesOfSections
                } else {
                    Kind::Section
                };
                assert_eq!(kind, Some(expected), "{key:?}");
            }
            // Variables separate names by it.
            assert!(!key.path.contains('_'), "{key:?}");
        }
    }
}
