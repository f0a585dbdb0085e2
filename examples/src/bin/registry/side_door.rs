//! What there is besides the registry: whether the server is alive and ready,
//! and what it measured.
//!
//! `/livez` and `/readyz` are on every listener, outside `/v2/`. `/` is empty on the
//! registry's, as in the Docker registry: load balancers ask for it. The rest is on
//! the debug listener only.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;
use registry_http::{Body, RegistryService};
use tower_service::Service;

use crate::health::Health;
use crate::problem::sentence;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The pages besides the registry.
#[derive(Clone)]
pub(crate) struct SideDoor {
    pages: Arc<Pages>,
    /// What the other paths lead to.
    registry: Option<RegistryService>,
}

struct Pages {
    health: Health,
    /// Where the metrics are, and their source.
    metrics: Option<(String, PrometheusHandle)>,
}

impl SideDoor {
    /// The registry, with what everybody may ask.
    pub(crate) fn beside(registry: RegistryService, health: Health) -> Self {
        Self {
            pages: Arc::new(Pages {
                health,
                metrics: None,
            }),
            registry: Some(registry),
        }
    }

    /// The pages for those who watch the server.
    pub(crate) fn alone(health: Health, metrics: Option<(String, PrometheusHandle)>) -> Self {
        Self {
            pages: Arc::new(Pages { health, metrics }),
            registry: None,
        }
    }
}

/// A page that there is.
enum Page {
    Empty,
    Alive,
    Ready,
    Health,
    Metrics(PrometheusHandle),
}

impl SideDoor {
    fn page(&self, path: &str) -> Option<Page> {
        match (path, &self.pages.metrics) {
            ("/livez", _) => Some(Page::Alive),
            ("/readyz", _) => Some(Page::Ready),
            ("/", _) if self.registry.is_some() => Some(Page::Empty),
            // The registry's listener is for everybody.
            _ if self.registry.is_some() => None,
            ("/debug/health", _) => Some(Page::Health),
            (path, Some((metrics, handle))) if path == metrics => {
                Some(Page::Metrics(handle.clone()))
            }
            _ => None,
        }
    }
}

impl Page {
    async fn show(self, pages: &Pages) -> Response<Body> {
        match self {
            Self::Empty => respond(StatusCode::OK, TEXT, ""),
            Self::Alive => respond(StatusCode::OK, TEXT, "ok\n"),
            // Why not is nobody's business out there; the log has it.
            Self::Ready => match pages.health.check().await {
                Ok(()) => respond(StatusCode::OK, TEXT, "ok\n"),
                Err(error) => {
                    tracing::warn!(error = sentence(&error), "not ready");
                    respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n")
                }
            },
            Self::Health => match pages.health.check().await {
                Ok(()) => respond(StatusCode::OK, JSON, "{}"),
                Err(error) => {
                    let problems = serde_json::json!({"storage": sentence(&error)});
                    respond(StatusCode::SERVICE_UNAVAILABLE, JSON, problems.to_string())
                }
            },
            Self::Metrics(handle) => respond(StatusCode::OK, METRICS, handle.render()),
        }
    }
}

fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<B> Service<Request<B>> for SideDoor
where
    B: http_body::Body<Data: Buf, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The registry's service is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match (self.page(request.uri().path()), &mut self.registry) {
            (Some(page), _) if is_read => {
                let pages = Arc::clone(&self.pages);
                Box::pin(async move { Ok(page.show(&pages).await) })
            }
            (Some(_), _) => {
                let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "read it\n");
                let allowed = HeaderValue::from_static("GET, HEAD");
                response.headers_mut().insert(ALLOW, allowed);
                Box::pin(std::future::ready(Ok(response)))
            }
            (None, Some(registry)) => registry.call(request),
            (None, None) => {
                let response = respond(StatusCode::NOT_FOUND, TEXT, "there is nothing here\n");
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }
}
