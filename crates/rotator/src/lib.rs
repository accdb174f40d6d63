//! One refresh serves everybody.
//!
//! Short-lived access tokens expire under many callers at once. A [`Rotator`] lets the first of
//! them start one refresh, in a task that belongs to nobody, and everybody else wait for it;
//! whoever is cancelled meanwhile disturbs neither the refresh nor the rest.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::{sync::Arc, time::Duration};
//! use token_rotator::{Rotator, SourceError, TokenSet};
//!
//! // A token source: any way to get the next token set from the last one.
//! let source = |last: Option<Arc<TokenSet>>| async move {
//!     let next = if last.is_none() { "first" } else { "second" };
//!     Ok::<_, SourceError>(TokenSet::bearer(next).expires_in(Duration::from_secs(300)))
//! };
//!
//! let rotator = Rotator::builder(source)
//!     .origin("https://api.example.com")
//!     .refresh_before(Duration::from_secs(60))
//!     .build()?;
//!
//! let token = rotator.token().await?; // refreshes if it must, waits if somebody else does
//! assert_eq!(token.header(), "Bearer first");
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! After a 401, [`Rotator::refused`] answers with the token to send the request with once more.
//! The [`tower`] layer does both around any HTTP service; the crates `token-rotator-oauth2` and
//! `token-rotator-reqwest` bring a source for OAuth 2 token endpoints and a whole client.

mod error;
mod event;
mod http;
pub mod keys;
pub mod middleware;
mod profile;
mod rotator;
mod runtime;
mod session;
pub mod store;
mod token;
pub mod tower;

pub use error::{BuildError, Cause, FailureKind, RefreshError, SourceError, TokenError};
pub use event::{Event, HookProblem, NotReplayed};
pub use http::origin::{Origin, OriginError, Origins};
pub use profile::{Profile, Reuse};
pub use rotator::builder::RotatorBuilder;
pub use rotator::rotators::Rotators;
pub use rotator::{Rotator, UnusableTokens, UpdateError, WeakRotator};
pub use runtime::clock::{Clock, SystemClock};
pub use session::Stored;
pub use store::file::{FileLock, FileStore};
pub use store::memory::MemoryStore;
pub use store::session_key::SessionKey;
pub use token::Token;
pub use token::jwt;
pub use token::secret::{ExposeSecret, SecretString};
pub use token::source::{BoxedSource, Refreshed, TokenSource};
pub use token::token_set::{Expiry, TokenSet};
pub use token_rotator_core::Purpose;

/// The README of this crate: its example must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
