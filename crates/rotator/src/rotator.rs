//! The handle: token, refused, sign in, sign out.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::HeaderName;
use token_rotator_core::{Attempt, Stamp};

use crate::board::{Base, LeftBehind, Next};
use crate::builder::RotatorBuilder;
use crate::error::TokenError;
use crate::event::Event;
use crate::flight;
use crate::origin::Origins;
use crate::shared::Shared;
use crate::source::TokenSource;
use crate::store::SessionKey;
use crate::stored::Stored;
use crate::token::{Pass, Token};
use crate::token_set::TokenSet;

/// One session's tokens: served to everybody, refreshed once for all.
///
/// Cheap to clone; all clones are the same session. Dropping every clone leaves a flight in the
/// air running to its end; call [`Rotator::shutdown`] before a program ends, to wait for it.
#[derive(Clone)]
pub struct Rotator {
    pub(crate) shared: Arc<Shared>,
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
        if let Some(token) = self.shared.ready() {
            return Ok(token);
        }
        let pass = Box::pin(self.shared.wait_for_pass()).await?;
        pass.token().cloned().ok_or(TokenError::SignedOut)
    }

    /// What a request goes out with: a token, or leave to go without one where the rotator is
    /// [anonymous](RotatorBuilder::anonymous). Waits like [`Rotator::token`].
    pub async fn pass(&self) -> Result<Pass, TokenError> {
        if let Some(pass) = self.ready() {
            return Ok(pass);
        }
        Box::pin(self.shared.wait_for_pass()).await
    }

    /// The token for a request whose body can be sent only once: near expiry it waits for the
    /// refresh first, since a refusal could not be made good.
    pub async fn pass_for_once(&self) -> Result<Pass, TokenError> {
        if let Some(pass) = self.ready_for_once() {
            return Ok(pass);
        }
        Box::pin(self.shared.wait_for_pass_for_once()).await
    }

    /// The token, if one can be served without waiting and without starting anything.
    pub fn ready(&self) -> Option<Pass> {
        self.shared.ready().map(Pass::from)
    }

    /// The same for a request whose body can be sent only once: not while a refresh is due.
    pub fn ready_for_once(&self) -> Option<Pass> {
        if self.shared.reentered() {
            return None;
        }
        let wall = self.shared.clock.wall();
        self.shared.board.ready_for_once(wall).map(Pass::from)
    }

    /// A request with this token or pass was refused (401). Returns the token to send it again
    /// with.
    ///
    /// Returns the newer token at once if the token has been replaced meanwhile. Otherwise waits
    /// for the one refresh, like [`Rotator::token`].
    ///
    /// *Errors:* the caller hands on the refusal as it came.
    pub async fn refused(&self, request: impl Into<Stamp>) -> Result<Token, TokenError> {
        self.refused_at(request, 0).await
    }

    /// A request to this endpoint was refused: [`Rotator::refused`] for middleware.
    ///
    /// An endpoint is what [`Rotator::endpoint`] returns, or zero for none. Middleware reports the
    /// outcome of the replay with [`Rotator::replay_accepted`] or [`Rotator::replay_refused`].
    ///
    /// *Errors:* [`TokenError::FreshTokenRefused`] and an event if the endpoint refused a replay a
    /// short time ago.
    pub async fn refused_at(
        &self,
        request: impl Into<Stamp>,
        endpoint: u32,
    ) -> Result<Token, TokenError> {
        let attempt = Attempt::first(endpoint);
        Box::pin(self.shared.wait_after_refusal(request.into(), attempt)).await
    }

    /// A request that will not be sent again was refused. Starts what [`Rotator::refused`] would
    /// start, for later callers, and does not wait.
    pub fn report_refused(&self, request: impl Into<Stamp>) {
        self.report(request.into(), Attempt::replay(0));
    }

    /// A replay at this endpoint was refused. Refusals by this endpoint start no refresh for 2 s,
    /// and for longer after each further useless refresh.
    pub fn replay_refused(&self, request: impl Into<Stamp>, endpoint: u32) {
        self.report(request.into(), Attempt::replay(endpoint));
    }

    fn report(&self, stamp: Stamp, attempt: Attempt) {
        let shared = &self.shared;
        if let Ok(_admitted) = shared.admit() {
            let next = shared.board.refused(stamp, attempt, shared.clock.now());
            if let Next::Launch(ticket) | Next::GoAndLaunch(_, ticket) = next {
                flight::launch(shared, ticket);
            }
        }
    }

    /// A request with this token was accepted, so that a later refusal is about the token's age.
    ///
    /// Programs that use no layer call this for each accepted request. After the first call for a
    /// token it costs one relaxed load.
    #[inline]
    pub fn accepted(&self, token: &Token) {
        if !token.0.accepted.load(Ordering::Relaxed) {
            self.first_accepted(token);
        }
    }

    #[cold]
    fn first_accepted(&self, token: &Token) {
        token.0.accepted.store(true, Ordering::Relaxed);
        let board = &self.shared.board;
        board.accepted(token.stamp(), Attempt::UNNAMED);
    }

    /// A replay with this token was accepted at this endpoint: the refresh was useful.
    pub fn replay_accepted(&self, token: &Token, endpoint: u32) {
        token.0.accepted.store(true, Ordering::Relaxed);
        let board = &self.shared.board;
        board.accepted(token.stamp(), Attempt::replay(endpoint));
    }

    /// Returns the hash (FNV-1a) of origin and path by which a session remembers an endpoint.
    /// Never zero.
    #[must_use]
    pub fn endpoint(uri: &http::Uri) -> u32 {
        let parts = [
            uri.scheme_str().unwrap_or_default(),
            uri.authority().map_or("", http::uri::Authority::as_str),
            uri.path(),
        ];
        let mut hash: u32 = 0x811c_9dc5;
        for part in parts {
            // 0xff stands in no URI, so it separates the parts.
            for byte in part.bytes().chain([0xff]) {
                hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
            }
        }
        hash.max(1)
    }

    /// Refreshes now, whatever the token looks like, or joins the refresh in the air.
    ///
    /// Overrides a cool-down and the end of a session; waits out neither, but fails at once while
    /// the issuer has asked to be left alone (`Retry-After`).
    pub async fn refresh_now(&self) -> Result<Token, TokenError> {
        Box::pin(self.shared.force()).await
    }

    /// A new sign-in with these tokens: what they replace is gone, a refresh in the air included,
    /// whose late result is neither installed nor saved.
    ///
    /// Takes effect before it returns. The answer is a future that ends when the store has the
    /// tokens; dropping it leaves the write running. Where there is no store it is ready.
    pub fn sign_in(&self, tokens: TokenSet) -> Result<Stored, UnusableTokens> {
        let shared = &self.shared;
        let tokens = Arc::new(tokens.received(shared.clock.wall()));
        let arrival = shared
            .arrival(Arc::clone(&tokens))
            .map_err(UnusableTokens)?;
        shared.claim(&tokens).map_err(UnusableTokens)?;
        let base = Base::unwritten();
        let (stamp, before) = shared.board.sign_in(arrival, base, shared.clock.now());
        shared.end_unsaved();
        shared.tell(&Event::SignedIn {
            generation: stamp.generation,
        });
        if let Some(before) = before.filter(|_| shared.profile.revokes_per_token()) {
            shared.revoke(before);
        }
        Ok(shared.write(stamp))
    }

    /// A newer token of the same sign-in, which came from elsewhere: `after` is the token (or the
    /// stamp of the token) that it follows. What it does not bring is kept from the one before.
    ///
    /// Waiters of a refresh in the air still wait for it, and get the newer of the two. Where
    /// somebody has signed in or out since, nothing is changed and the answer says so. The future
    /// is as for [`Rotator::sign_in`].
    pub fn update(&self, after: impl Into<Stamp>, tokens: TokenSet) -> Result<Stored, UpdateError> {
        let shared = &self.shared;
        let after = after.into();
        let tokens = tokens.received(shared.clock.wall());
        loop {
            let (stamp, _, last) = shared.board.known();
            if stamp.epoch != after.epoch {
                return Err(UpdateError::SessionChanged);
            }
            let newer = Arc::new(tokens.clone().inherit(last.as_deref()));
            let arrival = shared.arrival(Arc::clone(&newer)).map_err(UnusableTokens)?;
            if let Some(stamp) = shared.board.update(stamp, arrival, shared.clock.now()) {
                return Ok(shared.write_update(stamp, newer, last.as_deref()));
            }
            if shared.board.signed_out() {
                return Err(UpdateError::SessionChanged);
            }
        }
    }

    /// Signs out: at once nothing is served any more, whoever waits is told, the tokens are
    /// revoked in the background if the source can, and a refresh in the air comes too late.
    ///
    /// The answer is as for [`Rotator::sign_in`].
    pub fn sign_out(&self) -> Stored {
        let shared = &self.shared;
        let base = Base::unwritten();
        let Some(LeftBehind(before)) = shared.board.sign_out(base, shared.clock.now()) else {
            return Stored::done();
        };
        shared.end_unsaved();
        shared.disclaim();
        shared.tell(&Event::SignedOut);
        if let Some(before) = before {
            shared.revoke(before);
        }
        shared.write(shared.board.stamp())
    }

    /// The access token, if it is usable now. Starts nothing.
    pub fn access_token(&self) -> Option<Token> {
        self.shared.board.usable(self.shared.clock.now())
    }

    /// Whether the issuer has refused to refresh this session any more.
    pub fn has_ended(&self) -> bool {
        self.shared.board.ended()
    }

    /// Whether the two are clones of one another.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether somebody signed out and nobody in since.
    pub fn is_signed_out(&self) -> bool {
        self.shared.board.signed_out()
    }

    /// The header that carries the token.
    pub fn header_name(&self) -> &HeaderName {
        &self.shared.placement.name
    }

    /// Where a token may go.
    pub fn origins(&self) -> &Origins {
        &self.shared.origins
    }

    /// The session's name.
    pub fn session(&self) -> &SessionKey {
        &self.shared.key
    }

    /// Tells the listeners of this rotator that something happened around it.
    pub fn tell(&self, event: &Event) {
        self.shared.tell(event);
    }

    /// A handle that does not keep the session in memory, for listeners and hooks that want to look at
    /// the rotator that tells them.
    pub fn downgrade(&self) -> WeakRotator {
        WeakRotator(Arc::downgrade(&self.shared))
    }

    /// Lets nothing new start and waits for the refresh in the air, for saves, for revocations and
    /// for leases that are being given back.
    ///
    /// True if all of it ended within the time given and the store has what it is to have; false
    /// too where that cannot be, for want of a runtime to save on. A token that is still good goes on being
    /// served; what would need a refresh fails with [`TokenError::ShutDown`].
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        self.shared.closed.store(true, Ordering::SeqCst);
        let shared = &self.shared;
        let done = async {
            loop {
                shared.resume_saving();
                if shared.tasks.is_idle() {
                    if let Some(coordinator) = &shared.coordinator {
                        coordinator.settled().await;
                    }
                    return shared.all_saved();
                }
                shared.tasks.idle().await;
            }
        };
        let mut done = Box::pin(done);
        // What has nothing to wait for needs no timer, and so no runtime.
        if let Some(saved) = done.as_mut().now_or_never() {
            return saved;
        }
        let answer = shared.runtime.timeout(timeout, done).await;
        matches!(answer, Ok(Some(true)))
    }
}

impl std::fmt::Debug for Rotator {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stamp = self.shared.board.stamp();
        out.debug_struct("Rotator")
            .field("session", &self.shared.key)
            .field("epoch", &stamp.epoch)
            .field("generation", &stamp.generation)
            .finish_non_exhaustive()
    }
}

/// A [`Rotator`] that may be gone: see [`Rotator::downgrade`].
#[derive(Clone)]
pub struct WeakRotator(Weak<Shared>);

impl WeakRotator {
    /// The rotator, if anybody still has it.
    pub fn upgrade(&self) -> Option<Rotator> {
        self.0.upgrade().map(|shared| Rotator { shared })
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
