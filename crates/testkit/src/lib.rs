//! What the tests of this workspace run against. It is never published.
//!
//! - [`Issuer`] and [`Upstream`]: the issuer and the protected API of the crate `token-rotator-issuer`, under one name
//!   with the rest.
//! - [`CertifiedIssuer`]: the certified `oidc-provider`, as a Node.js process.
//! - [`RedisServer`], [`PostgresServer`], [`PgBouncer`]: real servers, each in a process and a folder of its own.
//! - [`conformance!`]: the suite that every session store and every coordinator passes.

mod certified;
pub mod conformance;
#[cfg(unix)]
mod servers;

pub use certified::{CertifiedClient, CertifiedGrant, CertifiedIssuer, CertifiedStats};
#[cfg(unix)]
pub use servers::{PgBouncer, PostgresServer, RedisServer};
pub use token_rotator_issuer::{
    Counters, Fault, FaultRule, Faults, Gate, Grant, Issuer, IssuerBuilder, IssuerEvent,
    RefreshPolicy, RequestRecord, RevocationCause, StartError, TokenFormat, Upstream,
    UpstreamBuilder, UpstreamCounters,
};
