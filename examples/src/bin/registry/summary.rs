//! What a server says about itself when it starts.

use std::net::SocketAddr;

use registry_examples::configuration::{Changes, Configuration, Problem, Storage, TlsOptions};

/// Whether everybody who reaches the server may use it.
pub(crate) fn is_open(configuration: &Configuration) -> bool {
    let auth = &configuration.auth;
    let tls = configuration.http.tls.as_ref();
    let is_closed = auth.has_logins()
        || auth.policy_file.is_some()
        || auth.webhook.is_some()
        || tls.is_some_and(TlsOptions::requires_certificates);
    !is_closed
}

/// What is dangerous about a server that others than this machine reach and
/// that knows nobody; nothing if it isn't one.
pub(crate) fn openness(configuration: &Configuration, address: SocketAddr) -> Option<String> {
    if !is_open(configuration) || address.ip().to_canonical().is_loopback() {
        return None;
    }
    let rights = rights(configuration.changes);
    let tls = configuration.http.tls.as_ref();
    let plain = if tls.is_some() {
        ""
    } else {
        ", and nothing is encrypted"
    };
    let certificate = if tls.is_some() {
        ""
    } else {
        " To encrypt, set `http.tls.certificate` and `http.tls.key`."
    };
    Some(format!(
        "everybody who reaches {address} may {rights} without a login{plain}. To ask for logins, \
         set `auth.htpasswd.realm` and `auth.htpasswd.path`.{certificate} To keep others out, set \
         `http.addr` to 127.0.0.1:{}.",
        address.port()
    ))
}

/// Why a server must not speak to others than this machine, as nobody asked for it
/// to do so in the open; nothing if it may.
pub(crate) fn exposure(configuration: &Configuration, address: SocketAddr) -> Option<Problem> {
    let http = &configuration.http;
    let is_meant = http.tls.is_some() || http.plaintext || relies_on_proxies(configuration);
    if is_meant || address.ip().to_canonical().is_loopback() {
        return None;
    }
    let (what, proxies) = if configuration.auth.has_logins() {
        let proxies =
            "name the proxies on other machines that encrypt (`http.trustedproxies`), or ";
        ("passwords would be sent to it", proxies)
    } else {
        ("images would be sent to it and from it", "")
    };
    Some(http.address.origin.problem(format!(
        "others than this machine reach {address}, and {what} unencrypted; name a certificate \
         (`http.tls.certificate` and `http.tls.key`), or set `http.addr` to 127.0.0.1:{port}, or \
         {proxies}ask for plain HTTP (`http.plaintext: true`, `REGISTRY_HTTP_PLAINTEXT=true` or `serve --plain-http`)",
        port = address.port()
    )))
}

/// Whether there are proxies that only reach others' addresses of this machine, and
/// that logins have to come through.
fn relies_on_proxies(configuration: &Configuration) -> bool {
    let mut proxies = configuration.http.trusted_proxies.iter();
    configuration.auth.has_logins()
        && proxies.any(|proxy| !proxy.value.addr().to_canonical().is_loopback())
}

/// What somebody who relies on proxies may not expect; nothing if there is nothing.
pub(crate) fn remark(configuration: &Configuration, address: SocketAddr) -> Option<Problem> {
    let http = &configuration.http;
    let proxy = http.trusted_proxies.first()?;
    let is_meant = http.tls.is_some() || http.plaintext || !relies_on_proxies(configuration);
    if is_meant || address.ip().to_canonical().is_loopback() {
        return None;
    }
    Some(proxy.origin.problem(format!(
        "logins are taken through these proxies only, where they say `X-Forwarded-Proto: https`; \
         whoever reaches {address} another way can't log in, as nothing is encrypted there"
    )))
}

pub(crate) const fn rights(changes: Changes) -> &'static str {
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
    let auth = &configuration.auth;
    let users = match (&auth.policy_file, &auth.password_file) {
        (Some(file), _) => format!("whom {} allows it", file.value.display()),
        (None, Some(file)) => format!("those in {}", file.path.value.display()),
        (None, None) if auth.certificate_name.is_some() => "those with a certificate".to_owned(),
        (None, None) if auth.has_logins() => "those with a token for it".to_owned(),
        (None, None) => "everybody who can reach it".to_owned(),
    };
    let rights = rights(configuration.changes);
    let prefix = configuration.http.prefix.trim_end_matches('/');
    let managed = if auth.is_managed() {
        format!("\n  manage   {scheme}://{reached}{prefix}/api/v1/")
    } else {
        String::new()
    };
    format!(
        "A container registry is ready at {scheme}://{reached}{prefix}\n\
         \n  data     {data}\
         \n  open to  {users}, to {rights}\n\
         \n  push     docker tag alpine {reached}/alpine && docker push {reached}/alpine\
         \n  pull     docker pull {reached}/alpine{managed}\n\
         \nCtrl-C stops it; `registry --help` says what else there is.\n\n",
    )
}
