//! Serving a registry.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use registry_core::{Error, ErrorKind};
use registry_http::{Server, Tls};
use registry_storage::Engine;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::command_line::Serve;
use crate::health::Health;
use crate::log;
use crate::problem::{Failure, Found};
use crate::setup::{self, Keyed};
use crate::shutdown::Signals;
use crate::side_door::SideDoor;
use crate::summary::{exposure, openness, remark, summary};
use registry_examples::configuration::{self, Address, Configuration, Sources};

/// How long a thread that waited for the disk is kept for the next wait.
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(2);

/// How long what is left behind by a stop may take.
const LEFTOVERS: Duration = Duration::from_secs(5);

/// How long connections without requests may take to close.
const CLOSING: Duration = Duration::from_secs(1);

/// How often measurements are put together, which bounds what they take.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// The steps of the histograms of times, in seconds.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// The steps of the histograms of sizes, in bytes: each four times the last.
const BYTES: &[f64] = &[
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
];

/// Serves until a signal comes.
pub(crate) fn serve(options: Serve) -> Result<ExitCode, Failure> {
    let configuration = configuration::load(Sources {
        file: options.file,
        variables: std::env::vars_os().collect(),
        address: options.overrides.addr,
        root: options.overrides.root,
        plaintext: options.overrides.plain_http,
    })
    .map_err(Failure::Configuration)?;
    let logs = log::install(&configuration.log)
        .map_err(|error| Failure::new("the log can't be set up", &*error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(configuration.blocking_threads)
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .enable_all()
        .build()
        .map_err(|error| Failure::new("the runtime can't be started", &error))?;
    let result = runtime.block_on(run(&configuration, &logs));
    runtime.shutdown_timeout(LEFTOVERS);
    result.map(|()| ExitCode::SUCCESS)
}

async fn run(configuration: &Configuration, logs: &log::Guard) -> Result<(), Failure> {
    let signals =
        Signals::catch().map_err(|error| Failure::new("signals can't be caught", &error))?;
    for note in &configuration.notes {
        tracing::info!("{note}");
    }
    let http = &configuration.http;
    // What can't be used is found before the data directory is made.
    let mut found = Found::default();
    found.add(setup::answers(http));
    found.add(setup::tokens(&configuration.auth));
    let tls = found.take(setup::tls(http));
    let access = found.take_all(setup::access(&configuration.auth));
    let problems = found.into_problems();
    let (Some(tls), Some(access), []) = (tls, access, &*problems) else {
        return Err(problems.into());
    };
    let listener = bind(&http.address.value).await?;
    let address = address_of(&listener)?;
    if let Some(problem) = exposure(configuration, address) {
        return Err(problem.into());
    }
    let debug = match &configuration.debug {
        Some(debug) => Some((bind(&debug.address).await?, debug.metrics.clone())),
        None => None,
    };
    // Counters go to whoever is installed first.
    let metrics = match debug.as_ref().and_then(|(_, path)| path.clone()) {
        Some(path) => Some((path, measure()?)),
        None => None,
    };
    tokio::spawn(logs.tell_of_missing());
    let engine = setup::engine(configuration).await?;
    let keyed = setup::with_keys(access, configuration)?;
    let doors = Doors {
        listener,
        tls,
        keyed,
        debug: debug.map(|(listener, _)| listener),
        metrics,
    };
    let served = serve_engine(configuration, engine.clone(), doors, signals).await;
    // What was acknowledged is safe without it; what need not survive a crash is
    // kept, and the next process finds the directory free.
    let closed = tokio::time::timeout(LEFTOVERS, engine.close()).await;
    let closed = closed.unwrap_or_else(|_| {
        tracing::warn!("the storage took too long to be closed; is its disk overloaded?");
        Ok(())
    });
    served.and(closed.map_err(Failure::from))
}

/// Where clients come in, and who.
struct Doors {
    listener: TcpListener,
    tls: Option<Tls>,
    keyed: Keyed,
    debug: Option<TcpListener>,
    metrics: Option<(String, PrometheusHandle)>,
}

async fn serve_engine(
    configuration: &Configuration,
    engine: Engine,
    doors: Doors,
    signals: Signals,
) -> Result<(), Failure> {
    let http = &configuration.http;
    let Doors {
        listener,
        tls,
        keyed,
        debug,
        metrics,
    } = doors;
    let storage = configuration.storage_health;
    let health = Health::new(engine.clone(), storage, keyed.records);
    let service = setup::service(configuration, engine, keyed.access, keyed.keys)?;
    let service = SideDoor::beside(service, health.clone());
    let address = address_of(&listener)?;
    let mut server = Server::builder()
        .limits(setup::connections(setup::limits(http)))
        .http2(http.http2);
    server = match &tls {
        Some(tls) => server.listen_tls(listener, tls, service)?,
        None => server.listen(listener, service),
    };
    if let Some(listener) = debug {
        let address = address_of(&listener)?;
        if !address.ip().to_canonical().is_loopback() {
            tracing::warn!(
                "whoever reaches {address} is told how this server fares, unencrypted and without \
                 a login; to keep others out, set `http.debug.addr` to 127.0.0.1:{}",
                address.port()
            );
        }
        server = server.listen(listener, SideDoor::alone(health, metrics));
    }
    if !configuration.has_file {
        // Nobody has to read it.
        let _ = io::stdout().write_all(summary(configuration, address).as_bytes());
    }
    if let Some(remark) = remark(configuration, address) {
        tracing::warn!("{remark}");
    }
    if let Some(warning) = openness(configuration, address) {
        tracing::warn!("{warning}");
    }
    if configuration.auth.is_managed() {
        let prefix = http.prefix.trim_end_matches('/');
        tracing::info!("robots, keys and tokens are managed at {prefix}/api/v1/");
    }
    log::announce(&configuration.log, &format!("listening on {address}"));
    until_told(server, signals).await
}

/// Serves until the first signal, then until everything is answered or, shortly
/// after the second signal, it isn't.
async fn until_told(server: Server, mut signals: Signals) -> Result<(), Failure> {
    let (stop, stopped) = oneshot::channel::<()>();
    let server = server.shutdown_when(async {
        // It is time to stop too if there is nobody left to say so.
        let _ = stopped.await;
    });
    let impatience = async {
        signals.next().await;
        tracing::info!("stopping once requests in progress are answered");
        // The server may be gone already.
        let _ = stop.send(());
        signals.next().await;
        // It may have come while the last connections were closing.
        tokio::time::sleep(CLOSING).await;
    };
    tokio::select! {
        biased;
        result = server.run() => Ok(result?),
        () = impatience => Err(Failure::Other(
            "stopped by a second signal, before all requests were answered".to_owned(),
        )),
    }
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    let address = listener.local_addr();
    address.map_err(|error| Failure::new("the listener has no address", &error))
}

async fn bind(address: &Address) -> Result<TcpListener, Failure> {
    address.bind().await.map_err(|source| {
        let reason = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "another process listens there; stop it or choose another address".to_owned()
            }
            _ => source.to_string(),
        };
        Failure::from(
            ErrorKind::Unavailable.error(format!("{address} can't be listened on: {reason}")),
        )
    })
}

/// Begins to measure.
fn measure() -> Result<PrometheusHandle, Failure> {
    let failed = |source| Failure::from(Error::internal("nothing can be measured", source));
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)
        })
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(failed)?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(METRICS_UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}
