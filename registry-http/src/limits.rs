//! Bounds on what a client may send, hold and wait for.

use std::time::Duration;

/// The bounds that the service and the listener enforce.
///
/// The defaults suit a registry that faces the internet. Sizes are in bytes.
/// The largest manifest and the most tags in one push are part of
/// [`ManifestRules`](registry_core::ManifestRules), since they concern any
/// registry, also one without HTTP.
///
/// ```
/// use std::time::Duration;
/// use registry_http::Limits;
///
/// let limits = Limits::default().body_idle(Duration::from_secs(10)).max_blob(Some(1 << 30));
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    // What the service enforces.
    /// How long a request body may pause before the request fails with 408.
    pub body_idle: Duration,
    /// The slowest request body in bytes a second; none if 0. A fast start
    /// buys no more than one pause of [`body_idle`](Self::body_idle). Time in
    /// which the registry doesn't read isn't held against the client.
    pub body_min_rate: u64,
    /// How long a request body may be slower than
    /// [`body_min_rate`](Self::body_min_rate) at its beginning.
    pub body_grace: Duration,
    /// How long a client may take nothing of an answer. From then on the
    /// service gives the place of the answer to others that need it, and the
    /// listener closes the connection. Over HTTP/2, where answers share a
    /// connection, it does so after four times as long.
    pub write_idle: Duration,
    /// How slowly a client may take an answer, in bytes a second, with the
    /// same consequences; at any rate if 0. A fast start buys no more than one
    /// pause of [`write_idle`](Self::write_idle). Time in which the registry
    /// has nothing to give isn't held against the client.
    pub write_min_rate: u64,
    /// How long a client may be slower than
    /// [`write_min_rate`](Self::write_min_rate) at the beginning of an answer.
    pub write_grace: Duration,
    /// The largest blob; any size if absent.
    pub max_blob: Option<u64>,
    /// How much of a request body is read and dropped after an error, so that
    /// the client gets to see the answer before the connection closes. 8 MiB
    /// unless changed: a manifest that is too large is seldom larger.
    pub drain_bytes: usize,
    /// How long to read a request body after an error.
    pub drain_time: Duration,
    /// The memory for the bytes of manifests on their way in that are larger
    /// than 64 KiB, all requests together; one of any size always has room.
    /// They get it as their bytes come, and wait for
    /// [`manifest_time`](Self::manifest_time) when there is none, those who say
    /// how large they are before a byte of them is read. Then they get 503.
    ///
    /// A manifest holds its share until it is stored. While it is read and
    /// checked, one at a time, it takes several times its size. What is kept of
    /// it until it is stored takes as much again, all requests together, or as
    /// much as one takes. Smaller ones are bounded by
    /// [`max_requests`](Self::max_requests).
    pub manifest_memory: usize,
    /// The slowest manifest of more than 64 KiB, in bytes a second, while
    /// others wait for memory; any that doesn't pause for longer than
    /// [`manifest_grace`](Self::manifest_grace) if 0. A slower one fails with
    /// 408. Nobody waits unless somebody sends as much as there is memory, so
    /// this doesn't concern slow clients otherwise.
    pub manifest_min_rate: u64,
    /// How long a manifest may be slower than
    /// [`manifest_min_rate`](Self::manifest_min_rate) at its beginning, and
    /// pause however fast it was.
    pub manifest_grace: Duration,
    /// How long a manifest may take to arrive, however steadily it does, not
    /// counting the time for which it waits for memory. Then the request fails
    /// with 408.
    pub manifest_time: Duration,
    /// The memory for manifests and lists of more than 64 KiB on their way out,
    /// all answers together; one of any size has room when there is no other.
    /// Where there is none left, a request waits a few seconds for other answers to
    /// be taken, and then gets 503. How long clients may take is up to
    /// [`write_idle`](Self::write_idle) and
    /// [`write_min_rate`](Self::write_min_rate). Smaller answers are bounded by the
    /// number of connections, and of requests on each.
    pub answer_memory: usize,
    /// The most tags in one answer, also if the client asks for no number.
    pub max_tags_page: usize,
    /// The most repositories in one answer.
    pub max_catalog_page: usize,
    /// The most referrers in one answer. As many as
    /// [`max_referrers_bytes`](Self::max_referrers_bytes) hold, more or less: many
    /// clients read one page and follow no link.
    pub max_referrers_page: usize,
    /// The largest listing of referrers, which clients read like a manifest. A
    /// single referrer is listed however large it is.
    pub max_referrers_bytes: usize,
    /// The most ranges in one request. With more, the whole blob is served.
    pub max_ranges: usize,
    /// The most requests in progress that move no blob. Further ones get 503.
    pub max_requests: usize,
    /// The most blobs on their way in. Further ones get 503.
    pub max_uploads: usize,
    /// The most blobs on their way out. Further ones get 503.
    pub max_downloads: usize,
    /// How many of those places, and of the memory for manifests and answers,
    /// one address may hold at once: so many times as many as are free. With 1, the first
    /// address that wants all gets half of them, the next one half of the
    /// rest, and so on; beyond its share an address gets 429. With `None`, one
    /// address may hold everything.
    ///
    /// An address is that of the [`Peer`](crate::Peer), for IPv6 its network of
    /// 64 bits. Requests without a `Peer` are not kept to a share. Behind a
    /// proxy, name it by
    /// [`trusted_proxies`](crate::RegistryService::trusted_proxies), or its
    /// clients share one share.
    pub address_share: Option<u32>,
    /// When a client that was turned away may come back.
    pub retry_after: Duration,

    // What the listener enforces.
    /// The most open connections. Further ones wait to be accepted.
    pub max_connections: usize,
    /// The most open connections from one address. Further ones are closed.
    pub max_connections_per_address: usize,
    /// How long a TLS handshake may take.
    pub tls_handshake: Duration,
    /// How long the head of a request may take to arrive.
    pub header_timeout: Duration,
    /// How long a connection may stay open with nothing to do.
    pub keep_alive: Duration,
    /// The largest head of a request: request line and headers.
    pub max_head: usize,
    /// The most headers in a request.
    pub max_headers: usize,
    /// The longest request target.
    pub max_uri: usize,
    /// The longest `Authorization` header.
    pub max_authorization: usize,
    /// The most requests in progress on one HTTP/2 connection.
    pub http2_max_streams: u32,
    /// How often an HTTP/2 client has to show that it is there.
    pub http2_ping_interval: Duration,
    /// How long it may take to do so.
    pub http2_ping_timeout: Duration,
    /// The most streams that an HTTP/2 client opens and resets before they are
    /// served. Then the connection is closed.
    pub http2_max_pending_resets: usize,
    /// The most streams reset because of a client's errors. Then the
    /// connection is closed.
    pub http2_max_error_resets: usize,
    /// How many HTTP/2 connections have wide windows, so that clients far away
    /// push at full speed: one sends no more than its window in each round trip.
    /// They are shared between addresses by
    /// [`address_share`](Self::address_share); all others have the narrow ones below.
    pub http2_wide_connections: usize,
    /// How much a client sends ahead on a connection with wide windows, on one
    /// stream or on all of them. They take this times
    /// [`http2_wide_connections`](Self::http2_wide_connections) at most.
    pub http2_wide_window: u32,
    /// How much of an upload an HTTP/2 client sends ahead, on one stream.
    pub http2_stream_window: u32,
    /// How much an HTTP/2 client sends ahead on all streams of a connection. What
    /// nobody reads yet, as a manifest that waits for memory, is kept until then, so
    /// all connections of an address may take so many times as much as
    /// [`max_connections_per_address`](Self::max_connections_per_address), and all
    /// there are as [`max_connections`](Self::max_connections).
    pub http2_connection_window: u32,
    /// How much of an answer is buffered for one HTTP/2 stream.
    pub http2_send_buffer: usize,
    /// How long requests in progress may go on once the listener is told to
    /// stop.
    pub drain_timeout: Duration,
}

