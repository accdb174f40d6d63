//! `cargo xtask bench`, `bench-proxy`, `compare-sidecars` and `chaos`: install the dependencies of a program and run
//! it.

use std::process::{Command, ExitCode};

use crate::{
    install, process::Log, report::Verdict, screen::Screen, test_steps::WITHOUT_CERTIFIED_ISSUER,
    workspace::Workplace,
};

/// Runs `cargo bench` on the crate of the benches with the given arguments. Errors: valgrind cannot be installed.
pub(crate) fn bench(workplace: &Workplace, arguments: &[String]) -> Result<ExitCode, String> {
    let mut log = log(workplace, "bench")?;
    install::valgrind(workplace, &mut log)?;
    let mut command = workplace.cargo(["bench", "-p", "token-rotator-benches"]);
    command.args(arguments);
    finish(&mut log, command)
}

/// Measures the proxy, as it is shipped, beside nginx and haproxy. Errors: a program cannot be installed, or the proxy
/// does not build.
pub(crate) fn bench_proxy(workplace: &Workplace, arguments: &[String]) -> Result<ExitCode, String> {
    let mut log = log(workplace, "bench-proxy")?;
    install::for_proxies(workplace, &mut log)?;
    let build = workplace.cargo(["build", "--profile", "dist", "-p", "token-rotator-cli"]);
    if finish(&mut log, build)? != ExitCode::SUCCESS {
        return Err("the program does not build".to_owned());
    }
    let package = "token-rotator-bench-proxies";
    let mut command = workplace.cargo(["run", "--quiet", "--release", "-p", package, "--"]);
    command.args(arguments);
    command.env("TOKEN_ROTATOR", workplace.target.join("dist/token-rotator"));
    finish(&mut log, command)
}

/// Compares what callers see through our proxy and through two other proxies. Errors: a proxy or the issuer cannot be
/// installed, or the program does not build.
pub(crate) fn compare_sidecars(
    workplace: &Workplace,
    arguments: &[String],
) -> Result<ExitCode, String> {
    let mut log = log(workplace, "compare-sidecars")?;
    let envoy = install::for_sidecars(workplace, &mut log)?;
    // The comparison takes no times, so it needs no optimised build.
    let build = workplace.cargo(["build", "-p", "token-rotator-cli"]);
    if finish(&mut log, build)? != ExitCode::SUCCESS {
        return Err("the program does not build".to_owned());
    }
    let package = "token-rotator-compare-sidecars";
    let mut command = workplace.cargo(["run", "--quiet", "-p", package, "--"]);
    command
        .args(arguments)
        .env(
            "TOKEN_ROTATOR",
            workplace.target.join("debug/token-rotator"),
        )
        .env("ENVOY", envoy)
        .env_remove(WITHOUT_CERTIFIED_ISSUER);
    finish(&mut log, command)
}

/// Runs the chaos program with the given arguments. Errors: its servers cannot be installed.
pub(crate) fn chaos(workplace: &Workplace, arguments: &[String]) -> Result<ExitCode, String> {
    let installed = install::for_tests(workplace);
    if installed.verdict != Verdict::Passed {
        return Err(installed.detail);
    }
    let mut log = log(workplace, "chaos")?;
    let command = chaos_command(workplace, arguments);
    finish(&mut log, command)
}

/// The command that builds and runs the chaos program with optimisation.
pub(crate) fn chaos_command(workplace: &Workplace, arguments: &[String]) -> Command {
    let mut command = workplace.cargo([
        "run",
        "--quiet",
        "--release",
        "-p",
        "token-rotator-chaos",
        "--",
    ]);
    command.args(arguments);
    command
}

fn log(workplace: &Workplace, name: &str) -> Result<Log, String> {
    Log::create(workplace, name).map_err(|error| error.to_string())
}

fn finish(log: &mut Log, command: Command) -> Result<ExitCode, String> {
    let success = log
        .run(command, Screen::All)
        .map_err(|error| error.to_string())?;
    Ok(if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
