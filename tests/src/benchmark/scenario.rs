//! What is measured.

use super::{
    decision,
    logins::{self, Guesses, Hashes, Login},
    options::Options,
    results::{DISK, HASH},
    server::Server,
};

/// One line of the comparison.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    /// As chosen on the command line.
    pub(super) name: &'static str,
    /// For people.
    pub(super) title: &'static str,
    pub(super) setting: Setting,
    pub(super) work: Work,
}

/// What a server holds when the scenario begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// An image, a large blob and several smaller ones.
    Read,
    /// Nothing; what is pushed is removed after the scenario.
    Write,
    /// As many tags as `--small-count` says.
    Small,
    /// As many tags as `--large-count` says.
    Large,
    /// Nothing, anew in each round.
    Fresh,
    /// An image, which everybody may pull; who pushes has to log in.
    Logins,
    /// There is no server.
    None,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    ManifestByTag {
        connections: u32,
    },
    ManifestByDigest {
        connections: u32,
    },
    HeadBlob {
        connections: u32,
    },
    TagsPage,
    Pull {
        several: bool,
    },
    Push {
        several: bool,
        chunked: bool,
    },
    Images {
        pushers: u32,
    },
    StartUp,
    IdleMemory {
        after_push: bool,
    },
    LoadMemory,
    /// By tag, with a login and without.
    ManifestWithLogin {
        login: Login,
        connections: u32,
    },
    WrongPasswords {
        hashes: Hashes,
        /// Where they are said.
        target: &'static str,
    },
    Flood,
    Decision,
}

/// How a value is written and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    RequestsPerSecond,
    MebibytesPerSecond,
    ImagesPerSecond,
    Milliseconds,
    Microseconds,
    Mebibytes,
}

impl Unit {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests/s",
            Self::MebibytesPerSecond => "MiB/s",
            Self::ImagesPerSecond => "images/s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::Mebibytes => "MiB",
        }
    }

    /// More is better: a rate, not a cost.
    pub(super) fn is_rate(self) -> bool {
        !matches!(
            self,
            Self::Milliseconds | Self::Microseconds | Self::Mebibytes
        )
    }

    /// What processor time is divided by: the unit's text, how much of a sample's amount makes one, and the time's factor.
    pub(super) fn cpu(self) -> Option<(&'static str, f64)> {
        match self {
            Self::RequestsPerSecond => Some(("CPU µs/request", 1e6)),
            Self::MebibytesPerSecond => Some(("CPU s/GiB", 1024.0)),
            Self::ImagesPerSecond => Some(("CPU ms/image", 1e3)),
            Self::Milliseconds | Self::Microseconds | Self::Mebibytes => None,
        }
    }
}

impl Scenario {
    pub(super) fn unit(&self) -> Unit {
        match self.work {
            Work::ManifestByTag { .. }
            | Work::ManifestByDigest { .. }
            | Work::HeadBlob { .. }
            | Work::TagsPage
            | Work::ManifestWithLogin { .. } => Unit::RequestsPerSecond,
            Work::Pull { .. } | Work::Push { .. } => Unit::MebibytesPerSecond,
            Work::Images { .. } => Unit::ImagesPerSecond,
            Work::StartUp | Work::WrongPasswords { .. } | Work::Flood => Unit::Milliseconds,
            Work::Decision => Unit::Microseconds,
            Work::IdleMemory { .. } | Work::LoadMemory => Unit::Mebibytes,
        }
    }

    /// What is measured beside the servers, in the same rounds.
    pub(super) fn beside(&self) -> Vec<&'static str> {
        match self.work {
            Work::Push { .. } => vec![HASH, DISK],
            Work::ManifestWithLogin { .. } => vec![logins::ANONYMOUS],
            Work::WrongPasswords { .. } => vec![logins::NOBODY],
            Work::Flood => Guesses::ALL.map(|(_, row)| row).to_vec(),
            Work::Decision => decision::ALL.map(|decision| decision.row).to_vec(),
            _ => Vec::new(),
        }
    }

    /// Whether this server can take part.
    pub(super) fn suits(&self, server: &Server, large: bool) -> bool {
        let starts = matches!(
            self.work,
            Work::StartUp | Work::IdleMemory { .. } | Work::LoadMemory
        );
        match self.setting {
            Setting::None => return false,
            // The others have other ways to say who may do what.
            Setting::Logins => return server.is_this_registry(),
            _ => {}
        }
        (self.setting == Setting::Read || !server.serves_files())
            && (!starts || server.is_ours())
            && (self.setting != Setting::Large || large)
    }
}

/// The chosen scenarios, in the order in which they are measured.
pub(super) fn chosen(options: &Options) -> Vec<Scenario> {
    let wanted = |scenario: &&Scenario| {
        options.scenario.is_empty()
            || options.scenario.iter().any(|text| {
                let exists = ALL.iter().any(|other| other.name == text);
                scenario.name == text || (!exists && scenario.name.starts_with(text))
            })
    };
    ALL.iter().filter(wanted).copied().collect()
}

const fn scenario(
    name: &'static str,
    title: &'static str,
    setting: Setting,
    work: Work,
) -> Scenario {
    Scenario {
        name,
        title,
        setting,
        work,
    }
}

