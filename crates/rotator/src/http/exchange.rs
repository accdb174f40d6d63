//! The request protocol: the token of a request, the meaning of its answer, the next step.
//!
//! The tower layer, `-reqwest` and `-proxy` send and receive. This file makes every decision
//! between the two:
//!
//! 1. [`Exchange::ready`] or [`Exchange::begin`] gives the token to send. A request that cannot be
//!    sent twice waits for a refresh that is due.
//! 2. [`RefusalRules`](super::RefusalRules) judge the answer. If it refuses nothing, the client
//!    calls [`Exchange::accepted`]. Otherwise [`Exchange::on_answer`] decides the next step, and
//!    [`Exchange::settle`] does the part of it that needs no IO.
//! 3. After [`Next::Replay`], [`Exchange::renew`] waits for the newer token. The client drains the
//!    refused answer, sends the request again and settles the second answer, which is final.

use std::sync::atomic::Ordering;

use http::uri::Authority;
use http::{Extensions, HeaderMap, StatusCode, Uri};
use token_rotator_core::Attempt;

use crate::error::TokenError;
use crate::event::{Event, NotReplayed};
use crate::http::body_rule::Unconfirmed;
use crate::http::challenge::{self, StepUp, Verdict};
use crate::rotator::Rotator;
use crate::token::Pass;

/// One request and its replay.
#[derive(Clone, Debug)]
pub struct Exchange {
    pass: Pass,
    repeatable: Result<(), NotReplayed>,
    /// The [`endpoint`] that refused the request. `None` until the request is replayed.
    replayed_at: Option<u32>,
}

/// The next step after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// The caller gets the answer.
    HandBack,
    /// The caller gets the answer and its demands on the user (RFC 9470).
    StepUp(StepUp),
    /// The caller gets the answer. The exchange reports the refusal and the reason against a
    /// replay. The reason is `None` if the answer is the answer to the replay.
    Report(Option<NotReplayed>),
    /// The request waits for a newer token and is sent again.
    Replay,
}

impl Exchange {
    /// Gives the request a token without waiting and without starting a refresh.
    ///
    /// Returns `None` if no token is usable, and for a request that cannot be sent twice while a
    /// refresh is due.
    #[inline]
    pub fn ready(rotator: &Rotator, repeatable: Result<(), NotReplayed>) -> Option<Self> {
        let token = match repeatable {
            Ok(()) => rotator.session.ready(),
            Err(_) => rotator.session.ready_for_once(),
        };
        token.map(|token| Self::new(token, repeatable))
    }

    /// Gives the request a token. If the rotator is
    /// [anonymous](crate::RotatorBuilder::anonymous), the request may go without one.
    ///
    /// *Waits* like [`Rotator::token`]. A request that cannot be sent twice waits for a refresh
    /// that is due, because it cannot be replayed.
    pub async fn begin(
        rotator: &Rotator,
        repeatable: Result<(), NotReplayed>,
    ) -> Result<Self, TokenError> {
        if let Some(exchange) = Self::ready(rotator, repeatable) {
            return Ok(exchange);
        }
        let session = &rotator.session;
        let pass = match repeatable {
            Ok(()) => Box::pin(session.wait_for_pass()).await,
            Err(_) => Box::pin(session.wait_for_pass_for_once()).await,
        };
        pass.map(|pass| Self::new(pass, repeatable))
    }

    /// An exchange for a request that already carries this token or pass.
    #[inline]
    pub fn new(pass: impl Into<Pass>, repeatable: Result<(), NotReplayed>) -> Self {
        Self {
            pass: pass.into(),
            repeatable,
            replayed_at: None,
        }
    }

    /// The pass of the request: its token, if it carries one.
    pub fn pass(&self) -> &Pass {
        &self.pass
    }

    /// Whether the request has been sent a second time.
    pub fn is_replayed(&self) -> bool {
        self.replayed_at.is_some()
    }

