//! A sidecar proxy that puts a rotated token on every request, and replays what was refused.
//!
//! Programs that know nothing of tokens send plain requests to a port or a socket on their own
//! machine; the proxy finds the [`Route`], puts the session's token on the request, sends it to the
//! route's upstream, and after a 401 waits for the one refresh and sends the request once more.
//!
//! Each of N worker threads has a runtime, a listening socket and upstream connections of its own:
//! a request never crosses a thread. Refreshes run wherever the rotators were told to
//! ([`RotatorBuilder::runtime`](token_rotator::RotatorBuilder::runtime)).
//!
//! # What the proxy answers by itself
//!
//! All of it is `application/problem+json` (RFC 9457), `type` being `urn:token-rotator:problem:`
//! and the name; callers of gRPC get a trailers-only answer with a `grpc-status`.
//!
//! | name | status | gRPC | when |
//! |---|---|---|---|
//! | `bad-request` | 400 | 13 | `Host` missing, doubled or with a user name; a path with dot segments |
//! | `local-bearer` | 401 | 16 | the caller did not show the proxy's own bearer |
//! | `no-route` | 404 | 12 | no route matches |
//! | `method` | 501 | 12 | CONNECT and TRACE |
//! | `transfer-coding` | 501 | 12 | a `Transfer-Encoding` other than `chunked` |
//! | `body-timeout` | 408 | 4 | the caller stopped in the middle of a body |
//! | `header-timeout` | 408 | - | the caller took too long to send the headers |
//! | `too-large` | 413 | 8 | the body is larger than allowed |
//! | `host` | 421 | 12 | `Host` is not among the allowed ones |
//! | `headers-too-large` | 431 | 8 | the headers are larger than allowed |
//! | `upstream` | 502 | 14 | the upstream cannot be reached or broke off |
//! | `session-ended` | 503 | 16 | somebody has to sign in again |
//! | `no-token` | 503 | 14 | the issuer cannot give a token now; `Retry-After` says when to ask again |
//! | `connections` | 503 | - | more connections than allowed |
//! | `upstream-timeout` | 504 | 4 | the upstream did not connect or answer in time |
//!
//! A head that is not HTTP is answered 400, and one of more than twice the allowed bytes 431, both
//! without a body, and the connection is closed. So it is after a request with `Transfer-Encoding`,
//! for it may have had a `Content-Length` besides (RFC 9112 section 6.3).

mod admin;
mod admit;
mod body;
mod config;
mod connection;
mod forward;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod head;
mod headers;
mod keep_alive;
mod limits;
mod listen;
mod metrics;
mod observe;
mod prefixed;
mod prepare;
mod problem;
mod routes;
mod send;
mod streams;
mod tee;
mod timer;
mod tunnel;
mod upgrade;
mod upstream;
mod worker;

pub use config::{BuildError, Config, Listen, Listener, Protocol, Route};
pub use handle::{Handle, StartError};
pub use limits::Limits;
pub use metrics::Recorder;
pub use observe::{Observed, Observer, RequestId};

/// Public types can be built on one thread and used on another.
#[cfg(test)]
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Config>();
    is_send_and_sync::<Listen>();
    is_send_and_sync::<Listener>();
    is_send_and_sync::<Protocol>();
    is_send_and_sync::<Route>();
    is_send_and_sync::<BuildError>();
    is_send_and_sync::<Handle>();
    is_send_and_sync::<StartError>();
    is_send_and_sync::<Limits>();
    is_send_and_sync::<Recorder>();
    is_send_and_sync::<Observed<'_>>();
    is_send_and_sync::<RequestId>();
};
