//! The upstream: a protected API that validates tokens with the issuer.
//!
//! - `routes` checks access and routes requests.
//! - `bearer` reads and validates the token of a request.
//! - `echo`, `grpc` and `query` build and parse what the routes need.
//! - `record` holds the counters and the log of requests; `builder` the options.

mod bearer;
pub(crate) mod builder;
mod echo;
mod grpc;
mod query;
pub(crate) mod record;
mod routes;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::gate::Gate;
use crate::issuer::{Issuer, IssuerShared};
use crate::server::StartError;
use crate::server::tasks::Tasks;
use builder::UpstreamBuilder;
use record::{RequestLog, RequestRecord, UpstreamCounters};

/// A protected API on a loopback port.
///
/// The upstream serves until [`shutdown`](Self::shutdown) or until it is dropped. Every route requires `Authorization:
/// Bearer` with a valid token unless the table says otherwise.
///
/// A refusal is a 401 with `WWW-Authenticate: Bearer realm="..."`. If the request has a token, the challenge contains
/// `error="invalid_token"` (RFC 6750 section 3.1). Two `Authorization` headers get a 400. The upstream reads the body
/// of a refused request to its end before it responds.
///
/// | route | response |
/// |---|---|
/// | any `/echo` | JSON: `method path query headers body_length body_sha256 generation subject`; `headers` maps lower-case names to arrays, with each token replaced by its generation |
/// | any `/open/echo` | like `/echo`, without authentication |
/// | any `/header/{name}/echo` | like `/echo`, with the token alone in the header `{name}` |
/// | POST `/upload` | JSON `{"bytes", "sha256"}` of the body, read as a stream |
/// | GET `/download/{n}` | `n` bytes; byte `i` is `i % 251` |
/// | any `/redirect/same?to=/echo&status=307` | a redirect to a path of this server |
/// | any `/redirect/to?url=...&status=307` | a redirect to any URL |
/// | any `/status/{code}` | this status, with a JSON body if the status allows one |
/// | any `/status/{code}/open` | like `/status/{code}`, without authentication |
/// | any `/always-401` | a refusal, whatever the token |
/// | any `/challenge?value=...` | 401 with exactly this `WWW-Authenticate`, whatever the token. `value` may repeat; `&status=403` changes the status. With `&when=bad` a valid token gets 200; with `&when=good` an invalid token gets the usual refusal |
/// | any `/long-401/{n}` | an invalid token gets a refusal with a body of `n` bytes in frames of 1 KiB, without end if `n` is `endless`; a valid token gets 200 |
/// | any `/slow-401` | an invalid token gets its refusal after [`release_slow`](Self::release_slow); a valid token gets 200 at once |
/// | any `/custom-419` | 419 for an invalid token |
/// | any `/custom-body-code` | 200 with `{"code": "TOKEN_EXPIRED"}` for an invalid token, `{"code": "OK"}` for a valid token |
/// | any `/grpc/ok` | gRPC without authentication: the request's body, then trailers with `grpc-status: 0` |
/// | any `/grpc/unauthenticated` | like `/grpc/ok` for a valid token; an invalid token gets a trailers-only response with `grpc-status: 16` |
/// | any `/grpc/late-unauthenticated` | like `/grpc/unauthenticated`, with status 16 in trailers after an empty body |
/// | GET `/__counters` | JSON without authentication: [`Counters`](crate::Counters) under `issuer`, [`UpstreamCounters`] under `upstream`. The request itself is not counted |
/// | POST `/login`, `/api/auth/refresh`, `/logout` | the issuer's endpoints, so that one origin serves both |
pub struct Upstream {
    shared: Arc<UpstreamShared>,
}

impl Upstream {
    /// Starts an upstream of `issuer` on a free port.
    ///
    /// # Errors
    ///
    /// Fails if no port can be opened.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime with IO and time enabled.
    pub async fn start(issuer: &Issuer) -> Result<Self, StartError> {
        Self::builder(issuer).start().await
    }

    /// Creates a builder for an upstream of `issuer`.
    pub fn builder(issuer: &Issuer) -> UpstreamBuilder {
        UpstreamBuilder::new(Arc::clone(issuer.shared()))
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Returns the upstream's counters.
    pub fn counters(&self) -> UpstreamCounters {
        self.shared.request_log.counters()
    }

    /// Sets all counters to zero and removes all records. Requests in flight still count towards the maximum.
    pub fn reset_counters(&self) {
        self.shared.request_log.reset();
    }

    /// Returns the newest 100,000 answered requests, in the order of their responses.
    pub fn record(&self) -> Vec<RequestRecord> {
        self.shared.request_log.records()
    }

    /// Returns the instant that the times in [`record`](Self::record) count from.
    pub fn started(&self) -> Instant {
        self.shared.started
    }

    /// Returns the gate that holds requests on arrival, before their token is validated. The issuer's three endpoints
    /// do not pass this gate.
    pub fn gate(&self) -> Gate {
        self.shared.gate.clone()
    }

    /// Sends the refusals that `/slow-401` holds at this moment. It holds later refusals again.
    pub fn release_slow(&self) {
        self.shared.slow_gate.open();
        self.shared.slow_gate.close();
    }

    /// Waits until `/slow-401` holds at least `count` refusals. *Waits* without a limit.
    pub async fn slow_arrived(&self, count: usize) {
        self.shared.slow_gate.arrived(count).await;
    }

    /// Closes the port and all connections, and waits until every task has ended. The counters stay readable.
    pub async fn shutdown(&self) {
        self.shared.tasks.shutdown().await;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.tasks.stop();
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Upstream")
            .field("url", &self.shared.url)
            .finish_non_exhaustive()
    }
}

/// State that the upstream's handle and its requests share.
pub(crate) struct UpstreamShared {
    issuer: Arc<IssuerShared>,
    url: String,
    realm: String,
    started: Instant,
    request_log: RequestLog,
    gate: Gate,
    slow_gate: Gate,
    tasks: Tasks,
}
