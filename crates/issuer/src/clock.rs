//! The issuer's clock: the system clock, shifted by the configured skew and by the time that tests advance.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch. Steps of the system clock do not move it after the start.
#[derive(Debug)]
pub(crate) struct IssuerClock {
    started: Instant,
    started_at: i64,
    shift: AtomicI64,
}

impl IssuerClock {
    pub(crate) fn skewed_by(milliseconds: i64) -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started: Instant::now(),
            started_at: whole_milliseconds(since_epoch),
            shift: AtomicI64::new(milliseconds),
        }
    }

    pub(crate) fn now(&self) -> i64 {
        self.started_at
            .saturating_add(whole_milliseconds(self.started.elapsed()))
            .saturating_add(self.shift.load(Ordering::Relaxed))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.shift
            .fetch_add(whole_milliseconds(by), Ordering::Relaxed);
    }
}

/// Returns the duration in milliseconds, at most `i64::MAX`.
pub(crate) fn whole_milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
