//! The proxy over real sockets: callers on one side, the testkit's issuer and upstreams on the other.

mod bodies;
mod doors;
mod encrypted;
mod idle;
mod lifecycle;
mod limits;
mod numbers;
mod page;
mod passing;
mod protocols;
mod raw;
mod refusals;
mod scene;
mod secrecy;
mod sockets;
mod trouble;
