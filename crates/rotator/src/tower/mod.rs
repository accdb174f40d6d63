//! The tower layer: puts tokens on requests, and replays a refused request once.
//!
//! The layer goes around any `Service<http::Request<B>>` that can be cloned: hyper-util's client,
//! tonic's channel, a stack of other layers. A request with a usable token passes through without
//! a lock or a wait. A refused request waits for the refresh and is sent once more.
//!
//! - `layer`: the layer and its settings.
//! - `service`: the service around the inner service.
//! - `future`: the future of one request, and the replay.
//! - `replay`: which bodies can be sent twice.
//! - `bodies`: the service that judges the bodies of answers.
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
//! - **Which requests get the token**: requests to a declared origin, exact in scheme, host and
//!   port. Requests that carry a token header, opt out with [`WithoutToken`] or go elsewhere pass
//!   through unchanged. tonic's channel gets URIs without authority;
//!   [`Rotator::layer_for`](crate::Rotator::layer_for) declares the origin of such requests.
//! - **Which answers refuse the token**: see [`challenge`](crate::middleware::challenge),
//!   `grpc-status` 16 included. [`RotationLayer::status_codes`],
//!   [`RotationLayer::also_status_codes`], [`RotationLayer::refused_when`] and
//!   [`RotationLayer::refused_when_body`] change the rules. If a challenge says that no other token
//!   would help, no listed status overrules it.
//! - **Which requests are replayed**: requests whose body can be copied; [`CopyBody`] decides. Any
//!   other request waits for a refresh that is due, and is sent once. If it is refused, the caller
//!   gets the refusal, and a refresh starts for later requests.
//! - **What the caller gets if there is no token**: [`ServiceError::Token`] before the request is
//!   sent. After a refusal, the unchanged refused answer, with the
//!   [`TokenError`](crate::TokenError) among its extensions.
//! - **Redirects** are up to the inner service. A service that follows redirects must not send a
//!   custom token header to other hosts. The clients named above follow no redirects.

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
