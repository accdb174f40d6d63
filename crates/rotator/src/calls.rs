//! What a call does: it is let in, asks the board, starts a flight or waits for one, and settles.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use token_rotator_core::{Attempt, Stamp};

use crate::board::{Next, Ticket};
use crate::error::{RefreshError, TokenError};
use crate::event::{Event, NotReplayed};
use crate::flight;
use crate::shared::Shared;
use crate::tasks::Busy;
use crate::token::{Pass, Token};

impl Shared {
    /// The token, if it can be served at once. Not to the source, which would get it only as long
    /// as it does not need it.
    #[inline]
    pub(crate) fn ready(&self) -> Option<Token> {
        if self.reentered() {
            return None;
        }
        self.board.ready(self.clock.wall())
    }

    pub(crate) async fn wait_for_pass(self: &Arc<Self>) -> Result<Pass, TokenError> {
        let admitted = match self.admit() {
            Ok(admitted) => admitted,
            Err(error) => return self.without_refresh(error).map(Pass::from),
        };
        let next = self.board.acquire(self.clock.now());
        self.carry_out(next, admitted).await
    }

    pub(crate) async fn wait_for_pass_for_once(self: &Arc<Self>) -> Result<Pass, TokenError> {
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

    pub(crate) async fn wait_after_refusal(
        self: &Arc<Self>,
        stamp: Stamp,
        attempt: Attempt,
    ) -> Result<Token, TokenError> {
        let admitted = match self.admit() {
            Ok(admitted) => admitted,
            Err(error) => {
                let token = self.without_refresh(error.clone())?;
                let newer =
                    token.stamp().epoch == stamp.epoch && token.generation() > stamp.generation;
                return if newer { Ok(token) } else { Err(error) };
            }
        };
        let next = self.board.refused(stamp, attempt, self.clock.now());
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

    pub(crate) async fn force(self: &Arc<Self>) -> Result<Token, TokenError> {
        let admitted = self.admit()?;
        let next = self.board.force(self.clock.now());
        let pass = self.carry_out(next, admitted).await?;
        pass.token().cloned().ok_or(TokenError::SignedOut)
    }

    /// What every call checks before it may start or await anything. While the answer is kept, a
    /// shutdown waits: whatever this call starts is seen by it.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Busy, TokenError> {
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
            Next::RefusedAgain => {
                let reason = NotReplayed::RefusedAgain;
                self.tell(&Event::NotReplayed { reason });
                Err(TokenError::FreshTokenRefused)
            }
            Next::Changed => Err(TokenError::SessionChanged),
            Next::Overdue | Next::Wait(_) | Next::Launch(_) => Err(TokenError::Overdue),
        }
    }
}
