//! The steps of `cargo xtask soak`: long checks before a release.

use std::process::Command;

use serde_json::Value;

use crate::{
    checks::{features, packages},
    install, npm,
    plan::{Role::Alone, Step},
    process::Log,
    programs::chaos_command,
    report::{Outcome, Verdict},
    screen::Screen,
    tally::Tally,
    test_steps::WITHOUT_CERTIFIED_ISSUER,
    workspace::Workplace,
};

/// The random histories of the core in one soak. `cargo xtask test` runs some twenty thousand.
const HISTORIES: &str = "2000000";
/// The random histories of the core that its port replays in one soak. `npm test` replays 2,000.
const PORT_HISTORIES: &str = "1000000";
/// The expiries for each client at the certified issuer.
const EXPIRIES: &str = "100";
/// The expiries for eight processes at the certified issuer, two seconds each.
const PROCESS_EXPIRIES: &str = "150";
/// The clients: package, test program, and the test in it.
const CERTIFIED: [[&str; 3]; 2] = [
    [
        "token-rotator-reqwest",
        "oidc_provider",
        "every_expiry_is_one_refresh",
    ],
    ["token-rotator", "layer", "certified::"],
];
/// The benches with bars.
const BARRED: [&str; 3] = ["instructions", "allocations", "storm"];
/// Requests of the demo.
const REQUESTS: u64 = 10_000;
/// The attacks on the proxy. `cargo xtask test` makes two thousand.
const ABUSES: &str = "100000";
/// The test with the attacks.
const ABUSE: &str = "no_abuse_reaches_the_upstream_or_leaks_resources";
/// The time of each fuzz target.
const FUZZ_SECONDS: &str = "600";

/// All steps.
pub(crate) fn all() -> Vec<Step> {
    vec![
        Step::new(
            "mutants",
            "every mutant of the core and of the session's decisions is caught by a test",
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
            "a hundred expiries at the certified issuer, for each client",
            Alone,
            certified,
        ),
        Step::new(
            "demo",
            "ten thousand requests and one refresh, with and without a cancelled leader",
            Alone,
            demo,
        ),
        Step::new(
            "bars",
            "the cost of the hot path, the layer and the storm",
            Alone,
            bars,
        ),
        Step::new(
            "port",
            "the npm package's state machine over a million histories of the core",
            Alone,
            port,
        ),
        Step::new(
            "package",
            "each published crate compiles from its package",
            Alone,
            packages::run_verified,
        ),
        Step::new(
            "features",
            "each feature of each published crate compiles alone",
            Alone,
            features::run_others,
        ),
        Step::new(
            "chaos",
            "killed and stopped processes, a minute for each store and profile",
            Alone,
            chaos,
        ),
        Step::new(
            "processes",
            "eight processes on one certified grant, for five minutes",
            Alone,
            processes,
        ),
        Step::new(
            "abuse",
            "a hundred thousand attacks on the proxy",
            Alone,
            abuse,
        ),
        Step::new(
            "tls",
            "programs with two crypto providers, with native-tls, and without TLS",
            Alone,
            tls,
        ),
        Step::new("fuzz", "each fuzz target for ten minutes", Alone, fuzz),
        Step::new(
            "advisories",
            "no dependency has a known vulnerability",
            Alone,
            advisories,
        ),
    ]
}

/// The pure files of the session room: what they decide is seen by the unit tests and the driver's.
const PURE_FILES: [&str; 2] = [
    "crates/rotator/src/session/decide.rs",
    "crates/rotator/src/session/recovery.rs",
];

