//! A sidecar proxy that puts a rotated token on every request and replays refused requests.
//!
//! Programs without token code send plain requests to a port or a socket on their own machine. The
//! proxy finds the [`Route`], puts the session's token on the request and sends the request to the
//! route's upstream. After a 401 it waits for the one refresh and sends the request once more.
//!
//! Each of N worker threads has its own runtime, listening socket and upstream connections: a
//! request never crosses a thread. Refreshes run on the rotator's runtime
//! ([`RotatorBuilder::runtime`](token_rotator::RotatorBuilder::runtime)).
//!
//! # The proxy's own answers
//!
//! The proxy's own answers are `application/problem+json` (RFC 9457). Their `type` is
//! `urn:token-rotator:problem:` and the name. A gRPC caller gets a trailers-only answer with a
//! `grpc-status`.
//!
//! | name | status | gRPC | when |
//! |---|---|---|---|
//! | `bad-request` | 400 | 13 | `Host` missing, repeated or with a user name; a path with dot segments |
//! | `local-bearer` | 401 | 16 | the caller did not send the proxy's local bearer |
//! | `cross-site` | 403 | 7 | a web page of an origin that is not allowed sent the request |
//! | `no-route` | 404 | 12 | no route matches |
//! | `method` | 501 | 12 | CONNECT, TRACE and TRACK, in any case |
//! | `transfer-coding` | 501 | 12 | a `Transfer-Encoding` other than `chunked` |
//! | `body-timeout` | 408 | 4 | the caller paused for too long within a body |
//! | `header-timeout` | 408 | - | the caller took too long to send the headers |
//! | `too-large` | 413 | 8 | the body is larger than allowed |
//! | `host` | 421 | 12 | `Host` is not among the allowed ones |
//! | `headers-too-large` | 431 | 8 | the headers are larger than allowed |
//! | `upstream` | 502 | 14 | the upstream cannot be reached or closed the connection early |
//! | `proxy` | 502 | 14 | the HTTP proxy of the network cannot be reached, or opened no tunnel |
//! | `proxy-credentials` | 502 | 14 | the HTTP proxy of the network answered 407 |
//! | `session-ended` | 503 | 16 | the session ended; a user must sign in again |
//! | `session-refused` | 503 | 16 | the issuer refuses without a reason; a user must sign in again |
//! | `no-token` | 503 | 14 | the issuer issues no token now; `Retry-After` gives the time until the next attempt |
//! | `connections` | 503 | - | more connections than allowed |
//! | `upstream-timeout` | 504 | 4 | the upstream did not connect or answer in time |
//!
//! A head that is not HTTP gets 400 without a body. A head of more than twice the allowed bytes
//! gets 431 without a body. Both close the connection. A request with `Transfer-Encoding` closes
//! the connection too, because it may also have had a `Content-Length` (RFC 9112 section 6.3).
//!
//! # Files
//!
//! - `config`, `limits`, `route`, `routes`: the configuration, its limits, and the routes in force.
//! - `handle`, `worker`, `listen`, `connection`: the running proxy, its threads, sockets and callers.
//! - `admit`, `prepare`, `forward`, `send`, `upgrade`: the path of one request; `problem` the errors.
//! - `cross_site`, `cors`: which web pages may use the proxy, and the answers to them.
//! - `tee`, `body`, `tunnel`, `upstream/`: bodies in both directions, and upstream connections.
//! - `metrics`, `observe`, `admin/`: counters, observers, and the admin page; `log_limit`: repeated lines.

mod admin;
mod admit;
mod body;
mod config;
mod connection;
mod cors;
mod cross_site;
mod forward;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod headers;
mod keep_alive;
mod limits;
mod listen;
mod log_limit;
mod metrics;
mod observe;
mod prefixed;
mod prepare;
mod problem;
mod route;
mod routes;
mod send;
mod streams;
mod tee;
mod timer;
mod tunnel;
mod upgrade;
mod upstream;
mod worker;

pub use config::{BuildError, Config, Listen, Listener};
pub use handle::{Handle, StartError};
pub use limits::Limits;
pub use metrics::Recorder;
pub use observe::{Observed, Observer, RequestId};
pub use route::{Protocol, Route, UpstreamProxy};

/// Compiles the example of this crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
