//! Processor time of the commands that a step ran.

use std::time::Duration;

/// The ticks a second of the times in `/proc`. Linux has the same number on every architecture of the tests.
const TICKS: f64 = 100.0;

/// Returns the user and system time of every child that this process has waited for, with the children of each child.
/// Returns zero on a system without `/proc/self/stat`.
pub(crate) fn of_children() -> Duration {
    std::fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|stat| children_ticks(&stat))
        .map_or(Duration::ZERO, |ticks| {
            Duration::from_secs_f64(ticks as f64 / TICKS)
        })
}

/// Reads `cutime` and `cstime`, the 16th and 17th field. The second field, the name of the program, may hold spaces and
/// parentheses.
fn children_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(13);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 11 12 130 14 15 16";
        assert_eq!(children_ticks(stat), Some(144));
        assert_eq!(children_ticks("7 (x"), None);
    }
}
