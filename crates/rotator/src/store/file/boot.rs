//! The clock of the store: the wall clock, and the clock of this boot of the host.

use std::sync::OnceLock;
use std::time::SystemTime;

use crate::runtime::clock::{Clock as _, SystemClock};
use crate::store::StoreTime;

/// Returns the current time. Two times of the same boot are compared by the clock that ran further.
pub(super) fn store_time() -> StoreTime {
    static BOOT: OnceLock<Option<u128>> = OnceLock::new();
    let now = StoreTime::by_wall(SystemTime::now());
    match BOOT.get_or_init(boot) {
        Some(boot) => now.with_start(*boot, SystemClock.steady()),
        None => now,
    }
}

/// Returns the random number of this boot. Returns `None` if the system has none.
fn boot() -> Option<u128> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    u128::from_str_radix(&id.trim().replace('-', ""), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Age;

    /// Property: two times of one boot are compared, and the later one is later.
    #[test]
    fn times_of_this_boot_have_an_age() {
        let earlier = store_time();
        assert!(matches!(store_time().since(earlier), Some(Age::Elapsed(_))));
        #[cfg(target_os = "linux")]
        assert!(earlier.steady.is_some(), "{earlier:?}");
    }
}
