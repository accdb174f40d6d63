//! How it ends, in peace and otherwise.

use std::time::Duration;

use insta::assert_snapshot;
use rustix::process::Signal;
use token_rotator_testkit::{Gate, RefreshPolicy, Upstream};
use tokio::task::JoinHandle;

use crate::sidecar::{Sidecar, client};
use crate::user::User;

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_it_answers_first() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let proxy = Sidecar::start(&user, &upstream);
    let asked = held(&proxy, &upstream.gate()).await;
    proxy.signal(Signal::TERM);
    let ending = tokio::task::spawn_blocking(move || proxy.ended());
    upstream.gate().open();
    let answer = asked.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 200);
    let (code, log) = ending.await.expect("no panic");
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_cut_off_and_said() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let flags = ["--upstream", upstream.url(), "--drain-timeout", "100ms"];
    let proxy = Sidecar::start_with(&user, &flags);
    let asked = held(&proxy, &upstream.gate()).await;
    proxy.signal(Signal::TERM);
    let (code, log) = ended(proxy).await;
    assert_eq!(code, Some(1), "{log}");
    assert_snapshot!(errors(&log), @"
    warning: some requests were cut off, or a session could not be written down
      because they were not through after 100ms
    hint: give them longer with `--drain-timeout`; `token-rotator doctor` looks at sessions
    ");
    assert!(asked.await.expect("no panic").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn told_twice_it_ends_at_once() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let proxy = Sidecar::start(&user, &upstream);
    let asked = held(&proxy, &upstream.gate()).await;
    proxy.signal(Signal::TERM);
    // The first has been heard once nobody is accepted any more.
    let url = proxy.url.clone();
    while client().get(&url).send().await.is_ok() {}
    proxy.signal(Signal::INT);
    let (code, log) = ended(proxy).await;
    assert_eq!(code, Some(1), "{log}");
    assert_snapshot!(errors(&log), @"
    error: ended before all was answered
      because it was told to end twice
    hint: tell it once and let it end; `--drain-timeout` says how long that may take
    ");
    assert!(asked.await.expect("no panic").is_err());
}

/// A refresh that all who wanted it have left is brought to its end and written down: its refresh
/// token is spent, and without the next one the session would be lost.
#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_it_finishes_a_refresh_that_nobody_waits_for() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let proxy = Sidecar::start(&user, &upstream);
    let before = user.issuer.counters().refreshes;
    user.issuer.expire_access_tokens();
    let asked = held(&proxy, &user.issuer.answer_gate()).await;
    asked.abort();
    proxy.signal(Signal::TERM);
    let url = proxy.url.clone();
    while client().get(&url).send().await.is_ok() {}
    user.issuer.answer_gate().open();
    let (code, log) = ended(proxy).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(user.issuer.accepts(&user.token()), "{log}");
    let counters = user.issuer.counters();
    assert_eq!(counters.refreshes - before, 1, "{log}");
    assert_eq!(counters.reuses, 0, "{log}");
}

/// Killed in the middle of the refresh that five hundred wait for, before or after the issuer has
/// used the token up: the next one goes on with the same session.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_five_hundred_wait_it_loses_no_session() {
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
        let asked: Vec<_> = (0..500)
            .map(|_| tokio::spawn(client.get(&url).send()))
            .collect();
        gate.arrived(1).await;
        while waiting(&proxy).await < 500 {
            tokio::task::yield_now().await;
        }
        proxy.signal(Signal::KILL);
        for answer in asked {
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

/// What stands in it for people.
fn errors(log: &str) -> String {
    let begin = log.find("\nerror: ").or_else(|| log.find("\nwarning: "));
    log[begin.expect("an error") + 1..].to_owned()
}

/// How many requests wait for a token.
async fn waiting(proxy: &Sidecar) -> u64 {
    let admin = proxy.admin.as_deref().expect("an admin listener");
    let metrics = client().get(format!("{admin}/metrics")).send().await;
    let metrics = metrics.expect("an answer").text().await.expect("text");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("token_rotator_proxy_waiting{route=\"/\"} "));
    line.map_or(0, |count| count.parse().expect("a number"))
}

/// A request that is under way, held at this gate.
async fn held(proxy: &Sidecar, gate: &Gate) -> JoinHandle<reqwest::Result<reqwest::Response>> {
    gate.close();
    let asked = tokio::spawn(client().get(format!("{}/echo", proxy.url)).send());
    gate.arrived(1).await;
    asked
}

async fn ended(proxy: Sidecar) -> (Option<i32>, String) {
    let ended = tokio::task::spawn_blocking(move || proxy.ended());
    ended.await.expect("no panic")
}
