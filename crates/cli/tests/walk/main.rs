//! docs/sidecar.md, taken step by step: each block is run in its order and prints what stands there.
#![cfg(unix)]

mod page;
#[allow(dead_code, reason = "another part of it is used there")]
mod tools;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use page::{Page, Step};

const SIDECAR: &str = include_str!("../../../../docs/sidecar.md");

/// Stands between what the steps print.
const MARK: &str = "=== end of step";

#[test]
fn the_sidecar_goes_as_it_is_written() {
    let Some(tools) = tools::found() else { return };
    let page = Page::of(SIDECAR);
    assert!(page.steps.len() > 5, "{} steps", page.steps.len());
    let home = tempfile::tempdir().expect("a home");
    for (name, text) in &page.files {
        std::fs::write(home.path().join(name), text).expect("a file");
    }
    let said = take(&page.steps, home.path(), tools.path());
    let mut rest = said.as_str();
    for (number, step) in page.steps.iter().enumerate() {
        let end = format!("{MARK} {number}\n");
        let Some((printed, after)) = rest.split_once(&end) else {
            panic!(
                "step {number} did not come to its end:\n{}\nIt printed:\n{rest}\nThe proxy said:\n{}",
                step.script,
                std::fs::read_to_string(home.path().join("proxy.log")).unwrap_or_default()
            );
        };
        assert_eq!(printed, step.expected, "step {number}:\n{}", step.script);
        rest = after;
    }
    assert_eq!(rest, "");
}

/// Takes the steps, one shell for all of them, and says what was printed.
fn take(steps: &[Step], home: &Path, tools: &Path) -> String {
    let mut script = String::from(
        "set -eu\n# Nobody is left behind if a step fails.\n\
         trap 'for job in ${issuer-} ${proxy-} ${python-} ${node-}; do kill \"$job\" 2>/dev/null || :; done' EXIT\n",
    );
    for (number, step) in steps.iter().enumerate() {
        let end = format!("echo '{MARK} {number}'\n");
        script.extend([&step.script, &end].map(String::as_str));
    }
    let file = home.join("walk.sh");
    std::fs::write(&file, script).expect("a script");
    let said = home.join("said");
    let out = File::create(&said).expect("a file");
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
        // As in a terminal, both in one.
        .stderr(out.try_clone().expect("the same file"))
        .stdout(out)
        .status()
        .expect("a shell");
    let said = std::fs::read_to_string(said).expect("text");
    assert!(
        shell.success() || !said.is_empty(),
        "the shell says nothing and ends with {shell}"
    );
    said
}
