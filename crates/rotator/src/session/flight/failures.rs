//! What a flight reads and writes of the failures in the record, and how it judges an answer.

use std::sync::Arc;
use std::time::Duration;

use token_rotator_core::Purpose;

use super::super::decide::RefreshStart;
use super::super::state::FailureEffect;
use super::super::{shared, subject};
use super::FlightTask;
use crate::error::{RefreshError, SourceError};
use crate::event::Event;
use crate::runtime::clock::millis;
use crate::store::{RecordDetails, RefusedContent, StoreError};
use crate::token::secret::SecretString;
use crate::token::source::Refreshed;
use crate::token::token_set::TokenSet;

/// How soon the record is read again after an answer whose content was refused.
const CONTENT_INTERVAL: Duration = Duration::from_secs(10);

/// The issuer's answer to a refresh.
pub(super) enum Answer {
    Tokens(Refreshed),
    /// The content of the answer was refused. Its refresh token still replaces the presented one.
    Refused {
        token: Option<SecretString>,
        error: RefreshError,
    },
}

impl FlightTask {
    /// Ends the flight if a failure in the record holds for this process.
    pub(super) fn check_failures(&self, start: &RefreshStart) -> Result<(), RefreshError> {
        let session = &self.session;
        let observer = session.observer();
        let forced = self.is_forced();
        // Without a store, and while it accepts no write, only this process knows the failures. Then
        // the state machine keeps the cool-down.
        let obstacle = if session.store.is_some() && self.taken_write.is_none() {
            observer.obstacle(&start.details, forced)
        } else {
            observer.refused_content(&start.details, forced)
        };
        obstacle.map_or(Ok(()), Err)
    }

    pub(super) fn is_forced(&self) -> bool {
        self.ticket.flight.purpose == Purpose::Forced
    }

    /// Judges the answer: drops the tokens of another user, and takes a refresh token out of an error.
    pub(super) fn judge(
        &self,
        start: &RefreshStart,
        answer: Result<Refreshed, RefreshError>,
    ) -> Result<Answer, RefreshError> {
        match answer {
            Ok(refreshed) => {
                let last = start.last.as_deref();
                if last.is_some_and(|last| subject::differs(last, &refreshed.tokens)) {
                    self.session.emit(&Event::AnotherSubject {
                        flight: self.ticket.flight.id,
                    });
                    return Err(RefreshError::AnotherSubject);
                }
                Ok(Answer::Tokens(refreshed))
            }
            Err(RefreshError::Source(mut source)) => {
                let token = source.take_refresh_token();
                if source.is_content_refused() {
                    let message = source.message().into();
                    let error = RefreshError::ContentRefused { message };
                    return Ok(Answer::Refused { token, error });
                }
                Err(RefreshError::Source(source))
            }
            Err(error) => Err(error),
        }
    }

    /// Notes a failure in the details of the record, which the caller writes. Returns the error for
    /// the flight's callers.
    pub(super) fn note_failure(
        &mut self,
        start: &mut RefreshStart,
        error: RefreshError,
    ) -> RefreshError {
        let session = Arc::clone(&self.session);
        let expired = session.usable().is_none();
        let observer = session.observer();
        let details = &mut start.details;
        let refusals = observer.refusals_after(details.unexplained.as_ref(), &error, expired);
        details.unexplained = refusals;
        if let Some(mut failure) = observer.failure(details, &error, self.jitter) {
            let least = shared::least_wait(&error, expired);
            if least > failure.wait {
                failure.wait = least;
                self.wait = Some((least, failure.asked_by_issuer));
            }
            details.push_failure(failure);
        }
        session.state.note_details(self.epoch(), details);
        match &details.unexplained {
            Some(refusals) if refusals.is_refused => {
                shared::refused_without_reason(refusals, shared::REFUSED_INTERVAL)
            }
            _ => error,
        }
    }

