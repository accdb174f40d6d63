//! Web pages of other origins, in a real browser, against the proxy.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde_json::Value;
use token_rotator_testkit::Upstream;

use crate::sidecar::{self, Sidecar};
use crate::user::User;

/// Property: no request of a page of another origin reaches the upstream, whatever its kind. A page of
/// an allowed origin and a page behind a development server use the API and read its answers.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_reach_nothing() {
    if crate::is_without_browser() {
        return;
    }
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let mut browser = crate::script("cross_site.mjs", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let mut lines = BufReader::new(browser.stdout.take().expect("its output")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("JSON")
    };
    let pages = next();
    let allowed = format!("http://localhost:{}", pages["allowed"]);
    let flags = [
        "--upstream",
        upstream.url(),
        "--admin",
        "127.0.0.1:0",
        "--allow-origin",
        &allowed,
    ];
    let proxy = Sidecar::start_with(&user, &flags);
    let mut stdin = browser.stdin.take().expect("its input");
    writeln!(stdin, "{}", proxy.url).expect("written");
    let results = next();
    assert!(browser.wait().expect("it ended").success());

    let kinds = results["kinds"].as_u64().expect("a number");
    assert!(kinds >= 12, "{kinds}");
    let metrics = format!(
        "{}/metrics",
        proxy.admin.as_deref().expect("an admin listener")
    );
    let metrics = sidecar::client()
        .get(metrics)
        .send()
        .await
        .expect("metrics");
    let metrics = metrics.text().await.expect("text");
    let name = "token_rotator_proxy_rejected_total{problem=\"cross-site\"} ";
    let refused = metrics.lines().find_map(|line| line.strip_prefix(name));
    let refused: u64 = refused.expect("refusals").parse().expect("a number");
    assert!(
        refused >= 2 * kinds,
        "{refused} refused requests of {kinds} kinds, from two origins"
    );

    // Three requests of each page that may use the API, and the one that the user typed. The browser may
    // ask for the icon of the last page.
    let arrived = upstream.record();
    let arrived: Vec<&str> = arrived
        .iter()
        .map(|request| request.path.as_str())
        .collect();
    let first = arrived.iter().take_while(|path| **path == "/echo").count();
    let echoes = arrived.iter().filter(|path| **path == "/echo").count();
    assert_eq!((first, echoes), (7, 7), "{arrived:#?}");
    for api in [&results["api"], &results["developed"]] {
        for name in ["get", "post", "delete"] {
            assert_eq!(api[name]["status"], 200, "{api:#}");
            assert_eq!(api[name]["type"], "application/json");
            assert_eq!(api[name]["body"]["method"], name.to_uppercase());
        }
        assert_eq!(api["problem"]["status"], 400, "{api:#}");
    }
    assert_eq!(results["opened"], 200);
    let (_, log) = proxy.end();
    let warned = log.lines().filter(|line| line.contains("WARN")).count();
    assert!(warned < 5, "one line summarises the refusals: {log}");
    assert!(
        log.contains(&format!("http://localhost:{}", pages["attacker"])),
        "{log}"
    );
    assert!(log.contains("allowed_origins"), "{log}");
}
