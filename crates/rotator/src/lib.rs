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

mod board;
mod builder;
mod calls;
pub mod challenge;
mod clock;
mod codec;
mod coordinator;
mod error;
mod event;
mod flight;
mod grants;
mod intent;
mod journal;
pub mod jwt;
mod landing;
mod ledger;
#[cfg(all(test, any(model_loom, model_shuttle)))]
mod models;
mod older;
pub mod origin;
mod present;
mod profile;
mod random;
mod rotator;
mod rotators;
mod runtime;
mod secret;
mod shared;
mod signal;
mod source;
pub mod store;
mod stored;
mod stores;
mod sync;
mod tasks;
mod token;
mod token_set;
pub mod tower;
mod unsaved;

pub use builder::RotatorBuilder;
pub use clock::{Clock, SystemClock};
pub use codec::{DataKey, KeyId, KeySource, KeyTextError, RecordCodec, RecordHeader};
pub use coordinator::{Coordinator, HeldLease, Lease, LocalCoordinator, SharedCoordinator};
pub use error::{
    BuildError, Cause, FailureKind, LeaseError, RefreshError, SourceError, StoreError,
    StoreErrorKind, TokenError,
};
pub use event::{Event, HookProblem, NotReplayed};
pub use intent::{Intent, IntentId, IntentOutcome, TokenHash};
pub use origin::{Origin, OriginError, Origins};
pub use profile::{Profile, Reuse};
pub use rotator::{Rotator, UnusableTokens, UpdateError, WeakRotator};
pub use rotators::Rotators;
pub use secret::{ExposeSecret, SecretString};
pub use source::{Refreshed, TokenSource};
pub use store::{Epoch, Record, Saved, SessionKey, SessionStore, Version};
pub use stored::Stored;
pub use stores::MemoryStore;
pub use stores::file::{
    FileLock, FileStore, FileStoreBuilder, KeyFile, KeyVariable, KeyVault, LeaseHolder,
};
pub use token::{Pass, Token};
pub use token_rotator_core::{Purpose, Stamp};
pub use token_set::{Expiry, TokenSet};
