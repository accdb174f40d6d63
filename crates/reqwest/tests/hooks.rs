//! Tests hooks: their order, what they may do, and that no hook breaks the session (rule 13).

mod common;

use std::sync::{Arc, OnceLock};

use common::{ClientFixture, EventLog, SessionAnswer, TestResult, echo, login, within};
use token_rotator_reqwest::{
    Client, Error, IntoAccessToken, ParseError, RefreshError, SourceError, TokenError,
};
use token_rotator_testkit::Fault;
use tokio::sync::Semaphore;

fn panics<T>(_: &T) {
    panic!("a hook that panics");
}

/// Property: the answer is parsed, the token is published, the after-hooks run in order, then the
/// waiters continue.
#[tokio::test]
async fn the_order_is_parsed_published_hooks_waiters() -> TestResult {
    let fixture = ClientFixture::new().await;
    let log = EventLog::new();
    let (parsed, first, second) = (log.clone(), log.clone(), log.clone());
    let client: Arc<OnceLock<Client>> = Arc::default();
    let (here, client_cell) = (client.clone(), client.clone());
    let gate = Arc::new(Semaphore::new(0));
    let closed_gate = gate.clone();
    let api = fixture
        .builder()
        .on_refresh_success_with(move |data: &SessionAnswer| {
            parsed.push("parsed");
            data.access_token.clone()
        })
        .on_after_refresh(move |data| {
            let published = common::exposed_text(here.get().and_then(Client::access_token));
            assert_eq!(published.as_deref(), Some(data.access_token.as_str()));
            first.push(format!(
                "first, socket token: {}",
                !data.ws_token.is_empty()
            ));
        })
        .on_after_refresh_async(move |data: Arc<SessionAnswer>| {
            let (second, client, closed_gate) =
                (second.clone(), client_cell.clone(), closed_gate.clone());
            async move {
                drop(closed_gate.acquire().await);
                // A call inside the hook uses the new token and does not wait for the hook.
                let api = client.get().ok_or("no client")?;
                let answer = api
                    .get("/echo")
                    .send()
                    .await
                    .map_err(|error| error.to_string())?;
                second.push(format!(
                    "second, called: {}, {}",
                    answer.status(),
                    data.access_token.len() > 9
                ));
                Ok::<_, String>(())
            }
        })
        .build()?;
    client.set(api.clone()).expect("set once");
    login(&api, "alice").await;
    fixture.issuer.expire_access_tokens();

    let (waiter, done) = (api.get("/echo").send(), log.clone());
    let waiting = tokio::spawn(async move {
        let answer = waiter.await;
        done.push("answered");
        answer
    });
    log.wait_for("first").await;
    // The token is published, but the second hook still holds the waiters.
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    assert!(!waiting.is_finished());
    gate.add_permits(1);
    assert_eq!(within(waiting).await??.status(), 200);
    assert_eq!(
        log.lines(),
        [
            "parsed",
            "first, socket token: true",
            "second, called: 200 OK, true",
            "answered"
        ]
    );
    Ok(())
}

/// Property: a hook that panics or fails is an event; the other hooks run, and every waiter is
/// served.
#[tokio::test]
async fn a_failing_hook_harms_no_session() -> TestResult {
    let fixture = ClientFixture::new().await;
    let log = EventLog::new();
    let ran = log.clone();
    let api = fixture
        .builder_with_parser()
        .on_event(|_event| panic!("a listener that panics"))
        .on_event(log.listener())
        .on_after_refresh(panics)
        .on_after_refresh_async(|_data| async { Err::<(), _>("a hook that fails") })
        .on_after_refresh(move |_data| ran.push("the last one ran"))
        .build()?;
    login(&api, "alice").await;
    fixture.issuer.expire_access_tokens();
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    assert_eq!(log.count("the last one ran"), 1);
    assert_eq!(
        log.count("HookFailed { hook: \"after_refresh\", problem: Panicked"),
        1
    );

    let failing = fixture
        .builder_with_parser()
        .on_event(log.listener())
        .on_after_refresh(|_data| Err::<(), _>("a failed hook"))
        .build()?;
    login(&failing, "alice").await;
    failing.refresh_now().await?;
    assert_eq!(
        log.count(
            "HookFailed { hook: \"after_refresh\", problem: Failed { message: \"a failed hook\""
        ),
        1
    );
    Ok(())
}

