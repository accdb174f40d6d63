//! The npm package: installs its packages and runs its test command.

use std::process::Command;

use crate::{
    process::Log, report::Outcome, screen::Screen, tally::Tally, test_steps, workspace::Workplace,
};

/// The folder of the package.
const DIRECTORY: &str = "npm/axios";

/// Returns an npm command in the folder of the package.
pub(crate) fn command(workplace: &Workplace, program: &str, arguments: &[&str]) -> Command {
    let mut command = workplace.program(program, arguments.iter().copied());
    command.current_dir(workplace.root.join(DIRECTORY));
    command
}

/// Runs `npm ci` and `npm test`. The tests start the issuer and the generator of histories.
pub(crate) fn run(workplace: &Workplace) -> Outcome {
    let ran = Log::create(workplace, "npm").and_then(|mut log| {
        // With the features of the workspace, so that the artefacts of the build step are used.
        let mut build = workplace.cargo(["build", "--workspace", "--all-features"]);
        build.args(["--bin", "token-rotator", "--example", "histories"]);
        let success = log.run(build, Screen::All)?
            && log.run(command(workplace, "npm", &["ci"]), Screen::All)?
            && log.run(command(workplace, "npm", &["test"]), Screen::All)?;
        Ok((success, Tally::read(&log.text()?)))
    });
    match ran {
        Err(error) => Outcome::failed(error.to_string()),
        Ok((success, tally)) => test_steps::judged(success, tally, "its output stands above"),
    }
}
