//! The wall clock, the steady clock, and the life clock that a rotator counts lifetimes on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use token_rotator_core::Now;

use crate::runtime::sync::lock_std;

/// The two clocks of a rotator.
///
/// Lifetimes and waits use the steady clock, so a user who sets the wall clock ends no token and
/// extends none. The wall clock is read only where an absolute time becomes a lifetime: at a
/// token's receipt. Tests pass their own clock to set the time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the time of the wall clock.
    fn wall(&self) -> SystemTime;

    /// Returns the time since a fixed moment. This clock never goes back.
    fn steady(&self) -> Duration;

    /// Returns whether the steady clock continues while the system is suspended. If it does not, a
    /// lifetime is counted by the clock that ran further. Default: true.
    fn counts_suspend(&self) -> bool {
        true
    }
}

/// The system's clocks. On Linux the steady clock is `CLOCK_BOOTTIME`, which counts suspend. On
/// other systems it is the clock of `std::time::Instant`, which may stop in suspend.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    #[cfg(target_os = "linux")]
    #[inline]
    fn steady(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // No field of a boot time is negative, and its nanoseconds fit in 32 bits.
        Duration::new(
            time.tv_sec.cast_unsigned(),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    }

    #[cfg(not(target_os = "linux"))]
    fn steady(&self) -> Duration {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    #[inline]
    fn counts_suspend(&self) -> bool {
        cfg!(target_os = "linux")
    }
}

/// The clocks of a rotator.
///
/// The *life clock* counts lifetimes. It is the steady clock, plus the time in suspend that the
/// steady clock misses.
pub(crate) struct RotatorClock {
    source: ClockSource,
    missed: MissedTime,
}

/// The system's clock needs no virtual call on the hot path.
enum ClockSource {
    System,
    Custom(Box<dyn Clock>),
}

/// What the state machine's clock of lifetimes shows when the life clock shows zero, in milliseconds.
/// Far from zero, so that a token received before the system's start has a receipt on it. The model
/// checkers set small times themselves.
const LIFE_START: u64 = if cfg!(any(model_loom, model_shuttle)) {
    0
} else {
    1_000 * 365 * 24 * 3_600 * 1_000
};

/// Returns the time of the life clock for a time of the state machine's clock of lifetimes.
#[inline]
pub(crate) fn life(wall: u64) -> Duration {
    Duration::from_millis(wall.saturating_sub(LIFE_START))
}

impl RotatorClock {
    pub(crate) fn system() -> Self {
        Self {
            source: ClockSource::System,
            missed: MissedTime::default(),
        }
    }

    pub(crate) fn custom(clock: impl Clock) -> Self {
        Self {
            source: ClockSource::Custom(Box::new(clock)),
            missed: MissedTime::default(),
        }
    }

    pub(crate) fn wall(&self) -> SystemTime {
        match &self.source {
            ClockSource::System => SystemTime::now(),
            ClockSource::Custom(clock) => clock.wall(),
        }
    }

    #[inline]
    pub(crate) fn steady(&self) -> Duration {
        match &self.source {
            ClockSource::System => SystemClock.steady(),
            ClockSource::Custom(clock) => clock.steady(),
        }
    }

    /// Returns the time of the life clock. The hot path reads no other clock.
    #[inline]
    pub(crate) fn life(&self) -> Duration {
        self.life_at(self.steady())
    }

    #[inline]
    fn life_at(&self, steady: Duration) -> Duration {
        let counts_suspend = match &self.source {
            ClockSource::System => SystemClock.counts_suspend(),
            ClockSource::Custom(clock) => clock.counts_suspend(),
        };
        if counts_suspend {
            return steady;
        }
        let missed = self.missed.until(unix_millis(self.wall()), millis(steady));
        steady + Duration::from_millis(missed)
    }

    /// Reads the clocks for the state machine: its wall clock is the life clock, moved by
    /// [`LIFE_START`].
    pub(crate) fn now(&self) -> Now {
        let steady = self.steady();
        Now {
            wall: millis(self.life_at(steady)).saturating_add(LIFE_START),
            steady: millis(steady),
        }
    }
}

/// The time that a steady clock has missed in suspend, in milliseconds: the wall clock ran further
/// meanwhile. A wall clock that is set forward counts as suspend, because the two look alike.
struct MissedTime {
    /// How far the wall clock is ahead of the steady clock. [`i64::MIN`] before the first reading.
    ahead: AtomicI64,
    missed: AtomicU64,
    changing: Mutex<()>,
}

impl Default for MissedTime {
    fn default() -> Self {
        Self {
            ahead: AtomicI64::new(i64::MIN),
            missed: AtomicU64::new(0),
            changing: Mutex::new(()),
        }
    }
}

impl MissedTime {
    /// A smaller difference comes from reading two clocks, or from the correction of a slow clock.
    const TOLERANCE: u64 = 1_000;

    /// Returns the time missed until this reading of both clocks.
    fn until(&self, wall: u64, steady: u64) -> u64 {
        let ahead = wall.cast_signed().saturating_sub(steady.cast_signed());
        let before = self.ahead.load(Ordering::Acquire);
        if ahead.abs_diff(before) > Self::TOLERANCE {
            self.add(ahead);
        }
        self.missed.load(Ordering::Relaxed)
    }

    #[cold]
    fn add(&self, ahead: i64) {
        let _changing = lock_std(&self.changing);
        let before = self.ahead.load(Ordering::Relaxed);
        if before != i64::MIN && ahead > before && ahead.abs_diff(before) > Self::TOLERANCE {
            self.missed
                .fetch_add(ahead.abs_diff(before), Ordering::Relaxed);
        }
        // Releases the sum to every reader of the new difference.
        self.ahead.store(ahead, Ordering::Release);
    }
}

/// Returns the milliseconds since the Unix epoch, or zero for an earlier time.
pub(crate) fn unix_millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// Returns the time that many milliseconds after the Unix epoch, at most ten thousand years.
/// `SystemTime` can represent that limit on every system.
pub(crate) fn at_unix_millis(millis: u64) -> SystemTime {
    const LATEST: Duration = Duration::from_secs(10_000 * 365 * 24 * 3_600);
    UNIX_EPOCH + Duration::from_millis(millis).min(LATEST)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1_000)
        .saturating_add(u64::from(duration.subsec_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: only a wall clock that runs further than the steady clock adds missed time. A wall
    /// clock that is set back adds none and takes none away.
    #[test]
    fn time_in_suspend_is_the_lead_of_the_wall_clock() {
        const HOUR: u64 = 3_600_000;
        let missed = MissedTime::default();
        assert_eq!(missed.until(100 * HOUR, HOUR), 0);
        assert_eq!(missed.until(100 * HOUR + 500, HOUR + 600), 0);
        // Two hours of suspend.
        assert_eq!(missed.until(102 * HOUR, HOUR), 2 * HOUR);
        assert_eq!(missed.until(103 * HOUR, 2 * HOUR), 2 * HOUR);
        // A user sets the wall clock back by five hours.
        assert_eq!(missed.until(98 * HOUR, 2 * HOUR), 2 * HOUR);
        // Another hour of suspend.
        assert_eq!(missed.until(100 * HOUR, 3 * HOUR), 3 * HOUR);
    }

    /// Property: reading both clocks often, with differences below the tolerance, adds nothing.
    #[test]
    fn small_differences_do_not_add_up() {
        let missed = MissedTime::default();
        for reading in 0..10_000 {
            assert_eq!(
                missed.until(1_000_000 + reading * 10 + reading % 7, reading * 10),
                0
            );
        }
    }
}