fn mutants(workplace: &Workplace) -> Outcome {
    with_log(workplace, "mutants", |log| {
        let tool = install::cargo_tool(workplace, log, "cargo-mutants", None)?;
        let tool = tool.to_string_lossy();
        let mutants = |package: &str| {
            let mut command = workplace.program(&tool, ["mutants", "--no-shuffle"]);
            command.args(["--package", package, "--output"]);
            command.arg(workplace.target.join(format!("mutants-{package}")));
            command
        };
        passes(log, mutants("token-rotator-core"))?;
        let mut session = mutants("token-rotator");
        for file in PURE_FILES {
            session.args(["--file", file]);
        }
        session.args(["--", "--lib", "--test", "driver"]);
        passes(log, session)?;
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

fn port(workplace: &Workplace) -> Outcome {
    with_log(workplace, "port", |log| {
        let mut build = workplace.cargo(["build", "--release", "-p", "token-rotator-core"]);
        build.args(["--example", "histories"]);
        passes(log, build)?;
        passes(log, npm::command(workplace, "npm", &["ci"]))?;
        let arguments = ["vitest", "run", "test/histories.test.ts"];
        let mut command = npm::command(workplace, "npx", &arguments);
        command.env("TOKEN_ROTATOR_HISTORIES", PORT_HISTORIES);
        passes(log, command)?;
        let outcome = counted(log)?;
        Ok(Outcome {
            detail: format!("{PORT_HISTORIES} histories"),
            ..outcome
        })
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
        let mut clients = Vec::new();
        for (ran, [package, program, test]) in CERTIFIED.into_iter().enumerate() {
            let mut command = workplace.cargo(["test", "--release", "-p", package]);
            command
                .args(["--all-features", "--test", program, test])
                .args(["--", "--nocapture"])
                .env("OIDC_EXPIRIES", EXPIRIES)
                .env_remove(WITHOUT_CERTIFIED_ISSUER);
            passes(log, command)?;
            let output = log.text().map_err(|error| error.to_string())?;
            let storms = lived_through(&output).nth(ran).ok_or_else(|| {
                format!("{package}: its test did not live through {EXPIRIES} expiries")
            })?;
            clients.push(format!("{package}: {storms}"));
        }
        let outcome = counted(log)?;
        Ok(Outcome {
            detail: clients.join("; "),
            ..outcome
        })
    })
}

/// Returns the report of storms in each run with this number of expiries.
fn lived_through(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter_map(|line| {
        let (_, rest) = line.split_once("certified issuer: ")?;
        rest.strip_prefix(EXPIRIES)?.strip_prefix(" expiries, ")
    })
}

fn processes(workplace: &Workplace) -> Outcome {
    let installed = install::for_tests(workplace);
    if let Err(why) = install::certified_issuer(workplace) {
        return Outcome::skipped(if installed.detail.is_empty() {
            why
        } else {
            installed.detail
        });
    }
    with_log(workplace, "processes", |log| {
        let mut command = workplace.cargo(["test", "--release", "-p", "token-rotator-chaos"]);
        command
            .args(["--test", "certified", "--", "--nocapture"])
            .env("OIDC_EXPIRIES", PROCESS_EXPIRIES)
            .env_remove(WITHOUT_CERTIFIED_ISSUER);
        passes(log, command)?;
        counted(log)
    })
}

fn chaos(workplace: &Workplace) -> Outcome {
    let installed = install::for_tests(workplace);
    if installed.verdict != Verdict::Passed {
        return installed;
    }
    with_log(workplace, "chaos", |log| {
        let arguments = ["--seconds".to_owned(), "60".to_owned()];
        passes(log, chaos_command(workplace, &arguments))?;
        Ok(Outcome::passed("every bar holds"))
    })
}

/// The feature sets of the programs in `tls/`: package and arguments.
const TLS_PROGRAMS: [(&str, &[&str]); 3] = [
    ("tls-providers", &[]),
    ("tls-native", &[]),
    ("tls-native", &["--no-default-features"]),
];

fn tls(workplace: &Workplace) -> Outcome {
    with_log(workplace, "tls", |log| {
        install::tls_library(workplace, log)?;
        for (package, features) in TLS_PROGRAMS {
            let mut command =
                workplace.cargo(["test", "--locked", "--manifest-path", "tls/Cargo.toml"]);
            command.args(["-p", package]).args(features);
            command
                .arg("--target-dir")
                .arg(workplace.target.join("tls"));
            passes(log, command)?;
        }
        counted(log)
    })
}

fn abuse(workplace: &Workplace) -> Outcome {
    with_log(workplace, "abuse", |log| {
        let mut command = workplace.cargo(["test", "--release", "-p", "token-rotator-proxy"]);
        command
            .args(["--test", "abuse", ABUSE, "--", "--exact", "--nocapture"])
            .env("TOKEN_ROTATOR_ABUSES", ABUSES);
        passes(log, command)?;
        let outcome = counted(log)?;
        Ok(Outcome {
            detail: format!("{ABUSES} attacks"),
            ..outcome
        })
    })
}

fn demo(workplace: &Workplace) -> Outcome {
    with_log(workplace, "demo", |log| {
        let mut runs = Vec::new();
        for option in [None, Some("--cancel-leader")] {
            let mut command = workplace.cargo(["run", "--release", "-p", "token-rotator-cli"]);
            command
                .args(["--", "demo", "--json", "--requests", &REQUESTS.to_string()])
                .args(option);
            passes(log, command)?;
            let output = log.text().map_err(|error| error.to_string())?;
            let p99 = one_refresh(&output)?;
            runs.push(format!(
                "{}p99 {p99} ms",
                option.map_or_else(String::new, |option| format!("{option}: "))
            ));
        }
        Ok(Outcome::passed(runs.join("; ")))
    })
}

/// Returns the 99th percentile of the last run in the output, if one refresh answered all requests and the session is
/// alive.
fn one_refresh(output: &str) -> Result<f64, String> {
    let runs = output.lines().rev().find(|line| line.starts_with('{'));
    let runs: Value = runs
        .and_then(|line| serde_json::from_str(line).ok())
        .ok_or("the demo printed no JSON")?;
    let run = &runs["rotator"];
    if run["refreshes"] == 1 && run["answered"] == REQUESTS && run["session_alive"] == true {
        run["p99_ms"].as_f64().ok_or("no p99_ms".to_owned())
    } else {
        Err(format!("not one refresh for {REQUESTS} answers: {run}"))
    }
}

fn bars(workplace: &Workplace) -> Outcome {
    with_log(workplace, "bars", |log| {
        if let Err(why) = install::valgrind(workplace, log) {
            return Ok(Outcome::skipped(why));
        }
        let mut met = 0;
        for bench in BARRED {
            let mut command = workplace.cargo(["bench", "-p", "token-rotator-benches"]);
            command.args(["--bench", bench, "--", "--every-bar"]);
            passes(log, command)?;
            let output = log.text().map_err(|error| error.to_string())?;
            let now = output
                .lines()
                .filter(|line| line.starts_with("- met: "))
                .count();
            if now == met {
                return Err(format!("{bench} tried no bar"));
            }
            met = now;
        }
        Ok(Outcome::passed(format!("{met} bars met")))
    })
}

fn fuzz(workplace: &Workplace) -> Outcome {
    with_log(workplace, "fuzz", |log| {
        let tool = install::cargo_tool(workplace, log, "cargo-fuzz", None)?;
        let cargo_fuzz = |arguments: &[&'static str]| {
            let mut command = workplace.program(&tool.to_string_lossy(), arguments.iter().copied());
            // The flags of the sanitizers need nightly features.
            command.env("RUSTC_BOOTSTRAP", "1");
            command
        };
        let list = cargo_fuzz(&["list"])
            .output()
            .map_err(|error| error.to_string())?;
        let targets = String::from_utf8_lossy(&list.stdout).into_owned();
        if !list.status.success() || targets.is_empty() {
            let output = String::from_utf8_lossy(&list.stderr).into_owned();
            return Err(format!("cargo fuzz lists no target: {output}"));
        }
        for target in targets.lines() {
            let mut command = cargo_fuzz(&["run"]);
            command.arg(target);
            let seeds = workplace.root.join("crates/rotator/corpus").join(target);
            if seeds.is_dir() {
                // The fuzzer adds its findings to the first folder.
                let found = workplace.root.join("fuzz/corpus").join(target);
                std::fs::create_dir_all(&found).map_err(|error| error.to_string())?;
                command.args([found, seeds]);
            }
            command.args(["--", &format!("-max_total_time={FUZZ_SECONDS}")]);
            passes(log, command)?;
        }
        Ok(Outcome::passed(format!(
            "{} targets",
            targets.lines().count()
        )))
    })
}

/// Asks the `RustSec` database. Without the network neither the tool nor the database may be there.
fn advisories(workplace: &Workplace) -> Outcome {
    with_log(workplace, "advisories", |log| {
        let tool = match install::cargo_tool(workplace, log, "cargo-deny", None) {
            Ok(tool) => tool,
            Err(why) => return Ok(Outcome::skipped(why)),
        };
        let deny = |arguments: &[&'static str]| {
            workplace.program(&tool.to_string_lossy(), arguments.iter().copied())
        };
        if let Err(why) = passes(log, deny(&["fetch", "db"])) {
            let why = format!("the database of advisories cannot be fetched: {why}");
            return Ok(Outcome::skipped(why));
        }
        passes(log, deny(&["check", "--disable-fetch", "advisories"]))?;
        Ok(Outcome::passed(String::new()))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of the demo with this result.
    fn line(rotator: &str) -> String {
        format!("   Running it\n{{\"naive\":{{\"refreshes\":10000}},\"rotator\":{rotator}}}\n")
    }

    #[test]
    fn one_flaw_fails_the_demo() {
        let perfect =
            r#"{"answered":10000,"refreshes":1,"session_alive":true,"p99_ms":210.5}"#.to_owned();
        assert_eq!(one_refresh(&line(&perfect)), Ok(210.5));
        for (good, bad) in [
            ("answered\":10000", "answered\":9999"),
            ("refreshes\":1", "refreshes\":2"),
            ("alive\":true", "alive\":false"),
        ] {
            let flawed = line(&perfect.replace(good, bad));
            assert!(one_refresh(&flawed).is_err(), "{flawed}");
        }
        assert!(one_refresh("error: no demo").is_err());
    }

    #[test]
    fn the_last_run_of_the_demo_counts() {
        let good = line(r#"{"answered":10000,"refreshes":1,"session_alive":true,"p99_ms":1.5}"#);
        let bad = line(r#"{"answered":1,"refreshes":1,"session_alive":true,"p99_ms":1.5}"#);
        assert!(one_refresh(&(bad.clone() + &good)).is_ok());
        assert!(one_refresh(&(good + &bad)).is_err());
    }

    #[test]
    fn fewer_expiries_do_not_count() {
        let output = "certified issuer: 5 expiries, 3 of them storms\n\
                    test x ... certified issuer: 100 expiries, 51 of them storms\n";
        let storms: Vec<&str> = lived_through(output).collect();
        assert_eq!(storms, ["51 of them storms"]);
    }
}