    /// Sets whether the request can be sent again, or the reason against it.
    pub fn set_repeatable(&mut self, repeatable: Result<(), NotReplayed>) {
        self.repeatable = repeatable;
    }

    /// Writes the token into the headers of the request.
    #[inline]
    pub fn apply(&self, rotator: &Rotator, headers: &mut HeaderMap) {
        self.pass.apply(&rotator.session.placement.name, headers);
    }

    /// Decides the next step after an answer with this verdict.
    ///
    /// If the request had no token, every refusal leads to a replay with one, whatever reason the
    /// answer gives: the request lacked a token.
    #[inline]
    pub fn on_answer(&self, verdict: Verdict) -> Next {
        match verdict {
            Verdict::None => Next::HandBack,
            Verdict::StepUp(step_up) => Next::StepUp(step_up),
            Verdict::NotAboutToken { .. } if self.pass.token().is_some() => Next::HandBack,
            Verdict::NotAboutToken { .. } | Verdict::RefreshToken if self.is_replayed() => {
                Next::Report(None)
            }
            Verdict::NotAboutToken { .. } | Verdict::RefreshToken => match self.repeatable {
                Ok(()) => Next::Replay,
                Err(reason) => Next::Report(Some(reason)),
            },
        }
    }

    /// Decides the next step after an answer with this verdict, and does the part of it that needs
    /// no IO. The client does the replay.
    ///
    /// The refusal of a replay is reported too. Otherwise a token for the wrong audience would
    /// cause one refresh after another.
    pub fn settle(&self, rotator: &Rotator, verdict: Verdict, extensions: &mut Extensions) -> Next {
        let next = self.on_answer(verdict);
        match &next {
            Next::HandBack | Next::Replay => {}
            Next::StepUp(step_up) => {
                extensions.insert(TokenError::StepUp(step_up.clone()));
            }
            Next::Report(reason) => {
                let endpoint = self.replayed_at.unwrap_or(0);
                let attempt = confirmed(Attempt::replay(endpoint), extensions);
                self.report_as(rotator, attempt, *reason);
            }
        }
        next
    }

    /// Reports the refusal of an answer that the caller gets, and the reason against a replay.
    #[cold]
    pub fn report(&self, rotator: &Rotator, reason: Option<NotReplayed>) {
        let endpoint = self.replayed_at.unwrap_or(0);
        self.report_as(rotator, Some(Attempt::replay(endpoint)), reason);
    }

    #[cold]
    fn report_as(&self, rotator: &Rotator, attempt: Option<Attempt>, reason: Option<NotReplayed>) {
        let session = &rotator.session;
        session.report_refused(self.pass.stamp(), attempt);
        if let Some(reason) = reason {
            session.emit(&Event::NotReplayed { reason });
        }
    }

    /// Handles an answer that refuses nothing. If the answer proves that the upstream accepted the
    /// token, the exchange reports it: once for each token, and after each replay.
    #[inline]
    pub fn accepted(&self, rotator: &Rotator, status: StatusCode, headers: &HeaderMap) {
        let Some(token) = self.pass.token() else {
            return;
        };
        let is_reported = token.0.accepted.load(Ordering::Relaxed) && self.replayed_at.is_none();
        if !is_reported && proves_acceptance(status, headers) {
            let attempt = self.replayed_at.map_or(Attempt::UNNAMED, Attempt::replay);
            token.0.mark_accepted();
            rotator.session.accepted(token.stamp(), attempt);
        }
    }

