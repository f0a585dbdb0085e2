//! The service: a registry behind HTTP.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Buf;
use futures::FutureExt;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, USER_AGENT,
};
use http::request::Parts;
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode, Version};
use ipnet::IpNet;
use registry_auth::{AccessControl, ClientCertificate, Sender, hide_secrets};
use registry_core::{
    Error, ErrorDetail, ErrorKind, ManifestRules, Randomness, Registry, RequestOrigin, Result,
    SystemRandomness,
};
use tracing::Instrument;

use crate::access_log::{Causes, Exchange};
#[cfg(feature = "management")]
use crate::administration::Administration;
use crate::configured_headers::ConfiguredHeaders;
use crate::endpoint::{Endpoint, Offers, deletes_content, takes_content};
use crate::error_response::{Failure, allow};
use crate::forwarded;
use crate::handler;
use crate::header::{self, OCI_NAMESPACE, REQUEST_ID};
use crate::location::Locations;
use crate::metrics::{Metrics, UNKNOWN, count_panic};
use crate::overload::Capacity;
use crate::patience::Patience;
use crate::places::Place;
use crate::positions::Positions;
use crate::request_body::{BoxError, Incoming, Remains, RequestBody, erase};
use crate::request_identity::{Identities, RequestIdentity};
use crate::storage::Storage;
use crate::this_machine;
use crate::{Body, Limits, Peer};

/// A registry as a [`tower_service::Service`] for requests with any body.
///
/// Cloning it is cheap, and all clones share their limits. It works under any
/// path prefix, in any program that speaks `http` types, on a Tokio runtime.
///
/// Among the extensions of a request it finds what a listener knows of the
/// connection: the [`Peer`], [`Scheme::HTTPS`] if it is secure, and the
/// [`ClientCertificate`] that was checked, if any was. They are put there by
/// `Server`, or by a listener of the program's own.
///
/// Until told otherwise it lets everybody do everything, deletes what it is
/// asked to, and keeps its list of repositories to itself.
///
/// Distribution specification, "Endpoints".
#[derive(Clone)]
pub struct RegistryService {
    settings: Arc<Settings>,
}

/// How a service is set up.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each switch is the operator's, apart from all others"
)]
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) registry: Storage,
    pub(crate) access: AccessControl,
    pub(crate) locations: Locations,
    pub(crate) limits: Limits,
    pub(crate) manifest_rules: ManifestRules,
    pub(crate) pushes: bool,
    pub(crate) deletes: bool,
    pub(crate) catalog: bool,
    pub(crate) anonymous_mount: bool,
    #[cfg(feature = "management")]
    pub(crate) administration: Option<Administration>,
    pub(crate) randomness: Arc<dyn Randomness>,
    pub(crate) capacity: Capacity,
    pub(crate) positions: Arc<Positions>,
    identities: Arc<Identities>,
    namespaces: Vec<String>,
    trusted_proxies: Vec<IpNet>,
    logins_over_tls: bool,
    headers: ConfiguredHeaders,
    metrics: Arc<Metrics>,
}

impl RegistryService {
    /// Serves `registry`, to everybody, until [`access`](Self::access) says
    /// otherwise.
    ///
    /// What is measured goes to the recorder of the [`metrics`] crate that is
    /// installed when the first request comes.
    pub fn new(registry: impl Registry) -> Self {
        Metrics::describe();
        let limits = Limits::default();
        let manifest_rules = ManifestRules::default();
        let capacity = Capacity::new(&limits, manifest_rules.max_size);
        let randomness = Arc::new(SystemRandomness);
        Self {
            settings: Arc::new(Settings {
                registry: Storage::new(Arc::new(registry), "registry"),
                access: AccessControl::open(),
                locations: Locations::default(),
                limits,
                manifest_rules,
                pushes: true,
                deletes: true,
                catalog: false,
                anonymous_mount: true,
                #[cfg(feature = "management")]
                administration: None,
                identities: Arc::new(Identities::new(Arc::clone(&randomness) as _)),
                positions: Arc::new(Positions::new(Arc::clone(&randomness) as _)),
                randomness,
                capacity,
                namespaces: Vec::new(),
                trusted_proxies: Vec::new(),
                logins_over_tls: false,
                headers: ConfiguredHeaders::default(),
                metrics: Arc::default(),
            }),
        }
    }

