//! Clients that copy from a layout and to one.

use registry_tests::harness::{Output, Tool, tool};

use super::{Client, Guarded, Places, USER, goes_in_and_out};
use crate::content;
use crate::layout::Layout;
use crate::skopeo;

/// Those that take a layout and give one back, on whose command lines it goes.
struct Copier {
    tool: Tool,
    places: Places,
    layout: Layout,
    login: fn(&Tool, &str, &str) -> Option<Output>,
    logout: fn(&Tool, &str),
    push: fn(&Tool, &str, &str) -> Output,
    pull: fn(&Tool, &str, &str) -> Output,
    asks_first: bool,
}

impl Client for Copier {
    fn login(&mut self, host: &str, password: &str) -> Option<Output> {
        (self.login)(&self.tool, host, password)
    }

    fn logout(&mut self, host: &str) {
        (self.logout)(&self.tool, host);
    }

    fn push(&self, repository: &str) -> Output {
        let tagged = format!("{repository}:v1");
        (self.push)(&self.tool, &self.layout.path(), &tagged)
    }

    fn pull(&self, repository: &str) -> Output {
        let pulled = self.places.next();
        let output = (self.pull)(&self.tool, &format!("{repository}:v1"), &pulled);
        if output.status.success() {
            self.layout.assert_pulled(pulled.as_ref());
        }
        output
    }

    fn asks_first(&self) -> bool {
        self.asks_first
    }
}

#[test]
fn skopeo_logs_in_and_out() {
    let Some(skopeo) = skopeo::skopeo() else {
        return;
    };
    let places = Places::new();
    let mut client = Copier {
        tool: skopeo.env("REGISTRY_AUTH_FILE", places.logins()),
        layout: content::small(&places.at("pushed")),
        places,
        login: |skopeo, host, password| {
            let tls = "--tls-verify=false";
            Some(skopeo.attempt(["login", tls, "-u", USER, "-p", password, host]))
        },
        logout: |skopeo, host| drop(skopeo.run(["logout", host])),
        push: |skopeo, layout, reference| {
            let (from, to) = (
                format!("oci:{layout}:latest"),
                format!("docker://{reference}"),
            );
            skopeo.attempt(["copy", skopeo::EXACT, skopeo::TO, &from, &to])
        },
        pull: |skopeo, reference, layout| {
            let (from, to) = (
                format!("docker://{reference}"),
                format!("oci:{layout}:latest"),
            );
            skopeo.attempt(["copy", skopeo::EXACT, skopeo::FROM, &from, &to])
        },
        asks_first: true,
    };
    goes_in_and_out(&mut client, &Guarded::start());
}

#[test]
fn crane_logs_in_and_out() {
    let Some(crane) = tool("crane") else { return };
    let places = Places::new();
    let mut client = Copier {
        tool: crane.env("DOCKER_CONFIG", places.at("docker")),
        layout: content::small(&places.at("pushed")),
        places,
        // It asks nobody whether the password is right.
        login: |crane, host, password| {
            crane.run(["auth", "login", "-u", USER, "-p", password, host]);
            None
        },
        logout: |crane, host| drop(crane.run(["auth", "logout", host])),
        push: |crane, layout, reference| crane.attempt(["push", "--insecure", layout, reference]),
        pull: |crane, reference, layout| {
            crane.attempt(["pull", "--insecure", "--format=oci", reference, layout])
        },
        asks_first: true,
    };
    goes_in_and_out(&mut client, &Guarded::start());
}

#[test]
fn oras_logs_in_and_out() {
    let Some(oras) = tool("oras") else { return };
    let places = Places::new();
    let mut client = Copier {
        tool: oras.env("DOCKER_CONFIG", places.at("docker")),
        layout: content::small(&places.at("pushed")),
        places,
        login: |oras, host, password| {
            Some(oras.attempt(["login", "--plain-http", "-u", USER, "-p", password, host]))
        },
        logout: |oras, host| drop(oras.run(["logout", host])),
        push: |oras, layout, reference| {
            let from = format!("{layout}:latest");
            oras.attempt([
                "cp",
                "--from-oci-layout",
                &from,
                "--to-plain-http",
                reference,
            ])
        },
        pull: |oras, reference, layout| {
            let to = format!("{layout}:latest");
            oras.attempt(["cp", "--from-plain-http", reference, "--to-oci-layout", &to])
        },
        asks_first: true,
    };
    goes_in_and_out(&mut client, &Guarded::start());
}

#[test]
fn regctl_logs_in_and_out() {
    let Some(regctl) = tool("regctl") else { return };
    let (places, guarded) = (Places::new(), Guarded::start());
    let regctl = regctl
        .env("DOCKER_CONFIG", places.at("docker"))
        .env("REGCTL_CONFIG", places.at("regctl.json"));
    let host = guarded.host();
    regctl.run(["registry", "set", "--tls=disabled", "--skip-check", host]);
    let mut client = Copier {
        tool: regctl,
        layout: content::small(&places.at("pushed")),
        places,
        login: |regctl, host, password| {
            Some(regctl.attempt(["registry", "login", "-u", USER, "-p", password, host]))
        },
        logout: |regctl, host| drop(regctl.run(["registry", "logout", host])),
        push: |regctl, layout, reference| {
            regctl.attempt([
                "image",
                "copy",
                &format!("ocidir://{layout}:latest"),
                reference,
            ])
        },
        pull: |regctl, reference, layout| {
            regctl.attempt([
                "image",
                "copy",
                reference,
                &format!("ocidir://{layout}:latest"),
            ])
        },
        asks_first: false,
    };
    goes_in_and_out(&mut client, &guarded);
}
