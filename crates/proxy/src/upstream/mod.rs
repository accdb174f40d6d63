//! Connections to upstreams.
//!
//! - `connect`: TCP, TLS and the choice of protocol. `stream`: the byte stream.
//! - `company_proxy`: the way through an HTTP proxy of the network.
//! - `http1`, `http2`: one connection of each protocol. `pool`: the idle connections of a worker.
//!
//! An HTTP/1.1 connection has no task of its own: the request that uses the connection drives it,
//! so that an answer wakes one task and not two.

mod company_proxy;
mod connect;
mod http1;
mod http2;
mod pool;
mod stream;

pub(crate) use company_proxy::CompanyProxy;
pub(crate) use connect::{ConnectError, Purpose, UpstreamConnector};
pub(crate) use http1::{Http1, SendError};
pub(crate) use http2::Http2;
pub(crate) use pool::{Channel, Pool, PooledConnection};
pub(crate) use stream::Stream;
