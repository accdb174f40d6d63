//! The issuer's clock: the system's, shifted by the configured skew and by what tests advance it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch as the issuer sees them. Never steps back on its own.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_at: i64,
    shift: AtomicI64,
}

impl Clock {
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

/// The duration in milliseconds, as far as an `i64` reaches.
pub(crate) fn whole_milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
