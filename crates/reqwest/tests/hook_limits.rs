//! Tests how long hooks may take, and what happens to slower hooks (rule 13).

mod common;

use std::sync::Arc;

use common::{EventLog, TestResult};
use token_rotator_reqwest::{Client, ClientBuilder, SourceError, WithParser};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A client builder whose source never sends a request.
fn builder(log: &EventLog) -> ClientBuilder<WithParser<()>> {
    Client::builder()
        .base_url("http://127.0.0.1:9")
        .on_refresh_success_with(|_data: &()| "token")
        .refresh_with(|_call| std::future::ready(Ok(())))
        .on_event(log.listener())
}

/// Property: after 5 s the waiters are released, with an event, but no hook is cancelled. The slow
/// hook continues when it can, and the hooks behind it run in order.
#[tokio::test(start_paused = true)]
async fn a_slow_hook_is_not_cancelled() -> TestResult {
    let log = EventLog::new();
    let gate = Arc::new(Semaphore::new(0));
    let (first, second, third) = (log.clone(), log.clone(), log.clone());
    let closed_gate = Arc::clone(&gate);
    let api = builder(&log)
        .on_after_refresh_async(move |_data| {
            let (first, closed_gate) = (first.clone(), Arc::clone(&closed_gate));
            async move {
                drop(closed_gate.acquire().await);
                first.push("hook 1");
            }
        })
        .on_after_refresh(move |_data| -> () {
            second.push("hook 2");
            panic!("a hook that panics without waiters");
        })
        .on_after_refresh_async(move |_data| {
            let third = third.clone();
            async move { third.push("hook 3") }
        })
        .build()?;
    let started = Instant::now();
    api.refresh_now().await?;
    let waited = started.elapsed().as_millis();
    assert!((5_000..5_100).contains(&waited), "{waited} ms");
    let timed_out = "HookFailed { hook: \"after_refresh\", problem: TimedOut";
    assert_eq!((log.count(timed_out), log.count("hook")), (1, 0));

    gate.add_permits(1);
    let late = "HookFailed { hook: \"after_refresh\", problem: Panicked";
    log.wait_for(late).await;
    let lines = log.lines();
    let completed_hooks: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("hook"))
        .collect();
    assert_eq!(completed_hooks, ["hook 1", "hook 2", "hook 3"]);
    Ok(())
}

/// Property: a hook for the end of a session that does not finish is dropped after 5 s, with an
/// event.
#[tokio::test(start_paused = true)]
async fn a_hook_for_the_end_of_a_session_has_5_s() -> TestResult {
    let log = EventLog::new();
    let begun = log.clone();
    let api = builder(&log)
        .refresh_with(|_call| std::future::ready(Err(SourceError::terminal("over"))))
        .on_refresh_failed_async(move |_error| {
            begun.push("begun");
            std::future::pending::<()>()
        })
        .build()?;
    let started = Instant::now();
    assert!(api.refresh_now().await.is_err());
    // No waiter waits for this hook.
    assert!(started.elapsed().as_millis() < 100);
    log.wait_for("HookFailed { hook: \"on_refresh_failed\", problem: TimedOut { after: 5s")
        .await;
    let waited = started.elapsed().as_millis();
    assert!((5_000..5_100).contains(&waited), "{waited} ms");
    assert_eq!(log.count("begun"), 1);
    Ok(())
}
