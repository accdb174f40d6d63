//! Instructions, counted by valgrind's callgrind. The program starts itself under valgrind.
//!
//! A case runs twice, the second time with twice as many calls. The difference is the cost of the
//! calls, without the cost of starting and ending. Hardware counters would be faster, but virtual
//! machines have none.

use std::process::Command;

use crate::cases::Case;

const CALLS: u64 = 2_000;
const GROUP: &str = "--group=";
const CASE: &str = "--case=";
const CALLS_OPTION: &str = "--calls=";

/// The reason why the count failed.
#[derive(Debug, thiserror::Error)]
pub enum Uncounted {
    /// The machine has no valgrind.
    #[error("valgrind is not to be had here ({0}); on Debian: apt-get install valgrind")]
    NoValgrind(std::io::Error),
    /// valgrind printed no count.
    #[error("valgrind gave no count for {case}:\n{output}")]
    NoCount {
        /// The name of the case.
        case: String,
        /// The output of valgrind.
        output: String,
    },
}

/// The case that this process runs under valgrind.
pub struct Errand {
    /// The group of the case.
    pub group: String,
    case: String,
    repetitions: u64,
}

impl Errand {
    /// Returns `None` if this process does not run under valgrind.
    pub fn of_this_process() -> Option<Self> {
        let value = |option: &str| {
            std::env::args().find_map(|argument| argument.strip_prefix(option).map(str::to_owned))
        };
        Some(Self {
            group: value(GROUP)?,
            case: value(CASE)?,
            repetitions: value(CALLS_OPTION)?.parse().ok()?,
        })
    }

    /// Runs the case.
    ///
    /// # Panics
    ///
    /// If the case is not in the list.
    pub fn run(&self, cases: &[Case]) {
        let case = cases.iter().find(|case| case.name == self.case);
        case.expect("the case that was asked for")
            .run(self.repetitions);
    }
}

/// Returns the instructions of one call of this case, its loop included.
pub fn per_call(group: &str, case: &str) -> Result<f64, Uncounted> {
    let once = count(group, case, CALLS)?;
    let twice = count(group, case, 2 * CALLS)?;
    Ok((twice as f64 - once as f64) / CALLS as f64)
}

fn count(group: &str, case: &str, repetitions: u64) -> Result<u64, Uncounted> {
    let program = std::env::current_exe().map_err(Uncounted::NoValgrind)?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .arg(format!("{GROUP}{group}"))
        .arg(format!("{CASE}{case}"))
        .arg(format!("{CALLS_OPTION}{repetitions}"))
        .output()
        .map_err(Uncounted::NoValgrind)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match collected(&text) {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(Uncounted::NoCount {
            case: case.to_owned(),
            output: text,
        }),
    }
}

/// Reads `==4711== Collected : 12345`.
fn collected(output: &str) -> Option<u64> {
    output
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found() {
        let output = "==1== Callgrind\n==1== Events    : Ir\n==1== Collected : 123456\n==1==\n";
        assert_eq!(collected(output), Some(123_456));
        assert_eq!(collected("valgrind: no such file"), None);
    }
}
