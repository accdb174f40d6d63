//! The page, in a real browser.
#![cfg(unix)]

#[path = "../proxy/sidecar.rs"]
#[allow(dead_code, reason = "another part of it is used there")]
mod sidecar;
#[path = "../sessions/user.rs"]
#[allow(dead_code, reason = "another part of it is used there")]
mod user;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use token_rotator_testkit::{Fault, Upstream};

use crate::sidecar::Sidecar;
use crate::user::User;

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
    if is_without_browser() {
        return;
    }
    let demo = Demo::start(&["--requests", "60"]);
    let output = script("page.mjs", &demo.page).output().expect("node runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let amiss = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{amiss}");
    let seen: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(seen["answered"], seen["requests"], "{seen}");
    for name in ["page-light", "page-dark", "page-table", "page-phone"] {
        let file = screenshots().join(name).with_extension("png");
        assert!(file.is_file(), "{} is missing", file.display());
    }
    assert_eq!(demo.interrupt(), Some(0), "Ctrl-C ends it in peace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_says_why_and_a_proxy_that_ends_is_missed() {
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
    let mut said = BufReader::new(browser.stdout.take().expect("its output")).lines();
    let mut next = || said.next().expect("it goes on").expect("text");
    assert_eq!(next(), "unused");
    let ask = async || {
        let asked = format!("{}/echo?q=in-the-query", proxy.url);
        let answer = sidecar::client().get(asked).send().await;
        answer.expect("an answer").status()
    };
    assert_eq!(ask().await, 200);
    assert_eq!(next(), "signed in");
    user.issuer.expire_access_tokens();
    let refused = Fault::OAuthError {
        status: 400,
        error: "invalid_grant".to_owned(),
    };
    user.issuer.faults().push(refused.always());
    assert_eq!(ask().await, 401);
    let seen = next();
    let html = seen.strip_prefix("ended ").expect("the page");
    for secret in [token.as_str(), "in-the-query"] {
        assert!(!html.contains(secret), "{secret} is on the page");
    }
    assert_eq!(proxy.end().0, Some(0));
    assert_eq!(next(), "missed");
    assert!(browser.wait().expect("it ended").success());
}

/// Says why, if so.
fn is_without_browser() -> bool {
    let reason = std::env::var(WITHOUT);
    if let Ok(reason) = &reason {
        eprintln!("skipped, for want of a browser: {reason}");
    }
    reason.is_ok()
}

/// What a browser is driven with.
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

/// Beside the other output of the tests.
fn screenshots() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    target.expect("the target directory").join("test-output")
}
