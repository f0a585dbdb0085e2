//! Who gets in, and what for.

use std::time::Duration;

use registry_auth::jwt::Algorithm;
use registry_auth::{CertificateName, GuardLimits, Rate, RateLimits, SigningAlgorithm};

use super::super::keys;
use super::super::tree::Node;
use super::super::{
    Auth, DecisionService, Directory, DirectoryGroups, KeySource, PasswordFile, Said, TokenService,
    Tokens, WorkloadIssuer, choice, duration,
};
use super::Reader;

/// Where the Docker registry sends clients if it isn't told.
const AUTO_REDIRECT: &str = "/auth/token/";

/// What somebody who guesses may have to wait at most, at an address.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(15);

const CERTIFICATE: &str = "auth.certificate";
const ISSUER: &str = "auth.token";
const KEYS: &str = "auth.keys";
const LDAP: &str = "auth.ldap";
const OIDC: &str = "auth.oidc";
const POLICY: &str = "auth.policy";
const TOKENS: &str = "auth.tokenserver";
const WEBHOOK: &str = "auth.webhook";

impl Reader<'_> {
    pub(super) fn auth(&mut self) -> Auth {
        self.nothing_is_left_open();
        let password_file = self.password_file();
        let issuer = self.issuer();
        let policy_file = match self.tree.at(POLICY) {
            Some(_) => self.required(POLICY, "path").map(Said::into_path),
            None => None,
        };
        let certificate_name = self.certificate_name();
        let directory = self.directory();
        // What isn't known may be meant as what is missing.
        let is_clear = self.unknown_in("auth").is_empty();
        let names = self.tree.at(OIDC).map(Node::entries).unwrap_or_default();
        let names = names.iter().map(|entry| entry.name.clone());
        let issuers = is_clear.then(|| names.collect());
        let workloads = self.workloads(policy_file.is_some() || !is_clear);
        let has_users =
            password_file.is_some() || certificate_name.is_some() || directory.is_some();
        let keys = self.keys(has_users, policy_file.is_some() || !is_clear);
        // Where another service gives out tokens, clients ask that one.
        let has_logins =
            (has_users || keys || !workloads.is_empty() || !is_clear) && issuer.is_none();
        let tokens = self.tokens(has_logins, policy_file.is_some());
        Auth {
            password_file,
            issuer,
            certificate_name,
            directory,
            workloads,
            issuers,
            keys,
            policy_file,
            tokens,
            webhook: self.webhook(),
            rates: self.rates(),
            guesses: self.guesses(),
        }
    }

    /// Whoever writes a section means to close something: one that says nothing,
    /// as where its lines are commented out, would leave it open.
    fn nothing_is_left_open(&mut self) {
        let sections = self.tree.entry("auth").map(|auth| &auth.node);
        let own = sections.map(Node::entries).unwrap_or_default();
        let auth = self.tree.entry("auth").into_iter();
        let named = auth
            .map(|entry| (String::new(), entry))
            .chain(own.iter().map(|entry| (format!(".{}", entry.name), entry)));
        for (name, entry) in named {
            let is_known = name.is_empty() || keys::find_in("auth", &entry.name).is_some();
            if entry.node.says_nothing() && is_known && entry.name != "none" {
                let sentence = format!("`auth{name}` says nothing; fill it in, or leave it out");
                self.problems.push(entry.origin.problem(sentence));
            }
        }
    }

    /// Workloads are nobody without rules that name them: everybody can have one.
    fn workloads(&mut self, has_policy: bool) -> Vec<WorkloadIssuer> {
        let names = self.tree.at(OIDC).map(Node::entries).unwrap_or_default();
        if !has_policy && let Some(origin) = self.origin_of(OIDC) {
            self.problems.push(origin.problem(format!(
                "`{OIDC}` needs rules that say what workloads may do: name a file of them in \
                 `{POLICY}.path`"
            )));
            return Vec::new();
        }
        let mut workloads = Vec::new();
        let is_nameless = keys::find(OIDC)
            .zip(self.tree.at(OIDC))
            .is_some_and(|(key, node)| keys::lacks_name(key, node));
        if is_nameless {
            return workloads;
        }
        for entry in names {
            let section = format!("{OIDC}.{}", entry.name);
            let issuer = self.required(&section, "issuer");
            let audience = self.required(&section, "audience");
            let keys = self.said(&format!("{section}.jwks"));
            if let (Some(issuer), Some(audience)) = (issuer, audience) {
                let same = workloads.iter().find(|other: &&WorkloadIssuer| {
                    other.issuer.value == issuer.value && other.audience.value == audience.value
                });
                if let Some(other) = same {
                    self.problems.push(entry.origin.problem(format!(
                        "`{section}` takes the same tokens as `{OIDC}.{}`; give one of them another \
                         audience, or write both rules about one of them",
                        other.name.value
                    )));
                }
                workloads.push(WorkloadIssuer {
                    name: Said {
                        value: entry.name.clone(),
                        origin: entry.origin.clone(),
                    },
                    issuer,
                    audience,
                    keys: keys.map(Said::into_keys),
                });
            }
        }
        workloads
    }

    /// Robots are nobody without rules that name them.
    fn keys(&mut self, has_passwords: bool, has_policy: bool) -> bool {
        let enabled = self.is(&format!("{KEYS}.enabled"), has_policy);
        if enabled && !has_policy && !has_passwords {
            if let Some(origin) = self.origin_of(KEYS) {
                self.problems.push(origin.problem(format!(
                    "`{KEYS}` needs rules that say what robots may do: name a file of them in \
                     `{POLICY}.path`"
                )));
            }
            return false;
        }
        let is_elsewhere = matches!(choice::chosen(self.tree, "auth"), Ok(Some("token")));
        if enabled
            && is_elsewhere
            && let Some(origin) = self.origin_of(KEYS)
        {
            self.problems.push(origin.problem(format!(
                "`{KEYS}` and `{ISSUER}` exclude each other: where another service gives out the \
                 tokens, it has the robots, too"
            )));
        }
        enabled && !is_elsewhere
    }

    /// How many requests are taken, a second and at once.
    fn rates(&mut self) -> RateLimits {
        const BURST: &str = "auth.limits.burst";
        let burst = self.count(BURST);
        let rate = |path| {
            let rate = Rate::per_second(self.count(path)?);
            Some(burst.map_or(rate, |count| rate.burst(count)))
        };
        let limits = RateLimits {
            per_address: rate("auth.limits.peraddress"),
            per_identity: rate("auth.limits.peridentity"),
        };
        if limits == RateLimits::default()
            && let Some(origin) = self.origin_of(BURST)
        {
            self.problems.push(origin.problem(format!(
                "`{BURST}` says how many requests come at once where they are limited; say how \
                 many a second, too, with `auth.limits.peraddress` or `auth.limits.peridentity`"
            )));
        }
        limits
    }

    /// How many wrong passwords are taken, and how long to wait after them.
    fn guesses(&mut self) -> GuardLimits {
        let default = GuardLimits::default();
        let most = |path, default| self.count(path).unwrap_or(default);
        GuardLimits {
            free: most("auth.limits.wrongpasswords", default.free),
            per_address: most("auth.limits.wrongperaddress", default.per_address),
            per_name: most("auth.limits.wrongpername", default.per_name),
            longest: self.longest_wait().unwrap_or(default.longest),
        }
    }

    fn longest_wait(&mut self) -> Option<Duration> {
        const PATH: &str = "auth.limits.longestwait";
        let wait = self.time(PATH)?;
        if (SHORTEST_WAIT..=LONGEST_WAIT).contains(&wait) {
            return Some(wait);
        }
        let origin = self.origin_of(PATH)?;
        let sentence = format!("`{PATH}` is a time from 1s to 15m");
        self.problems.push(origin.problem(sentence));
        None
    }

    fn count(&self, path: &str) -> Option<u32> {
        self.text(path)?.parse().ok()
    }

    fn password_file(&mut self) -> Option<PasswordFile> {
        let auth = self.tree.entry("auth").map(|auth| &auth.node);
        let has_file = auth.is_some_and(|auth| auth.entry("htpasswd").is_some());
        match choice::chosen(self.tree, "auth") {
            // Beside the tokens of another service, too.
            Ok(Some(_)) if has_file => {
                let realm = self.required("auth.htpasswd", "realm");
                let path = self.required("auth.htpasswd", "path");
                Some(PasswordFile {
                    realm: realm?,
                    path: path?.into_path(),
                })
            }
            // Another choice was reported before.
            Ok(_) => None,
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    fn directory(&mut self) -> Option<Directory> {
        self.tree.at(LDAP)?;
        let url = self.required(LDAP, "url");
        let base = self.required(LDAP, "base");
        let has = |name: &str| self.said(&format!("{LDAP}.{name}")).is_some();
        let searcher = if has("binddn") || has("bindpasswordfile") {
            let name = self.required(LDAP, "binddn");
            let password = self.required(LDAP, "bindpasswordfile");
            Some((name?.value, password?.into_path()))
        } else {
            None
        };
        let has_groups = ["groupbase", "groupfilter", "groupattribute"]
            .into_iter()
            .any(|name| self.said(&format!("{LDAP}.{name}")).is_some());
        let filter = if has_groups {
            Some(self.required(LDAP, "groupfilter")?.value)
        } else {
            None
        };
        let base = base?.value;
        let url = url?;
        let start_tls = self.is(&format!("{LDAP}.starttls"), false);
        let certificates = format!("{LDAP}.rootcertbundle");
        if url.value.starts_with("ldap:")
            && !start_tls
            && let Some(origin) = self.origin_of(&certificates)
        {
            self.problems.push(origin.problem(format!(
                "`{certificates}` means nothing without encryption: take an ldaps:// address, or \
                 `{LDAP}.starttls: true`"
            )));
        }
        let text = |name| self.said(&format!("{LDAP}.{name}")).map(|said| said.value);
        Some(Directory {
            url,
            start_tls,
            certificates: self
                .said(&format!("{LDAP}.rootcertbundle"))
                .map(Said::into_path),
            searcher,
            filter: text("filter"),
            name_attribute: text("nameattribute"),
            groups: filter.map(|filter| DirectoryGroups {
                filter,
                base: text("groupbase").unwrap_or_else(|| base.clone()),
                attribute: text("groupattribute").unwrap_or_else(|| "cn".to_owned()),
            }),
            base,
        })
    }

    fn webhook(&mut self) -> Option<DecisionService> {
        self.tree.at(WEBHOOK)?;
        let url = self.required(WEBHOOK, "url")?;
        let secret = self.said(&format!("{WEBHOOK}.secretfile"));
        Some(DecisionService {
            url,
            secret_file: secret.map(Said::into_path),
            timeout: self.said_time(&format!("{WEBHOOK}.timeout")),
            remember: self.said_time(&format!("{WEBHOOK}.remember")),
        })
    }

    /// The time at `path`, with its place.
    fn said_time(&self, path: &str) -> Option<Said<Duration>> {
        let said = self.said(path)?;
        Some(Said {
            value: duration::parse(&said.value).ok()?,
            origin: said.origin,
        })
    }

    fn issuer(&mut self) -> Option<TokenService> {
        if !matches!(choice::chosen(self.tree, "auth"), Ok(Some("token"))) {
            return None;
        }
        let said = |name| self.said(&format!("{ISSUER}.{name}"));
        let certificates = said("rootcertbundle").map(Said::into_path);
        let keys = said("jwks").map(Said::into_keys);
        if certificates.is_none() && keys.is_none() {
            let origin = self.origin_of(ISSUER)?;
            self.problems.push(origin.problem(format!(
                "`{ISSUER}` needs the keys of the issuer: name a file of certificates in \
                 `rootcertbundle`, or one of keys or its address in `jwks`"
            )));
        }
        let beside = self.is(&format!("{ISSUER}.autoredirect"), false);
        let realm = if beside {
            let path = self.said(&format!("{ISSUER}.autoredirectpath"));
            let origin = self.origin_of(ISSUER);
            path.or_else(|| {
                let value = AUTO_REDIRECT.to_owned();
                Some(Said {
                    value,
                    origin: origin?,
                })
            })
        } else {
            self.required(ISSUER, "realm")
        };
        let service = self.required(ISSUER, "service");
        let issuer = self.required(ISSUER, "issuer");
        Some(TokenService {
            algorithms: self.algorithms(),
            realm: realm?,
            beside,
            service: service?.value,
            issuer: issuer?.value,
            certificates,
            keys,
        })
    }

    fn algorithms(&mut self) -> Vec<Algorithm> {
        let mut algorithms = Vec::new();
        for item in self.items(&format!("{ISSUER}.signingalgorithms")) {
            match item.text().unwrap_or_default().parse() {
                Ok(algorithm) => algorithms.push(algorithm),
                Err(error) => {
                    let error: registry_core::Error = error;
                    self.problems.push(item.origin.problem(error.to_string()));
                }
            }
        }
        algorithms
    }

    fn certificate_name(&mut self) -> Option<CertificateName> {
        let origin = self.origin_of(CERTIFICATE)?;
        if self.items("http.tls.clientcas").is_empty() {
            self.problems.push(origin.problem(format!(
                "`{CERTIFICATE}` needs `http.tls.clientcas`, the certificates of those who vouch \
                 for clients"
            )));
        }
        // Another word was reported before.
        let name = self.text("auth.certificate.name");
        Some(name.and_then(|name| name.parse().ok()).unwrap_or_default())
    }

    /// A policy can let everybody pull and only some push, for which clients need
    /// tokens. Without one, passwords alone do, as for the Docker registry.
    fn tokens(&mut self, has_logins: bool, has_policy: bool) -> Option<Tokens> {
        let is_said = self.tree.at(TOKENS).is_some();
        let enabled = self.is(&format!("{TOKENS}.enabled"), has_policy || is_said);
        if !enabled || !has_logins {
            if enabled && is_said {
                let origin = self.origin_of(TOKENS)?;
                self.problems.push(origin.problem(format!(
                    "`{TOKENS}` has nobody to give tokens to; say who may log in, such as with \
                     `auth.htpasswd`, `auth.oidc` or `auth.keys`"
                )));
            }
            return None;
        }
        let said = |name| self.said(&format!("{TOKENS}.{name}"));
        let text = |name| said(name).map(|said| said.value);
        Some(Tokens {
            realm: said("realm"),
            service: text("service"),
            issuer: text("issuer"),
            lifetime: self.said_time(&format!("{TOKENS}.lifetime")),
            refresh_lifetime: self.said_time(&format!("{TOKENS}.refreshlifetime")),
            keys: said("keys").map(Said::into_path),
            algorithm: match self.text(&format!("{TOKENS}.algorithm")) {
                Some("eddsa") => SigningAlgorithm::EdDsa,
                _ => SigningAlgorithm::Es256,
            },
        })
    }
}

impl Said<String> {
    /// No file is called like a URL.
    fn into_keys(self) -> Said<KeySource> {
        Said {
            value: if self.value.contains("://") {
                KeySource::Url(self.value)
            } else {
                KeySource::File(self.value.into())
            },
            origin: self.origin,
        }
    }
}
