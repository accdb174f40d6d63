//! Hooks: their order, what they may do, and that none of them breaks the session: rule 13.

mod common;

use std::sync::{Arc, OnceLock};

use common::{Heard, Session, Tested, World, echo, login, within};
use token_rotator_reqwest::{
    Client, Error, IntoFresh, ParseError, RefreshError, SourceError, TokenError,
};
use token_rotator_testkit::Fault;
use tokio::sync::Semaphore;

fn panics<T>(_: &T) {
    panic!("a hook that panics");
}

/// Property: parsed, published, after-hooks in their order, then the waiters.
#[tokio::test]
async fn the_order_is_parsed_published_hooks_waiters() -> Tested {
    let world = World::new().await;
    let heard = Heard::new();
    let (parsed, first, second) = (heard.clone(), heard.clone(), heard.clone());
    let client: Arc<OnceLock<Client>> = Arc::default();
    let (here, there) = (client.clone(), client.clone());
    let door = Arc::new(Semaphore::new(0));
    let held = door.clone();
    let api = world
        .builder()
        .on_refresh_success_with(move |data: &Session| {
            parsed.say("parsed");
            data.access_token.clone()
        })
        .on_after_refresh(move |data| {
            let published = common::exposed(here.get().and_then(Client::access_token));
            assert_eq!(published.as_deref(), Some(data.access_token.as_str()));
            first.say(format!(
                "first, socket token: {}",
                !data.ws_token.is_empty()
            ));
        })
        .on_after_refresh_async(move |data: Arc<Session>| {
            let (second, client, held) = (second.clone(), there.clone(), held.clone());
            async move {
                drop(held.acquire().await);
                // A call made from inside uses the new token and does not wait for itself.
                let api = client.get().ok_or("no client")?;
                let answer = api
                    .get("/echo")
                    .send()
                    .await
                    .map_err(|error| error.to_string())?;
                second.say(format!(
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
    world.issuer.expire_access_tokens();

    let (waiter, done) = (api.get("/echo").send(), heard.clone());
    let waiting = tokio::spawn(async move {
        let answer = waiter.await;
        done.say("answered");
        answer
    });
    heard.wait_for("first").await;
    // Published, but whoever waited is still held back by the second hook.
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    assert!(!waiting.is_finished());
    door.add_permits(1);
    assert_eq!(within(waiting).await??.status(), 200);
    assert_eq!(
        heard.lines(),
        [
            "parsed",
            "first, socket token: true",
            "second, called: 200 OK, true",
            "answered"
        ]
    );
    Ok(())
}

/// Property: a hook that panics or fails is an event; the others run, and everybody is served.
#[tokio::test]
async fn a_hook_that_fails_harms_nobody() -> Tested {
    let world = World::new().await;
    let heard = Heard::new();
    let ran = heard.clone();
    let api = world
        .reading()
        .on_event(|_event| panic!("a listener that panics"))
        .on_event(heard.listener())
        .on_after_refresh(panics)
        .on_after_refresh_async(|_data| async { Err::<(), _>("a hook that fails") })
        .on_after_refresh(move |_data| ran.say("the last one ran"))
        .build()?;
    login(&api, "alice").await;
    world.issuer.expire_access_tokens();
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    assert_eq!(heard.count("the last one ran"), 1);
    assert_eq!(
        heard.count("HookFailed { hook: \"after_refresh\", problem: Panicked"),
        1
    );

    let failing = world
        .reading()
        .on_event(heard.listener())
        .on_after_refresh(|_data| Err::<(), _>("in its own words"))
        .build()?;
    login(&failing, "alice").await;
    failing.refresh_now().await?;
    assert_eq!(
        heard.count(
            "HookFailed { hook: \"after_refresh\", problem: Failed { message: \"in its own words\""
        ),
        1
    );
    Ok(())
}

/// Property: whoever waits for a hook that never ends waits 5 s at most.
#[tokio::test]
async fn a_slow_hook_holds_nobody_for_ever() -> Tested {
    let token = "token";
    let heard = Heard::new();
    let begun = heard.clone();
    tokio::time::pause();
    let api = Client::builder()
        .base_url("http://127.0.0.1:9")
        .on_refresh_success_with(move |_data: &()| token)
        .refresh_with(|_call| std::future::ready(Ok(())))
        .on_after_refresh_async(move |_data| {
            begun.say("hook");
            std::future::pending::<()>()
        })
        .on_event(heard.listener())
        .build()?;
    let started = tokio::time::Instant::now();
    api.refresh_now().await?;
    let waited = started.elapsed().as_millis();
    assert!((5_000..5_100).contains(&waited), "{waited} ms");
    assert_eq!((heard.count("hook"), heard.count("HookFailed")), (1, 1));
    Ok(())
}

/// Property: the end of a session is told once for each sign-in, before anybody is answered, to both
/// kinds of hooks; one that panics is an event.
#[tokio::test]
async fn the_end_is_told_once_for_each_sign_in() -> Tested {
    let world = World::new().await;
    let heard = Heard::new();
    let (told, told_async) = (heard.clone(), heard.clone());
    let api = world
        .reading()
        .on_event(heard.listener())
        .on_refresh_failed(move |error| told.say(format!("sync: {:?}", error.kind())))
        .on_refresh_failed_async(move |error: RefreshError| {
            let told = told_async.clone();
            async move { told.say(format!("async: {:?}", error.kind())) }
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
        world.issuer.expire_access_tokens();
        world.issuer.faults().push(invalid().once());
        for _ in 0..3 {
            assert_eq!(api.get("/echo").send().await?.status(), 401);
            assert_eq!(heard.count("sync: Terminal"), sign_in);
        }
        heard.wait_for("async: Terminal").await;
        heard
            .wait_for("HookFailed { hook: \"on_refresh_failed\", problem: Failed")
            .await;
        assert_eq!(heard.count("async: Terminal"), sign_in);
        assert_eq!(
            heard.count("HookFailed { hook: \"on_refresh_failed\", problem: Panicked"),
            sign_in
        );
        assert!(api.rotator().has_ended());
    }
    assert_eq!(world.asked(), 2);
    Ok(())
}

/// Property: signing out from inside the hook, as the seed's README does it, works.
#[tokio::test]
async fn the_hook_may_sign_out() -> Tested {
    let world = World::new().await;
    let client: Arc<OnceLock<Client>> = Arc::default();
    let inside = client.clone();
    let api = world
        .reading()
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

/// Property: a parser that finds nothing, fails or panics is a failed refresh with an error of its
/// own, and signs nobody out.
#[tokio::test]
async fn a_parser_that_fails_fails_the_refresh() -> Tested {
    async fn fails<R: IntoFresh + 'static>(
        parser: impl Fn(&Session) -> R + Send + Sync + 'static,
    ) -> Result<ParseError, common::Failure> {
        let world = World::new().await;
        let api = world.builder().on_refresh_success_with(parser).build()?;
        login(&api, "alice").await;
        world.issuer.expire_access_tokens();
        let answer = api.get("/echo").send().await?;
        assert_eq!(answer.status(), 401);
        assert!(!api.rotator().has_ended());
        // The answer is here, and asking for it again would read it no better.
        assert_eq!(world.issuer.counters().token_requests, 1);
        let mut error: Option<&dyn std::error::Error> = answer
            .extensions()
            .get::<TokenError>()
            .map(|error| error as _);
        while let Some(at) = error {
            // The cause is shared by all who waited.
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
    let panics = |data: &Session| -> String {
        panic!("a parser that panics on {} bytes", data.ws_token.len())
    };
    assert_eq!(fails(panics).await?, ParseError::Panicked);
    Ok(())
}

/// Property: an asynchronous parser is waited for.
#[tokio::test]
async fn a_parser_may_wait() -> Tested {
    let world = World::new().await;
    let api = world
        .builder()
        .on_refresh_success_async(|data: Arc<Session>| async move {
            tokio::task::yield_now().await;
            data.access_token.clone()
        })
        .build()?;
    login(&api, "alice").await;
    world.issuer.expire_access_tokens();
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    Ok(())
}

/// Property: a refresh that asks the client it refreshes for is told so at once: rule 14.
#[tokio::test]
async fn a_refresh_cannot_wait_for_itself() -> Tested {
    let world = World::new().await;
    let client: Arc<OnceLock<Client>> = Arc::default();
    let inside = client.clone();
    let api = world
        .reading()
        .refresh_with(move |call| {
            let api = inside.get().cloned();
            async move {
                let api = api.ok_or_else(|| SourceError::not_sent("no client"))?;
                let error = match api.refresh_now().await {
                    Err(error @ TokenError::Reentrant) => error.to_string(),
                    other => format!("{other:?}"),
                };
                assert_eq!(error, "the token source asked its own rotator for a token");
                // A refused request inside is handed back.
                let answer = api.get("/echo").send().await;
                assert!(matches!(answer, Err(Error::Token(TokenError::Reentrant))));
                call.send(call.post("/api/auth/refresh")?).await
            }
        })
        .build()?;
    client.set(api.clone()).expect("set once");
    login(&api, "alice").await;
    world.issuer.expire_access_tokens();
    assert_eq!(
        echo(within(api.get("/echo").send()).await?).await["generation"],
        2
    );
    assert_eq!(world.asked(), 1);
    Ok(())
}

/// Property: with nothing to refresh from, the first refusal ends what never began: once, and a login
/// goes through.
#[tokio::test]
async fn a_visitor_without_a_cookie_is_told_once() -> Tested {
    let world = World::new().await;
    let heard = Heard::new();
    let told = heard.clone();
    let api = world
        .reading()
        .on_refresh_failed(move |_error| told.say("show the login"))
        .build()?;
    for _ in 0..3 {
        assert_eq!(api.get("/echo").send().await?.status(), 401);
    }
    assert_eq!((heard.lines().len(), world.asked()), (1, 1));
    login(&api, "alice").await;
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 1);
    Ok(())
}
