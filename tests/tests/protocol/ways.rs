//! The ways in which clients push a blob.

use crate::served::Served;
use crate::wire::{Answer, Ask};

/// The size of chunks, where a client sends them.
pub(crate) const CHUNK: usize = 1024;

/// One way to push a blob.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// All in one `POST`.
    Post,
    /// `POST`, then all in one `PUT`: containerd, oras.
    PostPut,
    /// The same without saying how long it is: containerd if it is empty.
    PostPutStream,
    /// `POST`, one `PATCH` of known length, `PUT`: skopeo, crane.
    Patch,
    /// The same without saying how long it is: docker.
    PatchStream,
    /// `POST`, a `PATCH` for each chunk, `PUT`: regclient.
    Chunks,
    /// The same with the last chunk in the `PUT`.
    ChunksPut,
}

impl Way {
    pub(crate) const ALL: [Self; 7] = [
        Self::Post,
        Self::PostPut,
        Self::PostPutStream,
        Self::Patch,
        Self::PatchStream,
        Self::Chunks,
        Self::ChunksPut,
    ];

    /// Pushes `content` as `digest`, which has to be accepted.
    pub(crate) async fn push(
        self,
        served: &Served,
        repository: &str,
        digest: &str,
        content: &[u8],
    ) -> Answer {
        let answer = self.attempt(served, repository, digest, content).await;
        let answer = answer.expect(201);
        assert_eq!(answer.header("docker-content-digest"), digest, "{self:?}");
        let location = format!("/v2/{repository}/blobs/{digest}");
        assert_eq!(answer.header("location"), location, "{self:?}");
        answer
    }

    /// Sends `content` as `digest`; the last answer is the result.
    pub(crate) async fn attempt(
        self,
        served: &Served,
        repository: &str,
        digest: &str,
        content: &[u8],
    ) -> Answer {
        if let Self::Post = self {
            let target = format!("/v2/{repository}/blobs/uploads/?digest={}", encode(digest));
            return served.ask(octets(Ask::post(target)).body(content)).await;
        }
        let mut at = served.begin(repository).await;
        let last = match self {
            Self::PostPut | Self::PostPutStream => content,
            Self::Patch | Self::PatchStream => {
                let patch = octets(Ask::patch(&at));
                let patch = patch.send(matches!(self, Self::Patch), content);
                let answer = served.ask(patch).await;
                at = answer.expect(202).goes_on(content.len());
                b""
            }
            _ => {
                let start = match self {
                    Self::ChunksPut => content.len().saturating_sub(1) / CHUNK * CHUNK,
                    _ => content.len(),
                };
                for (index, piece) in content[..start].chunks(CHUNK).enumerate() {
                    let answer = served
                        .ask(chunk(Ask::patch(&at), index * CHUNK, piece))
                        .await;
                    at = answer.expect(202).goes_on(index * CHUNK + piece.len());
                }
                let put = Ask::put(finish(&at, digest));
                return match &content[start..] {
                    b"" => served.ask(put).await,
                    rest => served.ask(chunk(put, start, rest)).await,
                };
            }
        };
        let put = octets(Ask::put(finish(&at, digest)));
        let known = !matches!(self, Self::PostPutStream);
        served.ask(put.send(known, last)).await
    }
}

fn octets(ask: Ask) -> Ask {
    ask.header("content-type", "application/octet-stream")
}

/// A chunk and where in the blob it belongs.
pub(crate) fn chunk(ask: Ask, start: usize, piece: &[u8]) -> Ask {
    let end = start + piece.len() - 1;
    octets(ask)
        .header("content-range", format!("{start}-{end}"))
        .body(piece)
}

/// As Go's clients make it: the query is taken apart, added to, encoded and sorted.
pub(crate) fn finish(location: &str, digest: &str) -> String {
    let (path, query) = location.split_once('?').unwrap_or((location, ""));
    let mut parameters: Vec<String> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(str::to_owned)
        .collect();
    parameters.push(format!("digest={}", encode(digest)));
    parameters.sort();
    format!("{path}?{}", parameters.join("&"))
}

/// As Go encodes the values of queries.
pub(crate) fn encode(value: &str) -> String {
    value
        .replace('%', "%25")
        .replace(':', "%3A")
        .replace('/', "%2F")
        .replace('+', "%2B")
}
