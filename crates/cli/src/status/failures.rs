//! Failures of refreshes in the session's record, which processes and hosts share.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use token_rotator::FailureKind;
use token_rotator::store::{Record, SharedFailure, StoreTime};

use crate::table;

/// A failed refresh that holds for other processes too.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FailureStatus {
    kind: &'static str,
    /// The issuer's error code.
    code: Option<String>,
    message: String,
    host: String,
    at: Timestamp,
    /// Until when no refresh starts. Null if the failure does not hold any more.
    until: Option<Timestamp>,
    /// Whether the issuer asked for the wait with `Retry-After`.
    asked_by_issuer: bool,
    /// Which processes it concerns: `all`, `host`, or `configuration`.
    concerns: &'static str,
}

impl FailureStatus {
    /// Returns the failures in the record, by the store's clock. The newest is last.
    pub(crate) fn all(record: &Record) -> Vec<Self> {
        let Some(now) = record.now() else {
            return Vec::new();
        };
        let failures = record.failures().iter();
        failures
            .filter_map(|failure| Self::of(failure, now))
            .collect()
    }

    /// Returns `None` if the failure is dated in the future, because then it has no effect.
    fn of(failure: &SharedFailure, now: StoreTime) -> Option<Self> {
        let age = match now.since(failure.at)? {
            token_rotator::store::Age::Elapsed(age) => age,
            token_rotator::store::Age::Ahead(_) => return None,
        };
        let here = Timestamp::now();
        let left = failure.left(now);
        let (kind, concerns) = match failure.kind {
            FailureKind::NotSent => ("not_sent", "host"),
            FailureKind::Uncertain => ("uncertain", "all"),
            FailureKind::Misconfigured => ("misconfigured", "configuration"),
            _ => ("transient", "all"),
        };
        Some(Self {
            kind,
            code: failure.code.clone(),
            message: failure.message.clone(),
            host: failure.host.clone(),
            at: here.checked_sub(signed(age)).ok()?,
            until: left.and_then(|left| here.checked_add(signed(left)).ok()),
            asked_by_issuer: failure.asked_by_issuer,
            concerns,
        })
    }

    /// Returns whether the failure concerns one host or configuration.
    pub(crate) fn is_partial(&self) -> bool {
        self.concerns != "all"
    }

    /// Returns whether no process can refresh now.
    pub(crate) fn holds_for_all(&self) -> bool {
        self.until.is_some() && self.concerns == "all"
    }

    /// Returns the failure as text: host, kind, time, what happened, and when the next refresh is.
    pub(crate) fn text(&self) -> String {
        let code = self.code.as_ref().map(|code| format!(" ({code})"));
        let next = self.until.map(|until| {
            let until = if until <= Timestamp::now() + SignedDuration::from_secs(1) {
                "in a second".to_owned()
            } else {
                table::until(until)
            };
            match self.concerns {
                "host" => format!("; the next refresh on this host is {until}"),
                "configuration" => format!("; the next refresh with its configuration is {until}"),
                _ if self.asked_by_issuer => {
                    format!("; the issuer asked for the next refresh {until}")
                }
                _ => format!("; the next refresh is {until}"),
            }
        });
        format!(
            "host {}, {}, {}: {}{}{}",
            self.host,
            self.kind,
            table::ago(self.at),
            self.message,
            code.unwrap_or_default(),
            next.unwrap_or_default(),
        )
    }
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use token_rotator::store::{Epoch, Version};

    use super::*;

    /// A failure of the last minute, of an hour ago and of the future.
    #[test]
    fn failures_as_text() {
        let now = StoreTime::by_wall(SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000));
        let failed = |kind, host, at: StoreTime, wait| {
            let mut failure = SharedFailure::new(kind, "what happened", host, at);
            failure.wait = Duration::from_secs(wait);
            failure
        };
        let earlier =
            StoreTime::by_wall(SystemTime::UNIX_EPOCH + Duration::from_secs(1_999_996_400));
        let mut asked = failed(FailureKind::Transient, "c", now, 120);
        asked.asked_by_issuer = true;
        asked.code = Some("busy".to_owned());
        let version = Version::new(Epoch::from_bits(1), 1);
        let record = Record::signed_out(version)
            .read_at(now)
            .with_failure(failed(FailureKind::NotSent, "a", now, 40))
            .with_failure(failed(FailureKind::Misconfigured, "b", earlier, 40))
            .with_failure(failed(
                FailureKind::Transient,
                "d",
                now.after(Duration::from_secs(60)),
                9,
            ))
            .with_failure(asked);
        let all = FailureStatus::all(&record);
        let text: String = all.iter().map(|failure| failure.text() + "\n").collect();
        insta::assert_snapshot!(text, @"
        host a, not_sent, 0s ago: what happened; the next refresh on this host is in 40s
        host b, misconfigured, 1h ago: what happened
        host c, transient, 0s ago: what happened (busy); the issuer asked for the next refresh in 2m
        ");
        let holds: Vec<_> = all.iter().map(FailureStatus::holds_for_all).collect();
        assert_eq!(holds, [false, false, true]);
    }
}
