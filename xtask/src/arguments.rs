//! The command line, parsed by hand, so that no parser has to be compiled first.

use std::fmt::Write as _;

use crate::{comments::Sample, plan::Step, soak_steps, test_steps};

/// The task of the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Print the usage.
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
        /// The arguments of `cargo bench`.
        arguments: Vec<String>,
    },
    /// Measure the proxy beside others.
    BenchProxy {
        /// The arguments of the program.
        arguments: Vec<String>,
    },
    /// Compare what callers see through the proxy and through others.
    CompareSidecars {
        /// The arguments of the program.
        arguments: Vec<String>,
    },
    /// Count lines of code.
    Count {
        /// The files and folders to count.
        paths: Vec<String>,
    },
    /// Print a sample of the comments.
    Comments(Sample),
    /// Kill and stop processes.
    Chaos {
        /// The arguments of the program.
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
        "test" | "soak" | "count" | "comments" if asks_for_help() => Ok(Task::Help),
        "test" => Ok(Task::Test { only: only(&rest)? }),
        "soak" => Ok(Task::Soak { only: only(&rest)? }),
        "bench" => Ok(Task::Bench { arguments: rest }),
        "chaos" => Ok(Task::Chaos { arguments: rest }),
        "bench-proxy" => Ok(Task::BenchProxy { arguments: rest }),
        "compare-sidecars" => Ok(Task::CompareSidecars { arguments: rest }),
        "count" => Ok(Task::Count { paths: rest }),
        "comments" => Ok(Task::Comments(Sample::parse(&rest)?)),
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

/// Returns the usage, with the steps of the code.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "The commands of this project.

Usage:
  cargo xtask test  [--only STEP,...]   the checks of every change; CI runs them
  cargo xtask soak  [--only STEP,...]   long checks before a release
  cargo xtask bench [ARGUMENT...]       the benches; arguments go to `cargo bench`
  cargo xtask chaos [ARGUMENT...]       processes on one session, killed and stopped
  cargo xtask bench-proxy [ROUNDS]      the proxy beside nginx and haproxy; needs a quiet machine
  cargo xtask compare-sidecars [ROUNDS] what callers of three proxies see when a token ends
  cargo xtask count PATH...             lines of Rust code, without comments, blanks and tests
  cargo xtask comments --seed N         a random sample of 40 comments, or of --count

Each step prints its time and result. A step installs missing programs and packages (Debian
packages as root or with sudo, npm and Python packages). A step that cannot run here prints the
reason and is skipped; with CI=true in the environment it fails. target/test-output keeps the whole
output of every step. The last line, `N passed, M failed`, counts each test, and each step without
tests as one. The exit code is 1 if a step failed.
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