/// Property: a waiter waits at most 5 s for a hook that never ends.
#[tokio::test]
async fn a_slow_hook_holds_waiters_for_at_most_5_s() -> TestResult {
    let token = "token";
    let log = EventLog::new();
    let begun = log.clone();
    tokio::time::pause();
    let api = Client::builder()
        .base_url("http://127.0.0.1:9")
        .on_refresh_success_with(move |_data: &()| token)
        .refresh_with(|_call| std::future::ready(Ok(())))
        .on_after_refresh_async(move |_data| {
            begun.push("hook");
            std::future::pending::<()>()
        })
        .on_event(log.listener())
        .build()?;
    let started = tokio::time::Instant::now();
    api.refresh_now().await?;
    let waited = started.elapsed().as_millis();
    assert!((5_000..5_100).contains(&waited), "{waited} ms");
    assert_eq!((log.count("hook"), log.count("HookFailed")), (1, 1));
    Ok(())
}

/// Property: both kinds of hooks get the end of a session once for each sign-in, before any caller
/// gets its answer. A hook that panics is an event.
#[tokio::test]
async fn the_end_is_reported_once_for_each_sign_in() -> TestResult {
    let fixture = ClientFixture::new().await;
    let log = EventLog::new();
    let (sync_log, async_log) = (log.clone(), log.clone());
    let api = fixture
        .builder_with_parser()
        .on_event(log.listener())
        .on_refresh_failed(move |error| sync_log.push(format!("sync: {:?}", error.kind())))
        .on_refresh_failed_async(move |error: RefreshError| {
            let async_log = async_log.clone();
            async move { async_log.push(format!("async: {:?}", error.kind())) }
        })
        .on_refresh_failed(panics)
        .on_refresh_failed_async(|_error| async { Err::<(), _>("a hook that fails") })
        .build()?;
    let invalid = || Fault::OAuthError {
        status: 401,
        error: "invalid_grant".to_owned(),
    };
    for sign_in in 1..=2 {
        login(&api, "alice").await;
        fixture.issuer.expire_access_tokens();
        fixture.issuer.faults().push(invalid().once());
        for _ in 0..3 {
            assert_eq!(api.get("/echo").send().await?.status(), 401);
            assert_eq!(log.count("sync: Terminal"), sign_in);
        }
        log.wait_for("async: Terminal").await;
        log.wait_for("HookFailed { hook: \"on_refresh_failed\", problem: Failed")
            .await;
        assert_eq!(log.count("async: Terminal"), sign_in);
        assert_eq!(
            log.count("HookFailed { hook: \"on_refresh_failed\", problem: Panicked"),
            sign_in
        );
        assert!(api.rotator().has_ended());
    }
    assert_eq!(fixture.refresh_requests(), 2);
    Ok(())
}

/// Property: a hook may sign out, as in the README of the axios library.
#[tokio::test]
async fn the_hook_may_sign_out() -> TestResult {
    let fixture = ClientFixture::new().await;
    let client: Arc<OnceLock<Client>> = Arc::default();
    let inside = client.clone();
    let api = fixture
        .builder_with_parser()
        .on_refresh_failed(move |_error| {
            if let Some(api) = inside.get() {
                api.clear();
            }
        })
        .build()?;
    client.set(api.clone()).expect("set once");
    login(&api, "alice").await;
    assert_eq!(api.post("/logout").send().await?.status(), 204);
    let answer = within(api.get("/echo").send()).await?;
    assert_eq!(answer.status(), 401);
    assert!(matches!(
        answer.extensions().get(),
        Some(TokenError::SignedOut)
    ));
    assert!(api.access_token().is_none());
    Ok(())
}

