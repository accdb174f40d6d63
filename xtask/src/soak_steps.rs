//! The steps of `cargo xtask soak`: what takes minutes to hours, run before a release.

use std::process::Command;

use crate::{
    install,
    plan::{Role::Alone, Step},
    process::Log,
    report::Outcome,
    screen::Screen,
    tally::Tally,
    workspace::Workplace,
};

/// Random histories of the core in one soak; the default run has some twenty thousand.
const HISTORIES: &str = "2000000";
/// Expiries that the certified issuer sees.
const EXPIRIES: &str = "100";
/// How long each fuzz target runs.
const FUZZ_SECONDS: &str = "600";

/// All of them; fuzzing only where there are fuzz targets.
pub(crate) fn all() -> Vec<Step> {
    let mut steps = vec![
        Step::new(
            "mutants",
            "every mutant of the core is caught by a test",
            Alone,
            mutants,
        ),
        Step::new(
            "histories",
            "the core's properties over millions of random histories",
            Alone,
            histories,
        ),
        Step::new(
            "certified",
            "a hundred expiries against the certified issuer",
            Alone,
            certified,
        ),
    ];
    if std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .with_file_name("fuzz")
        .is_dir()
    {
        steps.push(Step::new(
            "fuzz",
            "each fuzz target for ten minutes",
            Alone,
            fuzz,
        ));
    }
    steps
}

fn mutants(workplace: &Workplace) -> Outcome {
    with_log(workplace, "mutants", |log| {
        let tool = install::cargo_tool(workplace, log, "cargo-mutants", None)?;
        let mut command = workplace.program(
            &tool.to_string_lossy(),
            [
                "mutants",
                "--package",
                "token-rotator-core",
                "--no-shuffle",
                "--output",
            ],
        );
        command.arg(&workplace.target);
        passes(log, command)?;
        Ok(Outcome::passed(""))
    })
}

fn histories(workplace: &Workplace) -> Outcome {
    with_log(workplace, "histories", |log| {
        let mut command = workplace.cargo(["test", "--release", "-p", "token-rotator-core"]);
        command.env("PROPTEST_CASES", HISTORIES);
        passes(log, command)?;
        counted(log)
    })
}

fn certified(workplace: &Workplace) -> Outcome {
    let installed = install::for_tests(workplace);
    if let Err(why) = install::certified_issuer(workplace) {
        return Outcome::skipped(if installed.detail.is_empty() {
            why
        } else {
            installed.detail
        });
    }
    with_log(workplace, "certified", |log| {
        let mut command = workplace.cargo([
            "test",
            "--release",
            "-p",
            "token-rotator-reqwest",
            "--all-features",
            "--test",
            "oidc_provider",
            "--",
            "--nocapture",
        ]);
        command.env("OIDC_EXPIRIES", EXPIRIES);
        passes(log, command)?;
        counted(log)
    })
}

fn fuzz(workplace: &Workplace) -> Outcome {
    with_log(workplace, "fuzz", |log| {
        let tool = install::cargo_tool(workplace, log, "cargo-fuzz", None)?;
        let cargo_fuzz = |arguments: &[&'static str]| {
            let mut command = workplace.program(&tool.to_string_lossy(), arguments.iter().copied());
            // The sanitizers' flags are nightly's.
            command.env("RUSTC_BOOTSTRAP", "1");
            command
        };
        let list = cargo_fuzz(&["list"])
            .output()
            .map_err(|error| error.to_string())?;
        let targets = String::from_utf8_lossy(&list.stdout).into_owned();
        for target in targets.lines() {
            let mut command = cargo_fuzz(&["run"]);
            command.args([target, "--", &format!("-max_total_time={FUZZ_SECONDS}")]);
            passes(log, command)?;
        }
        Ok(Outcome::passed(format!(
            "{} targets",
            targets.lines().count()
        )))
    })
}

fn with_log(
    workplace: &Workplace,
    step: &str,
    work: impl FnOnce(&mut Log) -> Result<Outcome, String>,
) -> Outcome {
    let log = Log::create(workplace, step).map_err(|error| error.to_string());
    log.and_then(|mut log| work(&mut log))
        .unwrap_or_else(Outcome::failed)
}

fn passes(log: &mut Log, command: Command) -> Result<(), String> {
    match log.run(command, Screen::All) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "its output stands above and in {}",
            log.path().display()
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn counted(log: &Log) -> Result<Outcome, String> {
    let tally = Tally::read(&log.text().map_err(|error| error.to_string())?);
    if tally.ran() == 0 {
        return Err("ran no test".to_owned());
    }
    Ok(Outcome::passed(format!("{} tests", tally.passed)).with_tests(tally))
}
