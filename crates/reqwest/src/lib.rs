//! An HTTP client that refreshes an expired access token once and replays every refused request.
//!
//! [`Client`] is reqwest with a session: it sends the access token to the declared origins. When an
//! API refuses the token (401), one refresh serves all refused requests. The client sends each
//! refused request once more, and the caller gets only the second answer.
//!
//! ```no_run
//! use serde::Deserialize;
//! use token_rotator_reqwest::Client;
//!
//! #[derive(Deserialize)]
//! #[serde(rename_all = "camelCase")]
//! struct RefreshResponse {
//!     access_token: String,
//!     ws_token: String,
//! }
//! # #[derive(Deserialize)] struct User { name: String }
//! # fn show_login() {}
//! # fn update_all_sockets(_: &str) {}
//! # async fn example(login: RefreshResponse) -> Result<(), Box<dyn std::error::Error>> {
//!
//! let api = Client::builder()
//!     .base_url("https://api.example.com")
//!     // A POST without a body, with the refresh cookie from the login. This is the default.
//!     .refresh_endpoint("/api/auth/refresh")
//!     // Reads the new access token from the answer. The closure's argument is the answer's type.
//!     .on_refresh_success(|data: &RefreshResponse| &data.access_token)
//!     .on_after_refresh(|data| update_all_sockets(&data.ws_token))
//!     // Runs only when the session ends. A 500 does not end the session.
//!     .on_refresh_failed(|_error| show_login())
//!     .build()?;
//!
//! // After login.
//! api.set_access_token(login.access_token)?;
//!
//! let me: User = api.get("/users/me").send().await?.json().await?;
//! # Ok(()) }
//! ```
//!
//! The compiler checks the builder: `build` exists only after a call that says how to read the
//! token. The compiler's message names these calls.
//!
//! ```compile_fail,E0277
//! // error: the builder has no way to read the access token from the refresh answer
//! let api = token_rotator_reqwest::Client::builder()
//!     .base_url("https://api.example.com")
//!     .build();
//! ```
//!
//! # Which requests carry the token
//!
//! Requests to the origin of [`base_url`](ClientBuilder::base_url) and to the origins added with
//! [`origin`](ClientBuilder::origin) carry the token. Scheme, host and port must match exactly, and
//! the origin must be `https` or this machine. The client decides again at every redirect. Requests
//! to other origins, with their own `Authorization`, or with
//! [`without_token`](RequestBuilder::without_token) carry no token. [Default
//! headers](ClientBuilder::default_header) go only to the origins that get the token.
//!
//! # Which answers start a refresh
//!
//! A 401 about the token ([`token_rotator::middleware::challenge`] defines which), and an answer
//! with `grpc-status` 16. The request must have carried the token, or have been sent before the
//! first token. [`status_codes`](ClientBuilder::status_codes) replaces 401;
//! [`also_status_codes`](ClientBuilder::also_status_codes),
//! [`refused_when`](ClientBuilder::refused_when) and
//! [`refused_when_body`](ClientBuilder::refused_when_body) add to it. The caller gets all other
//! answers unchanged.
//!
//! If the refresh fails, the caller gets the original 401, with the cause as [`TokenError`] in its
//! [extensions](Response::extensions). A request that waited for a refresh *before* it was sent
//! fails with [`Error::Token`].
//!
//! # Other parts
//!
//! [`ReqwestTransport`] sends the requests of `token-rotator-oauth2`. [`HttpService`] makes a
//! `reqwest::Client` a service for the tower layer of `token-rotator`.
//!
//! # Files
//!
//! - `builder/`, `state`: the builder, its settings, and its compile-time states.
//! - `client`, `session`, `request`: the public handles.
//! - `send`, `refusal`, `redirect`, `locate`: the path of one request.
//! - `refresh`, `parse`, `access_token`, `redact`, `hooks`: a refresh, its answer, errors and hooks.
//! - `cookies`, `jar/`: the client's cookies. `transport`, `service`: adapters for other crates.

mod access_token;
mod builder;
mod client;
mod cookies;
mod environment;
mod error;
mod hooks;
mod jar;
mod locate;
mod parse;
mod redact;
mod redirect;
mod refresh;
mod refusal;
mod request;
mod send;
mod service;
mod session;
mod state;
mod transport;

pub use access_token::{AccessToken, IntoAccessToken, ParseError};
pub use builder::ClientBuilder;
pub use client::{Client, Full, SendOnly};
pub use error::{BuildError, Error, UrlError};
pub use hooks::HookResult;
pub use jar::{CookieStore, Jar};
pub use refresh::RefreshCall;
pub use request::RequestBuilder;
pub use service::{HttpFuture, HttpService};
pub use session::SessionHandle;
pub use state::{CanBuild, HasAnswer, Unset, WithParser, WithRotator, WithSource};
pub use transport::{ReqwestTransport, source_error};

pub use reqwest::{self, Response};
pub use token_rotator::middleware::BodyRule;
pub use token_rotator::{
    Clock, Event, Profile, RefreshError, Rotator, SecretString, SourceError, Token, TokenError,
    TokenSet, TokenSource, UnusableTokens,
};

/// Compiles the example of this crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
