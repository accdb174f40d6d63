//! Chooses the lines of a command's output for the terminal. The log file has all lines.

/// The choice of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Screen {
    /// Every line.
    All,
    /// nextest with the output of every test. Shows the lines of nextest, and the output of tests that did not pass.
    Nextest {
        /// True while the lines are the output of a test that passed.
        inside_passed: bool,
    },
    /// The standard test runner with uncaptured output. Shows the lines of the runner, and those of cargo, panics and
    /// errors.
    Libtest,
}

impl Screen {
    /// nextest, at the start of its output.
    pub(crate) const NEXTEST: Self = Self::Nextest {
        inside_passed: false,
    };

    /// Returns true if the next line is to be shown.
    pub(crate) fn shows(&mut self, line: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nextest { inside_passed } => {
                if let Some(status) = nextest_status(line) {
                    *inside_passed = matches!(status, "PASS" | "LEAK" | "FLAKY");
                    true
                } else {
                    // nextest indents the output of tests by four and its heading by two. Its own lines have no
                    // indentation.
                    let own_remark = line.starts_with(|letter: char| !letter.is_whitespace());
                    !*inside_passed || own_remark
                }
            }
            Self::Libtest => {
                const OWN: [&str; 17] = [
                    "test ",
                    "running ",
                    "failures:",
                    "---- ",
                    "thread '",
                    "panicked",
                    "error",
                    "warning",
                    "note:",
                    "Running ",
                    "Doc-tests ",
                    "Compiling ",
                    "Finished ",
                    "Checking ",
                    "Downloaded ",
                    "Blocking ",
                    "assertion",
                ];
                // A crate without tests prints three lines.
                const EMPTY: [&str; 2] = ["running 0 tests", "test result: ok. 0 passed; 0 failed"];
                let line = line.trim_start();
                let begins = |beginning: &&str| line.starts_with(*beginning);
                !EMPTY.iter().any(begins) && OWN.iter().any(begins)
            }
        }
    }
}

/// The first word of the lines in which nextest reports the state of a test or of the run.
fn nextest_status(line: &str) -> Option<&str> {
    let word = line.trim_start();
    let indent = line.len() - word.len();
    let (word, rest) = word.split_once(' ')?;
    let status = word.len() >= 4
        && word
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'-')
        || word == "TRY"
        || word == "Summary";
    (status && indent > 0 && rest.trim_start().starts_with('[')).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "\
    Starting 2 tests across 1 binary (1 test skipped)
        PASS [   0.006s] (1/2) t ok
  stdout ───

    hidden

        SLOW [> 60.000s] (───) t slow
    hidden no more: not known to pass
        FAIL [   0.129s] (2/2) t bad
  stderr ───
    thread 'bad' panicked
        PASS [   0.006s] (1/2) t later
    hidden
────────────
     Summary [   0.131s] 2 tests run: 1 passed, 1 failed, 1 skipped
        FAIL [   0.129s] (2/2) t bad
error: test run failed";

    #[test]
    fn nextest_shows_its_own_lines_and_failures_only() {
        let mut screen = Screen::NEXTEST;
        let shown: Vec<&str> = RUN.lines().filter(|line| screen.shows(line)).collect();
        let hidden = RUN.lines().count() - shown.len();
        assert_eq!(hidden, 5, "{shown:#?}");
        assert!(!shown.contains(&"    hidden"));
        for line in ["    thread 'bad' panicked", "error: test run failed"] {
            assert!(shown.contains(&line), "{line}");
        }
        assert!(shown.iter().any(|line| line.contains("Summary")));
    }

    #[test]
    fn libtest_shows_results_and_panics() {
        let mut screen = Screen::Libtest;
        assert!(screen.shows("test result: ok. 3 passed; 0 failed"));
        assert!(screen.shows("thread 'x' panicked at src/lib.rs:1:1:"));
        assert!(screen.shows("   Doc-tests token_rotator"));
        assert!(!screen.shows("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured"));
        assert!(!screen.shows("TRACE token_rotator::flight: published"));
    }
}
