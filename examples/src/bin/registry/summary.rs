//! What a server that nobody configured says about itself.

use std::net::SocketAddr;

use registry_examples::configuration::{Changes, Configuration, Storage};

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
    let rights = match configuration.changes {
        Changes::None => "pull",
        Changes::Pushes => "push and pull",
        Changes::All => "push, pull and delete",
    };
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
