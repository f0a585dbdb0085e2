//! From an account to a certificate.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType,
    HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use registry_auth::Fetch;
use registry_core::{Error, ErrorKind, Result};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::held::Held;
use super::store::Store;
use super::{CERTIFICATE, Obtainer};
use crate::HttpFetch;

/// Where the account is kept, below the directory of its server.
const ACCOUNT: &str = "account.json";

/// The longest answer that is read.
const ANSWER_MAX: usize = 1 << 20;

/// How long an order may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// How long each of its steps may take.
const STEP: Duration = Duration::from_mins(2);

/// What a server says about an account that it doesn't know.
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

impl Obtainer {
    /// Obtains a certificate and keeps it.
    pub(super) async fn obtain(&self) -> Result<Held> {
        let obtained = timeout(PATIENCE, self.order()).await;
        obtained.map_err(|source| {
            ErrorKind::Unavailable
                .error("the ACME server takes too long with an order")
                .with_source(source)
        })?
    }

    async fn order(&self) -> Result<Held> {
        let account = self.account().await?;
        let hosts: Vec<_> = self.hosts.iter().cloned().map(Identifier::Dns).collect();
        let mut order = match account.new_order(&NewOrder::new(&hosts)).await {
            Ok(order) => order,
            Err(error) => return Err(self.refused(error).await),
        };
        let mut shown = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(failed)?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let mut challenge = authorization
                .challenge(ChallengeType::TlsAlpn01)
                .ok_or_else(|| {
                    ErrorKind::Unavailable
                        .error("the ACME server doesn't make sure of hosts by TLS (tls-alpn-01)")
                })?;
            let host = challenge.identifier().to_string();
            let digest = challenge.key_authorization().digest().as_ref().to_vec();
            shown.push(self.challenges.show(&host, &digest, &self.provider)?);
            challenge.set_ready().await.map_err(failed)?;
        }
        let retries = RetryPolicy::new().timeout(STEP);
        let ready = order.poll_ready(&retries).await;
        drop(shown);
        if !matches!(ready, Ok(OrderStatus::Ready)) {
            return Err(unconvinced(&mut order, ready.err()).await);
        }
        let key = Zeroizing::new(order.finalize().await.map_err(failed)?);
        let chain = order.poll_certificate(&retries).await.map_err(failed)?;
        let pem = Zeroizing::new([key.as_bytes(), chain.as_bytes()].concat());
        let held = Held::read(&pem, &self.provider)?;
        if !held.is_for(&self.hosts) {
            return Err(ErrorKind::Unavailable.error(
                "the ACME server's certificate isn't for the hosts that it was ordered for",
            ));
        }
        // It is served once it is safe: to order another one after each crash
        // would soon be one too many.
        self.write(CERTIFICATE, pem).await?;
        Ok(held)
    }

    /// The account from before, or a new one.
    async fn account(&self) -> Result<Account> {
        let store = Arc::clone(&self.store);
        // Before anything is asked for that could not be kept.
        let kept = spawn_blocking(move || {
            store.prepare()?;
            store.read(ACCOUNT)
        });
        let kept = kept.await;
        let client = || Account::builder_with_http(Box::new(Client(self.fetch.clone())));
        if let Some(kept) = kept.map_err(interrupted)?? {
            match serde_json::from_slice::<AccountCredentials>(&kept) {
                Ok(credentials) => {
                    let account = client().from_credentials(credentials).await;
                    return account.map_err(failed);
                }
                Err(error) => {
                    // The error may quote the key.
                    let (line, column) = (error.line(), error.column());
                    tracing::warn!(
                        line,
                        column,
                        "the ACME account from before can't be read; another one is made"
                    );
                }
            }
        }
        let email = self.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<_> = email.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let made = client().create(&new, self.server.clone(), None).await;
        let (account, credentials) = made.map_err(failed)?;
        let credentials = serde_json::to_vec(&credentials).map_err(|source| {
            Error::internal("the ACME account could not be written down", source)
        })?;
        self.write(ACCOUNT, Zeroizing::new(credentials)).await?;
        Ok(account)
    }

    /// Forgets an account that its server has forgotten.
    async fn refused(&self, error: instant_acme::Error) -> Error {
        if let instant_acme::Error::Api(problem) = &error
            && problem.r#type.as_deref() == Some(NO_ACCOUNT)
        {
            let store = Arc::clone(&self.store);
            if let Ok(Err(error)) = spawn_blocking(move || store.remove(ACCOUNT)).await {
                return error;
            }
        }
        failed(error)
    }

    async fn write(&self, name: &'static str, content: Zeroizing<Vec<u8>>) -> Result<()> {
        let store: Arc<Store> = Arc::clone(&self.store);
        let written = spawn_blocking(move || store.write(name, &content)).await;
        written.map_err(interrupted)?
    }
}

/// Why a server isn't sure whose hosts these are.
async fn unconvinced(order: &mut Order, error: Option<instant_acme::Error>) -> Error {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            break;
        }
        let problems = authorization.challenges.iter();
        let problems = problems.filter_map(|challenge| challenge.error.as_ref());
        reasons.extend(problems.filter_map(|problem| problem.detail.clone()));
    }
    // They are the server's words, which go to the log.
    let plain = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    let reasons: String = reasons.join("; ").chars().take(500).map(plain).collect();
    let reason = ErrorKind::Unavailable.error(format!(
        "the ACME server can't make sure of a host; it has to reach this server at port 443: {reasons}"
    ));
    match error {
        Some(error) => reason.with_source(error),
        None => reason,
    }
}

fn failed(source: instant_acme::Error) -> Error {
    ErrorKind::Unavailable
        .error("the ACME server gives no certificate")
        .with_source(source)
}

fn interrupted(source: tokio::task::JoinError) -> Error {
    Error::internal("a file could not be waited for", source)
}

/// Asks by the one client of this crate.
struct Client(HttpFetch);

type Answer = std::result::Result<BytesResponse, instant_acme::Error>;

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let fetch = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            // It is in memory, as a whole.
            let Ok(body) = body.collect().await;
            let request = Request::from_parts(parts, body.to_bytes().to_vec());
            let answer = fetch.fetch(request, ANSWER_MAX).await;
            let answer = answer.map_err(|error| instant_acme::Error::Other(error.into()))?;
            let (parts, body) = answer.into_parts();
            let body = Box::new(Bytes::from(body));
            Ok(BytesResponse { parts, body })
        })
    }
}
