//! An HTTP client that refreshes an expired access token once and replays every refused request.
//!
//! [`Client`] is reqwest with a session: it sends the access token where it may go, and when an
//! API refuses it (401), one refresh serves everybody who was refused meanwhile. Each refused
//! request then goes out once more; its caller notices nothing.
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
//!     // POSTed without a body; the refresh cookie from the login goes along. This is the default.
//!     .refresh_endpoint("/api/auth/refresh")
//!     // Reads the new access token out of the answer, whose type this closure states.
//!     .on_refresh_success(|data: &RefreshResponse| &data.access_token)
//!     .on_after_refresh(|data| update_all_sockets(&data.ws_token))
//!     // Only where the session is over: a 500 logs nobody out.
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
//! What the builder needs is checked by the compiler: without a way to read the token out of the
//! answer there is no `build`, and the error says which calls bring it.
//!
//! ```compile_fail,E0277
//! // error: this client does not know yet how to read the access token out of the refresh answer
//! let api = token_rotator_reqwest::Client::builder()
//!     .base_url("https://api.example.com")
//!     .build();
//! ```
//!
//! # Which requests carry the token
//!
//! Those to the origin of [`base_url`](ClientBuilder::base_url) and to those added with
//! [`origin`](ClientBuilder::origin): exact in scheme, host and port, `https` or this machine.
//! This is decided again at every redirect. An absolute URL of another origin goes out without
//! it, and so does a request with an `Authorization` of its own, or with
//! [`without_token`](RequestBuilder::without_token). [Default headers](ClientBuilder::default_header)
//! go where the token may go, and nowhere else.
//!
//! # Which answers start a refresh
//!
//! A 401 that is about the token ([`token_rotator::middleware::challenge`] says which are), to a request that
//! carried the token or was free to go without one, and an answer with `grpc-status` 16.
//! [`status_codes`](ClientBuilder::status_codes) replaces 401;
//! [`also_status_codes`](ClientBuilder::also_status_codes),
//! [`refused_when`](ClientBuilder::refused_when) and
//! [`refused_when_body`](ClientBuilder::refused_when_body) add to it. Everything else is handed on
//! untouched.
//!
//! If the refresh fails, the caller gets the 401 as it came, and in its
//! [extensions](Response::extensions) the [`TokenError`] that says why. A request that had to
//! wait for a refresh *before* it was sent fails with [`Error::Token`].
//!
//! # Other parts
//!
//! [`ReqwestTransport`] carries the requests of `token-rotator-oauth2`; [`HttpService`] puts a
//! `reqwest::Client` under the tower layer of `token-rotator`.

mod builder;
mod client;
mod cookies;
mod discreet;
mod error;
mod fresh;
mod hooks;
mod jar;
mod locate;
mod parse;
mod redirect;
mod refresh;
mod refusal;
mod request;
mod send;
mod service;
mod session;
mod state;
mod transport;

pub use builder::ClientBuilder;
pub use client::{Client, Full, SendOnly};
pub use error::{BuildError, Error, UrlError};
pub use fresh::{Fresh, IntoFresh, ParseError};
pub use hooks::HookResult;
pub use jar::{CookieStore, Jar};
pub use refresh::RefreshCall;
pub use request::RequestBuilder;
pub use service::{HttpFuture, HttpService};
pub use session::SessionHandle;
pub use state::{Answers, BringsRotator, Reads, Ready, Sourced, Unset};
pub use transport::{ReqwestTransport, source_error};

pub use reqwest::{self, Response};
pub use token_rotator::middleware::BodyRule;
pub use token_rotator::{
    Clock, Event, Profile, RefreshError, Rotator, SecretString, SourceError, Token, TokenError,
    TokenSet, TokenSource, UnusableTokens,
};

/// The README of this crate: its example must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
