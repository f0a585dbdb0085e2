//! Clients that push and pull what they keep themselves.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use registry_tests::harness::{Output, Tool, tool};

use super::{Client, Guarded, PASSWORD, Places, USER, goes_in_and_out, works};
use crate::content::{self, path};
use crate::layout::Layout;
use crate::{buildah, containerd, docker, podman};

/// Those that keep images of their own, and push and pull those.
struct Store {
    tool: Tool,
    places: Places,
    /// Takes the small image in and pushes it.
    push: fn(&Tool, &Places, &str) -> Output,
    plain: &'static [&'static str],
    asks_first: bool,
}

impl Client for Store {
    fn login(&mut self, host: &str, password: &str) -> Option<Output> {
        let login = ["login", "-u", USER, "-p", password].into_iter();
        let plain = self.plain.iter().copied();
        Some(self.tool.attempt(login.chain(plain).chain([host])))
    }

    fn logout(&mut self, host: &str) {
        self.tool.run(["logout", host]);
    }

    fn asks_first(&self) -> bool {
        self.asks_first
    }

    fn push(&self, repository: &str) -> Output {
        (self.push)(&self.tool, &self.places, &format!("{repository}:v1"))
    }

    fn pull(&self, repository: &str) -> Output {
        let images = self.tool.run(["images", "--quiet"]).sorted_lines();
        let images = images
            .iter()
            .map(String::as_str)
            .filter(|id| !id.is_empty());
        let images: Vec<&str> = images.collect();
        if !images.is_empty() {
            self.tool.run(["rmi", "--force"].iter().chain(&images));
        }
        let tagged = format!("{repository}:v1");
        let pull = ["pull", "--quiet"].into_iter();
        let plain = self.plain.iter().copied();
        self.tool
            .attempt(pull.chain(plain).chain([tagged.as_str()]))
    }
}

/// Takes in the layout and pushes it, as podman and buildah do.
fn push_layout(tool: &Tool, places: &Places, reference: &str) -> Output {
    content::small(&places.at("pushed"));
    // Its name is made of the path, which needn't be one.
    let id = tool
        .clone()
        .directory(places.scratch.path())
        .run(["pull", "--quiet", "oci:pushed:latest"])
        .text();
    let to = format!("docker://{reference}");
    tool.attempt(["push", "--tls-verify=false", &id, &to])
}

#[test]
fn podman_logs_in_and_out() {
    let places = Places::new();
    let Some(podman) = podman::podman(&places.scratch, "storage") else {
        return;
    };
    let mut client = Store {
        tool: podman.env("REGISTRY_AUTH_FILE", places.logins()),
        places,
        push: push_layout,
        plain: &["--tls-verify=false"],
        asks_first: true,
    };
    goes_in_and_out(&mut client, &Guarded::start());
}

#[test]
fn buildah_logs_in_and_out() {
    let places = Places::new();
    let Some(buildah) = buildah::buildah(&places.scratch, "storage") else {
        return;
    };
    let mut client = Store {
        tool: buildah.env("REGISTRY_AUTH_FILE", places.logins()),
        places,
        push: push_layout,
        plain: &["--tls-verify=false"],
        asks_first: true,
    };
    goes_in_and_out(&mut client, &Guarded::start());
}

#[test]
fn docker_logs_in_and_out_and_keeps_no_password() {
    let Some(engine) = docker::Engine::start() else {
        return;
    };
    let guarded = Guarded::start();
    let mut client = Store {
        tool: engine.docker.clone(),
        places: Places::new(),
        push: |docker, places, reference| {
            let archive = places.at("archive.tar");
            fs::write(&archive, [0; 1024]).expect("an archive");
            docker.run(["import", path(&archive), reference]);
            docker.attempt(["push", reference])
        },
        plain: &[],
        asks_first: false,
    };
    goes_in_and_out(&mut client, &guarded);

    // What it keeps is a token that can be revoked.
    let login = client.login(guarded.host(), PASSWORD);
    works("a login", &login.expect("docker asks the server"));
    let kept = fs::read_to_string(engine.scratch.path().join("config/config.json"));
    let kept: serde_json::Value =
        serde_json::from_str(&kept.expect("a configuration")).expect("JSON");
    let login = &kept["auths"][guarded.host()];
    assert!(login["identitytoken"].is_string(), "{kept}");
    let nothing_else = STANDARD.encode(format!("{USER}:"));
    assert_eq!(login["auth"], nothing_else, "{kept}");
    works("a push", &client.push(&guarded.named("team/app")));
}

