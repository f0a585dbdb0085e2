//! An OpenLDAP server of a test's own.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use registry_tests::harness::{Output, Process, Tool, not_run, tool};
use tempfile::TempDir;

/// Who may search, and what its password is.
pub(crate) const SEARCHER: &str = "cn=searcher,dc=example,dc=org";
pub(crate) const SEARCHER_PASSWORD: &str = "searcher-secret";

const ADMIN: &str = "cn=admin,dc=example,dc=org";
const ADMIN_PASSWORD: &str = "admin-secret";

/// Where Debian and others have the schema files.
const SCHEMA: &str = "/etc/ldap/schema";

const PATIENCE: Duration = Duration::from_secs(30);

const ENTRIES: &str = r"dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: cn=searcher,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: searcher
userPassword: searcher-secret

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=others,ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: others

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: uid=ann,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: ann
cn: Ann
sn: A
mail: ann@example.org
userPassword: ann-secret

dn: uid=ben,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: ben
cn: Ben
sn: B
userPassword: ben-secret

dn: cn=odd,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: a*(b)\c
cn: odd
sn: O
userPassword: odd-secret

dn: uid=twin,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: T
userPassword: twin-secret

dn: uid=twin,ou=others,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: T
userPassword: twin-secret

dn: cn=two names,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: first
uid: second
cn: two names
sn: T
userPassword: two-secret

dn: uid=locked,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: locked
cn: Locked
sn: L

dn: cn=web,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: web
member: uid=ann,ou=people,dc=example,dc=org
member: uid=ben,ou=people,dc=example,dc=org

dn: cn=release,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: release
member: uid=ann,ou=people,dc=example,dc=org
";

/// A running server; it is gone once dropped.
pub(crate) struct Slapd {
    process: Option<Process>,
    files: TempDir,
    daemon: Tool,
    modify: Tool,
    who: Tool,
    marks: usize,
    port: u16,
    tls_port: u16,
}

impl Slapd {
    /// Starts one with a few users and groups, or says that the test didn't run.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// The same with more lines of configuration.
    pub(crate) fn start_with(more: &str) -> Option<Self> {
        let (daemon, add, modify) = (tool("slapd")?, tool("slapadd")?, tool("ldapmodify")?);
        if fs::metadata(SCHEMA).is_err() {
            not_run("slapd has no schema files in /etc/ldap/schema");
            return None;
        }
        let files = TempDir::new().unwrap();
        let path = |name: &str| files.path().join(name).display().to_string();
        certificates(&path("ca.pem"), &path("cert.pem"), &path("key.pem"));
        fs::create_dir(path("data")).unwrap();
        fs::write(path("entries.ldif"), ENTRIES).unwrap();
        let configuration = format!(
            "include {SCHEMA}/core.schema\n\
             include {SCHEMA}/cosine.schema\n\
             include {SCHEMA}/inetorgperson.schema\n\
             modulepath /usr/lib/ldap\n\
             moduleload back_mdb\n\
             TLSCertificateFile {cert}\n\
             TLSCertificateKeyFile {key}\n\
             {more}\n\
             database mdb\n\
             suffix dc=example,dc=org\n\
             rootdn {ADMIN}\n\
             rootpw {ADMIN_PASSWORD}\n\
             directory {data}\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact={SEARCHER} read by * none\n",
            cert = path("cert.pem"),
            key = path("key.pem"),
            data = path("data"),
        );
        fs::write(path("slapd.conf"), configuration).unwrap();
        add.run(["-f", &path("slapd.conf"), "-l", &path("entries.ldif")]);
        let mut server = Self {
            process: None,
            files,
            daemon,
            modify,
            who: tool("ldapwhoami")?,
            marks: 0,
            port: 0,
            tls_port: 0,
        };
        server.listen();
        Some(server)
    }

    /// Somebody else may get a free port first.
    fn listen(&mut self) {
        for _ in 0..5 {
            (self.port, self.tls_port) = (free_port(), free_port());
            if self.try_listen() {
                return;
            }
        }
        panic!("slapd didn't start");
    }

    fn try_listen(&mut self) -> bool {
        let addresses = format!(
            "ldap://127.0.0.1:{}/ ldaps://127.0.0.1:{}/",
            self.port, self.tls_port
        );
        let configuration = self.path("slapd.conf").display().to_string();
        // In the foreground, and saying what it does.
        let arguments = ["-d", "stats", "-h", &addresses, "-f", &configuration];
        let mut process = Process::spawn(&mut self.daemon.command(arguments));
        let starting = |line: &str| line.contains("slapd starting").then_some(());
        let is_up = process.find("slapd starting", PATIENCE, starting).is_some();
        self.process = is_up.then_some(process);
        // It says so a moment before it listens.
        is_up && (0..1000).any(|_| self.answers())
    }

    fn answers(&self) -> bool {
        !self
            .ask_as("cn=mark")
            .stderr
            .contains("Can't contact LDAP server")
    }

    /// Ends it. Its entries stay.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again at the same port.
    pub(crate) fn start_again(&mut self) {
        assert!(self.try_listen(), "slapd didn't start again");
    }

    /// Its address without TLS.
    pub(crate) fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// Its address with TLS.
    pub(crate) fn tls_url(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.tls_port)
    }

    /// The file of the certificate that vouches for it.
    pub(crate) fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// How often it was asked to log somebody in as the entry of this name.
    pub(crate) fn logins(&mut self, name: &str) -> usize {
        self.log()
            .matches(&format!("BIND dn=\"{name}\" method=128"))
            .count()
    }

    /// Everything it has said so far about others than this.
    pub(crate) fn log(&mut self) -> String {
        // What it says about a last question comes behind everything before.
        self.marks += 1;
        let mark = format!("BIND dn=\"cn=mark{}\"", self.marks);
        let name = format!("cn=mark{}", self.marks);
        self.ask_as(&name);
        let process = self.process.as_mut().expect("it runs");
        let is_marked = |line: &str| line.contains(&mark).then_some(());
        process.wait_for("the mark", PATIENCE, is_marked);
        let log = process.log();
        let connection = |line: &str| {
            line.split_whitespace()
                .find(|word| word.starts_with("conn="))
                .map(str::to_owned)
        };
        let marks: Vec<_> = log
            .lines()
            .filter(|line| line.contains("BIND dn=\"cn=mark"))
            .filter_map(connection)
            .collect();
        let others = log
            .lines()
            .filter(|line| connection(line).is_none_or(|connection| !marks.contains(&connection)));
        others.collect::<Vec<_>>().join("\n")
    }

    /// Asks as somebody whom it doesn't know.
    fn ask_as(&self, name: &str) -> Output {
        let url = self.url();
        self.who.attempt(["-x", "-H", &url, "-D", name, "-w", "x"])
    }

    /// Changes entries, as LDIF says.
    pub(crate) fn change(&self, ldif: &str) {
        let file = self.path("change.ldif");
        fs::write(&file, ldif).unwrap();
        let file = file.display().to_string();
        let url = self.url();
        self.modify.run([
            "-x",
            "-H",
            &url,
            "-D",
            ADMIN,
            "-w",
            ADMIN_PASSWORD,
            "-f",
            &file,
        ]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// An authority, and a certificate of `127.0.0.1` from it.
pub(crate) fn certificates(authority: &str, certificate: &str, key: &str) {
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
