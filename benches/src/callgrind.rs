//! Instructions, counted by valgrind's callgrind: the program starts itself under it.
//!
//! A case is run twice, the second time with twice as many calls; the difference is what the calls
//! cost, whatever starting and ending cost. Hardware counters would be faster, and no virtual
//! machine has them.

use std::process::Command;

use crate::cases::Case;

const CALLS: u64 = 2_000;
const GROUP: &str = "--group=";
const CASE: &str = "--case=";
const CALLS_OPTION: &str = "--calls=";

/// Why nothing could be counted.
#[derive(Debug, thiserror::Error)]
pub enum Uncounted {
    /// There is no valgrind.
    #[error("valgrind is not to be had here ({0}); on Debian: apt-get install valgrind")]
    NoValgrind(std::io::Error),
    /// It said something else than a count.
    #[error("valgrind gave no count for {case}:\n{said}")]
    NoCount {
        /// The case.
        case: String,
        /// All that it wrote.
        said: String,
    },
}

/// What this very process has been started for under valgrind.
pub struct Errand {
    /// The group that the case is in.
    pub group: String,
    case: String,
    calls: u64,
}

impl Errand {
    /// `None`: the process was started for something else.
    pub fn of_this_process() -> Option<Self> {
        let value = |option: &str| {
            std::env::args().find_map(|argument| argument.strip_prefix(option).map(str::to_owned))
        };
        Some(Self {
            group: value(GROUP)?,
            case: value(CASE)?,
            calls: value(CALLS_OPTION)?.parse().ok()?,
        })
    }

    /// Runs the case.
    ///
    /// # Panics
    ///
    /// If it is not among these.
    pub fn run(&self, cases: &[Case]) {
        let case = cases.iter().find(|case| case.name == self.case);
        case.expect("the case that was asked for").run(self.calls);
    }
}

/// Instructions a call of this case takes, its loop included. Counts inside the function of this
/// name alone, if one is given.
pub fn per_call(group: &str, case: &str, function: Option<&str>) -> Result<f64, Uncounted> {
    let once = count(group, case, function, CALLS)?;
    let twice = count(group, case, function, 2 * CALLS)?;
    Ok((twice as f64 - once as f64) / CALLS as f64)
}

fn count(group: &str, case: &str, function: Option<&str>, calls: u64) -> Result<u64, Uncounted> {
    let program = std::env::current_exe().map_err(Uncounted::NoValgrind)?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(function.map(|name| format!("--toggle-collect={name}")))
        .arg(program)
        .arg(format!("{GROUP}{group}"))
        .arg(format!("{CASE}{case}"))
        .arg(format!("{CALLS_OPTION}{calls}"))
        .output()
        .map_err(Uncounted::NoValgrind)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match collected(&said) {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(Uncounted::NoCount {
            case: case.to_owned(),
            said,
        }),
    }
}

/// From `==4711== Collected : 12345`.
fn collected(said: &str) -> Option<u64> {
    said.lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found() {
        let said = "==1== Callgrind\n==1== Events    : Ir\n==1== Collected : 123456\n==1==\n";
        assert_eq!(collected(said), Some(123_456));
        assert_eq!(collected("valgrind: no such file"), None);
    }
}
