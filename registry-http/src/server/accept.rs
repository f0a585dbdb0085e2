//! Accepting connections, as many as there is room for.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::Stop;
use super::request::BoxError;
use super::told_to_stop;
use crate::{Limits, Peer};

/// How long to wait before accepting again when the system can't, for example
/// because the process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections and lets `serve` serve each, until `stop` says so; then
/// waits for them to end. Returns how many had to be cut off.
pub(super) async fn accept<F, C>(
    listener: TcpListener,
    limits: &Limits,
    mut stop: Stop,
    serve: F,
) -> usize
where
    F: Fn(TcpStream, SocketAddr) -> C,
    C: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(
        limits.max_connections.min(Semaphore::MAX_PERMITS),
    ));
    let addresses = Addresses::new(limits.max_connections_per_address);
    let mut connections = JoinSet::new();
    loop {
        let (stream, address, place) = tokio::select! {
            () = told_to_stop(&mut stop) => break,
            Some(ended) = connections.join_next() => {
                report(&ended);
                continue;
            }
            accepted = next(&listener, &places) => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            },
        };
        let Some(visit) = addresses.enter(address.ip()) else {
            tracing::debug!(%address, "closed a connection: there are too many from this address");
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "could not switch off the delay of small packets");
        }
        let connection = serve(stream, address);
        connections.spawn(async move {
            let _held = (place, visit);
            if let Err(error) = connection.await {
                tracing::debug!(%address, error = %Chain(&*error), "a connection ended early");
            }
        });
    }
    drop(listener);
    let all = async {
        while connections
            .join_next()
            .await
            .is_some_and(|ended| report(&ended))
        {}
    };
    if timeout(limits.drain_timeout, all).await.is_ok() {
        return 0;
    }
    let cut_off = connections.len();
    connections.shutdown().await;
    cut_off
}

async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, place))
}

/// A connection that was gone before it was accepted is no reason to wait.
async fn pause_after(error: &io::Error) {
    let is_about_one = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    );
    if !is_about_one {
        tracing::error!(%error, "could not accept connections for a moment");
        sleep(ACCEPT_PAUSE).await;
    }
}

fn report(ended: &Result<(), JoinError>) -> bool {
    if let Err(error) = ended {
        tracing::error!(%error, "serving a connection failed");
    }
    true
}

/// An error with its causes.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// How many connections there are from each address.
#[derive(Debug, Clone)]
struct Addresses {
    max: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection from an address; over once dropped.
#[derive(Debug)]
struct Visit {
    addresses: Addresses,
    from: IpAddr,
}

impl Addresses {
    fn new(max: usize) -> Self {
        Self {
            max,
            open: Arc::default(),
        }
    }

    fn enter(&self, address: IpAddr) -> Option<Visit> {
        let from = Peer { address }.household();
        let mut open = self.lock();
        let count = open.entry(from).or_default();
        if *count >= self.max {
            if *count == 0 {
                open.remove(&from);
            }
            return None;
        }
        *count = count.saturating_add(1);
        Some(Visit {
            addresses: self.clone(),
            from,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut open = self.addresses.lock();
        if let Some(count) = open.get_mut(&self.from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn addresses_are_counted_by_household() {
        let addresses = Addresses::new(2);
        let enter = |address: &str| addresses.enter(address.parse().unwrap());
        let first = enter("2001:db8::1").unwrap();
        let _second = enter("2001:db8::2").unwrap();
        assert!(enter("2001:db8::3").is_none());
        let _other = enter("2001:db8:0:1::1").unwrap();
        drop(first);
        let _third = enter("2001:db8::3").unwrap();

        let _mapped = enter("::ffff:10.0.0.1").unwrap();
        let _plain = enter("10.0.0.1").unwrap();
        assert!(enter("10.0.0.1").is_none());
        assert!(enter("10.0.0.2").is_some());
    }

    #[test]
    fn whoever_left_is_forgotten() {
        let addresses = Addresses::new(2);
        drop(addresses.enter(Ipv6Addr::LOCALHOST.into()));
        assert!(addresses.lock().is_empty());
    }
}
