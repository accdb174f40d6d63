//! The handle: token, refused, sign in, sign out.

pub(crate) mod builder;
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

/// One session's tokens: served to everybody, refreshed once for all.
///
/// Cheap to clone; all clones are the same session. Dropping every clone leaves a flight in the
/// air running to its end; call [`Rotator::shutdown`] before a program ends, to wait for it.
#[derive(Clone)]
pub struct Rotator {
    pub(crate) session: Arc<Session>,
}

impl Rotator {
    /// A rotator that refreshes from this source.
    pub fn builder(source: impl TokenSource) -> RotatorBuilder {
        RotatorBuilder::new(source)
    }

    /// A token that is good now.
    ///
    /// While the token is good this neither waits, locks nor allocates. Once it has expired or was
    /// refused, the first caller starts a refresh and everybody waits for it, each for at most
    /// [`wait_timeout`](RotatorBuilder::wait_timeout). Cancel safe: the refresh belongs to nobody
    /// and goes on.
    pub async fn token(&self) -> Result<Token, TokenError> {
        if let Some(token) = self.session.ready() {
            return Ok(token);
        }
        let pass = Box::pin(self.session.wait_for_pass()).await?;
        pass.into_token().ok_or(TokenError::SignedOut)
    }

    /// A request with this token or pass was refused (401). Returns the token to send it again
    /// with.
    ///
    /// Returns the newer token at once if the token has been replaced meanwhile. Otherwise waits
    /// for the one refresh, like [`Rotator::token`].
    ///
    /// # Errors
    ///
    /// No newer token is to be had: the caller hands on the refusal as it came.
    pub async fn refused(&self, request: impl Into<Stamp>) -> Result<Token, TokenError> {
        let attempt = Some(Attempt::UNNAMED);
        Box::pin(self.session.wait_after_refusal(request.into(), attempt)).await
    }

    /// A request with this token was accepted, so that a later refusal is about the token's age.
    ///
    /// Programs that use no layer and no client of this project call this after each accepted
    /// request. After the first call for a token it costs one relaxed load.
    #[inline]
    pub fn accepted(&self, token: &Token) {
        if token.0.mark_accepted() {
            self.session.accepted(token.stamp(), Attempt::UNNAMED);
        }
    }

    /// Refreshes now, whatever the token looks like, or joins the refresh in the air.
    ///
    /// Overrides a cool-down and the end of a session; waits out neither, but fails at once while
    /// the issuer has asked to be left alone (`Retry-After`).
    pub async fn refresh_now(&self) -> Result<Token, TokenError> {
        Box::pin(self.session.force()).await
    }

    /// A new sign-in with these tokens: what they replace is gone, a refresh in the air included,
    /// whose late result is neither installed nor saved.
    ///
    /// Takes effect before it returns. The answer is a future that ends when the store has the
    /// tokens; dropping it leaves the write running. Where there is no store it is ready.
    pub fn sign_in(&self, tokens: TokenSet) -> Result<Stored, UnusableTokens> {
        self.session.sign_in(tokens).map_err(UnusableTokens)
    }

    /// A newer token of the same sign-in, which came from elsewhere: `after` is the token (or the
    /// stamp of the token) that it follows. What it does not bring is kept from the one before.
    ///
    /// Waiters of a refresh in the air still wait for it, and get the newer of the two. Where
    /// somebody has signed in or out since, nothing is changed and the answer says so. The future
    /// is as for [`Rotator::sign_in`].
    pub fn update(&self, after: impl Into<Stamp>, tokens: TokenSet) -> Result<Stored, UpdateError> {
        let stored = self.session.update(after.into(), tokens);
        stored
            .map_err(UnusableTokens)?
            .ok_or(UpdateError::SessionChanged)
    }

    /// Signs out: at once nothing is served any more, whoever waits is told, the tokens are
    /// revoked in the background if the source can, and a refresh in the air comes too late.
    ///
    /// The answer is as for [`Rotator::sign_in`].
    pub fn sign_out(&self) -> Stored {
        self.session.sign_out()
    }

    /// Whether the issuer has refused to refresh this session any more.
    pub fn has_ended(&self) -> bool {
        self.session.has_ended()
    }

    /// Whether the two are clones of one another.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.session, &other.session)
    }

    /// Whether somebody signed out and nobody in since.
    pub fn is_signed_out(&self) -> bool {
        self.session.is_signed_out()
    }

    /// The session's name.
    pub fn session(&self) -> &SessionKey {
        &self.session.key
    }

    /// A handle that does not keep the session in memory, for listeners and hooks that want to look at
    /// the rotator that tells them.
    pub fn downgrade(&self) -> WeakRotator {
        WeakRotator(Arc::downgrade(&self.session))
    }

    /// Lets nothing new start and waits for the refresh in the air, for saves, for revocations and
    /// for leases that are being given back.
    ///
    /// True if all of it ended within the time given and the store has what it is to have; false
    /// too where that cannot be, for want of a runtime to save on. A token that is still good goes on being
    /// served; what would need a refresh fails with [`TokenError::ShutDown`].
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

/// A [`Rotator`] that may be gone: see [`Rotator::downgrade`].
#[derive(Clone)]
pub struct WeakRotator(Weak<Session>);

impl WeakRotator {
    /// The rotator, if anybody still has it.
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

/// These tokens cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these tokens cannot be used: {0}")]
pub struct UnusableTokens(&'static str);

/// Why newer tokens were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// They cannot be sent.
    #[error(transparent)]
    Unusable(#[from] UnusableTokens),
    /// Somebody has signed in or out since; these tokens belong to the session before.
    #[error("the session changed since these tokens were asked for")]
    SessionChanged,
}
