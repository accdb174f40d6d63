//! The wall clock and the steady clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use token_rotator_core::Now;

/// The two clocks of a rotator.
///
/// The wall clock decides expiry only. Every wait uses the steady clock. Tests pass their own clock
/// to set the time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the time of the wall clock.
    fn wall(&self) -> SystemTime;

    /// Returns the time since a fixed moment. This clock never goes back, and counts suspend if the
    /// system can.
    fn steady(&self) -> Duration;
}

/// The system's clocks. On Linux the steady clock is `CLOCK_BOOTTIME`, which counts suspend. On
/// other systems it is the clock of `std::time::Instant`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    #[cfg(target_os = "linux")]
    fn steady(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // No field of a boot time is negative, and its nanoseconds fit in 32 bits.
        Duration::new(
            time.tv_sec.unsigned_abs(),
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
}

/// The clock of a rotator. The system's clock needs no virtual call on the hot path.
pub(crate) enum RotatorClock {
    System,
    Custom(Box<dyn Clock>),
}

impl RotatorClock {
    /// The only clock that the hot path reads.
    #[inline]
    pub(crate) fn wall(&self) -> SystemTime {
        match self {
            Self::System => SystemTime::now(),
            Self::Custom(clock) => clock.wall(),
        }
    }

    pub(crate) fn steady(&self) -> Duration {
        match self {
            Self::System => SystemClock.steady(),
            Self::Custom(clock) => clock.steady(),
        }
    }

    pub(crate) fn wall_millis(&self) -> u64 {
        unix_millis(self.wall())
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            wall: self.wall_millis(),
            steady: millis(self.steady()),
        }
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
