//! The layer: tokens on every request, one replay after a refusal, around any HTTP service.
//!
//! It works over any `Service<http::Request<B>>` that can be cloned: hyper-util's client, tonic's
//! channel, a stack of other layers. A request whose token is good passes through without a lock
//! or a wait; one that is refused waits for the one refresh and goes out once more.
//!
//! ```
//! use http::{Request, Response};
//! use token_rotator::{Rotator, SourceError, TokenSet};
//! use tower_layer::Layer;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let source = |_| async { Ok::<_, SourceError>(TokenSet::bearer("token")) };
//! # let http_client = tower::service_fn(|_request: Request<String>| async {
//! #     Ok::<_, std::io::Error>(Response::new(String::new()))
//! # });
//! let rotator = Rotator::builder(source).origin("https://api.example.com").build()?;
//! let client = rotator.layer()?.layer(http_client);
//! # let _ = client; Ok(()) }
//! ```
//!
//! - **Which requests get the token**: those to a declared origin (exact scheme, host and port)
//!   that do not carry the header already and did not opt out with [`WithoutToken`]. tonic's
//!   channel sees URIs without authority; [`Rotator::layer_for`](crate::Rotator::layer_for)
//!   declares where those go. All others pass through as they are.
//! - **What counts as a refusal**: see [`challenge`](crate::middleware::challenge), `grpc-status` 16
//!   included. [`RotationLayer::status_codes`], [`RotationLayer::also_status_codes`],
//!   [`RotationLayer::refused_when`] and [`RotationLayer::refused_when_body`] change it. A challenge
//!   that says that no other token would help is never overruled by a status.
//! - **What can be replayed**: a request whose body can be copied, which is what [`CopyBody`] says.
//!   Any other waits for a refresh that is due before it is sent, is sent once, and its refusal is
//!   handed back while a refresh starts for those who follow.
//! - **What the caller gets when there is no token**: before sending, [`ServiceError::Token`];
//!   after a refusal, that very answer, untouched, with the [`TokenError`](crate::TokenError)
//!   among its extensions.
//! - **Redirects** are the inner service's. One that follows them by itself must not carry a
//!   custom token header to other hosts; the clients named above follow none.

mod bodies;
mod future;
mod layer;
mod replay;
mod service;

pub use bodies::JudgeBodies;
pub use future::ResponseFuture;
pub use layer::{Bodies, Heads, RotationLayer};
pub use replay::{CloneBody, CopyBody, SendOnce};
pub use service::{NoReplay, Rotation, ServiceError, WithoutToken};
