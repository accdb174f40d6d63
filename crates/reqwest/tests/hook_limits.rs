//! How long hooks may take, and what becomes of those that take longer: rule 13.

mod common;

use std::sync::Arc;

use common::{Heard, Tested};
use token_rotator_reqwest::{Client, ClientBuilder, Reads, SourceError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A client that asks nobody.
fn builder(heard: &Heard) -> ClientBuilder<Reads<()>> {
    Client::builder()
        .base_url("http://127.0.0.1:9")
        .on_refresh_success_with(|_data: &()| "token")
        .refresh_with(|_call| std::future::ready(Ok(())))
        .on_event(heard.listener())
}

/// Property: after 5 s whoever waits is released and that is an event, but no hook is cut off: the
/// first goes on when it can, and those behind it run, in their order.
#[tokio::test(start_paused = true)]
async fn a_hook_that_takes_long_is_not_cut_off() -> Tested {
    let heard = Heard::new();
    let door = Arc::new(Semaphore::new(0));
    let (first, second, third) = (heard.clone(), heard.clone(), heard.clone());
    let held = Arc::clone(&door);
    let api = builder(&heard)
        .on_after_refresh_async(move |_data| {
            let (first, held) = (first.clone(), Arc::clone(&held));
            async move {
                drop(held.acquire().await);
                first.say("hook 1");
            }
        })
        .on_after_refresh(move |_data| -> () {
            second.say("hook 2");
            panic!("a hook that panics when nobody waits for it");
        })
        .on_after_refresh_async(move |_data| {
            let third = third.clone();
            async move { third.say("hook 3") }
        })
        .build()?;
    let started = Instant::now();
    api.refresh_now().await?;
    let waited = started.elapsed().as_millis();
    assert!((5_000..5_100).contains(&waited), "{waited} ms");
    let timed_out = "HookFailed { hook: \"after_refresh\", problem: TimedOut";
    assert_eq!((heard.count(timed_out), heard.count("hook")), (1, 0));

    door.add_permits(1);
    let late = "HookFailed { hook: \"after_refresh\", problem: Panicked";
    heard.wait_for(late).await;
    let lines = heard.lines();
    let ran: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("hook"))
        .collect();
    assert_eq!(ran, ["hook 1", "hook 2", "hook 3"]);
    Ok(())
}

/// Property: a hook that hears of the end of a session and does not end itself is dropped after 5 s,
/// which is an event.
#[tokio::test(start_paused = true)]
async fn a_hook_that_hears_of_the_end_has_5_s() -> Tested {
    let heard = Heard::new();
    let begun = heard.clone();
    let api = builder(&heard)
        .refresh_with(|_call| std::future::ready(Err(SourceError::terminal("over"))))
        .on_refresh_failed_async(move |_error| {
            begun.say("begun");
            std::future::pending::<()>()
        })
        .build()?;
    let started = Instant::now();
    assert!(api.refresh_now().await.is_err());
    // Nobody waits for it.
    assert!(started.elapsed().as_millis() < 100);
    heard
        .wait_for("HookFailed { hook: \"on_refresh_failed\", problem: TimedOut { after: 5s")
        .await;
    let waited = started.elapsed().as_millis();
    assert!((5_000..5_100).contains(&waited), "{waited} ms");
    assert_eq!(heard.count("begun"), 1);
    Ok(())
}
