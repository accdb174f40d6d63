//! The parts of a record beside its tokens and its intent. Records of earlier versions have none.

use std::time::Duration;

use super::Record;
use super::binding::Binding;
use super::failure::{
    FAILURES_MAX, Fingerprint, RefusedContent, SharedFailure, UnexplainedRefusals,
};
use super::time::{Age, StoreTime};
use crate::error::FailureKind;
use crate::token::secret::SecretString;

/// How long the failures of other hosts and configurations stay in the record after a success.
const KEPT: Duration = Duration::from_secs(3_600);

/// The parts of a record beside its tokens and its intent.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordDetails {
    /// When the token set was received, by the store's clock.
    pub(crate) received: Option<StoreTime>,
    /// The last failure of each host or configuration, the newest last.
    pub(crate) failures: Vec<SharedFailure>,
    pub(crate) unexplained: Option<UnexplainedRefusals>,
    pub(crate) binding: Option<Binding>,
    /// The refresh token before that of the token set, until the newer one has worked.
    pub(crate) previous: Option<SecretString>,
    pub(crate) refused_content: Option<RefusedContent>,
}

impl Record {
    /// The record, read at this moment by the store's clock.
    pub fn read_at(mut self, now: StoreTime) -> Self {
        self.read_at = Some(now);
        self
    }

    /// The record, whose token set was received at this moment by the store's clock.
    pub fn with_received(mut self, at: StoreTime) -> Self {
        self.details.received = Some(at);
        self
    }

    /// The record with one more failure. A record keeps the last 8 failures.
    pub fn with_failure(mut self, failure: SharedFailure) -> Self {
        self.details.push_failure(failure);
        self
    }

    /// The record with these refusals.
    pub fn with_unexplained_refusals(mut self, refusals: UnexplainedRefusals) -> Self {
        self.details.unexplained = Some(refusals);
        self
    }

    /// The record with this binding.
    pub fn with_binding(mut self, binding: Binding) -> Self {
        self.details.binding = Some(binding);
        self
    }

    /// The record with the previous refresh token.
    pub fn with_previous_refresh_token(mut self, token: impl Into<SecretString>) -> Self {
        self.details.previous = Some(token.into());
        self
    }

    /// The record of a session whose last answer had unusable content.
    pub fn with_refused_content(mut self, content: RefusedContent) -> Self {
        self.details.refused_content = Some(content);
        self
    }

    /// When the record was read, by the store's clock. Returns `None` if the store has no clock.
    pub fn now(&self) -> Option<StoreTime> {
        self.read_at
    }

    /// When the token set was received, by the store's clock. Returns `None` if it is not known.
    pub fn received(&self) -> Option<StoreTime> {
        self.details.received
    }

    /// The age of the token set when the record was read, by the store's clock. Returns `None` if
    /// it is not known.
    pub fn age(&self) -> Option<Age> {
        self.read_at?.since(self.details.received?)
    }

    /// The failed refreshes since the last token set, and those of other hosts and configurations.
    /// The newest is last.
    pub fn failures(&self) -> &[SharedFailure] {
        &self.details.failures
    }

    /// The refusals without a reason since the last token set.
    pub fn unexplained_refusals(&self) -> Option<&UnexplainedRefusals> {
        self.details.unexplained.as_ref()
    }

    /// The addresses that the session is bound to. Returns `None` if it is not bound.
    pub fn binding(&self) -> Option<&Binding> {
        self.details.binding.as_ref()
    }

    /// The refresh token before that of the token set. Returns `None` if the newer one has worked.
    pub fn previous_refresh_token(&self) -> Option<&SecretString> {
        self.details.previous.as_ref()
    }

    /// Why the content of the last answer was refused. Returns `None` if it was not.
    pub fn refused_content(&self) -> Option<&RefusedContent> {
        self.details.refused_content.as_ref()
    }
}

impl RecordDetails {
    /// The details of a record with a newer token set of the same sign-in, received at this moment.
    /// `previous` is the refresh token that the newer one replaces.
    ///
    /// The failures of other hosts and configurations stay for an hour, because they still hold
    /// there, and show which host is broken.
    pub(crate) fn after_refresh(
        &self,
        received: StoreTime,
        previous: Option<SecretString>,
        (host, fingerprint): (&str, Option<Fingerprint>),
    ) -> Self {
        let stays = |failure: &&SharedFailure| {
            let age = received.since(failure.at);
            let is_recent = age.is_some_and(|age| age.elapsed() < KEPT);
            let is_elsewhere = match failure.kind {
                FailureKind::NotSent => failure.host != host,
                FailureKind::Misconfigured => {
                    failure.host != host
                        && (fingerprint.is_none() || failure.fingerprint != fingerprint)
                }
                _ => false,
            };
            is_recent && is_elsewhere
        };
        Self {
            received: Some(received),
            failures: self.failures.iter().filter(stays).cloned().collect(),
            unexplained: None,
            binding: self.binding.clone(),
            previous,
            refused_content: None,
        }
    }

    /// Dates the newest failure and the refusals, which were noted before the store's time was known.
    pub(crate) fn date_failures(&mut self, now: StoreTime) {
        if let Some(failure) = self.failures.last_mut() {
            failure.at = now;
        }
        if let Some(refusals) = &mut self.unexplained {
            refusals.last = now;
        }
    }

    /// Adds a failure. It replaces the failure of the same host and the same scope.
    pub(crate) fn push_failure(&mut self, failure: SharedFailure) {
        self.failures.retain(|older| {
            older.host != failure.host
                || older.kind != failure.kind
                || older.fingerprint != failure.fingerprint
        });
        if self.failures.len() >= FAILURES_MAX {
            self.failures.remove(0);
        }
        self.failures.push(failure);
    }
}
