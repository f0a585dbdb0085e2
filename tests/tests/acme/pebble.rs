//! An ACME server of a test's own: pebble, which is Let's Encrypt's for tests. It makes sure of hosts by connecting to
//! them, and asks a server of names that says they are all here.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener as StdListener, TcpStream as StdStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use http::Request;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use registry_auth::Fetch;
use registry_http::HttpFetch;
use registry_tests::harness::{Process, tool};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_mins(1);

/// A running server; it is gone once dropped.
pub(crate) struct Pebble {
    process: Process,
    files: TempDir,
    port: u16,
    management: u16,
}

impl Pebble {
    /// Starts one that looks for hosts at this port of this machine, or says that the test didn't run.
    pub(crate) async fn start(tls_port: u16) -> Option<Self> {
        let pebble = tool("pebble")?;
        let files = TempDir::new().unwrap();
        let path = |name: &str| files.path().join(name).display().to_string();
        certificates(&path("ca.pem"), &path("cert.pem"), &path("key.pem"));
        let [port, management, names] = [free_port(), free_port(), names()];
        let configuration = format!(
            r#"{{"pebble": {{
                "listenAddress": "127.0.0.1:{port}",
                "managementListenAddress": "127.0.0.1:{management}",
                "certificate": "{}",
                "privateKey": "{}",
                "httpPort": 9,
                "tlsPort": {tls_port},
                "retryAfter": {{"authz": 1, "order": 1}},
                "profiles": {{"default": {{"description": "90 days", "validityPeriod": 7776000}}}}
            }}}}"#,
            path("cert.pem"),
            path("key.pem"),
        );
        fs::write(path("config.json"), configuration).unwrap();
        let command = pebble.command([
            "-config",
            &path("config.json"),
            "-dnsserver",
            &format!("127.0.0.1:{names}"),
        ]);
        // It says what it does on its standard output.
        let mut shell = Command::new("sh");
        shell
            .args(["-c", r#"exec "$0" "$@" >&2"#])
            .arg(command.get_program())
            .args(command.get_args())
            .env("PEBBLE_VA_ALWAYS_VALID", "0")
            // What it made sure of before counts for nothing.
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_VA_NOSLEEP", "1");
        let mut process = Process::spawn(&mut shell);
        let available = |line: &str| line.contains("ACME directory available").then_some(());
        process.wait_for("its address", PATIENCE, available);
        // It says so a moment before it listens.
        for port in [port, management] {
            let mut left = 1000;
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                assert!(left > 0, "pebble doesn't listen:\n{}", process.log());
                left -= 1;
                sleep(Duration::from_millis(20)).await;
            }
        }
        Some(Self {
            process,
            files,
            port,
            management,
        })
    }

    /// The address of its directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// The file of the certificate that vouches for it.
    pub(crate) fn authority(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    /// The certificate that vouches for those which it gives out.
    pub(crate) async fn root(&self) -> CertificateDer<'static> {
        let host = format!("127.0.0.1:{}", self.management);
        let fetch = HttpFetch::builder()
            .host(&host)
            .certificate(fs::read(self.authority()).unwrap())
            .build()
            .unwrap();
        let request = Request::get(format!("https://{host}/roots/0"));
        let answer = fetch
            .fetch(request.body(Vec::new()).unwrap(), 1 << 20)
            .await;
        CertificateDer::from_pem_slice(answer.unwrap().body()).unwrap()
    }

    /// Waits until it has said `what`.
    pub(crate) fn says(&mut self, what: &str) {
        let found = |line: &str| line.contains(what).then_some(());
        self.process.wait_for(what, PATIENCE, found);
    }

    /// How many certificates were ordered.
    pub(crate) fn orders(&mut self) -> usize {
        self.process.log().matches("Added order ").count()
    }
}

fn free_port() -> u16 {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// An authority, and a certificate of `127.0.0.1` from it.
fn certificates(authority: &str, certificate: &str, key: &str) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let own = params.self_signed(&authority_key).unwrap();
    fs::write(authority, own.pem()).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let own_key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let own = params.signed_by(&own_key, &issuer).unwrap();
    fs::write(certificate, own.pem()).unwrap();
    fs::write(key, own_key.serialize_pem()).unwrap();
}

/// A server of names (DNS over TCP) that knows every name by the address of this machine.
fn names() -> u16 {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // Whoever hangs up has what it wanted.
            let _ = answer(stream);
        }
    });
    port
}

fn answer(mut stream: StdStream) -> std::io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut query)?;
    // A name ends with an empty label; its type and class follow.
    let end = 12
        + query[12..]
            .iter()
            .position(|byte| *byte == 0)
            .expect("a name")
        + 5;
    let is_v4 = query[end - 4..end - 2] == [0, 1];
    let mut answer = [
        &query[..2],
        &[0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0],
        &query[12..end],
    ]
    .concat();
    if is_v4 {
        // The name above, its type and class, its time to live, and the address.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(Ipv4Addr::LOCALHOST.octets());
    }
    let length = u16::try_from(answer.len()).expect("a short answer");
    stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())
}