/// Where a token is asked for.
const TOKEN: &str = "/v2/token?service=registry&scope=repository:bench/content:pull";

const fn wrong_passwords(hashes: Hashes, target: &'static str) -> Work {
    Work::WrongPasswords { hashes, target }
}

/// Everything that can be measured; those of one setting stand together.
#[rustfmt::skip]
pub(super) const ALL: &[Scenario] = &[
    scenario("manifest-tag-1", "Manifest by tag, 1 connection", Setting::Read, Work::ManifestByTag { connections: 1 }),
    scenario("manifest-tag-32", "Manifest by tag, 32 connections", Setting::Read, Work::ManifestByTag { connections: 32 }),
    scenario("manifest-tag-128", "Manifest by tag, 128 connections", Setting::Read, Work::ManifestByTag { connections: 128 }),
    scenario("manifest-digest-1", "Manifest by digest, 1 connection", Setting::Read, Work::ManifestByDigest { connections: 1 }),
    scenario("manifest-digest-32", "Manifest by digest, 32 connections", Setting::Read, Work::ManifestByDigest { connections: 32 }),
    scenario("manifest-digest-128", "Manifest by digest, 128 connections", Setting::Read, Work::ManifestByDigest { connections: 128 }),
    scenario("head-blob-32", "HEAD of a blob, 32 connections", Setting::Read, Work::HeadBlob { connections: 32 }),
    scenario("pull-single", "Pull of one large blob", Setting::Read, Work::Pull { several: false }),
    scenario("pull-parallel", "Pull of several blobs at once", Setting::Read, Work::Pull { several: true }),
    scenario("push-single-put", "Push of one large blob, one PUT", Setting::Write, Work::Push { several: false, chunked: false }),
    scenario("push-single-chunked", "Push of one large blob, chunked", Setting::Write, Work::Push { several: false, chunked: true }),
    scenario("push-parallel-put", "Push of several blobs at once, one PUT each", Setting::Write, Work::Push { several: true, chunked: false }),
    scenario("push-parallel-chunked", "Push of several blobs at once, chunked", Setting::Write, Work::Push { several: true, chunked: true }),
    scenario("images-1", "Small images, 1 pusher", Setting::Write, Work::Images { pushers: 1 }),
    scenario("images-16", "Small images, 16 pushers", Setting::Write, Work::Images { pushers: 16 }),
    scenario("tags-small", "First page of tags, small repository", Setting::Small, Work::TagsPage),
    scenario("start-small", "Start-up, small repository", Setting::Small, Work::StartUp),
    scenario("tags-large", "First page of tags, large repository", Setting::Large, Work::TagsPage),
    scenario("start-large", "Start-up, large repository", Setting::Large, Work::StartUp),
    scenario("start-empty", "Start-up, empty root", Setting::Fresh, Work::StartUp),
    scenario("memory-idle", "Memory, 2 s after start-up", Setting::Fresh, Work::IdleMemory { after_push: false }),
    scenario("memory-idle-pushed", "Memory, 2 s after one small push", Setting::Fresh, Work::IdleMemory { after_push: true }),
    scenario("memory-load", "Peak of memory, many clients pushing and pulling", Setting::Fresh, Work::LoadMemory),
    scenario("manifest-tag-bearer", "Manifest by tag with a token, 32 connections", Setting::Logins, Work::ManifestWithLogin { login: Login::Bearer, connections: 32 }),
    scenario("manifest-tag-basic", "Manifest by tag with a password, 32 connections", Setting::Logins, Work::ManifestWithLogin { login: Login::Basic, connections: 32 }),
    scenario("flood", "Manifest by tag with a password while others guess theirs, 99 of 100 requests", Setting::Logins, Work::Flood),
    scenario("wrong-passwords-bcrypt", "A wrong password of a user", Setting::Logins, wrong_passwords(Hashes::Bcrypt, "/v2/")),
    scenario("wrong-passwords-token", "A wrong password of a user who asks for a token", Setting::Logins, wrong_passwords(Hashes::Bcrypt, TOKEN)),
    scenario("wrong-passwords-argon2id", "A wrong password of a user, argon2id", Setting::Logins, wrong_passwords(Hashes::Argon2id, "/v2/")),
    scenario("wrong-passwords-mixed", "A wrong password of a user, bcrypt where others have argon2id", Setting::Logins, wrong_passwords(Hashes::Mixed, "/v2/")),
    scenario("decision-1000-rules", "What somebody may do, by 1,000 rules", Setting::None, Work::Decision),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_name_chooses_one_and_a_beginning_chooses_all() {
        use clap::Parser;
        for (text, count) in [
            ("images-1", 1),
            ("images", 2),
            ("manifest-tag", 5),
            ("manifest-tag-basic", 1),
            ("x", 0),
        ] {
            let options = Options::parse_from(["benchmark", "--scenario", text]);
            assert_eq!(chosen(&options).len(), count, "{text}");
        }
    }

    #[test]
    fn settings_stand_together_so_that_each_is_prepared_once() {
        let mut seen = Vec::new();
        for scenario in ALL {
            if seen.last() != Some(&scenario.setting) {
                assert!(!seen.contains(&scenario.setting), "{}", scenario.name);
                seen.push(scenario.setting);
            }
        }
    }
}