/// containerd's own client, which takes the password with each command.
struct Ctr {
    engine: containerd::Engine,
    layout: Layout,
    password: Option<String>,
}

impl Ctr {
    /// Nothing is there any more.
    fn clear(&self) {
        let images = self.engine.ctr.run(["images", "list", "--quiet"]);
        let images = images.sorted_lines();
        let images: Vec<&str> = images
            .iter()
            .map(String::as_str)
            .filter(|image| !image.is_empty())
            .collect();
        if !images.is_empty() {
            self.engine.empty(&images);
        }
    }

    fn with_login(&self, command: &[&str], rest: &[&str]) -> Output {
        let user = self
            .password
            .as_ref()
            .map(|password| format!("--user={USER}:{password}"));
        let user = user.iter().map(String::as_str);
        let command = command.iter().copied().chain([containerd::PLAIN]);
        let rest = rest.iter().copied();
        self.engine.ctr.attempt(command.chain(user).chain(rest))
    }
}

impl Client for Ctr {
    fn login(&mut self, _: &str, password: &str) -> Option<Output> {
        self.password = Some(password.to_owned());
        None
    }

    fn logout(&mut self, _: &str) {
        self.password = None;
    }

    fn shows_reasons(&self) -> bool {
        false
    }

    fn asks_first(&self) -> bool {
        true
    }

    fn push(&self, repository: &str) -> Output {
        const LOCAL: &str = "example.com/local:v1";
        self.clear();
        self.engine.import(&self.layout, LOCAL);
        self.with_login(&["images", "push"], &[&format!("{repository}:v1"), LOCAL])
    }

    fn pull(&self, repository: &str) -> Output {
        self.clear();
        let reference = format!("{repository}:v1");
        let output = self.with_login(&["content", "fetch"], &[&reference]);
        if output.status.success() {
            self.engine.assert_holds(&reference, &self.layout);
        }
        output
    }
}

#[test]
fn containerd_takes_a_login_with_each_command() {
    let Some(engine) = containerd::Engine::start() else {
        return;
    };
    let mut client = Ctr {
        layout: content::small(&engine.scratch.path().join("pushed")),
        engine,
        password: None,
    };
    goes_in_and_out(&mut client, &Guarded::start());
}

/// helm, whose charts go below the repository that it is told.
struct Helm {
    tool: Tool,
    places: Places,
    chart: String,
}

impl Client for Helm {
    fn tag(&self) -> &'static str {
        "1.0.0"
    }

    fn asks_first(&self) -> bool {
        true
    }

    fn login(&mut self, host: &str, password: &str) -> Option<Output> {
        let login = [
            "registry",
            "login",
            "--plain-http",
            "-u",
            USER,
            "-p",
            password,
        ];
        Some(self.tool.attempt(login.iter().chain([&host])))
    }

    fn logout(&mut self, host: &str) {
        self.tool.run(["registry", "logout", host]);
    }

    fn push(&self, repository: &str) -> Output {
        let (parent, _) = repository.rsplit_once('/').expect("a parent");
        let parent = format!("oci://{parent}");
        self.tool
            .attempt(["push", "--plain-http", &self.chart, &parent])
    }

    fn pull(&self, repository: &str) -> Output {
        let pulled = self.places.next();
        fs::create_dir(&pulled).expect("a directory");
        let chart = format!("oci://{repository}");
        let pull = [
            "pull",
            "--plain-http",
            "--version",
            "1.0.0",
            "--destination",
        ];
        self.tool
            .attempt(pull.iter().chain([&pulled.as_str(), &chart.as_str()]))
    }
}

#[test]
fn helm_logs_in_and_out() {
    let Some(helm) = tool("helm") else { return };
    let places = Places::new();
    let helm = helm
        .env("HELM_CONFIG_HOME", places.at("config"))
        .env("HELM_CACHE_HOME", places.at("cache"))
        .env("HELM_DATA_HOME", places.at("data"))
        .env("DOCKER_CONFIG", places.at("docker"))
        .directory(places.scratch.path());
    helm.run(["create", "app"]);
    helm.run(["package", "app", "--version", "1.0.0"]);
    let mut client = Helm {
        chart: path(&places.at("app-1.0.0.tgz")).to_owned(),
        tool: helm,
        places,
    };
    goes_in_and_out(&mut client, &Guarded::start());
}