    /// Calls the registry `driver` where it is measured how long it takes for
    /// its work (`registry_storage_action_seconds`), such as `filesystem`; else
    /// it is called `registry`.
    pub fn storage_driver(self, driver: &str) -> Self {
        self.with(|settings| settings.registry = settings.registry.named(driver))
    }

    /// Lets `access` decide who may do what. It binds what it grants to the
    /// repositories of the registry rather than to their names, if
    /// [they can be told apart](Registry::epochs).
    pub fn access(self, access: AccessControl) -> Self {
        self.with(|settings| settings.access = settings.registry.told_apart(access))
    }

    /// Serves `/x/v2/…` if `prefix` is `/x/`.
    ///
    /// `/v2/…` without the prefix is served, too: a router around it may have
    /// removed it already, and Docker's clients know of none. They ask at
    /// `/v2/` of the host whatever the name of the image is, so let that path
    /// reach this service if they are to use it.
    pub fn prefix(self, prefix: &str) -> Self {
        self.with(|settings| settings.locations.set_prefix(prefix))
    }

    /// Answers with addresses at `host`, such as `https://registry.example`,
    /// in place of paths. Only clients that can't follow a path need it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if it isn't an `http` or `https` URL with
    /// nothing behind the host.
    pub fn host(mut self, host: &str) -> Result<Self> {
        Arc::make_mut(&mut self.settings).locations.set_host(host)?;
        Ok(self)
    }

    /// Enforces `limits`.
    pub fn limits(self, limits: Limits) -> Self {
        self.with(|settings| {
            settings.capacity = Capacity::new(&limits, settings.manifest_rules.max_size);
            settings.limits = limits;
        })
    }

    /// Accepts the manifests that obey `rules`.
    pub fn manifest_rules(self, rules: ManifestRules) -> Self {
        self.with(|settings| {
            settings.capacity = Capacity::new(&settings.limits, rules.max_size);
            settings.manifest_rules = rules;
        })
    }

    /// Whether anything can be pushed. If not, pushes are refused before anything
    /// of them is read, and no path says that it takes them. A registry that
    /// refuses them itself, as one under [`ReadOnly`](registry_core::ReadOnly),
    /// reads what it refuses.
    pub fn pushes(self, pushes: bool) -> Self {
        self.with(|settings| settings.pushes = pushes)
    }

    /// Whether blobs, manifests and tags can be deleted. Uploads can always be
    /// given up.
    pub fn deletes(self, deletes: bool) -> Self {
        self.with(|settings| settings.deletes = deletes)
    }

    /// Whether `/v2/_catalog` lists the repositories that the caller may see.
    /// It doesn't, unless allowed.
    pub fn catalog(self, catalog: bool) -> Self {
        self.with(|settings| settings.catalog = catalog)
    }

    /// Says that what is served is what `host` serves, such as `docker.io`:
    /// clients that ask a mirror on behalf of that host (`?ns=docker.io`) are
    /// told so. A mirror of several hosts is told of each.
    ///
    /// Distribution specification, "Registry proxying".
    pub fn mirror_of(self, host: &str) -> Self {
        self.with(|settings| settings.namespaces.push(host.to_owned()))
    }

    /// Whether a mount that names no source looks for the blob in every
    /// repository that the caller may pull from.
    pub fn anonymous_mount(self, anonymous_mount: bool) -> Self {
        self.with(|settings| settings.anonymous_mount = anonymous_mount)
    }

    /// Opens the management API at `/api/v1/`, for `administration`. There is none
    /// otherwise.
    #[cfg(feature = "management")]
    pub fn management(self, administration: Administration) -> Self {
        self.with(|settings| settings.administration = Some(administration))
    }

