//! What a server says about itself when it starts.

use std::net::SocketAddr;

use registry_examples::configuration::{Changes, Configuration, Storage};

/// What is dangerous about a server that others than this machine reach and
/// that knows nobody; nothing if it isn't one.
pub(crate) fn openness(configuration: &Configuration, address: SocketAddr) -> Option<String> {
    if configuration.password_file.is_some() || address.ip().to_canonical().is_loopback() {
        return None;
    }
    let rights = rights(configuration.changes);
    let and_plain = match configuration.http.tls {
        Some(_) => "",
        None => ", and nothing is encrypted, since `http.tls` names no certificate",
    };
    Some(format!(
        "everybody who reaches {address} may {rights} without a login; to ask for one, set \
         `auth.htpasswd.realm` and `auth.htpasswd.path`, or listen on 127.0.0.1 only{and_plain}"
    ))
}

const fn rights(changes: Changes) -> &'static str {
    match changes {
        Changes::None => "pull",
        Changes::Pushes => "push and pull",
        Changes::All => "push, pull and delete",
    }
}

/// What is served, where the data is, and how to use it.
pub(crate) fn summary(configuration: &Configuration, address: SocketAddr) -> String {
    let scheme = if configuration.http.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let reached = if address.ip().is_unspecified() {
        format!("127.0.0.1:{}", address.port())
    } else {
        address.to_string()
    };
    let data = match &configuration.storage {
        Storage::Memory => "in memory, gone when this ends".to_owned(),
        Storage::Filesystem(root) => std::path::absolute(root)
            .unwrap_or_else(|_| root.clone())
            .display()
            .to_string(),
    };
    let users = match &configuration.password_file {
        Some(file) => format!("those in {}", file.path.value.display()),
        None => "everybody who can reach it".to_owned(),
    };
    let rights = rights(configuration.changes);
    format!(
        "A container registry is ready at {scheme}://{reached}{prefix}\n\
         \n  data     {data}\
         \n  open to  {users}, to {rights}\n\
         \n  push     docker tag alpine {reached}/alpine && docker push {reached}/alpine\
         \n  pull     docker pull {reached}/alpine\n\
         \nCtrl-C stops it; `registry --help` says what else there is.\n\n",
        prefix = configuration.http.prefix.trim_end_matches('/'),
    )
}
