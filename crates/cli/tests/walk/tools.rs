//! The programs that the walk calls besides this one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A directory to put before all others in `PATH`, where `python3` is one that has `requests`.
/// `None`, and the reason printed, where something is missing.
///
/// # Panics
///
/// If it is where `CI` is `true`: there, nothing is skipped by accident.
pub(crate) fn found() -> Option<TempDir> {
    match find() {
        Ok(tools) => Some(tools),
        Err(missing) => {
            let reason = format!("{missing} is not there; run `cargo xtask test --only install`");
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "{reason}");
            println!("skipped: {reason}");
            None
        }
    }
}

fn find() -> Result<TempDir, &'static str> {
    if !works(Path::new("curl"), &["--version"]) {
        return Err("curl");
    }
    // `fetch` is of Node.js 18, its being no experiment of 21; what is asked of it here is in both.
    if !works(Path::new("node"), &["-e", "fetch"]) {
        return Err("Node.js 18 or newer");
    }
    let pythons = [PathBuf::from("/usr/bin/python3"), PathBuf::from("python3")];
    let python = pythons
        .iter()
        .find(|python| works(python, &["-c", "import requests"]))
        .ok_or("Python with `requests` (Debian: python3-requests)")?;
    let tools = tempfile::tempdir().expect("a directory");
    if python.is_absolute() {
        std::os::unix::fs::symlink(python, tools.path().join("python3")).expect("a link");
    }
    Ok(tools)
}

fn works(program: &Path, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
