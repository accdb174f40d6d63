//! The public handles.
//!
//! - `builder.rs`: builds a rotator and checks its settings.
//! - `rotators.rs`: many sessions in one process.
//! - `profile.rs`: the issuer's treatment of a refresh token that is presented again.
//!
//! This file holds [`Rotator`], the handle of one session.

pub(crate) mod builder;
pub(crate) mod profile;
pub(crate) mod rotators;

use std::sync::{Arc, Weak};
use std::time::Duration;

use token_rotator_core::{Attempt, Stamp};

use crate::error::TokenError;
use crate::rotator::builder::RotatorBuilder;
use crate::session::{Session, Stored};
use crate::store::SessionKey;
use crate::token::Token;
use crate::token::source::TokenSource;
use crate::token::token_set::TokenSet;

/// The tokens of one session, shared by all callers and refreshed once for all of them.
///
/// Clones are cheap, and all clones share the session. A running flight continues after the last
/// clone is dropped. Call [`Rotator::shutdown`] before the program ends, to wait for the flight.
#[derive(Clone)]
pub struct Rotator {
    pub(crate) session: Arc<Session>,
}

impl Rotator {
    /// Returns a builder of a rotator that refreshes from this source.
    pub fn builder(source: impl TokenSource) -> RotatorBuilder {
        RotatorBuilder::new(source)
    }

    /// Returns a token that is usable now.
    ///
    /// *Waits*: not while the token is usable; then this method takes no lock and allocates
    /// nothing. After expiry or a refusal, the first caller starts a refresh. All callers wait for
    /// it, each for at most [`wait_timeout`](RotatorBuilder::wait_timeout).
    ///
    /// *Cancellation*: the refresh runs in its own task and continues after any caller is dropped.
    pub async fn token(&self) -> Result<Token, TokenError> {
        if let Some(token) = self.session.ready() {
            return Ok(token);
        }
        let pass = Box::pin(self.session.wait_for_pass()).await?;
        pass.into_token().ok_or(TokenError::SignedOut)
    }

    /// Returns the token to replay a request with, after a request with this token or pass was
    /// refused (401).
    ///
    /// *Waits*: not if a newer token has replaced the refused token already. Otherwise waits for
    /// the one refresh, like [`Rotator::token`].
    ///
    /// # Errors
    ///
    /// No newer token is available. The caller passes on the refusal unchanged.
    pub async fn refused(&self, request: impl Into<Stamp>) -> Result<Token, TokenError> {
        let attempt = Some(Attempt::UNNAMED);
        Box::pin(self.session.wait_after_refusal(request.into(), attempt)).await
    }

    /// Returns how long this token is still valid, zero if it has expired. Returns `None` if its
    /// expiry is unknown.
    ///
    /// The time is counted on a clock that a user cannot set.
    pub fn time_left(&self, token: &Token) -> Option<Duration> {
        self.session.time_left(token)
    }

    /// Reports that a request with this token was accepted. A later refusal then means that the
    /// token has aged.
    ///
    /// Programs that use neither a layer nor a client of this project call this after each accepted
    /// request. After the first call for a token, a call costs one relaxed load.
    #[inline]
    pub fn accepted(&self, token: &Token) {
        if token.0.mark_accepted() {
            self.session.accepted(token.stamp(), Attempt::UNNAMED);
        }
    }

    /// Refreshes now, whatever the state of the token, or joins the running refresh.
    ///
    /// Overrides a cool-down and the end of a session.
    ///
    /// # Errors
    ///
    /// Fails at once while the issuer has asked for no requests (`Retry-After`).
    pub async fn refresh_now(&self) -> Result<Token, TokenError> {
        Box::pin(self.session.force()).await
    }