    /// Returns the token set that holds this refresh token and keeps the access token of `start`.
    pub(super) fn with_newest_refresh_token(
        start: &RefreshStart,
        token: Option<SecretString>,
    ) -> TokenSet {
        let last = start.last.as_deref().cloned();
        let last = last.unwrap_or_else(|| TokenSet::bearer(String::new()));
        match token {
            Some(token) => last.with_refresh_token(token),
            None => last,
        }
    }

    /// Returns the details of a record with these tokens, which replace those of `start`.
    /// `refused`: why the content of the answer was refused.
    pub(super) fn details_after(
        &self,
        start: &RefreshStart,
        tokens: &TokenSet,
        refused: Option<&RefreshError>,
    ) -> Box<RecordDetails> {
        let session = &self.session;
        let before = start.last.as_deref();
        let is_new = !super::super::decide::same_refresh_token(before, tokens);
        let previous = before
            .and_then(TokenSet::refresh_token)
            .filter(|_| is_new)
            .cloned();
        let Some(refused) = refused else {
            return Box::new(session.details_after(&start.details, previous));
        };
        let message = match refused {
            RefreshError::ContentRefused { message } => message.to_string(),
            error => error.to_string(),
        };
        let mut details = start.details.clone();
        details.previous = previous.or(details.previous);
        let fingerprint = session.source.fingerprint(&session.key);
        details.refused_content = Some(RefusedContent::new(message, fingerprint));
        details
    }

    /// Returns the start that presents the previous refresh token, as the last resort. Returns `None`
    /// unless the newest one came with an answer whose content was refused.
    pub(super) fn start_from_previous(
        start: &RefreshStart,
        error: &RefreshError,
    ) -> Option<RefreshStart> {
        let is_reuse = match error {
            RefreshError::Source(source) => SourceError::is_reuse_detected(source),
            _ => true,
        };
        start
            .details
            .refused_content
            .as_ref()
            .filter(|_| !is_reuse)?;
        let previous = start.details.previous.clone()?;
        let mut start = start.clone();
        start.last = Some(Arc::new(Self::with_newest_refresh_token(
            &start,
            Some(previous),
        )));
        start.details.previous = None;
        start.intent = None;
        Some(start)
    }

    /// Reports a failure to the state machine, which begins a cool-down or ends the session.
    pub(super) fn settle_failure(&self, error: &RefreshError) -> FailureEffect {
        let session = &self.session;
        let flight = self.ticket.flight;
        let now = session.clock.now();
        let wait = match error {
            RefreshError::Shared { failure, left } => Some((*left, failure.asked_by_issuer)),
            RefreshError::RefusedWithoutReason { left, .. } => Some((*left, false)),
            RefreshError::ContentRefused { .. } => Some((CONTENT_INTERVAL, false)),
            _ => self.wait,
        };
        if let Some((wait, by_issuer)) = wait {
            // Rounded up, so that the next flight finds the failure over.
            let wait = (millis(wait).saturating_add(1), by_issuer);
            return session.state.held_back(flight, wait, error.clone(), now);
        }
        let failure = self.failure(error);
        session.state.failed(flight, failure, error.clone(), now)
    }

    /// Writes the record with the noted failure. Another process that has written the record
    /// meanwhile knows better, and a failed write only leaves the failure unshared.
    pub(super) async fn put_failure(
        &self,
        start: &mut RefreshStart,
        intent: Option<crate::store::Intent>,
    ) {
        let written = async {
            if self.session.state.knows_store_time() || !start.takes_failure() {
                return self.put_record(start, intent, true).await;
            }
            // The store tells its time only with a record, and there is none yet.
            let details = std::mem::take(&mut start.details);
            let is_written = self.put_record(start, intent, true).await?;
            start.details = details;
            if !is_written {
                return Ok(false);
            }
            self.session.load().await?;
            start.details.date_failures(self.session.store_now());
            self.put_record(start, intent, true).await
        };
        let written: Result<bool, StoreError> = written.await;
        if let Err(error) = written {
            tracing::debug!(target: "token_rotator", session = %self.session.key, %error, "a failure is not shared");
        }
    }
}
