//! Connections to upstreams.
//!
//! An HTTP/1.1 connection has no task of its own: whoever uses it drives it, so that an exchange
//! wakes one task and not two.

mod connect;
mod http1;
mod http2;
mod pool;
mod stream;

pub(crate) use connect::{ConnectError, Connector};
pub(crate) use http1::{Http1, SendError};
pub(crate) use http2::Http2;
pub(crate) use pool::{Channel, Lease, Pool};
pub(crate) use stream::Stream;
