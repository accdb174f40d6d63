//! Decisions about failures that processes share through the record, without IO: which failure holds
//! for this process and for how long, and what the refusals without a reason come to.

use std::time::Duration;

use token_rotator_core::Policy;

use crate::error::{FailureKind, RefreshError, RefusingEndpoint, SourceError};
use crate::runtime::clock::millis;
use crate::store::{
    Age, Fingerprint, RecordDetails, RefusedContent, SharedFailure, StoreTime, UnexplainedRefusals,
};

/// The least time between two refusals without a reason that both count.
const REFUSALS_APART: Duration = Duration::from_secs(10);
/// How often a session that is refused without a reason is tried again.
pub(crate) const REFUSED_INTERVAL: Duration = Duration::from_secs(300);

/// The process that reads or writes shared failures, and the time by its store's clock.
pub(crate) struct Observer<'a> {
    pub(crate) host: &'a str,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) now: StoreTime,
    /// Whether processes of other hosts may refresh.
    pub(crate) spans_hosts: bool,
    pub(crate) policy: &'a Policy,
}

impl Observer<'_> {
    /// Returns why this process must not refresh now. `forced`: a caller asked for the refresh.
    pub(crate) fn obstacle(&self, details: &RecordDetails, forced: bool) -> Option<RefreshError> {
        if let Some(error) = self.refused_content(details, forced) {
            return Some(error);
        }
        let holding = details.failures.iter().filter_map(|failure| {
            let left = self.left(failure)?;
            (!forced || failure.asked_by_issuer).then_some((failure, left))
        });
        let longest = holding.max_by_key(|(_, left)| *left);
        // A session that is refused without a reason says so, whatever else holds.
        if let Some(refusals) = details.unexplained.as_ref().filter(|_| !forced)
            && let Some(left) = self.refused_for(refusals)
        {
            return Some(refused_without_reason(refusals, left));
        }
        longest.map(|(failure, left)| RefreshError::Shared {
            failure: Box::new(failure.clone()),
            left,
        })
    }

    /// Returns the error of an answer whose content was refused under this configuration.
    pub(crate) fn refused_content(
        &self,
        details: &RecordDetails,
        forced: bool,
    ) -> Option<RefreshError> {
        let content = details.refused_content.as_ref().filter(|_| !forced)?;
        (content.fingerprint == self.fingerprint).then(|| content_refused(content))
    }

    /// Returns how long the failure still holds for this process. Returns `None` if it does not.
    ///
    /// A failure that is dated in the future, or by a clock that cannot be compared, has no effect.
    pub(crate) fn left(&self, failure: &SharedFailure) -> Option<Duration> {
        if !self.concerns(failure) {
            return None;
        }
        let Some(Age::Elapsed(age)) = self.now.since(failure.at) else {
            return None;
        };
        let most = failure.holds_at_most();
        let mut wait = failure.wait.min(most);
        // The cause may lie on the host that failed, so the other hosts try first.
        if self.spans_hosts && failure.host == self.host && is_of_issuer(failure.kind) {
            let later = if failure.asked_by_issuer {
                Duration::from_millis(self.policy.cool_down)
            } else {
                wait
            };
            wait = wait.saturating_add(later).min(most);
        }
        wait.checked_sub(age).filter(|left| !left.is_zero())
    }

    /// Returns whether a failure of this kind, host and configuration concerns this process.
    fn concerns(&self, failure: &SharedFailure) -> bool {
        match failure.kind {
            FailureKind::NotSent => failure.host == self.host,
            FailureKind::Misconfigured => match (failure.fingerprint, self.fingerprint) {
                // Without fingerprints, the host stands for the configuration.
                (None, None) => failure.host == self.host,
                (theirs, own) => theirs == own,
            },
            FailureKind::Transient | FailureKind::Uncertain => true,
            // A refused refresh token is in the intent.
            FailureKind::Terminal => false,
        }
    }

    /// Returns the failure to write into the record. Returns `None` if the failure is not shared.
    /// `jitter` is the cool-down in thousandths of its nominal length.
    pub(crate) fn failure(
        &self,
        details: &RecordDetails,
        error: &RefreshError,
        jitter: u32,
    ) -> Option<SharedFailure> {
        let kind = error.kind();
        let source = match error {
            RefreshError::Source(_) if kind == FailureKind::Terminal => return None,
            RefreshError::Source(source) => Some(source),
            RefreshError::TimedOut { .. } => None,
            _ => return None,
        };
        let text = source.map_or_else(|| error.to_string(), |source| source.message().to_owned());
        let mut failure = SharedFailure::new(kind, text, self.host, self.now);
        failure.code = source.and_then(SourceError::code).map(str::to_owned);
        failure.fingerprint = self.fingerprint;
        let before = details.failures.iter().rev();
        let before = before
            .filter(|before| before.kind == kind)
            .find(|before| self.concerns(before));
        failure.in_a_row = before.map_or(0, |before| before.in_a_row).saturating_add(1);
        let retry_after = source.and_then(SourceError::retry_after);
        failure.asked_by_issuer = retry_after.is_some();
        let wait = self
            .policy
            .wait_after(failure.in_a_row - 1, retry_after.map(millis), jitter);
        failure.wait = Duration::from_millis(wait);
        Some(failure)
    }

    /// Returns the refusals without a reason after this failure.
    ///
    /// `expired`: the access token has expired. Until then no refusal counts, because the session
    /// still works.
    pub(crate) fn refusals_after(
        &self,
        before: Option<&UnexplainedRefusals>,
        error: &RefreshError,
        expired: bool,
    ) -> Option<UnexplainedRefusals> {
        let RefreshError::Source(source) = error else {
            return before.cloned();
        };
        let Some(endpoint) = source.refused_without_reason() else {
            // A failure on this host is no answer. Any other answer ends the row, but a session that
            // is refused already stays so until its first token set.
            return match before.cloned() {
                Some(refused) if refused.is_refused => Some(UnexplainedRefusals {
                    last: self.now,
                    ..refused
                }),
                before => before.filter(|_| source.kind() == FailureKind::NotSent),
            };
        };
        if !expired {
            return before.cloned();
        }
        let count = before.map_or(0, |before| before.count);
        let age = before.and_then(|before| self.now.since(before.last));
        let too_soon = count > 0 && matches!(age, Some(Age::Elapsed(age)) if age < REFUSALS_APART);
        let mut refusals = match before {
            Some(before) if too_soon => before.clone(),
            _ => UnexplainedRefusals::new(count.saturating_add(1), self.now, source.message()),
        };
        let limit = match endpoint {
            RefusingEndpoint::Token => 3,
            RefusingEndpoint::Cookie => 2,
        };
        let was_refused = before.is_some_and(|before| before.is_refused);
        if was_refused || refusals.count >= limit {
            refusals.is_refused = true;
            refusals.last = self.now;
        }
        Some(refusals)
    }

    /// Returns how long no refresh starts, because the session is refused without a reason.
    fn refused_for(&self, refusals: &UnexplainedRefusals) -> Option<Duration> {
        if !refusals.is_refused {
            return None;
        }
        let Some(Age::Elapsed(age)) = self.now.since(refusals.last) else {
            return None;
        };
        REFUSED_INTERVAL
            .checked_sub(age)
            .filter(|left| !left.is_zero())
    }
}

/// Returns the least cool-down after this failure: counted refusals are at least 10 s apart.
pub(crate) fn least_wait(error: &RefreshError, expired: bool) -> Duration {
    let unexplained = match error {
        RefreshError::Source(source) => source.refused_without_reason().is_some(),
        _ => false,
    };
    if unexplained && expired {
        REFUSALS_APART
    } else {
        Duration::ZERO
    }
}

pub(crate) fn refused_without_reason(
    refusals: &UnexplainedRefusals,
    left: Duration,
) -> RefreshError {
    RefreshError::RefusedWithoutReason {
        message: refusals.message.as_str().into(),
        left,
    }
}

pub(crate) fn content_refused(content: &RefusedContent) -> RefreshError {
    RefreshError::ContentRefused {
        message: content.message.as_str().into(),
    }
}

/// Returns whether the failure is the issuer's, and so the same for every host.
fn is_of_issuer(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Transient | FailureKind::Uncertain)
}

#[cfg(test)]
mod tests;
