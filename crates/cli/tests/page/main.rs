//! The proxy's page, and pages of other origins, in a real browser.
#![cfg(unix)]

mod cross_site;
#[path = "../proxy/sidecar.rs"]
#[allow(dead_code, reason = "other test targets use the rest")]
mod sidecar;
#[path = "../sessions/user.rs"]
#[allow(dead_code, reason = "other test targets use the rest")]
mod user;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use token_rotator_testkit::{Fault, Upstream};

use crate::sidecar::Sidecar;
use crate::user::User;

/// The environment variable that skips these tests, set to a reason, on a machine without a browser.
const SKIP_VARIABLE: &str = "TOKEN_ROTATOR_WITHOUT_BROWSER";

/// A running `demo --web`, and the address of its page.
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
        let addresses: Value = serde_json::from_str(&line).expect("JSON");
        let page = addresses["page"].as_str().expect("an address").to_owned();
        Self { child, page }
    }

    fn interrupt(mut self) -> Option<i32> {
        let id = i32::try_from(self.child.id()).expect("a pid");
        let id = rustix::process::Pid::from_raw(id).expect("a pid");
        rustix::process::kill_process(id, rustix::process::Signal::INT).expect("signal sent");
        self.child.wait().expect("it ended").code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Killing fails if the process has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `page.mjs` checks lanes, countdown, keyboard, dark mode, contrast, console and foreign requests. It
/// stores screenshots.
#[test]
fn a_storm_is_drawn_live() {
    if is_without_browser() {
        return;
    }
    let demo = Demo::start(&["--requests", "60"]);
    let output = script("page.mjs", &demo.page).output().expect("node runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let counts: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(counts["answered"], counts["requests"], "{counts}");
    for name in ["page-light", "page-dark", "page-table", "page-phone"] {
        let file = screenshots().join(name).with_extension("png");
        assert!(file.is_file(), "{} is missing", file.display());
    }
    assert_eq!(demo.interrupt(), Some(0), "Ctrl-C ends it with success");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_why_a_session_ended_and_that_the_proxy_is_gone() {
    if is_without_browser() {
        return;
    }
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let flags = ["--upstream", upstream.url(), "--admin", "127.0.0.1:0"];
    let proxy = Sidecar::start_with(&user, &flags);
    let token = user.token();
    let page = format!("{}/", proxy.admin.as_deref().expect("an admin listener"));
    let mut browser = script("ended.mjs", &page)
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let mut lines = BufReader::new(browser.stdout.take().expect("its output")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert_eq!(next(), "unused");
    let send = async || {
        let request = format!("{}/echo?q=in-the-query", proxy.url);
        let answer = sidecar::client().get(request).send().await;
        answer.expect("an answer").status()
    };
    assert_eq!(send().await, 200);
    assert_eq!(next(), "signed in");
    user.issuer.expire_access_tokens();
    let refused = Fault::OAuthError {
        status: 400,
        error: "invalid_grant".to_owned(),
    };
    user.issuer.faults().push(refused.always());
    assert_eq!(send().await, 401);
    let line = next();
    let html = line.strip_prefix("ended ").expect("the page");
    for secret in [token.as_str(), "in-the-query"] {
        assert!(!html.contains(secret), "{secret} is on the page");
    }
    assert_eq!(proxy.end().0, Some(0));
    assert_eq!(next(), "disconnected");
    assert!(browser.wait().expect("it ended").success());
}

/// Returns whether the tests are skipped. Prints the reason.
fn is_without_browser() -> bool {
    let reason = std::env::var(SKIP_VARIABLE);
    if let Ok(reason) = &reason {
        eprintln!("skipped, because there is no browser: {reason}");
    }
    reason.is_ok()
}

/// Returns the command that runs a browser script with Node.js.
fn script(name: &str, page: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    assert!(
        folder.join("node_modules").is_dir(),
        "the browser's driver is not installed; run `cargo xtask test --only install`"
    );
    let mut command = Command::new("node");
    command.arg(folder.join(name)).arg(page).arg(screenshots());
    command
}

/// Returns the directory of the screenshots, beside the other output of the tests.
fn screenshots() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    target.expect("the target directory").join("test-output")
}
