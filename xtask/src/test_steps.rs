//! The steps of `cargo xtask test`, in the order in which they run: what is quick and needs no build comes first.

use std::process::{Command, Stdio};

use crate::{
    checks::{canary, features, house_rules, licences, packages},
    install, npm,
    plan::{
        Role::{Alone, Builds, NeedsBuild},
        Step,
    },
    process::Log,
    report::Outcome,
    screen::Screen,
    tally::Tally,
    workspace::Workplace,
};

/// A set of unit tests that is compiled with a `cfg` that swaps std for a model checker's.
#[derive(Debug, Clone, Copy)]
struct ModelCheck {
    /// The step and the log.
    name: &'static str,
    /// Not the checker's own `cfg`, which dependencies know and change with.
    cfg: &'static str,
    /// One line for the help.
    about: &'static str,
    /// The package whose unit tests they are.
    package: &'static str,
    /// Part of the tests' names.
    filter: &'static str,
}

/// The model checks. A new one needs a line here and the `cfg` in the workspace's `unexpected_cfgs`.
const MODEL_CHECKS: [ModelCheck; 2] = [
    ModelCheck {
        name: "loom",
        cfg: "model_loom",
        about: "every interleaving of publish, subscribe and step",
        package: "token-rotator",
        filter: "model_loom::",
    },
    ModelCheck {
        name: "shuttle",
        cfg: "model_shuttle",
        about: "random schedules of tasks that are dropped",
        package: "token-rotator",
        filter: "model_shuttle::",
    },
];

/// Set for the tests where the certified issuer cannot be started; holds the reason.
pub(crate) const WITHOUT_CERTIFIED_ISSUER: &str = "TOKEN_ROTATOR_WITHOUT_OIDC_PROVIDER";

/// Set for the tests where the proxy's page cannot be opened; holds the reason.
const WITHOUT_BROWSER: &str = "TOKEN_ROTATOR_WITHOUT_BROWSER";

/// All of them.
pub(crate) fn all() -> Vec<Step> {
    let mut steps = vec![
        Step::new(
            "install",
            "what the tests need and the machine lacks",
            Alone,
            install::for_tests,
        ),
        Step::new("fmt", "the code is formatted", Alone, |place| {
            simple(place, "fmt", ["fmt", "--all", "--check"])
        }),
        Step::new(
            "rules",
            "no registry host, no private path, files that fit in the head",
            Alone,
            house_rules::run,
        ),
        Step::new(
            "licences",
            "every dependency's licence is one we may ship",
            Alone,
            licences::run,
        ),
        Step::new(
            "package",
            "each published crate packs, and its package is whole",
            Alone,
            packages::run,
        ),
        Step::new(
            "build",
            "everything compiles, tests and examples included",
            Builds,
            |place| {
                simple(
                    place,
                    "build",
                    ["test", "--no-run", "--workspace", "--all-features"],
                )
            },
        ),
        Step::new("clippy", "no warning, in any target", NeedsBuild, |place| {
            simple(
                place,
                "clippy",
                [
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--all-features",
                    "--",
                    "-D",
                    "warnings",
                ],
            )
        }),
        Step::new(
            "tests",
            "unit, integration and example tests, debug logging on",
            NeedsBuild,
            tests,
        ),
        Step::new(
            "doctests",
            "the examples in the documentation",
            NeedsBuild,
            doctests,
        ),
    ];
    steps.push(Step::new(
        "npm",
        "the npm package: types, build, sizes and its tests",
        NeedsBuild,
        npm::run,
    ));
    for check in MODEL_CHECKS {
        steps.push(Step::new(
            check.name,
            check.about,
            NeedsBuild,
            move |place| model_check(place, check),
        ));
    }
    steps.push(Step::new(
        "docs",
        "the documentation builds without a warning",
        NeedsBuild,
        |place| {
            // Libraries only: the program token-rotator would write over the pages of the library token_rotator.
            let mut doc =
                place.cargo(["doc", "--workspace", "--lib", "--no-deps", "--all-features"]);
            doc.env("RUSTDOCFLAGS", "-Dwarnings");
            finish(place, "docs", doc)
        },
    ));
    steps.push(Step::new(
        "features",
        "each feature of each published crate compiles alone, and the engine's tests pass with it",
        NeedsBuild,
        features::run,
    ));
    steps.push(Step::new(
        "canary",
        "no token in the output of the steps before",
        Alone,
        canary::run,
    ));
    steps
}

/// One cargo command that says all there is to say.
fn simple<const N: usize>(workplace: &Workplace, step: &str, arguments: [&str; N]) -> Outcome {
    finish(workplace, step, workplace.cargo(arguments))
}

fn finish(workplace: &Workplace, step: &str, command: Command) -> Outcome {
    let ran = Log::create(workplace, step).and_then(|mut log| log.run(command, Screen::All));
    match ran {
        Ok(true) => Outcome::passed(""),
        Ok(false) => Outcome::failed("its output stands above"),
        Err(error) => Outcome::failed(error.to_string()),
    }
}