/// Property: a parser that finds no token, fails or panics is a failed refresh with its own error,
/// and ends no session.
#[tokio::test]
async fn a_parser_that_fails_fails_the_refresh() -> TestResult {
    async fn fails<R: IntoAccessToken + 'static>(
        parser: impl Fn(&SessionAnswer) -> R + Send + Sync + 'static,
    ) -> Result<ParseError, common::Failure> {
        let fixture = ClientFixture::new().await;
        let api = fixture.builder().on_refresh_success_with(parser).build()?;
        login(&api, "alice").await;
        fixture.issuer.expire_access_tokens();
        let answer = api.get("/echo").send().await?;
        assert_eq!(answer.status(), 401);
        assert!(!api.rotator().has_ended());
        // The answer has arrived, and a second request would bring the same answer.
        assert_eq!(fixture.issuer.counters().token_requests, 1);
        let mut error: Option<&dyn std::error::Error> = answer
            .extensions()
            .get::<TokenError>()
            .map(|error| error as _);
        while let Some(at) = error {
            // All waiters share the cause.
            if let Some(found) = at.downcast_ref::<ParseError>() {
                return Ok(found.clone());
            }
            error = at.source();
        }
        Err("no parse error".into())
    }
    assert_eq!(fails(|_data| None::<String>).await?, ParseError::NoToken);
    let failed = fails(|_data| Err::<String, _>("no token in it")).await?;
    assert_eq!(failed, ParseError::Failed("no token in it".into()));
    let panics = |data: &SessionAnswer| -> String {
        panic!("a parser that panics on {} bytes", data.ws_token.len())
    };
    assert_eq!(fails(panics).await?, ParseError::Panicked);
    Ok(())
}

/// Property: the refresh waits for an asynchronous parser.
#[tokio::test]
async fn a_parser_may_wait() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture
        .builder()
        .on_refresh_success_async(|data: Arc<SessionAnswer>| async move {
            tokio::task::yield_now().await;
            data.access_token.clone()
        })
        .build()?;
    login(&api, "alice").await;
    fixture.issuer.expire_access_tokens();
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    Ok(())
}

/// Property: a refresh that calls its own client gets an error at once (rule 14).
#[tokio::test]
async fn a_refresh_cannot_wait_for_itself() -> TestResult {
    let fixture = ClientFixture::new().await;
    let client: Arc<OnceLock<Client>> = Arc::default();
    let inside = client.clone();
    let api = fixture
        .builder_with_parser()
        .refresh_with(move |call| {
            let api = inside.get().cloned();
            async move {
                let api = api.ok_or_else(|| SourceError::not_sent("no client"))?;
                let error = match api.refresh_now().await {
                    Err(error @ TokenError::Reentrant) => error.to_string(),
                    other => format!("{other:?}"),
                };
                assert_eq!(error, "the token source asked its own rotator for a token");
                // A request that is refused inside the refresh is handed back.
                let answer = api.get("/echo").send().await;
                assert!(matches!(answer, Err(Error::Token(TokenError::Reentrant))));
                call.send(call.post("/api/auth/refresh")?).await
            }
        })
        .build()?;
    client.set(api.clone()).expect("set once");
    login(&api, "alice").await;
    fixture.issuer.expire_access_tokens();
    assert_eq!(
        echo(within(api.get("/echo").send()).await?).await["generation"],
        2
    );
    assert_eq!(fixture.refresh_requests(), 1);
    Ok(())
}

/// Property: without a cookie the first refusal ends the session once, and a login gets through.
#[tokio::test]
async fn a_session_without_a_cookie_ends_once() -> TestResult {
    let fixture = ClientFixture::new().await;
    let log = EventLog::new();
    let hook_log = log.clone();
    let api = fixture
        .builder_with_parser()
        .on_refresh_failed(move |_error| hook_log.push("show the login"))
        .build()?;
    for _ in 0..3 {
        assert_eq!(api.get("/echo").send().await?.status(), 401);
    }
    assert_eq!((log.lines().len(), fixture.refresh_requests()), (1, 1));
    login(&api, "alice").await;
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 1);
    Ok(())
}
