//! The limits of everything.

use std::time::Duration;

/// How much and how long the proxy takes things. `None` is without limit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Connections of callers at one time; one more is answered 503 and closed.
    pub connections: usize,
    /// Bytes of a request's headers, names and values.
    pub header_bytes: usize,
    /// How long a caller may take to send the headers of a request, and to keep an idle connection.
    /// One of HTTP/2 is idle while no stream is open: after so long it is asked to end (GOAWAY, RFC
    /// 9113 section 6.8), and after as long again it is closed.
    pub header_timeout: Duration,
    /// Bytes of a request's body.
    pub body_bytes: Option<u64>,
    /// How long a caller may pause in the middle of a body; calls of gRPC are exempt.
    pub body_idle: Option<Duration>,
    /// How long connecting to an upstream may take, TLS included.
    pub connect_timeout: Duration,
    /// How long an upstream may take to begin its answer; calls of gRPC are exempt.
    pub answer_timeout: Option<Duration>,
    /// How long an answer may stand still once it has begun, because the upstream sends nothing or
    /// the caller reads nothing; what an upstream sends of gRPC and of `text/event-stream` is exempt.
    pub answer_idle: Option<Duration>,
    /// How long a whole request may take until its answer begins, waiting for a token included.
    pub total_timeout: Option<Duration>,
    /// Bytes kept of one request's body for its replay, where the route does not say otherwise.
    pub replay_bytes: usize,
    /// Bytes kept of all bodies together.
    pub replay_bytes_total: usize,
    /// Idle connections kept to each upstream by each worker.
    pub idle_connections: usize,
    /// How long an idle connection to an upstream is kept.
    pub idle_timeout: Duration,
    /// Streams at one time on one HTTP/2 connection of a caller.
    pub streams: u32,
    /// How long a connection that has switched protocols (`WebSocket`) may go without a byte in
    /// either direction until it is closed.
    pub tunnel_idle: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
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