    /// Adds a header to every answer. A name may be given several values, one by
    /// one.
    ///
    /// `Cache-Control` takes the place of the registry's own, except where that is
    /// `no-store`; other headers stand beside those that an answer has. With any of
    /// `Access-Control-Allow-*`, `OPTIONS` is answered for every path that there is,
    /// without a login: browsers ask so before a page of another site may use the
    /// registry.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if the header frames an answer, belongs to
    /// the connection, or is one by which the protocol says something: a value
    /// that isn't the registry's own would break or falsify answers. Also if
    /// `Cache-Control` would let caches keep answers that several clients share, and
    /// if `X-Content-Type-Options` isn't `nosniff`.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Result<Self> {
        let settings = Arc::make_mut(&mut self.settings);
        settings.headers.add(name, value)?;
        Ok(self)
    }

    /// Believes proxies in these networks, and no others, whom they ask for: the
    /// address that they add to `X-Forwarded-For` takes the place of their own
    /// as the [`Peer`], for limits, rules, events and the log. What can't be
    /// understood leaves the proxy's own address. With `X-Forwarded-Proto: https`
    /// they say that they were asked over TLS: clients are sent to `https` for
    /// tokens then.
    pub fn trusted_proxies(self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.with(|settings| settings.trusted_proxies = networks.into_iter().collect())
    }

    /// Whether logins are taken over TLS only, or from this very machine. `false` unless
    /// told otherwise.
    ///
    /// TLS is what the listener says ([`Scheme::HTTPS`]), or a
    /// [trusted proxy](Self::trusted_proxies) with `X-Forwarded-Proto: https`. A request is
    /// from this machine if it comes from there for a name of this machine, such as `localhost`,
    /// without a sign of a proxy, or if it was said [how clients call the registry](Self::host). What everybody
    /// may do is open to others, too. Otherwise they are refused
    /// ([`Denied`](ErrorKind::Denied)), whatever they show, are given no token, and aren't asked
    /// to log in: their passwords would be sent in the open.
    pub fn logins_over_tls(self, only: bool) -> Self {
        self.with(|settings| settings.logins_over_tls = only)
    }

    /// Takes the identities of requests from `randomness`.
    pub fn randomness(self, randomness: impl Randomness) -> Self {
        self.with(|settings| {
            settings.randomness = Arc::new(randomness);
            settings.identities = Arc::new(Identities::new(Arc::clone(&settings.randomness)));
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

/// The answer of a [`RegistryService`] on its way.
pub type ResponseFuture =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send + 'static>>;

impl<B> tower_service::Service<Request<B>> for RegistryService
where
    B: http_body::Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let (parts, body) = request.into_parts();
        let settings = Arc::clone(&self.settings);
        let span = tracing::debug_span!(
            "request",
            method = parts.method.as_str(),
            path = &*hide_secrets(parts.uri.path()),
            operation = tracing::field::Empty,
            id = tracing::field::Empty,
        );
        let answer = settings.answer(parts, erase(body));
        Box::pin(answer.map(Ok).instrument(span))
    }
}

impl Settings {
    /// Answers a request, whatever happens.
    async fn answer(self: Arc<Self>, mut parts: Parts, body: Option<Incoming>) -> Response<Body> {
        let known_as = self.locations.authority();
        let in_the_open = self.logins_over_tls
            && this_machine::is_in_the_open(&parts, &self.trusted_proxies, known_as.is_some());
        let rebound = this_machine::is_rebound(&parts, &self.trusted_proxies, known_as);
        self.hear_proxies(&mut parts);
        let path = self.locations.strip(parts.uri.path());
        let offers = self.offers();
        let endpoint = match path {
            Some(path) => Endpoint::parse(&parts.method, path, parts.uri.query(), offers),
            None => Err(ErrorKind::NotFound
                .error("there is nothing here; the registry is at /v2/")
                .about("path", parts.uri.path())),
        };
        let name = endpoint.as_ref().map_or(UNKNOWN, Endpoint::name);
        let meter = self.metrics.meter(name, &parts.method);
        let client = parts.extensions.get::<Peer>().map(|peer| peer.address);
        let identity = RequestIdentity::of(&parts.headers, &self.identities);
        let span = tracing::Span::current();
        span.record("operation", name);
        span.record("id", identity.as_str());
        let mut exchange = Exchange::begin(meter, identity.as_str(), &parts, client);

        let (body, remains) = match RequestBody::new(body, &parts.headers, &self.limits) {
            Ok((body, remains)) => (Ok(body), remains),
            Err(error) => (Err(error), None),
        };
        let (endpoint, outcome) = match endpoint {
            Ok(endpoint) if in_the_open && shows_something(&parts, &endpoint) => {
                drop(body);
                (Some(endpoint), Err(over_tls_only()))
            }
            Ok(endpoint) if rebound => {
                drop(body);
                (Some(endpoint), Err(asked_under_another_name()))
            }
            Ok(endpoint) => {
                let handled = self.handle(&parts, &endpoint, body, &identity, &mut exchange);
                let outcome = AssertUnwindSafe(handled).catch_unwind().await;
                let outcome = outcome.unwrap_or_else(|_| Err(panicked()));
                let outcome = outcome.map(|(response, place)| (response, Some(place)));
                (Some(endpoint), outcome)
            }
            Err(error) => {
                // What nobody will read must not look as if somebody still might.
                drop(body);
                let allowed = allow(&self.methods(path, offers));
                let preflight = self.headers.preflight(&parts.method, &allowed);
                let sender = Sender::new(&parts.headers, origin(&parts, &identity));
                let outcome = match (self.access.count(&sender), preflight) {
                    (Ok(()), Some(response)) => Ok((response, None)),
                    (Ok(()), None) => Err(error.into()),
                    (Err(error), _) => Err(error.into()),
                };
                (None, outcome)
            }
        };
        let (mut response, place) = match outcome {
            Ok(answered) => answered,
            Err(mut failure) => {
                if in_the_open && failure.challenge.is_some() {
                    failure = over_tls_only();
                }
                let error = &failure.error;
                if error.kind() == ErrorKind::TooManyRequests && error.retry_after().is_none() {
                    failure.error = failure.error.with_retry_after(self.limits.retry_after);
                }
                if let (ErrorKind::BlobTooLarge, None, Some(max)) = (
                    failure.error.kind(),
                    failure.error.detail(),
                    self.limits.max_blob,
                ) {
                    failure.error = failure.error.with_detail(ErrorDetail::Limit(max));
                }
                log_failure(&failure.error, &identity, &parts);
                let mut methods = self.methods(path, offers);
                if endpoint.is_some() {
                    // What was refused as unsupported, the path doesn't have.
                    methods.retain(|method| *method != parts.method);
                }
                let allowed = allow(&methods);
                let response = failure.respond(endpoint.as_ref(), allowed, &self.locations);
                (response, None)
            }
        };
        if let Some(remains) = &remains {
            self.settle(&parts, remains, &mut response).await;
        }
        self.complete(&parts, &identity, &mut response);

        let received = remains.map_or(0, |remains| remains.received());
        exchange.answered(response.status(), received, endpoint);
        if response.body().is_at_hand() {
            let sent = response.body().len();
            exchange.finish(sent, true);
            return response;
        }
        let limits = &self.limits;
        let patience = Patience::new(limits.write_idle, limits.write_grace, limits.write_min_rate);
        response.map(|body| body.attended(exchange, place, patience))
    }

    /// Takes what a trusted proxy says of its client for what is known of the request.
    fn hear_proxies(&self, parts: &mut Parts) {
        let Some(&peer) = parts.extensions.get::<Peer>() else {
            return;
        };
        let (headers, trusted) = (&parts.headers, &self.trusted_proxies);
        let client = forwarded::client(peer, headers, trusted);
        let scheme = forwarded::scheme(peer, headers, trusted);
        // A proxy proves who it is itself, not for whom it asks.
        if forwarded::is_trusted(peer.address, trusted) {
            parts.extensions.remove::<ClientCertificate>();
        }
        parts.extensions.insert(client);
        if let Some(scheme) = scheme {
            parts.extensions.insert(scheme);
        }
    }

    /// Does what a request asks for, if that is allowed. Nothing of the body of an
    /// operation is read before.
    async fn handle(
        &self,
        parts: &Parts,
        endpoint: &Endpoint,
        body: Result<RequestBody>,
        identity: &RequestIdentity,
        exchange: &mut Exchange,
    ) -> Result<(Response<Body>, Place), Failure> {
        let origin = origin(parts, identity);
        let base = self
            .access
            .names_its_host()
            .then(|| self.locations.base(origin.secure, origin.host.as_deref()))
            .flatten();
        let is_login = matches!(endpoint, Endpoint::Token);
        self.headers
            .admit_site(parts, origin.host.as_deref(), is_login)?;
        let sender = Sender::new(&parts.headers, origin)
            .base(base.as_deref())
            .certificate(parts.extensions.get());
        let Some(operation) = endpoint.operation() else {
            // Boxed, as it is rare, and would take room in every request.
            #[cfg(feature = "management")]
            if let Endpoint::Management(operation) = endpoint {
                let request = handler::management::Request {
                    settings: self,
                    parts,
                    operation,
                };
                return Box::pin(request.serve(&sender, body, exchange)).await;
            }
            #[cfg(feature = "token")]
            return Box::pin(self.serve_tokens(parts, endpoint, sender, body, exchange)).await;
            #[cfg(not(feature = "token"))]
            return Err(ErrorKind::NotFound.error("there are no tokens here").into());
        };
        let admit = || {
            self.capacity
                .admit(operation, parts.extensions.get().copied())
        };
        let granted = self.access.authorize_admitted(&sender, operation, admit);
        let granted = granted.await;
        let actor = match &granted {
            Ok((grant, _)) => Some(&grant.actor),
            Err(refusal) => refusal.actor.as_ref(),
        };
        if let Some(actor) = actor {
            exchange.authorized(actor);
        }
        let (grant, place) = granted?;
        let request = handler::Request::new(self, parts, operation, &grant);
        let response = request.handle(body?).await;
        if let Some(refusal) = request.withdrawn() {
            return Err(refusal.into());
        }
        if let Err(error) = &response {
            request.require_same_repository(error).await?;
            if let Some(reason) = request.reason(error) {
                return Err(reason.into());
            }
        }
        Ok((response.map_err(not_the_callers)?, place))
    }

    /// Gives out tokens, and shows the keys that check them. Who asks for a token
    /// can say so in the body, so that is read before anything is decided.
    #[cfg(feature = "token")]
    async fn serve_tokens(
        &self,
        parts: &Parts,
        endpoint: &Endpoint,
        sender: Sender<'_>,
        body: Result<RequestBody>,
        exchange: &mut Exchange,
    ) -> Result<(Response<Body>, Place), Failure> {
        // Before a form is read, which occupies a place until it has come.
        self.access.count(&sender)?;
        let place = self.capacity.admit_other(parts.extensions.get().copied())?;
        let response = match endpoint {
            Endpoint::KeySet => handler::token::key_set(self).await?,
            Endpoint::Revoke => handler::token::revoke(self, parts, body?).await?,
            Endpoint::Token | Endpoint::Registry(_) | Endpoint::Management(_) => {
                let answer = handler::token::issue(self, parts, &sender, body?).await?;
                exchange.authorized(&answer.actor);
                handler::token::answer(&answer)?
            }
        };
        Ok((response, place))
    }

    /// The methods that `path` has, without those that are switched off.
    fn methods(&self, path: Option<&str>, offers: Offers) -> Vec<&'static Method> {
        let path = path.unwrap_or_default();
        let deletes = self.deletes || !deletes_content(path);
        let is_push = |method: &Method| takes_content(path, method, offers);
        Endpoint::allowed_methods(path, offers)
            .iter()
            .filter(|method| deletes || **method != Method::DELETE)
            .filter(|method| self.pushes || !is_push(method))
            .collect()
    }

    fn offers(&self) -> Offers {
        #[cfg(feature = "management")]
        let management = self.administration.is_some();
        #[cfg(not(feature = "management"))]
        let management = false;
        Offers {
            tokens: self.gives_tokens(),
            management,
        }
    }

    fn gives_tokens(&self) -> bool {
        cfg!(feature = "token") && self.access.gives_tokens()
    }

    /// Sees to what the client still sends although it has its answer.
    async fn settle(&self, parts: &Parts, remains: &Remains, response: &mut Response<Body>) {
        // HTTP/2 ends a stream without touching the others.
        if !remains.is_unread() || parts.version > Version::HTTP_11 {
            return;
        }
        // A client that waits to be told to go on needs no reading.
        if parts.headers.contains_key(EXPECT) || !remains.drain(&self.limits).await {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
    }

    /// Adds what every answer has.
    fn complete(&self, parts: &Parts, identity: &RequestIdentity, response: &mut Response<Body>) {
        let status = response.status();
        let has_length = response.headers().contains_key(CONTENT_LENGTH);
        debug_assert!(
            has_length || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED),
            "an answer without a length",
        );
        if parts.method == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        let headers = response.headers_mut();
        header::insert_on_every_answer(headers);
        if !self.namespaces.is_empty()
            && let Some(namespace) = asked_namespace(parts)
            && self.namespaces.contains(&namespace)
        {
            headers.insert(&OCI_NAMESPACE, header::value(namespace));
        }
        // So that a user can tell the operator which request it was.
        if identity.is_from_client() || status.is_server_error() {
            headers.insert(&REQUEST_ID, header::value(identity.as_str().to_owned()));
        }
        self.headers.complete(headers);
    }
}

