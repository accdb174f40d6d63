//! The page of `demo --web`, in a real browser.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Set to a reason, it lets this be skipped on a machine that has no browser.
const WITHOUT: &str = "TOKEN_ROTATOR_WITHOUT_BROWSER";

/// `demo --web`, and where it is.
struct Demo {
    child: Child,
    page: String,
}

impl Demo {
    fn start(more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_token-rotator"))
            .args(["demo", "--web", "--json"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        out.read_line(&mut line).expect("its addresses");
        let told: Value = serde_json::from_str(&line).expect("JSON");
        let page = told["page"].as_str().expect("an address").to_owned();
        Self { child, page }
    }

    fn interrupt(mut self) -> Option<i32> {
        let id = i32::try_from(self.child.id()).expect("a pid");
        let id = rustix::process::Pid::from_raw(id).expect("a pid");
        rustix::process::kill_process(id, rustix::process::Signal::INT).expect("told");
        self.child.wait().expect("it ended").code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // One that ended by itself is not there any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lanes, countdown, keyboard, dark mode, contrast, console, requests to elsewhere: `page.mjs` says
/// what is checked. Its screenshots are kept.
#[test]
fn a_storm_is_drawn_as_it_happens() {
    if let Ok(reason) = std::env::var(WITHOUT) {
        eprintln!("skipped, for want of a browser: {reason}");
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    assert!(
        folder.join("node_modules").is_dir(),
        "the browser's driver is not installed; run `cargo xtask test --only install`"
    );
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let kept = target.expect("the target directory").join("test-output");
    let demo = Demo::start(&["--requests", "60"]);
    let output = Command::new("node")
        .arg(folder.join("page.mjs"))
        .arg(&demo.page)
        .arg(&kept)
        .output()
        .expect("node runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let amiss = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{amiss}");
    let seen: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(seen["answered"], seen["requests"], "{seen}");
    for name in ["page-light", "page-dark", "page-table", "page-phone"] {
        let file = kept.join(name).with_extension("png");
        assert!(file.is_file(), "{} is missing", file.display());
    }
    assert_eq!(demo.interrupt(), Some(0), "Ctrl-C ends it in peace");
}
