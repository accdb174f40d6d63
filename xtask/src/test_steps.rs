//! The steps of `cargo xtask test` in their order: steps that are quick and need no build run first.

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

/// Unit tests that are compiled with a `cfg`, which replaces parts of std with those of a model checker.
#[derive(Debug, Clone, Copy)]
struct ModelCheck {
    /// The name of the step and of the log.
    name: &'static str,
    /// The `cfg`. It differs from the checker's own `cfg`, which would change dependencies.
    cfg: &'static str,
    /// One line for the help.
    about: &'static str,
    /// The package of the unit tests.
    package: &'static str,
    /// A part of the names of the tests.
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
        about: "random schedules with dropped tasks",
        package: "token-rotator",
        filter: "model_shuttle::",
    },
];

/// Set for the tests if the certified issuer cannot be started. Holds the reason.
pub(crate) const WITHOUT_CERTIFIED_ISSUER: &str = "TOKEN_ROTATOR_WITHOUT_OIDC_PROVIDER";

/// Set for the tests if the page of the proxy cannot be opened. Holds the reason.
const WITHOUT_BROWSER: &str = "TOKEN_ROTATOR_WITHOUT_BROWSER";

/// All steps.
pub(crate) fn all() -> Vec<Step> {
    let mut steps = vec![
        Step::new(
            "install",
            "installs programs and packages for the tests",
            Alone,
            install::for_tests,
        ),
        Step::new("fmt", "the code is formatted", Alone, |workplace| {
            simple(workplace, "fmt", ["fmt", "--all", "--check"])
        }),
        Step::new(
            "rules",
            "no registry host, no private path, no vague word, a true ARCHITECTURE.md",
            Alone,
            house_rules::run,
        ),
        Step::new(
            "licences",
            "the licence of every dependency allows shipping",
            Alone,
            licences::run,
        ),
        Step::new(
            "deny",
            "the rules of deny.toml: licences, bans and sources",
            Alone,
            deny,
        ),
        Step::new(
            "package",
            "each published crate packs, and its package is complete",
            Alone,
            packages::run,
        ),
        Step::new(
            "build",
            "the workspace compiles, tests and examples included",
            Builds,
            |workplace| {
                simple(
                    workplace,
                    "build",
                    ["test", "--no-run", "--workspace", "--all-features"],
                )
            },
        ),
        Step::new(
            "clippy",
            "no warning, in any target",
            NeedsBuild,
            |workplace| {
                simple(
                    workplace,
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
            },
        ),
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
            move |workplace| model_check(workplace, check),
        ));
    }
    steps.push(Step::new(
        "docs",
        "the documentation builds without a warning",
        NeedsBuild,
        |workplace| {
            // Libraries only: the pages of the program token-rotator would overwrite those of the library
            // token_rotator.
            let mut doc =
                workplace.cargo(["doc", "--workspace", "--lib", "--no-deps", "--all-features"]);
            doc.env("RUSTDOCFLAGS", "-Dwarnings");
            finish(workplace, "docs", doc)
        },
    ));
    steps.push(Step::new(
        "features",
        "the engine compiles and passes its tests with each of its features alone",
        NeedsBuild,
        features::run_engine,
    ));
    steps.push(Step::new(
        "canary",
        "no token in the output of the other steps",
        Alone,
        canary::run,
    ));
    steps
}

/// Runs one cargo command as a step.
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

/// Advisories are left out: their database is not in a package registry.
fn deny(workplace: &Workplace) -> Outcome {
    let mut log = match Log::create(workplace, "deny") {
        Ok(log) => log,
        Err(error) => return Outcome::failed(error.to_string()),
    };
    let tool = match install::cargo_deny(workplace, &mut log) {
        Ok(tool) => tool,
        Err(why) => return Outcome::skipped(why),
    };
    let arguments = ["--workspace", "check", "licenses", "bans", "sources"];
    let command = workplace.program(&tool.to_string_lossy(), arguments);
    match log.run(command, Screen::All) {
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
        // Many tests wait for tokens to expire or for other processes.
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        command.args(["--test-threads", &(2 * processors).to_string()]);
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
        // A workspace may have no examples in its documentation. An example that does not compile fails by itself.
        outcome if outcome.detail == RAN_NO_TEST => Outcome::passed(RAN_NO_TEST),
        outcome => outcome,
    }
}

/// The canary step searches the log, so the tests log everything.
fn log_everything(command: &mut Command) {
    command
        .env("RUST_LOG", "trace")
        .env("TOKEN_ROTATOR_TEST_LOG", "1");
}

/// Builds the unit tests with the `cfg` for their own crate only, so that the dependencies of the workspace's build are
/// used again. Then runs the models.
fn model_check(workplace: &Workplace, check: ModelCheck) -> Outcome {
    let mut rustc = workplace.cargo(["rustc", "-p", check.package, "--lib", "--profile", "test"]);
    rustc
        .arg("--message-format=json-render-diagnostics")
        // Optimised, because a model runs many times.
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

/// Returns the last executable in the messages of cargo.
fn executable(messages: &str) -> Option<String> {
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(str::to_owned)
    })
}

const RAN_NO_TEST: &str = "ran no test";

/// Runs tests and counts them. Fails if no test ran: a filter that matches nothing would pass for ever.
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

/// Returns the outcome of a run of tests. `log` is the path of its output.
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