/// A registry behind this one that wants another login doesn't mean the
/// caller's: asked for it, clients would send theirs again or not know how.
///
/// RFC 9110, section 15.5.2: 401 needs a challenge.
fn not_the_callers(error: Error) -> Error {
    if error.kind() == ErrorKind::Unauthorized {
        ErrorKind::Denied
            .error(error.to_string())
            .with_source(error)
    } else {
        error
    }
}

/// Whether a request says who sent it, or is about that.
fn shows_something(parts: &Parts, endpoint: &Endpoint) -> bool {
    parts.headers.contains_key(AUTHORIZATION)
        || matches!(
            endpoint,
            Endpoint::Token | Endpoint::Revoke | Endpoint::Management(_)
        )
}

fn over_tls_only() -> Failure {
    ErrorKind::Denied
        .error(
            "logins are taken over TLS only, and this came in the open; use https, and have the \
             operator name the proxy that it ends at, if there is one, and let it say \
             `X-Forwarded-Proto: https`",
        )
        .into()
}

fn asked_under_another_name() -> Failure {
    ErrorKind::Denied
        .error(
            "a browser asks this machine under another name; ask `localhost`, or have the operator \
             say how the registry is called or which proxy asks",
        )
        .into()
}

fn panicked() -> Failure {
    count_panic();
    ErrorKind::Internal
        .error("the registry met a defect of its own; report it")
        .into()
}

