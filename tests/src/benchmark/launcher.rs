//! The servers this program knows how to start.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use clap::ValueEnum;

/// A server with its command line and configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Known {
    Registry,
    #[value(name = "docker-2.8")]
    Docker28,
    #[value(name = "distribution-3")]
    Distribution3,
    Zot,
    Nginx,
}

impl Known {
    /// As on the command line and in the results.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Docker28 => "docker-2.8",
            Self::Distribution3 => "distribution-3",
            Self::Zot => "zot",
            Self::Nginx => "nginx",
        }
    }

    /// The program's usual name.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Docker28 => "docker-registry",
            Self::Distribution3 => "distribution",
            Self::Zot => "zot",
            Self::Nginx => "nginx",
        }
    }

    /// What makes the program tell its version.
    pub(super) fn version_argument(self) -> &'static str {
        match self {
            Self::Nginx => "-v",
            _ => "--version",
        }
    }

    /// How to get the program, for whoever lacks it.
    pub(super) fn where_from(self) -> &'static str {
        match self {
            Self::Registry => "build it with: cargo build --release --bin registry",
            Self::Docker28 => "it is in the system package docker-registry",
            Self::Distribution3 => "`.ci/install-peers DIR` builds it; then pass --programs DIR",
            Self::Zot => "build or download it, then pass --start zot=PROGRAM",
            Self::Nginx => "it is in the system package nginx",
        }
    }

    /// Takes part in reads only, and what it serves is laid out as files.
    pub(super) fn serves_files(self) -> bool {
        self == Self::Nginx
    }

    /// Writes the configuration into `directory` and gives the arguments; the data belongs under `directory/root`.
    /// Where it is said, this registry asks who is there.
    pub(super) fn arguments(
        self,
        directory: &Path,
        port: u16,
        logins: bool,
    ) -> io::Result<Vec<OsString>> {
        let root = directory.join("root");
        let address = format!("127.0.0.1:{port}");
        let write = |name: &str, text: String| -> io::Result<PathBuf> {
            let path = directory.join(name);
            fs::write(&path, text)?;
            Ok(path)
        };
        Ok(match self {
            // One file for all three, so that they do the same.
            Self::Registry | Self::Docker28 | Self::Distribution3 => {
                let mut config = distribution_config(&root, &address);
                if logins {
                    config += &super::logins::configuration(directory)?;
                }
                let config = write("config.yml", config)?;
                vec!["serve".into(), config.into()]
            }
            Self::Zot => {
                let config = write("config.json", zot_config(&root, port))?;
                vec!["serve".into(), config.into()]
            }
            Self::Nginx => {
                let config = write("nginx.conf", nginx_config(directory, &address))?;
                vec!["-c".into(), config.into(), "-p".into(), directory.into()]
            }
        })
    }
}

/// What the Docker registry's image ships with, less the access log, which no server of a comparison writes.
fn distribution_config(root: &Path, address: &str) -> String {
    format!(
        "\
version: 0.1
log:
  level: warn
  accesslog:
    disabled: true
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: '{}'
http:
  addr: {address}
  headers:
    X-Content-Type-Options: [nosniff]
",
        root.display()
    )
}

/// Its minimal example, less the log.
fn zot_config(root: &Path, port: u16) -> String {
    serde_json::json!({
        "distSpecVersion": "1.1.1",
        "storage": { "rootDirectory": root },
        "http": { "address": "127.0.0.1", "port": port.to_string() },
        "log": { "level": "error" },
    })
    .to_string()
}

/// One worker for each core, sendfile, no access log.
fn nginx_config(directory: &Path, address: &str) -> String {
    let directory = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path '{directory}/{kind}';\n"))
        .concat();
    format!(
        "\
# The files belong to whoever runs the benchmark; without root, nginx ignores this line.
user root;
daemon off;
worker_processes auto;
pid '{directory}/nginx.pid';
error_log '{directory}/error.log' error;
events {{
    worker_connections 4096;
}}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    default_type application/octet-stream;
{temporary}\
    server {{
        listen {address} backlog=1024;
        root '{directory}/root';
        location = /v2/ {{
            return 200;
        }}
        location ~ /manifests/ {{
            default_type {};
        }}
    }}
}}
",
        super::push::MANIFEST
    )
}
