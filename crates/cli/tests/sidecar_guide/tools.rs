//! The other programs that tests call.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Returns a directory for the front of `PATH`, with a `python3` that has `requests`.
///
/// Prints the reason and returns `None` if a program is missing.
pub(crate) fn found() -> Option<TempDir> {
    // Node.js has `fetch` since version 18.
    let node = works(Path::new("node"), &["-e", "fetch"]);
    let python = python_with("requests");
    if missing("curl", works(Path::new("curl"), &["--version"]))
        || missing("Node.js 18 or newer", node)
        || missing(
            "Python with `requests` (Debian: python3-requests)",
            python.is_some(),
        )
    {
        return None;
    }
    let tools = tempfile::tempdir().expect("a directory");
    if let Some(python) = python.filter(|python| python.is_absolute()) {
        std::os::unix::fs::symlink(python, tools.path().join("python3")).expect("a link");
    }
    Some(tools)
}

/// Returns whether a program is missing, so that the test is skipped. Prints the reason.
///
/// # Panics
///
/// If the program is missing and `CI` is `true`: on CI no test is skipped by accident.
pub(crate) fn missing(what: &str, there: bool) -> bool {
    if !there {
        let reason = format!("{what} is not installed; run `cargo xtask test --only install`");
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!ci, "{reason}");
        println!("skipped: {reason}");
    }
    !there
}

/// Returns a Python that has these modules.
pub(crate) fn python_with(modules: &str) -> Option<PathBuf> {
    let pythons = [PathBuf::from("/usr/bin/python3"), PathBuf::from("python3")];
    let import = format!("import {modules}");
    pythons
        .into_iter()
        .find(|python| works(python, &["-c", &import]))
}

pub(crate) fn works(program: &Path, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