/// Causes are for the operator; clients only see the sentence.
fn log_failure(error: &Error, identity: &RequestIdentity, parts: &Parts) {
    if error.kind().is_server_fault() {
        let (id, path) = (identity.as_str(), hide_secrets(parts.uri.path()));
        let kind = error.kind();
        tracing::error!(error = %Causes(error), ?kind, id, path = &*path, "a request failed");
    }
}

fn origin(parts: &Parts, identity: &RequestIdentity) -> RequestOrigin {
    let user_agent = parts.headers.get(USER_AGENT);
    RequestOrigin {
        id: identity.as_str().to_owned(),
        address: parts.extensions.get::<Peer>().map(|peer| peer.address),
        host: header::host(parts),
        method: parts.method.as_str().to_owned(),
        user_agent: user_agent.and_then(|value| value.to_str().ok().map(str::to_owned)),
        secure: parts.extensions.get() == Some(&Scheme::HTTPS),
    }
}

/// The host on whose behalf a mirror was asked, if it says one and the same.
///
/// Distribution specification, "Registry proxying".
fn asked_namespace(parts: &Parts) -> Option<String> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return None;
    }
    let pairs = parts.uri.query()?.split('&');
    let mut hosts = pairs
        .filter_map(|pair| pair.strip_prefix("ns="))
        .map(|host| percent_encoding::percent_decode_str(host).decode_utf8());
    let host = hosts.next()?.ok()?;
    hosts
        .all(|other| other.is_ok_and(|other| other == host))
        .then(|| host.into_owned())
}

impl fmt::Debug for RegistryService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryService")
            .field("registry", &self.settings.registry)
            .field("access", &self.settings.access)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nothing;

    impl Registry for Nothing {}

    #[test]
    fn a_request_in_progress_is_small() {
        let service = RegistryService::new(Nothing);
        let (parts, ()) = Request::new(()).into_parts();
        let size = size_of_val(&service.settings.answer(parts, None));
        assert!(size <= 4608, "{size}");
    }
}
