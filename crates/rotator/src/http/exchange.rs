//! The request protocol: what a request carried, what its answer means and what to do next.
//!
//! The tower layer, `-reqwest` and `-proxy` send and receive; every decision between is made here:
//!
//! 1. [`Exchange::ready`] or [`Exchange::begin`] gives the token to send. A request that cannot be
//!    sent twice waits for a refresh that is due.
//! 2. [`RefusalRules`](super::RefusalRules) judge the answer. If it refuses nothing, the client
//!    calls [`Exchange::accepted`]. Otherwise [`Exchange::on_answer`] says what follows, and
//!    [`Exchange::settle`] does what needs no IO.
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
    /// The [`endpoint`] that refused the request, once the request is replayed.
    replayed_at: Option<u32>,
}

/// What follows from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// The caller gets the answer.
    HandBack,
    /// The caller gets the answer and what it asks of the user.
    StepUp(StepUp),
    /// The caller gets the answer. The refusal is reported, and why the request is not replayed;
    /// `None`: this was the replay.
    Report(Option<NotReplayed>),
    /// The request waits for a newer token and is sent again.
    Replay,
}

impl Exchange {
    /// The token to send the request with, if one can be had without waiting and without starting
    /// a refresh. A request that cannot be sent twice gets none while a refresh is due.
    #[inline]
    pub fn ready(rotator: &Rotator, repeatable: Result<(), NotReplayed>) -> Option<Self> {
        let token = match repeatable {
            Ok(()) => rotator.session.ready(),
            Err(_) => rotator.session.ready_for_once(),
        };
        token.map(|token| Self::new(token, repeatable))
    }

    /// The token to send the request with, or leave to send it without one if the rotator is
    /// [anonymous](crate::RotatorBuilder::anonymous). Waits like [`Rotator::token`]. A request that
    /// cannot be sent twice waits for a refresh that is due, because it cannot be replayed.
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

    /// An exchange with a token or pass that the request carries already.
    #[inline]
    pub fn new(pass: impl Into<Pass>, repeatable: Result<(), NotReplayed>) -> Self {
        Self {
            pass: pass.into(),
            repeatable,
            replayed_at: None,
        }
    }

    /// What the request carries.
    pub fn pass(&self) -> &Pass {
        &self.pass
    }

    /// Whether the request has been sent a second time.
    pub fn is_replayed(&self) -> bool {
        self.replayed_at.is_some()
    }

    /// Replaces what was said about sending the request again.
    pub fn set_repeatable(&mut self, repeatable: Result<(), NotReplayed>) {
        self.repeatable = repeatable;
    }

    /// Writes the token into the headers of the request.
    #[inline]
    pub fn apply(&self, rotator: &Rotator, headers: &mut HeaderMap) {
        self.pass.apply(&rotator.session.placement.name, headers);
    }

    /// What follows from an answer with this verdict.
    ///
    /// A request without a token is refused whatever the reason given: a token is what it lacked.
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

    /// Does what follows from an answer with this verdict, but for a replay.
    ///
    /// The refusal of a replay is reported: else a wrong audience would be refreshed for again and
    /// again.
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

    /// Reports a refusal that is handed back, and why the request is not replayed.
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
            session.tell(&Event::NotReplayed { reason });
        }
    }

    /// An answer refuses nothing. Reports that the token was accepted if the answer shows it: the
    /// first time for each token, and after each replay.
    #[inline]
    pub fn accepted(&self, rotator: &Rotator, status: StatusCode, headers: &HeaderMap) {
        let Some(token) = self.pass.token() else {
            return;
        };
        let known = token.0.accepted.load(Ordering::Relaxed) && self.replayed_at.is_none();
        if !known && shows_acceptance(status, headers) {
            let attempt = self.replayed_at.map_or(Attempt::UNNAMED, Attempt::replay);
            token.0.mark_accepted();
            rotator.session.accepted(token.stamp(), attempt);
        }
    }

    /// Waits for the token of the replay. Returns false if there is none: the refused answer is
    /// then the caller's, with the reason among its extensions. `endpoint` is the [`endpoint`] that
    /// refused the request; one that refuses replays starts no refresh for a while.
    ///
    /// Cancel safe: the refresh goes on.
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

/// The attempt that was refused. Returns `None` if a refresh is to confirm the refusal.
fn confirmed(attempt: Attempt, extensions: &mut Extensions) -> Option<Attempt> {
    let unconfirmed = extensions.remove::<Unconfirmed>();
    unconfirmed.is_none().then_some(attempt)
}

/// Whether an answer that refuses nothing shows that its token was accepted: 2xx, 304, and 101 of
/// a WebSocket. A gRPC answer shows it with status 0 alone: its verdict comes in the trailers.
#[cold]
fn shows_acceptance(status: StatusCode, headers: &HeaderMap) -> bool {
    let evidence = status.is_success()
        || matches!(
            status,
            StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS
        );
    evidence && challenge::grpc_status(headers).is_none_or(|status| status == b"0")
}

/// The hash (FNV-1a) of origin and path by which a session remembers an endpoint that refuses
/// replays. Never zero.
pub fn endpoint(origin: &[&str], path: &str) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    for part in origin.iter().copied().chain([path]) {
        // 0xff stands in no URI, so it separates the parts.
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
    hash.max(1)
}

/// The [`endpoint`] of a URI.
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

    /// Property: the table of verdict, token, repeatability and replay.
    #[tokio::test]
    async fn what_follows_from_each_verdict() {
        let source =
            |_: Option<Arc<TokenSet>>| async { Err::<TokenSet, _>(SourceError::terminal("none")) };
        let rotator = Rotator::builder(source).anonymous().build().expect("built");
        let bare = Exchange::begin(&rotator, Ok(())).await.expect("a pass");
        let stored = rotator.sign_in(TokenSet::bearer("token"));
        stored.expect("usable").await.expect("in memory");
        let with_token = Exchange::begin(&rotator, Ok(())).await.expect("a pass");
        let mut once = with_token.clone();
        once.set_repeatable(Err(NotReplayed::OptedOut));
        let mut again = with_token.clone();
        again.replayed_at = Some(0);
        let scope = Verdict::NotAboutToken {
            error: BearerError::InsufficientScope,
        };
        let step_up = StepUp::default();
        let opted_out = Next::Report(Some(NotReplayed::OptedOut));
        for (exchange, refused, not_about_token) in [
            (&bare, Next::Replay, Next::Replay),
            (&with_token, Next::Replay, Next::HandBack),
            (&once, opted_out, Next::HandBack),
            (&again, Next::Report(None), Next::HandBack),
        ] {
            assert_eq!(exchange.on_answer(Verdict::None), Next::HandBack);
            assert_eq!(exchange.on_answer(Verdict::RefreshToken), refused);
            assert_eq!(exchange.on_answer(scope.clone()), not_about_token);
            let asked = exchange.on_answer(Verdict::StepUp(step_up.clone()));
            assert_eq!(asked, Next::StepUp(step_up.clone()));
        }
    }
}
