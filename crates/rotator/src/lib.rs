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
pub mod news;
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
mod store;
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

/// Public types can be built on one thread and used on another.
#[cfg(test)]
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<RotatorBuilder>();
    is_send_and_sync::<Rotator>();
    is_send_and_sync::<WeakRotator>();
    is_send_and_sync::<Rotators<u8>>();
    is_send_and_sync::<RecordCodec>();
    is_send_and_sync::<DataKey>();
    is_send_and_sync::<RecordHeader>();
    is_send_and_sync::<SharedCoordinator>();
    is_send_and_sync::<LocalCoordinator>();
    is_send_and_sync::<Box<dyn Lease>>();
    is_send_and_sync::<HeldLease>();
    is_send_and_sync::<BuildError>();
    is_send_and_sync::<LeaseError>();
    is_send_and_sync::<RefreshError>();
    is_send_and_sync::<SourceError>();
    is_send_and_sync::<StoreError>();
    is_send_and_sync::<TokenError>();
    is_send_and_sync::<UpdateError>();
    is_send_and_sync::<UnusableTokens>();
    is_send_and_sync::<Event>();
    is_send_and_sync::<Intent>();
    is_send_and_sync::<Origin>();
    is_send_and_sync::<Origins>();
    is_send_and_sync::<OriginError>();
    is_send_and_sync::<Profile>();
    is_send_and_sync::<SecretString>();
    is_send_and_sync::<Refreshed>();
    is_send_and_sync::<Record>();
    is_send_and_sync::<Saved>();
    is_send_and_sync::<SessionKey>();
    is_send_and_sync::<Stored>();
    is_send_and_sync::<MemoryStore>();
    is_send_and_sync::<FileLock>();
    is_send_and_sync::<FileStore>();
    is_send_and_sync::<FileStoreBuilder>();
    is_send_and_sync::<KeyFile>();
    is_send_and_sync::<KeyVariable>();
    is_send_and_sync::<Token>();
    is_send_and_sync::<Pass>();
    is_send_and_sync::<TokenSet>();
    is_send_and_sync::<tower::RotationLayer>();
    is_send_and_sync::<challenge::StepUp>();
    is_send_and_sync::<challenge::Challenge>();
    is_send_and_sync::<news::News>();
    is_send_and_sync::<news::Listening>();
};