fn tests(workplace: &Workplace) -> Outcome {
    let nextest = workplace
        .cargo(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    let (mut command, screen) = if nextest {
        let mut command = workplace.cargo([
            "nextest",
            "run",
            "--workspace",
            "--all-features",
            "--no-fail-fast",
        ]);
        command.args([
            "--success-output",
            "immediate",
            "--failure-output",
            "immediate",
        ]);
        command
            .arg("--config-file")
            .arg(workplace.root.join("xtask/nextest.toml"));
        (command, Screen::NEXTEST)
    } else {
        let command = workplace.cargo([
            "test",
            "--workspace",
            "--all-features",
            "--lib",
            "--bins",
            "--tests",
            "--examples",
            "--no-fail-fast",
            "--",
            "--nocapture",
        ]);
        (command, Screen::Libtest)
    };
    log_everything(&mut command);
    if let Err(why) = install::certified_issuer(workplace) {
        println!("without the certified issuer: {why}");
        command.env(WITHOUT_CERTIFIED_ISSUER, why);
    }
    if let Err(why) = install::driven_browser(workplace) {
        println!("without a browser: {why}");
        command.env(WITHOUT_BROWSER, why);
    }
    counted(workplace, "tests", command, screen)
}

fn doctests(workplace: &Workplace) -> Outcome {
    let mut command = workplace.cargo([
        "test",
        "--doc",
        "--workspace",
        "--all-features",
        "--no-fail-fast",
        "--",
        "--nocapture",
    ]);
    log_everything(&mut command);
    match counted(workplace, "doctests", command, Screen::Libtest) {
        // A workspace may do without examples in its documentation; one that does not compile fails by itself.
        outcome if outcome.detail == RAN_NO_TEST => Outcome::passed(RAN_NO_TEST),
        outcome => outcome,
    }
}

/// The canary can only be found in what is written.
fn log_everything(command: &mut Command) {
    command
        .env("RUST_LOG", "trace")
        .env("TOKEN_ROTATOR_TEST_LOG", "1");
}

/// Builds the unit tests with the `cfg` for their own crate alone, so that the dependencies of the workspace's build serve
/// here too, and runs the models among them.
fn model_check(workplace: &Workplace, check: ModelCheck) -> Outcome {
    let mut rustc = workplace.cargo(["rustc", "-p", check.package, "--lib", "--profile", "test"]);
    rustc
        .arg("--message-format=json-render-diagnostics")
        // Optimised, for the many runs.
        .args(["--", "--cfg", check.cfg, "-Copt-level=1"])
        .stderr(Stdio::inherit());
    let built = match rustc.output() {
        Ok(output) if output.status.success() => output.stdout,
        Ok(_) => return Outcome::failed("does not compile; the message stands above"),
        Err(error) => return Outcome::failed(format!("cargo does not start: {error}")),
    };
    match executable(&String::from_utf8_lossy(&built)) {
        Some(tests) => {
            let mut command = Command::new(tests);
            command.arg(check.filter);
            counted(workplace, check.name, command, Screen::All)
        }
        None => Outcome::failed("cargo named no executable"),
    }
}

/// The executable that cargo's messages name last.
fn executable(messages: &str) -> Option<String> {
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(str::to_owned)
    })
}

const RAN_NO_TEST: &str = "ran no test";

/// Runs tests and counts them. No test at all is a failure: a filter that matches nothing would pass for ever.
fn counted(workplace: &Workplace, step: &str, command: Command, screen: Screen) -> Outcome {
    let ran = Log::create(workplace, step).and_then(|mut log| {
        let success = log.run(command, screen)?;
        Ok((
            success,
            Tally::read(&log.text()?),
            log.path().display().to_string(),
        ))
    });
    let (success, tally, log) = match ran {
        Ok(ran) => ran,
        Err(error) => return Outcome::failed(error.to_string()),
    };
    judged(success, tally, &log)
}

/// What a run of tests comes to; `log` is where to read more.
pub(crate) fn judged(success: bool, tally: Tally, log: &str) -> Outcome {
    let outcome = if success && tally.ran() == 0 {
        Outcome::failed(RAN_NO_TEST)
    } else if success {
        Outcome::passed(format!("{} tests", tally.passed))
    } else if tally.failed > 0 {
        Outcome::failed(format!(
            "{} of {} tests failed; {log}",
            tally.failed,
            tally.ran()
        ))
    } else {
        Outcome::failed(format!("no test failed, but the command did; {log}"))
    };
    outcome.with_tests(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_the_last_one_named() {
        let messages = "{\"executable\":null}\n{\"executable\":\"/a/lib-1\"}\n{\"reason\":\"build-finished\"}\n";
        assert_eq!(executable(messages).as_deref(), Some("/a/lib-1"));
        assert_eq!(executable("{}"), None);
    }
}
