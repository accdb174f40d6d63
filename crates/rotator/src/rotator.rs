//! The handle: token, refused, sign in, sign out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::HeaderName;
use token_rotator_core::Stamp;

use crate::board::{Base, LeftBehind, Next, Ticket};
use crate::builder::RotatorBuilder;
use crate::error::{RefreshError, StoreError, TokenError};
use crate::event::Event;
use crate::flight;
use crate::older::Older;
use crate::origin::Origins;
use crate::shared::Shared;
use crate::source::TokenSource;
use crate::store::SessionKey;
use crate::tasks::Busy;
use crate::token::{Pass, Token};
use crate::token_set::TokenSet;
use crate::unsaved::Unsaved;

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

    /// The request that carried this token, or went out with this pass, was refused (401): the
    /// token to send it with once more.
    ///
    /// If that token has been replaced meanwhile this answers with the newer one at once.
    /// Otherwise it waits for the one refresh, like [`Rotator::token`]. An error means that the
    /// caller should hand on the refusal as it came.
    pub async fn refused(&self, request: impl Into<Stamp<u64>>) -> Result<Token, TokenError> {
        Box::pin(self.shared.wait_after_refusal(request.into())).await
    }

    /// The same for a request that will not be sent again: starts what [`Rotator::refused`] would
    /// start, for the sake of those who follow, and does not wait.
    pub fn report_refused(&self, request: impl Into<Stamp<u64>>) {
        let shared = &self.shared;
        if let Ok(_admitted) = shared.admit() {
            let next = shared.board.refused(request.into(), shared.clock.now());
            if let Next::Launch(ticket) | Next::GoAndLaunch(_, ticket) = next {
                flight::launch(shared, ticket);
            }
        }
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
    #[expect(
        clippy::needless_pass_by_value,
        reason = "tokens are handed over, as at a sign-in"
    )]
    pub fn update(
        &self,
        after: impl Into<Stamp<u64>>,
        tokens: TokenSet,
    ) -> Result<Stored, UpdateError> {
        let shared = &self.shared;
        let after = after.into();
        loop {
            let (stamp, _, last) = shared.board.known();
            if stamp.epoch != after.epoch {
                return Err(UpdateError::SessionChanged);
            }
            let newer = tokens.clone().inherit(last.as_deref());
            let newer = Arc::new(newer.received(shared.clock.wall()));
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

    /// Lets nothing new start and waits for the refresh in the air, for saves and for revocations.
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

impl Shared {
    /// The token, if it can be served at once. Not to the source, which would get it only as long
    /// as it does not need it.
    #[inline]
    fn ready(&self) -> Option<Token> {
        if self.reentered() {
            return None;
        }
        self.board.ready(self.clock.wall())
    }

    async fn wait_for_pass(self: &Arc<Self>) -> Result<Pass, TokenError> {
        let admitted = match self.admit() {
            Ok(admitted) => admitted,
            Err(error) => return self.without_refresh(error).map(Pass::from),
        };
        let next = self.board.acquire(self.clock.now());
        self.carry_out(next, admitted).await
    }

    async fn wait_for_pass_for_once(self: &Arc<Self>) -> Result<Pass, TokenError> {
        let admitted = match self.admit() {
            Ok(admitted) => admitted,
            Err(error) => return self.without_refresh(error).map(Pass::from),
        };
        let next = self.board.acquire_for_once(self.clock.now());
        let began = match &next {
            Next::Launch(ticket) | Next::Wait(ticket) => Some(ticket.flight.began),
            _ => None,
        };
        let error = match self.carry_out(next, admitted).await {
            Err(error) => error,
            pass => return pass,
        };
        // The refresh that was due has failed; the token it was to replace may still be good.
        match (self.board.usable(self.clock.now()), began) {
            (Some(token), Some(began)) if token.stamp().epoch == began.epoch => Ok(token.into()),
            _ => Err(error),
        }
    }

    async fn wait_after_refusal(self: &Arc<Self>, stamp: Stamp<u64>) -> Result<Token, TokenError> {
        let admitted = match self.admit() {
            Ok(admitted) => admitted,
            Err(error) => {
                let token = self.without_refresh(error.clone())?;
                let newer =
                    token.stamp().epoch == stamp.epoch && token.generation() > stamp.generation;
                return if newer { Ok(token) } else { Err(error) };
            }
        };
        let next = self.board.refused(stamp, self.clock.now());
        let pass = self.carry_out(next, admitted).await?;
        pass.token().cloned().ok_or(TokenError::SignedOut)
    }

    /// What is served where no refresh may start: a token that is good. Not to the source, which
    /// would get it only as long as it does not need it.
    fn without_refresh(&self, error: TokenError) -> Result<Token, TokenError> {
        match self.board.usable(self.clock.now()) {
            Some(token) if !matches!(error, TokenError::Reentrant) => Ok(token),
            _ => Err(error),
        }
    }

    async fn force(self: &Arc<Self>) -> Result<Token, TokenError> {
        let admitted = self.admit()?;
        let next = self.board.force(self.clock.now());
        let pass = self.carry_out(next, admitted).await?;
        pass.token().cloned().ok_or(TokenError::SignedOut)
    }

    /// What every call checks before it may start or await anything. While the answer is kept, a
    /// shutdown waits: whatever this call starts is seen by it.
    fn admit(self: &Arc<Self>) -> Result<Busy, TokenError> {
        if self.reentered() {
            return Err(TokenError::Reentrant);
        }
        let admitted = self.tasks.begin();
        if self.closed.load(Ordering::SeqCst) {
            return Err(TokenError::ShutDown);
        }
        self.runtime.ready()?;
        Ok(admitted)
    }

    async fn carry_out(self: &Arc<Self>, next: Next, admitted: Busy) -> Result<Pass, TokenError> {
        let ticket = match next {
            Next::GoAndLaunch(token, ticket) => {
                flight::launch(self, ticket);
                return Ok(token.into());
            }
            Next::Launch(ticket) => {
                flight::launch(self, ticket.clone());
                ticket
            }
            Next::Wait(ticket) => ticket,
            next => return self.conclude(next),
        };
        drop(admitted);
        self.await_landing(&ticket).await?;
        let next = self.board.settle(ticket.flight, self.clock.now());
        self.conclude(next)
    }

    /// Waits for the end of the flight, or until it is overdue, or for as long as a caller may.
    async fn await_landing(&self, ticket: &Ticket) -> Result<(), TokenError> {
        let wait = Arc::clone(&ticket.signal).wait();
        let limit = self.limits.wait_timeout;
        if limit >= self.limits.flight_deadline && self.runtime.keeps_time() {
            // The flight's own deadline comes first, and needs one timer for all.
            wait.await;
            return Ok(());
        }
        match self.runtime.timeout(limit, wait).await? {
            Some(()) => Ok(()),
            None => Err(TokenError::WaitTimedOut { after: limit }),
        }
    }

    fn conclude(&self, next: Next) -> Result<Pass, TokenError> {
        match next {
            Next::Go(token) | Next::GoAndLaunch(token, _) => Ok(token.into()),
            Next::Bare(stamp) if self.policy.access == token_rotator_core::Access::Anonymous => {
                Ok(Pass::bare(stamp))
            }
            Next::Bare(_) | Next::Fail(RefreshError::NotSignedIn) => Err(TokenError::SignedOut),
            Next::Fail(error) => Err(error.into()),
            Next::HandBack | Next::Changed if self.board.signed_out() => Err(TokenError::SignedOut),
            Next::HandBack => Err(TokenError::FreshTokenRefused),
            Next::Changed => Err(TokenError::SessionChanged),
            Next::Overdue | Next::Wait(_) | Next::Launch(_) => Err(TokenError::Overdue),
        }
    }

    /// Writes the sign-in or sign-out of this stamp into the store, in a task of its own.
    pub(crate) fn write(self: &Arc<Self>, stamp: Stamp<u64>) -> Stored {
        if self.store.is_none() {
            return Stored::done();
        }
        self.writing.store(true, Ordering::Release);
        let writing = Writing(Arc::clone(self));
        self.in_background(move |shared, done| async move {
            shared.keep_writing(stamp, done).await;
            drop(writing);
        })
    }

    /// Writes a newer token set of the sign-in of this stamp. It is kept before anything is
    /// awaited: a runtime that ends does not take it along.
    fn write_update(
        self: &Arc<Self>,
        stamp: Stamp<u64>,
        tokens: Arc<TokenSet>,
        before: Option<&TokenSet>,
    ) -> Stored {
        if self.store.is_none() {
            return Stored::done();
        }
        let (_, base, _) = self.board.known();
        let unsaved = Unsaved::new(stamp, base, tokens, Older::than_after(before));
        // Where somebody has signed in or out by now, there is nothing to be stored any more.
        let Some(pending) = self.remember_unsaved(unsaved) else {
            return Stored::done();
        };
        self.in_background(move |shared, done| async move {
            shared.save_update(pending, done).await;
        })
    }

    fn in_background<F>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>, tokio::sync::oneshot::Sender<Result<(), StoreError>>) -> F
        + Send
        + 'static,
    ) -> Stored
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::clone(self);
        let busy = self.tasks.begin();
        let (done, stored) = tokio::sync::oneshot::channel();
        self.runtime.spawn(async move {
            let _busy = busy;
            work(shared, done).await;
        });
        Stored(Some(stored))
    }
}

/// A sign-in or sign-out is being written.
struct Writing(Arc<Shared>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.writing.store(false, Ordering::Release);
    }
}

/// Ends when the store has taken a sign-in or sign-out.
///
/// An error says that it did not yet; it takes effect here all the same, and writing it is tried
/// again in the background. Dropping this changes nothing.
pub struct Stored(Option<tokio::sync::oneshot::Receiver<Result<(), StoreError>>>);

impl Stored {
    fn done() -> Self {
        Self(None)
    }
}

impl Future for Stored {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(receiver) = &mut self.0 else {
            return Poll::Ready(Ok(()));
        };
        Pin::new(receiver).poll(context).map(|answer| {
            answer.unwrap_or_else(|_| {
                Err(StoreError::new(
                    crate::error::StoreErrorKind::Unavailable,
                    "the runtime ended before the session was written to its store",
                ))
            })
        })
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