    /// Begins a new session with these tokens. The result of a running refresh of the previous
    /// session is neither installed nor saved.
    ///
    /// The sign-in takes effect before this method returns. The returned future ends when the store
    /// holds the tokens, and at once if there is no store. Dropping the future leaves the write
    /// running.
    ///
    /// # Errors
    ///
    /// The tokens cannot be sent, or another session of the same [`Rotators`](crate::Rotators) uses
    /// their refresh token.
    pub fn sign_in(&self, tokens: TokenSet) -> Result<Stored, UnusableTokens> {
        self.session.sign_in(tokens).map_err(UnusableTokens)
    }

    /// Installs a newer token of the same sign-in, which the caller obtained. `after` is the token
    /// (or the token's stamp) that it follows. Fields that the new token set lacks are copied from
    /// the previous one.
    ///
    /// Waiters of a running refresh still wait for it, and get the newer of the two tokens. The
    /// returned future ends as that of [`Rotator::sign_in`].
    ///
    /// # Errors
    ///
    /// The tokens cannot be sent, or the user has signed in or out since `after`. Then this method
    /// changes nothing.
    pub fn update(&self, after: impl Into<Stamp>, tokens: TokenSet) -> Result<Stored, UpdateError> {
        let stored = self.session.update(after.into(), tokens);
        stored
            .map_err(UnusableTokens)?
            .ok_or(UpdateError::SessionChanged)
    }

    /// Signs out. From now on no token is served, and waiting callers get
    /// [`TokenError::SignedOut`]. The tokens are revoked in the background if the source can
    /// revoke. The result of a running refresh is not installed.
    ///
    /// The returned future ends as that of [`Rotator::sign_in`].
    pub fn sign_out(&self) -> Stored {
        self.session.sign_out()
    }

    /// Returns whether the issuer has refused to refresh this session.
    pub fn has_ended(&self) -> bool {
        self.session.has_ended()
    }

    /// Returns whether both handles are clones of the same rotator.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.session, &other.session)
    }

    /// Returns whether the user has signed out and not signed in since.
    pub fn is_signed_out(&self) -> bool {
        self.session.is_signed_out()
    }

    /// Returns the session's name.
    pub fn session(&self) -> &SessionKey {
        &self.session.key
    }

    /// Returns a handle that does not keep the session in memory, for listeners and hooks that use
    /// the rotator.
    pub fn downgrade(&self) -> WeakRotator {
        WeakRotator(Arc::downgrade(&self.session))
    }

    /// Refuses new refreshes and waits for the running refresh, for writes to the store, for
    /// revocations and for the release of leases.
    ///
    /// *Waits*: at most for `timeout`.
    ///
    /// Returns true if all of them ended in time and the store holds every write. Returns false
    /// also if a write is pending and there is no runtime to write on. A usable token is still
    /// served afterwards. A call that needs a refresh fails with [`TokenError::ShutDown`].
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        self.session.shutdown(timeout).await
    }
}

impl std::fmt::Debug for Rotator {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stamp = self.session.stamp();
        out.debug_struct("Rotator")
            .field("session", &self.session.key)
            .field("epoch", &stamp.epoch)
            .field("generation", &stamp.generation)
            .finish_non_exhaustive()
    }
}

/// A [`Rotator`] whose session may have left memory: see [`Rotator::downgrade`].
#[derive(Clone)]
pub struct WeakRotator(Weak<Session>);

impl WeakRotator {
    /// Returns the rotator. Returns `None` if every [`Rotator`] of the session was dropped.
    pub fn upgrade(&self) -> Option<Rotator> {
        self.0.upgrade().map(|session| Rotator { session })
    }
}

impl std::fmt::Debug for WeakRotator {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("WeakRotator")
            .field(&self.upgrade())
            .finish()
    }
}

/// Tokens that cannot be used. The message says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these tokens cannot be used: {0}")]
pub struct UnusableTokens(&'static str);

/// Why [`Rotator::update`] rejected the tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The tokens cannot be sent.
    #[error(transparent)]
    Unusable(#[from] UnusableTokens),
    /// The user has signed in or out since. The tokens belong to the previous session.
    #[error("the user signed in or out after these tokens were requested")]
    SessionChanged,
}
