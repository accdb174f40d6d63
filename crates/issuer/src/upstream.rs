//! The upstream: a protected API that judges tokens by the issuer's ledger.

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
use record::{Ledger, RequestRecord, UpstreamCounters};

/// A protected API on a loopback port.
///
/// It serves until [`shutdown`](Self::shutdown) or until it is dropped. Every route wants `Authorization: Bearer` with
/// a good token unless the table says otherwise. A refusal is a 401 with `WWW-Authenticate: Bearer realm="..."`, and
/// `error="invalid_token"` in it if a token was sent (RFC 6750 section 3.1); two `Authorization` headers are a 400.
/// The body of a refused request is read to its end first.
///
/// | route | answer |
/// |---|---|
/// | any `/echo` | JSON: `method path query headers body_length body_sha256 generation subject`; `headers` maps lower-case names to arrays, tokens in them replaced by their generation |
/// | any `/open/echo` | the same without authentication |
/// | any `/header/{name}/echo` | the same, the token alone in the header `{name}` |
/// | POST `/upload` | JSON `{"bytes", "sha256"}` of the body, read as a stream |
/// | GET `/download/{n}` | `n` bytes, byte `i` being `i % 251` |
/// | any `/redirect/same?to=/echo&status=307` | a redirect to a path of this server |
/// | any `/redirect/to?url=...&status=307` | a redirect anywhere |
/// | any `/status/{code}` | that status, with a JSON body where it may have one |
/// | any `/status/{code}/open` | the same without authentication |
/// | any `/always-401` | a refusal, whatever the token |
/// | any `/challenge?value=...` | 401 with exactly this `WWW-Authenticate`, whatever the token; `value` may repeat; `&status=403` changes the status; with `&when=bad` a good token gets 200, with `&when=good` a bad one the usual refusal |
/// | any `/long-401/{n}` | a bad token's refusal has a body of `n` bytes in chunks of 1 KiB, or one without end where `n` is `endless`; a good one gets 200 |
/// | any `/slow-401` | a bad token's refusal is held until [`release_slow`](Self::release_slow); a good one gets 200 at once |
/// | any `/custom-419` | 419 for a bad token |
/// | any `/custom-body-code` | 200 with `{"code": "TOKEN_EXPIRED"}` for a bad token, `{"code": "OK"}` for a good one |
/// | any `/grpc/ok` | gRPC: the request's body, then trailers with `grpc-status: 0`, without authentication |
/// | any `/grpc/unauthenticated` | the same for a good token; for a bad one a trailers-only answer with `grpc-status: 16` |
/// | any `/grpc/late-unauthenticated` | the same, but 16 comes in trailers behind an empty body |
/// | GET `/__counters` | JSON without authentication: [`Counters`](crate::Counters) under `issuer`, [`UpstreamCounters`] under `upstream`; counts nowhere itself |
/// | POST `/login`, `/api/auth/refresh`, `/logout` | the issuer's own, in process, so that one origin hosts both |
pub struct Upstream {
    shared: Arc<UpstreamShared>,
}

impl Upstream {
    /// Starts an upstream of `issuer` on a free port. Fails if none can be opened.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO and time enabled.
    pub async fn start(issuer: &Issuer) -> Result<Self, StartError> {
        Self::builder(issuer).start().await
    }

    /// An upstream of `issuer`, with options.
    pub fn builder(issuer: &Issuer) -> UpstreamBuilder {
        UpstreamBuilder::new(Arc::clone(issuer.shared()))
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// What it has answered so far.
    pub fn counters(&self) -> UpstreamCounters {
        self.shared.ledger.counters()
    }

    /// Sets all counters to zero and forgets all records. Requests in flight still count towards the maximum.
    pub fn reset_counters(&self) {
        self.shared.ledger.reset();
    }

    /// The requests answered so far, in the order of their answers; beyond 100,000 the oldest are forgotten.
    pub fn record(&self) -> Vec<RequestRecord> {
        self.shared.ledger.records()
    }

    /// What the times in [`record`](Self::record) count from.
    pub fn started(&self) -> Instant {
        self.shared.started
    }

    /// Holds requests on arrival, before their token is judged; the three forwarded routes pass.
    pub fn gate(&self) -> Gate {
        self.shared.gate.clone()
    }

    /// Sends the refusals out that `/slow-401` holds at this moment. Later ones are held again.
    pub fn release_slow(&self) {
        self.shared.slow.open();
        self.shared.slow.close();
    }

    /// Waits until `/slow-401` holds at least `count` refusals; for ever if they never come.
    pub async fn slow_arrived(&self, count: usize) {
        self.shared.slow.arrived(count).await;
    }

    /// Closes the port and all connections, and waits until every task has ended. Counters stay readable.
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

/// What the upstream's handle and its requests share.
pub(crate) struct UpstreamShared {
    issuer: Arc<IssuerShared>,
    url: String,
    realm: String,
    started: Instant,
    ledger: Ledger,
    gate: Gate,
    slow: Gate,
    tasks: Tasks,
}
