//! Limits of sizes, counts and times.

use std::time::Duration;

/// Limits of the proxy's sizes, counts and times. `None` means no limit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Number of callers' connections at one time. A further connection gets 503 and is closed. A
    /// caller that sends its headers slowly holds at most about twice `header_bytes`, for
    /// `header_timeout`.
    pub connections: usize,
    /// Size of a request's headers in bytes, names and values.
    pub header_bytes: usize,
    /// Time for a caller to send the headers of a request, and to keep an idle connection. An
    /// HTTP/2 connection is idle while no stream is open. After this time the proxy sends GOAWAY
    /// (RFC 9113 section 6.8), and after the same time again it closes the connection.
    pub header_timeout: Duration,
    /// Size of a request's body in bytes.
    pub body_bytes: Option<u64>,
    /// Time for which a caller may pause within a body. gRPC calls are exempt.
    pub body_idle: Option<Duration>,
    /// Time to connect to an upstream, TLS included.
    pub connect_timeout: Duration,
    /// Time for an upstream to begin its answer. gRPC calls are exempt.
    pub answer_timeout: Option<Duration>,
    /// Time for which a begun answer may make no progress: the upstream sends nothing, or the
    /// caller reads nothing. Pauses of the upstream are exempt in gRPC and `text/event-stream`
    /// answers.
    pub answer_idle: Option<Duration>,
    /// Time from a request to the begin of its answer, the wait for a token included.
    pub total_timeout: Option<Duration>,
    /// Bytes of one request's body that are kept for its replay, unless the route sets its own
    /// number.
    pub replay_bytes: usize,
    /// Bytes that are kept of all bodies together.
    pub replay_bytes_total: usize,
    /// Number of idle connections that each worker keeps to each upstream.
    pub idle_connections: usize,
    /// Time for which an idle connection to an upstream is kept.
    pub idle_timeout: Duration,
    /// Number of concurrent streams on one HTTP/2 connection of a caller.
    pub streams: u32,
    /// Time without a byte in either direction after which an upgraded connection (`WebSocket`) is
    /// closed.
    pub tunnel_idle: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            header_bytes: 32 * 1024,
            header_timeout: Duration::from_secs(30),
            body_bytes: None,
            body_idle: Some(Duration::from_secs(60)),
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Some(Duration::from_secs(60)),
            answer_idle: Some(Duration::from_secs(300)),
            total_timeout: None,
            replay_bytes: 64 * 1024,
            replay_bytes_total: 16 * 1024 * 1024,
            idle_connections: 256,
            idle_timeout: Duration::from_secs(30),
            streams: 250,
            tunnel_idle: None,
        }
    }
}
