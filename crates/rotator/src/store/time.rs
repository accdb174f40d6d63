//! The clock of a store. It measures the age of a record between processes and hosts.

use std::time::{Duration, SystemTime};

use crate::runtime::clock::{millis, unix_millis};

/// A moment by the clock of a session store.
///
/// Servers use their own clock. The store in files uses the wall clock and, within one boot of the
/// host, the clock that counts suspend. The store in memory uses the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreTime {
    /// Milliseconds since the Unix epoch. `None` if the store has no wall clock.
    pub(crate) wall_ms: Option<u64>,
    /// Time of a clock that no user or program sets.
    pub(crate) steady: Option<SteadyTime>,
}

/// A moment of a clock that runs from the start of a host or process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SteadyTime {
    /// Names the start. Moments of different starts cannot be compared.
    pub(crate) start: u128,
    pub(crate) ms: u64,
}

/// The time between two moments of a store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// The moment is this long ago.
    Elapsed(Duration),
    /// The moment is this far in the future.
    Ahead(Duration),
}

impl StoreTime {
    /// The moment by the clock of a server, or by the wall clock of this host.
    pub fn by_wall(at: SystemTime) -> Self {
        Self {
            wall_ms: Some(unix_millis(at)),
            steady: None,
        }
    }

    /// The moment this long after a start. `start` names the start: a boot of the host, or a process.
    pub fn since_start(start: u128, time: Duration) -> Self {
        Self {
            wall_ms: None,
            steady: Some(SteadyTime {
                start,
                ms: millis(time),
            }),
        }
    }

    /// The same moment by both clocks. The clock that ran further decides.
    pub fn with_start(self, start: u128, time: Duration) -> Self {
        Self {
            wall_ms: self.wall_ms,
            ..Self::since_start(start, time)
        }
    }

    /// Returns the time from `earlier` to this moment, by the clock that ran further.
    ///
    /// Returns `None` if no clock has measured both moments.
    pub fn since(self, earlier: Self) -> Option<Age> {
        let between = |now: u64, then: u64| i128::from(now) - i128::from(then);
        let wall = self
            .wall_ms
            .zip(earlier.wall_ms)
            .map(|(now, then)| between(now, then));
        let steady = self
            .steady
            .zip(earlier.steady)
            .filter(|(now, then)| now.start == then.start)
            .map(|(now, then)| between(now.ms, then.ms));
        let passed = wall.max(steady)?;
        let length =
            Duration::from_millis(u64::try_from(passed.unsigned_abs()).unwrap_or(u64::MAX));
        Some(if passed < 0 {
            Age::Ahead(length)
        } else {
            Age::Elapsed(length)
        })
    }

    /// Returns the moment this much earlier.
    pub(crate) fn before(self, time: Duration) -> Self {
        let time = millis(time);
        Self {
            wall_ms: self.wall_ms.map(|wall| wall.saturating_sub(time)),
            steady: self.steady.map(|steady| SteadyTime {
                ms: steady.ms.saturating_sub(time),
                ..steady
            }),
        }
    }

    /// Returns the moment this much later.
    pub fn after(self, time: Duration) -> Self {
        let time = millis(time);
        Self {
            wall_ms: self.wall_ms.map(|wall| wall.saturating_add(time)),
            steady: self.steady.map(|steady| SteadyTime {
                ms: steady.ms.saturating_add(time),
                ..steady
            }),
        }
    }
}

impl Age {
    /// Returns the elapsed time. Returns zero if the moment is in the future.
    pub fn elapsed(self) -> Duration {
        match self {
            Self::Elapsed(elapsed) => elapsed,
            Self::Ahead(_) => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: u64, start: u128, steady: u64) -> StoreTime {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(wall);
        StoreTime::by_wall(wall).with_start(start, Duration::from_secs(steady))
    }

    /// Property: the clock that ran further decides, whichever way the wall clock was set.
    #[test]
    fn the_clock_that_ran_further_decides() {
        let elapsed = |seconds| Some(Age::Elapsed(Duration::from_secs(seconds)));
        assert_eq!(at(1_100, 1, 50).since(at(1_000, 1, 40)), elapsed(100));
        assert_eq!(at(1_001, 1, 50).since(at(1_000, 1, 40)), elapsed(10));
        assert_eq!(at(10, 1, 50).since(at(1_000, 1, 40)), elapsed(10));
    }

    /// Property: after another boot only the wall clock counts, and a moment ahead of it is reported.
    #[test]
    fn after_another_boot_the_wall_clock_counts() {
        let earlier = at(1_000, 1, 40);
        let ahead = Age::Ahead(Duration::from_secs(900));
        assert_eq!(at(100, 2, 5).since(earlier), Some(ahead));
        assert_eq!(ahead.elapsed(), Duration::ZERO);
        let hour = Age::Elapsed(Duration::from_secs(3_600));
        assert_eq!(at(4_600, 2, 5).since(earlier), Some(hour));
    }

    /// Property: moments that no clock has both measured cannot be compared.
    #[test]
    fn moments_of_different_clocks_have_no_age() {
        let memory = StoreTime::since_start(7, Duration::from_secs(1));
        let server = StoreTime::by_wall(SystemTime::UNIX_EPOCH);
        assert_eq!(memory.since(server), None);
        assert_eq!(
            memory.since(StoreTime::since_start(8, Duration::ZERO)),
            None
        );
    }

    /// Property: `after` shifts both clocks.
    #[test]
    fn a_moment_can_be_shifted() {
        let (now, second) = (at(1_000, 1, 40), Duration::from_secs(1));
        assert_eq!(now.after(second), at(1_001, 1, 41));
    }
}
