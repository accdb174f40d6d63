//! How the proxy ends: on one signal, on two, and on SIGKILL.

use std::time::Duration;

use insta::assert_snapshot;
use rustix::process::Signal;
use token_rotator_testkit::{Gate, RefreshPolicy, Upstream};
use tokio::task::JoinHandle;

use crate::sidecar::{Sidecar, client};
use crate::user::User;

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_to_end_waits_for_requests() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let proxy = Sidecar::start(&user, &upstream);
    let request = hold_request(&proxy, &upstream.gate()).await;
    proxy.signal(Signal::TERM);
    let ending = tokio::task::spawn_blocking(move || proxy.ended());
    upstream.gate().open();
    let answer = request.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 200);
    let (code, log) = ending.await.expect("no panic");
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_requests_are_cut_off_with_a_warning() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let flags = ["--upstream", upstream.url(), "--drain-timeout", "100ms"];
    let proxy = Sidecar::start_with(&user, &flags);
    let request = hold_request(&proxy, &upstream.gate()).await;
    proxy.signal(Signal::TERM);
    let (code, log) = wait_for_end(proxy).await;
    assert_eq!(code, Some(1), "{log}");
    assert_snapshot!(errors(&log), @"
    warning: some requests were cut off, or a session could not be saved
      because they were not finished after 100ms
    hint: give them longer with `--drain-timeout`; `token-rotator doctor` looks at sessions
    ");
    assert!(request.await.expect("no panic").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_proxy_at_once() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let proxy = Sidecar::start(&user, &upstream);
    let request = hold_request(&proxy, &upstream.gate()).await;
    proxy.signal(Signal::TERM);
    // The first signal has been handled once the proxy accepts no connection.
    let url = proxy.url.clone();
    while client().get(&url).send().await.is_ok() {}
    proxy.signal(Signal::INT);
    let (code, log) = wait_for_end(proxy).await;
    assert_eq!(code, Some(1), "{log}");
    assert_snapshot!(errors(&log), @"
    error: the proxy ended before all requests were answered
      because it received a second signal to end
    hint: send one signal and wait; `--drain-timeout` limits the wait
    ");
    assert!(request.await.expect("no panic").is_err());
}

/// A refresh that no caller waits for is finished and saved. Its refresh token is spent: without the
/// next one the session would be lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_to_end_waits_for_a_refresh_without_waiters() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let proxy = Sidecar::start(&user, &upstream);
    let before = user.issuer.counters().refreshes;
    user.issuer.expire_access_tokens();
    let request = hold_request(&proxy, &user.issuer.answer_gate()).await;
    request.abort();
    proxy.signal(Signal::TERM);
    let url = proxy.url.clone();
    while client().get(&url).send().await.is_ok() {}
    user.issuer.answer_gate().open();
    let (code, log) = wait_for_end(proxy).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(user.issuer.accepts(&user.token()), "{log}");
    let counters = user.issuer.counters();
    assert_eq!(counters.refreshes - before, 1, "{log}");
    assert_eq!(counters.reuses, 0, "{log}");
}

/// Kills the proxy during a refresh with 500 waiters, before and after the issuer consumed the refresh
/// token. The next proxy continues the session.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_a_refresh_with_500_waiters_loses_no_session() {
    for consumed in [false, true] {
        let leeway = Duration::from_secs(60);
        let user = User::at(RefreshPolicy::Leeway(leeway)).await;
        user.sign_in("default");
        user.configure("[sessions.default]\nprofile = \"leeway:60s\"\n");
        let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
        let flags = ["--upstream", upstream.url(), "--admin", "127.0.0.1:0"];
        let proxy = Sidecar::start_with(&user, &flags);
        user.issuer.expire_access_tokens();
        let gate = if consumed {
            user.issuer.answer_gate()
        } else {
            user.issuer.gate()
        };
        gate.close();
        let client = client();
        let url = format!("{}/echo", proxy.url);
        let request: Vec<_> = (0..500)
            .map(|_| tokio::spawn(client.get(&url).send()))
            .collect();
        gate.arrived(1).await;
        while waiting(&proxy).await < 500 {
            tokio::task::yield_now().await;
        }
        proxy.signal(Signal::KILL);
        for answer in request {
            assert!(answer.await.expect("no panic").is_err());
        }
        drop(proxy);
        gate.open();
        let proxy = Sidecar::start(&user, &upstream);
        let url = format!("{}/echo", proxy.url);
        let answer = client.get(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "consumed: {consumed}");
        let counters = user.issuer.counters();
        assert_eq!((counters.reuses, counters.revocations), (0, 0));
    }
}

/// Returns the log from the first error or warning that is meant for the user.
fn errors(log: &str) -> String {
    let begin = log.find("\nerror: ").or_else(|| log.find("\nwarning: "));
    log[begin.expect("an error") + 1..].to_owned()
}

/// Returns how many requests wait for a token.
async fn waiting(proxy: &Sidecar) -> u64 {
    let admin = proxy.admin.as_deref().expect("an admin listener");
    let metrics = client().get(format!("{admin}/metrics")).send().await;
    let metrics = metrics.expect("an answer").text().await.expect("text");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("token_rotator_proxy_waiting{route=\"/\"} "));
    line.map_or(0, |count| count.parse().expect("a number"))
}

/// Sends a request and returns once this gate holds it.
async fn hold_request(
    proxy: &Sidecar,
    gate: &Gate,
) -> JoinHandle<reqwest::Result<reqwest::Response>> {
    gate.close();
    let request = tokio::spawn(client().get(format!("{}/echo", proxy.url)).send());
    gate.arrived(1).await;
    request
}

async fn wait_for_end(proxy: Sidecar) -> (Option<i32>, String) {
    let ended = tokio::task::spawn_blocking(move || proxy.ended());
    ended.await.expect("no panic")
}
