//! `cargo xtask bench`: the benchmarks, with what they measure by.

use std::process::ExitCode;

use crate::{install, process::Log, screen::Screen, workspace::Workplace};

/// Runs `cargo bench` on the benches' crate with the arguments given. Errors: what it measures by cannot be installed.
pub(crate) fn run(workplace: &Workplace, arguments: &[String]) -> Result<ExitCode, String> {
    let mut log = Log::create(workplace, "bench").map_err(|error| error.to_string())?;
    install::valgrind(workplace, &mut log)?;
    let mut command = workplace.cargo(["bench", "-p", "token-rotator-benches"]);
    command.args(arguments);
    let success = log
        .run(command, Screen::All)
        .map_err(|error| error.to_string())?;
    Ok(if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
