//! The command line, parsed by hand: a few commands and one option need no parser to compile first.

use std::fmt::Write as _;

use crate::{plan::Step, soak_steps, test_steps};

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Print how it is used.
    Help,
    /// Run the test steps, or only those named.
    Test {
        /// Names of steps; empty means all.
        only: Vec<String>,
    },
    /// Run the long steps, or only those named.
    Soak {
        /// Names of steps; empty means all.
        only: Vec<String>,
    },
    /// Run the benchmarks.
    Bench {
        /// Handed on to `cargo bench` as they are.
        arguments: Vec<String>,
    },
    /// Measure the proxy beside others.
    BenchProxy {
        /// Handed on to the program as they are.
        arguments: Vec<String>,
    },
    /// Compare what callers see through the proxy and through others.
    CompareSidecars {
        /// Handed on to the program as they are.
        arguments: Vec<String>,
    },
    /// Count lines of code.
    Count {
        /// Files and folders.
        paths: Vec<String>,
    },
    /// Kill and stop processes.
    Chaos {
        /// Handed on to the program as they are.
        arguments: Vec<String>,
    },
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Task, String> {
    let mut arguments = arguments.into_iter();
    let Some(command) = arguments.next() else {
        return Ok(Task::Help);
    };
    let rest: Vec<String> = arguments.collect();
    let asks_for_help = || rest.iter().any(|word| word == "--help" || word == "-h");
    match command.as_str() {
        "help" | "--help" | "-h" => Ok(Task::Help),
        "test" | "soak" | "count" if asks_for_help() => Ok(Task::Help),
        "test" => Ok(Task::Test { only: only(&rest)? }),
        "soak" => Ok(Task::Soak { only: only(&rest)? }),
        "bench" => Ok(Task::Bench { arguments: rest }),
        "chaos" => Ok(Task::Chaos { arguments: rest }),
        "bench-proxy" => Ok(Task::BenchProxy { arguments: rest }),
        "compare-sidecars" => Ok(Task::CompareSidecars { arguments: rest }),
        "count" => Ok(Task::Count { paths: rest }),
        other => Err(format!("no such command: {other}")),
    }
}

/// The names after `--only`, separated by commas; the option may be repeated.
fn only(arguments: &[String]) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let list = match argument.as_str() {
            "--only" => arguments
                .next()
                .ok_or("--only needs the names of steps, as in --only fmt,clippy")?,
            other => match other.strip_prefix("--only=") {
                Some(list) => list,
                None => return Err(format!("unknown argument: {other}")),
            },
        };
        names.extend(
            list.split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
        );
        if names.is_empty() {
            return Err("--only names no step".to_owned());
        }
    }
    Ok(names)
}

/// How the commands are used, with the steps as they stand in the code.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "The project's own commands.

Usage:
  cargo xtask test  [--only STEP,...]   everything a change must pass; CI runs this
  cargo xtask soak  [--only STEP,...]   what takes long: before a release
  cargo xtask bench [ARGUMENT...]       the benchmarks; arguments go to `cargo bench`
  cargo xtask chaos [ARGUMENT...]       processes on one session, killed and stopped
  cargo xtask bench-proxy [ROUNDS]      the proxy beside nginx and haproxy, on a quiet machine
  cargo xtask compare-sidecars [ROUNDS] what callers see when a token ends, beside others
  cargo xtask count PATH...             lines of Rust code, without comments, blanks and tests

Each step prints its time and result. What a step needs and the machine lacks is installed
(Debian packages as root or by sudo, npm and Python packages). A step that cannot run here says
why and counts as skipped; with CI=true in the environment that is a failure. The whole output of
every step is kept in target/test-output. The last line, `N passed, M failed`, counts each test, and
as one each step that runs no tests of its own. Exit code 1 if anything failed.
",
    );
    list(
        &mut text,
        "Steps of `test`, in their order:",
        &test_steps::all(),
    );
    list(&mut text, "Steps of `soak`:", &soak_steps::all());
    text
}

fn list(text: &mut String, heading: &str, steps: &[Step]) {
    let _ = write!(text, "\n{heading}\n");
    for step in steps {
        let _ = writeln!(text, "  {:<10} {}", step.name, step.about);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn nothing_and_help_teach() {
        for line in ["", "--help", "-h", "help", "test --help", "soak -h"] {
            assert_eq!(parse_words(line), Ok(Task::Help), "{line}");
        }
        let text = help();
        assert!(
            text.contains("clippy") && text.contains("mutants"),
            "{text}"
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
    }

    #[test]
    fn only_takes_a_list_and_repeats() {
        let expected = Ok(Task::Test {
            only: vec!["fmt".into(), "clippy".into(), "docs".into()],
        });
        assert_eq!(parse_words("test --only fmt,clippy --only=docs"), expected);
        assert_eq!(parse_words("soak"), Ok(Task::Soak { only: vec![] }));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, word) in [
            ("tset", "tset"),
            ("test --fast", "--fast"),
            ("test --only", "--only"),
            ("test --only=,", "--only"),
        ] {
            let problem = parse_words(line).expect_err(line);
            assert!(problem.contains(word), "{problem}");
        }
    }

    #[test]
    fn bench_hands_its_arguments_on() {
        let expected = Ok(Task::Bench {
            arguments: vec!["--bench".into(), "hot_path".into()],
        });
        assert_eq!(parse_words("bench --bench hot_path"), expected);
    }
}