/// Adds a setter for each field.
macro_rules! setters {
    ($($field:ident: $kind:ty,)+) => {
        impl Limits {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
                pub fn $field(mut self, $field: $kind) -> Self {
                    self.$field = $field;
                    self
                }
            )+
        }
    };
}

setters! {
    body_idle: Duration,
    body_min_rate: u64,
    body_grace: Duration,
    write_idle: Duration,
    write_min_rate: u64,
    write_grace: Duration,
    max_blob: Option<u64>,
    drain_bytes: usize,
    drain_time: Duration,
    manifest_memory: usize,
    manifest_min_rate: u64,
    manifest_grace: Duration,
    manifest_time: Duration,
    answer_memory: usize,
    max_tags_page: usize,
    max_catalog_page: usize,
    max_referrers_page: usize,
    max_referrers_bytes: usize,
    max_ranges: usize,
    max_requests: usize,
    max_uploads: usize,
    max_downloads: usize,
    address_share: Option<u32>,
    retry_after: Duration,
    max_connections: usize,
    max_connections_per_address: usize,
    tls_handshake: Duration,
    header_timeout: Duration,
    keep_alive: Duration,
    max_head: usize,
    max_headers: usize,
    max_uri: usize,
    max_authorization: usize,
    http2_max_streams: u32,
    http2_ping_interval: Duration,
    http2_ping_timeout: Duration,
    http2_max_pending_resets: usize,
    http2_max_error_resets: usize,
    http2_wide_connections: usize,
    http2_wide_window: u32,
    http2_stream_window: u32,
    http2_connection_window: u32,
    http2_send_buffer: usize,
    drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_idle: Duration::from_mins(1),
            body_min_rate: 1 << 10,
            body_grace: Duration::from_secs(30),
            write_idle: Duration::from_mins(1),
            write_min_rate: 1 << 10,
            write_grace: Duration::from_secs(30),
            max_blob: None,
            drain_bytes: 8 << 20,
            drain_time: Duration::from_secs(2),
            manifest_memory: 16 << 20,
            manifest_min_rate: 64 << 10,
            manifest_grace: Duration::from_secs(5),
            manifest_time: Duration::from_mins(1),
            answer_memory: 32 << 20,
            max_tags_page: 10_000,
            max_catalog_page: 1_000,
            max_referrers_page: 10_000,
            max_referrers_bytes: 4 << 20,
            max_ranges: 1_024,
            max_requests: 2_048,
            max_uploads: 256,
            max_downloads: 512,
            address_share: Some(1),
            retry_after: Duration::from_secs(1),

            max_connections: 10_000,
            max_connections_per_address: 1_024,
            tls_handshake: Duration::from_secs(10),
            header_timeout: Duration::from_secs(15),
            keep_alive: Duration::from_mins(1),
            max_head: 32 << 10,
            max_headers: 64,
            max_uri: 8 << 10,
            max_authorization: 16 << 10,
            http2_max_streams: 100,
            http2_ping_interval: Duration::from_secs(20),
            http2_ping_timeout: Duration::from_secs(20),
            http2_max_pending_resets: 20,
            http2_max_error_resets: 1_024,
            http2_wide_connections: 32,
            http2_wide_window: 2 << 20,
            http2_stream_window: 128 << 10,
            http2_connection_window: 256 << 10,
            http2_send_buffer: 400 << 10,
            drain_timeout: Duration::from_mins(1),
        }
    }
}
