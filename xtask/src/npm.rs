//! The npm package: installs its packages and runs its test command.

use std::process::Command;

use crate::{
    process::Log, report::Outcome, screen::Screen, tally::Tally, test_steps, workspace::Workplace,
};

/// The folder of the package.
pub(crate) const DIRECTORY: &str = "npm/axios";

/// Returns an npm command in the folder of the package.
pub(crate) fn command(workplace: &Workplace, program: &str, arguments: &[&str]) -> Command {
    let mut command = workplace.program(program, arguments.iter().copied());
    command.current_dir(workplace.root.join(DIRECTORY));
    command
}

/// Installs the locked packages, if none is installed.
pub(crate) fn packages(workplace: &Workplace) -> Result<(), String> {
    if workplace.root.join(DIRECTORY).join("node_modules").is_dir() {
        return Ok(());
    }
    let installed = Log::create(workplace, "npm-install")
        .and_then(|mut log| log.run(command(workplace, "npm", &["ci"]), Screen::All));
    match installed {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "`npm ci` in {DIRECTORY} failed; its output stands above"
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs `npm ci` and `npm test`. The tests start the issuer of the build step.
pub(crate) fn run(workplace: &Workplace) -> Outcome {
    let ran = Log::create(workplace, "npm").and_then(|mut log| {
        // With the features of the workspace, so that the artefacts of the build step are used.
        let issuer = ["build", "--workspace", "--bin", "token-rotator"];
        let success = log.run(workplace.cargo(issuer), Screen::All)?
            && log.run(command(workplace, "npm", &["ci"]), Screen::All)?
            && log.run(command(workplace, "npm", &["test"]), Screen::All)?;
        Ok((success, Tally::read(&log.text()?)))
    });
    match ran {
        Err(error) => Outcome::failed(error.to_string()),
        Ok((success, tally)) => test_steps::judged(success, tally, "its output stands above"),
    }
}
