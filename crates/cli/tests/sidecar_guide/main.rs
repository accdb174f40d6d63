//! Runs the steps of docs/sidecar.md in their order. Each step prints what the guide shows.
#![cfg(unix)]

mod guide;
mod tools;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use guide::{Guide, GuideStep};

const SIDECAR: &str = include_str!("../../../../docs/sidecar.md");

/// The line between the outputs of two steps.
const END_OF_STEP: &str = "=== end of step";

#[test]
fn the_steps_of_the_sidecar_guide_work() {
    let Some(tools) = tools::found() else { return };
    let guide = Guide::of(SIDECAR);
    assert!(guide.steps.len() > 5, "{} steps", guide.steps.len());
    let home = tempfile::tempdir().expect("a home");
    for (name, text) in &guide.files {
        std::fs::write(home.path().join(name), text).expect("a file");
    }
    let output = run_steps(&guide.steps, home.path(), tools.path());
    let mut rest = output.as_str();
    for (number, step) in guide.steps.iter().enumerate() {
        let end = format!("{END_OF_STEP} {number}\n");
        let Some((printed, after)) = rest.split_once(&end) else {
            panic!(
                "step {number} did not finish:\n{}\nIt printed:\n{rest}\nThe proxy printed:\n{}",
                step.script,
                std::fs::read_to_string(home.path().join("proxy.log")).unwrap_or_default()
            );
        };
        assert_eq!(printed, step.expected, "step {number}:\n{}", step.script);
        rest = after;
    }
    assert_eq!(rest, "");
}

/// Runs the steps in one shell. Returns what they print.
fn run_steps(steps: &[GuideStep], home: &Path, tools: &Path) -> String {
    let mut script = String::from(
        "set -eu\n# End the background jobs if a step fails.\n\
         trap 'for job in ${issuer-} ${proxy-} ${python-} ${node-}; do kill \"$job\" 2>/dev/null || :; done' EXIT\n",
    );
    for (number, step) in steps.iter().enumerate() {
        let end = format!("echo '{END_OF_STEP} {number}'\n");
        script.extend([&step.script, &end].map(String::as_str));
    }
    let file = home.join("steps.sh");
    std::fs::write(&file, script).expect("a script");
    let output = home.join("output");
    let out = File::create(&output).expect("a file");
    let program = Path::new(env!("CARGO_BIN_EXE_token-rotator"));
    let mut path = vec![
        tools.to_owned(),
        program.parent().expect("its directory").to_owned(),
    ];
    path.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let shell = Command::new("sh")
        .arg(&file)
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .env("LC_ALL", "C.UTF-8")
        .env("PATH", std::env::join_paths(path).expect("a path"))
        .stdin(Stdio::null())
        // Stdout and stderr go to the same file, as in a terminal.
        .stderr(out.try_clone().expect("the same file"))
        .stdout(out)
        .status()
        .expect("a shell");
    let output = std::fs::read_to_string(output).expect("text");
    assert!(
        shell.success() || !output.is_empty(),
        "the shell prints nothing and ends with {shell}"
    );
    output
}