    /// Waits for the token of the replay. Returns whether there is one.
    ///
    /// If there is none, `extensions` gets the error, and the caller gets the refused answer.
    /// `endpoint` is the [`endpoint`] that refused the request. An endpoint that refuses replays
    /// starts no refresh for a while.
    ///
    /// *Cancellation*: dropping the future leaves the refresh running.
    pub async fn renew(
        &mut self,
        rotator: &Rotator,
        endpoint: u32,
        extensions: &mut Extensions,
    ) -> bool {
        let attempt = confirmed(Attempt::first(endpoint), extensions);
        let waiting = rotator
            .session
            .wait_after_refusal(self.pass.stamp(), attempt);
        match Box::pin(waiting).await {
            Ok(token) => {
                self.pass = token.into();
                self.replayed_at = Some(endpoint);
                true
            }
            Err(error) => {
                extensions.insert(error);
                false
            }
        }
    }
}

/// Returns the refused attempt, or `None` if a refresh is to confirm the refusal.
fn confirmed(attempt: Attempt, extensions: &mut Extensions) -> Option<Attempt> {
    let unconfirmed = extensions.remove::<Unconfirmed>();
    unconfirmed.is_none().then_some(attempt)
}

/// Whether an answer that refuses nothing proves that the upstream accepted the token: 2xx, 304,
/// and 101 of a WebSocket. A gRPC answer proves it with status 0 in its headers alone, because its
/// trailers may still refuse the token.
#[cold]
fn proves_acceptance(status: StatusCode, headers: &HeaderMap) -> bool {
    let evidence = status.is_success()
        || matches!(
            status,
            StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS
        );
    evidence && challenge::grpc_status(headers).is_none_or(|status| status == b"0")
}

/// Hashes origin and path of an endpoint (FNV-1a). Never returns zero.
///
/// A session remembers the endpoints that refuse replays by this hash.
pub fn endpoint(origin: &[&str], path: &str) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    for part in origin.iter().copied().chain([path]) {
        // The byte 0xff occurs in no URI, so it separates the parts.
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
    hash.max(1)
}

/// Hashes the [`endpoint`] of a URI.
pub fn endpoint_of(uri: &Uri) -> u32 {
    let scheme = uri.scheme_str().unwrap_or_default();
    let authority = uri.authority().map_or("", Authority::as_str);
    endpoint(&[scheme, authority], uri.path())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::SourceError;
    use crate::http::challenge::BearerError;
    use crate::token::token_set::TokenSet;

    /// Property: verdict, token, repeatability and replay decide the next step as in this table.
    #[tokio::test]
    async fn each_verdict_has_its_next_step() {
        let source =
            |_: Option<Arc<TokenSet>>| async { Err::<TokenSet, _>(SourceError::terminal("none")) };
        let rotator = Rotator::builder(source).anonymous().build().expect("built");
        let without_token = Exchange::begin(&rotator, Ok(())).await.expect("a pass");
        let stored = rotator.sign_in(TokenSet::bearer("token"));
        stored.expect("usable").await.expect("in memory");
        let with_token = Exchange::begin(&rotator, Ok(())).await.expect("a pass");
        let mut not_repeatable = with_token.clone();
        not_repeatable.set_repeatable(Err(NotReplayed::OptedOut));
        let mut replayed = with_token.clone();
        replayed.replayed_at = Some(0);
        let scope = Verdict::NotAboutToken {
            error: BearerError::InsufficientScope,
        };
        let step_up = StepUp::default();
        let opted_out = Next::Report(Some(NotReplayed::OptedOut));
        for (exchange, refused, not_about_token) in [
            (&without_token, Next::Replay, Next::Replay),
            (&with_token, Next::Replay, Next::HandBack),
            (&not_repeatable, opted_out, Next::HandBack),
            (&replayed, Next::Report(None), Next::HandBack),
        ] {
            assert_eq!(exchange.on_answer(Verdict::None), Next::HandBack);
            assert_eq!(exchange.on_answer(Verdict::RefreshToken), refused);
            assert_eq!(exchange.on_answer(scope.clone()), not_about_token);
            let next = exchange.on_answer(Verdict::StepUp(step_up.clone()));
            assert_eq!(next, Next::StepUp(step_up.clone()));
        }
    }
}
