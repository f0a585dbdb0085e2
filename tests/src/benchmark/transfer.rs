//! Large blobs and small images.

use std::sync::Arc;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use super::{
    client::{Body, Connection},
    content::Blob,
    meter::Meter,
    push::{Image, Sending},
    results::Sample,
    server::Server,
};

/// Reads a blob to its end and throws it away.
pub(super) async fn pull(connection: &mut Connection, repository: &str, blob: &Blob) -> Result<()> {
    let target = format!("/v2/{repository}/blobs/{}", blob.digest);
    let answer = connection.request("GET", &target, &[], Body::None).await?;
    answer.expect(200, &target)?;
    ensure!(
        answer.length == blob.size,
        "{target}: {} bytes instead of {}",
        answer.length,
        blob.size
    );
    Ok(())
}

/// Pulls all blobs at once, each on its own connection.
pub(super) async fn measure_pull(
    server: &Server,
    repository: &'static str,
    blobs: &[Blob],
) -> Result<Sample> {
    let connections = connections(server, blobs.len()).await?;
    let meter = Meter::start(server)?;
    let mut tasks = JoinSet::new();
    for (mut connection, blob) in connections.into_iter().zip(blobs.iter().cloned()) {
        tasks.spawn(async move { pull(&mut connection, repository, &blob).await });
    }
    finish(tasks).await?;
    Ok(meter.stop(server, mebibytes(blobs)))
}

/// Pushes all blobs at once, each on its own connection, then looks whether the server has them.
pub(super) async fn measure_push(
    server: &Server,
    repository: &'static str,
    blobs: &[Blob],
    sending: Sending,
) -> Result<Sample> {
    let connections = connections(server, blobs.len()).await?;
    let meter = Meter::start(server)?;
    let mut tasks = JoinSet::new();
    for (mut connection, blob) in connections.into_iter().zip(blobs.iter().cloned()) {
        tasks.spawn(async move { connection.push_blob(repository, &blob, sending).await });
    }
    finish(tasks).await?;
    let sample = meter.stop(server, mebibytes(blobs));
    let mut connection = Connection::new(&server.host()?);
    for blob in blobs {
        connection.check_blob(repository, blob).await?;
    }
    Ok(sample)
}

/// Pushes all images, `pushers` at a time, each pusher into its own repository.
pub(super) async fn measure_images(
    server: &Server,
    images: &Arc<Vec<Image>>,
    pushers: u32,
) -> Result<Sample> {
    let pushers = pushers as usize;
    let connections = connections(server, pushers).await?;
    let meter = Meter::start(server)?;
    let mut tasks = JoinSet::new();
    for (pusher, mut connection) in connections.into_iter().enumerate() {
        let images = Arc::clone(images);
        tasks.spawn(async move {
            let repository = format!("images/pusher-{pusher}");
            for image in images.iter().skip(pusher).step_by(pushers) {
                connection.push_image(&repository, image).await?;
            }
            Ok(())
        });
    }
    finish(tasks).await?;
    Ok(meter.stop(server, images.len() as f64))
}

async fn connections(server: &Server, count: usize) -> Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = Connection::new(&server.host()?);
        connection.connect().await?;
        connections.push(connection);
    }
    Ok(connections)
}

async fn finish(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

fn mebibytes(blobs: &[Blob]) -> f64 {
    blobs.iter().map(|blob| blob.size as f64).sum::<f64>() / f64::from(1 << 20)
}
