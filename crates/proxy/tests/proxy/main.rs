//! Tests the proxy over real sockets: test callers on one side, the testkit's issuer and upstreams
//! on the other.

mod access;
mod bodies;
mod encrypted;
mod fixture;
mod forwarding;
mod idle;
mod lifecycle;
mod limits;
mod metrics;
mod page;
mod protocols;
mod raw;
mod refusals;
mod secrecy;
mod sockets;
mod unexplained;
mod upstream_failures;
