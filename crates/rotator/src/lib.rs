//! One refresh serves every caller.
//!
//! A short-lived access token expires while many callers use it. The first caller of a [`Rotator`]
//! starts one refresh in a separate task, and all other callers wait for it. A cancelled caller
//! disturbs neither the refresh nor the other callers.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::{sync::Arc, time::Duration};
//! use token_rotator::{Rotator, SourceError, TokenSet};
//!
//! // A token source exchanges the last token set for the next one.
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
//! let token = rotator.token().await?; // refreshes if necessary, or waits for another caller's refresh
//! assert_eq!(token.header(), "Bearer first");
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! The refresh runs on the runtime of the first call. If that runtime ends during a refresh, as with
//! a rotator in a `static` under `#[tokio::test]`, its callers get a typed error, and an issuer that
//! accepts a refresh token once may end the session at the next refresh.
//! [`RotatorBuilder::dedicated_thread`] is the cure: it costs a thread, and 0.2 ms when the
//! rotator is built.
//!
//! After a 401, [`Rotator::refused`] returns the token for the replay of the request. The [`tower`]
//! layer calls both methods around any HTTP service. The crate `token-rotator-oauth2` has a source
//! for OAuth 2 token endpoints, and `token-rotator-reqwest` an HTTP client.
//!
//! The root has the items for programs that use the engine. The modules are for authors of stores
//! and middleware:
//!
//! - [`middleware`]: the request protocol, for HTTP clients and middleware of other stacks.
//! - [`store`]: records, leases and sealed records, for session stores.
//! - [`keys`]: keys of sealed records, and the vaults that keep a key.
//! - [`files`]: files that the operator names, read only if no other user can change them.
//!
//! # Cargo features
//!
//! - `file` (default): [`FileStore`], [`FileLock`], and `codec`.
//! - `tower` (default): the [`tower`] layer.
//! - `codec`: sealed records, [`keys`] and [`store::server`], for stores on servers.
//!
//! Without features, the engine keeps sessions in memory and in the program's own stores.

mod error;
mod event;
#[cfg(feature = "file")]
pub mod files;
mod http;
#[cfg(feature = "codec")]
pub mod keys;
pub mod middleware;
mod rotator;
mod runtime;
mod session;
pub mod store;
mod token;
#[cfg(feature = "tower")]
pub mod tower;

pub use error::{
    BuildError, Cause, FailureKind, RefreshError, RefusingEndpoint, SourceError, TokenError,
};
pub use event::{Event, HookProblem, NotReplayed};
pub use http::origin::{Origin, OriginError, Origins};
pub use rotator::builder::RotatorBuilder;
pub use rotator::profile::{Profile, Reuse};
pub use rotator::rotators::Rotators;
pub use rotator::{Rotator, UnusableTokens, UpdateError, WeakRotator};
pub use runtime::clock::{Clock, SystemClock};
pub use session::Stored;
#[cfg(feature = "file")]
pub use store::file::{FileLock, FileStore};
pub use store::memory::MemoryStore;
pub use store::session_key::SessionKey;
pub use token::Token;
pub use token::jwt;
pub use token::secret::{ExposeSecret, SecretString};
pub use token::source::{BoxedSource, Refreshed, TokenSource};
pub use token::token_set::{Expiry, TokenSet};
pub use token_rotator_core::Purpose;

/// Compiles the example in the README of this crate.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
