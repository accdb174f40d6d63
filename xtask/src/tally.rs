//! The numbers of tests, read from the last lines of the test runners.

use std::ops::AddAssign;

/// Tests by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed, timed out or could not be run.
    pub(crate) failed: u64,
    /// Tests that were ignored.
    pub(crate) skipped: u64,
}

impl Tally {
    /// Returns the number of tests that ran.
    pub(crate) fn ran(self) -> u64 {
        self.passed + self.failed
    }

    /// Adds up the last lines of nextest and of the standard runner in the output.
    ///
    /// In the output of nextest, the lines of the standard runner are indented. nextest counts their tests already.
    pub(crate) fn read(output: &str) -> Self {
        let nextest: Vec<&str> = output
            .lines()
            .filter(|line| line.trim_start().starts_with("Summary ["))
            .collect();
        let mut tally = Self::default();
        if nextest.is_empty() {
            output
                .lines()
                .filter_map(libtest)
                .for_each(|one| tally += one);
        } else {
            for line in nextest {
                tally += summary(line);
            }
        }
        tally
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// `Summary [ 0.131s] 2 tests run: 1 passed (1 slow), 1 failed, 1 timed out, 1 skipped`
fn summary(line: &str) -> Tally {
    let counts = line.split_once("run:").map_or("", |(_, counts)| counts);
    // The text in parentheses repeats a part of the count before it.
    let mut depth = 0_u32;
    let plain: String = counts
        .chars()
        .filter(|letter| {
            match letter {
                '(' => depth += 1,
                ')' => {
                    depth = depth.saturating_sub(1);
                    return false;
                }
                _ => {}
            }
            depth == 0
        })
        .collect();
    let mut tally = Tally::default();
    for (number, word) in plain.split(',').filter_map(counted) {
        match word {
            "passed" => tally.passed += number,
            "skipped" => tally.skipped += number,
            // failed, timed out, exec failed, and unknown results of later versions
            _ => tally.failed += number,
        }
    }
    tally
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s`
fn libtest(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut tally = Tally::default();
    for (number, word) in counts.split(';').filter_map(counted) {
        match word {
            "passed" => tally.passed += number,
            "failed" => tally.failed += number,
            // The command line filtered these tests out.
            "ignored" => tally.skipped += number,
            _ => {}
        }
    }
    Some(tally)
}

fn counted(part: &str) -> Option<(u64, &str)> {
    let (number, word) = part.trim().split_once(' ')?;
    Some((number.parse().ok()?, word.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64, skipped: u64) -> Tally {
        Tally {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn nextest_is_read() {
        for (line, expected) in [
            (
                "     Summary [   0.131s] 2 tests run: 1 passed, 1 failed, 1 skipped",
                tally(1, 1, 1),
            ),
            (
                "     Summary [   9.1s] 9 tests run: 6 passed (1 slow, 2 leaky), 1 failed, 2 timed out, 0 skipped",
                tally(6, 3, 0),
            ),
            (
                "     Summary [   9.1s] 3/9 tests run: 2 passed, 1 exec failed, 4 skipped",
                tally(2, 1, 4),
            ),
            (
                "     Summary [   0.000s] 0 tests run: 0 passed, 0 skipped",
                tally(0, 0, 0),
            ),
        ] {
            assert_eq!(Tally::read(line), expected, "{line}");
        }
    }

    #[test]
    fn single_tests_inside_nextest_are_not_counted_twice() {
        let output = "    test result: ok. 1 passed; 0 failed; 0 ignored\n     Summary [ 0.1s] 1 test run: 1 passed, 0 skipped";
        assert_eq!(Tally::read(output), tally(1, 0, 0));
    }

    #[test]
    fn the_standard_runner_is_added_up() {
        let output = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s\n\
                      something else\n\
                      test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(Tally::read(output), tally(4, 2, 1));
        assert_eq!(Tally::read("nothing ran").ran(), 0);
    }
}
