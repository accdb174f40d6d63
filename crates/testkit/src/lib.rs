//! Issuers, servers and test suites for the tests of this workspace. This crate is never published.
//!
//! - [`Issuer`] and [`Upstream`]: the issuer and the protected API of the crate `token-rotator-issuer`, re-exported
//! - [`CertifiedIssuer`]: the certified `oidc-provider`, as a Node.js process
//! - [`HttpProxy`]: an HTTP proxy of a network, which records its requests
//! - [`RedisServer`], [`PostgresServer`], [`PgBouncer`]: real servers, each with its own process and directory
//! - [`conformance!`]: the test suite for session stores and coordinators

mod certified;
pub mod conformance;
mod http_proxy;
#[cfg(unix)]
mod servers;

pub use certified::{CertifiedClient, CertifiedGrant, CertifiedIssuer, CertifiedStats};
pub use http_proxy::{HttpProxy, ProxiedRequest};
#[cfg(unix)]
pub use servers::{PgBouncer, PostgresServer, RedisServer};
pub use token_rotator_issuer::{
    Counters, Fault, FaultRule, Faults, Gate, Grant, Issuer, IssuerBuilder, IssuerEvent,
    RefreshPolicy, RequestRecord, RevocationCause, StartError, TokenFormat, Upstream,
    UpstreamBuilder, UpstreamCounters,
};
