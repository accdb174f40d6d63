//! `cargo xtask bench`: the benchmarks, with what they measure by.

use std::process::ExitCode;

use crate::{install, process::Log, screen::Screen, workspace::Workplace};

/// The harness that counts instructions under valgrind, and the runner that it expects beside it in its very version.
const COUNTER: &str = "gungraun";
const RUNNER: &str = "gungraun-runner";

/// Runs `cargo bench` on the benches' crate with the arguments given. Errors: what it measures by cannot be installed.
pub(crate) fn run(workplace: &Workplace, arguments: &[String]) -> Result<ExitCode, String> {
    let mut log = Log::create(workplace, "bench").map_err(|error| error.to_string())?;
    install::valgrind(workplace, &mut log)?;
    let mut command = workplace.cargo(["bench", "-p", "token-rotator-benches"]);
    command.args(arguments);
    if let Some(counter) = workplace
        .packages
        .iter()
        .find(|package| package.name == COUNTER)
    {
        let runner = install::cargo_tool(workplace, &mut log, RUNNER, Some(&counter.version))?;
        command.env("GUNGRAUN_RUNNER", runner);
    }
    let success = log
        .run(command, Screen::All)
        .map_err(|error| error.to_string())?;
    Ok(if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
