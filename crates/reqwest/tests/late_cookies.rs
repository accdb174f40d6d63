//! Tests cookies of a late refresh answer: sign-in and sign-out win (rule 4).

mod common;

use std::sync::Arc;

use common::{ClientFixture, EventLog, Failure, TestResult, echo, login, read, within};
use serde_json::json;
use token_rotator_reqwest::{Client, CookieStore as _, Jar, Response};
use token_rotator_testkit::IssuerEvent;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Alice's refresh, which the issuer delays.
struct DelayedRefresh {
    fixture: ClientFixture,
    api: Client,
    log: EventLog,
    jar: Arc<Jar>,
    family: u64,
    waiting: JoinHandle<Result<Response, token_rotator_reqwest::Error>>,
}

impl DelayedRefresh {
    async fn new() -> Result<Self, Failure> {
        let fixture = ClientFixture::new().await;
        let mut events = fixture.issuer.events();
        let (log, jar) = (EventLog::new(), Arc::new(Jar::default()));
        let source_log = log.clone();
        let api = fixture
            .builder_with_parser()
            .cookie_provider(Arc::clone(&jar))
            .on_event(log.listener())
            .refresh_with(move |call| {
                let source_log = source_log.clone();
                async move {
                    let answer = call.send(call.post("/api/auth/refresh")?).await;
                    source_log.push(format!("answered: {}", answer.is_ok()));
                    answer
                }
            })
            .build()?;
        login(&api, "alice").await;
        let IssuerEvent::SignedIn { family } = events.recv().await? else {
            return Err("no user signed in".into());
        };
        fixture.issuer.expire_access_tokens();
        fixture.issuer.gate().close();
        let waiting = tokio::spawn(api.get("/echo").send());
        within(fixture.issuer.gate().arrived(1)).await;
        Ok(Self {
            fixture,
            api,
            log,
            jar,
            family,
            waiting,
        })
    }

    fn cookies(&self) -> Result<String, Failure> {
        let url = self.fixture.upstream.url().to_owned() + "/api/auth/refresh";
        let cookies = self.jar.cookies(&url.parse()?).ok_or("no cookie")?;
        Ok(cookies.to_str()?.to_owned())
    }

    /// Lets Bob's token expire and refreshes it.
    async fn refresh_bob(&self) -> TestResult {
        self.fixture.issuer.expire_access_tokens();
        let answer = within(self.api.get("/echo").send()).await?;
        let echoed = echo(answer).await;
        assert_eq!(
            (&echoed["subject"], &echoed["generation"]),
            (&json!("bob"), &json!(2))
        );
        assert_eq!(self.fixture.issuer.counters().reuses, 0);
        Ok(())
    }
}

/// Property: the late answer to the previous user's refresh neither overwrites nor deletes the next
/// user's cookie, which later refreshes as its own user.
#[tokio::test]
async fn a_late_answer_leaves_the_next_users_cookie() -> TestResult {
    for deletes in [false, true] {
        let delayed = DelayedRefresh::new().await?;
        login(&delayed.api, "bob").await;
        if deletes {
            // The answer is a 401 with `Max-Age=0`.
            delayed.fixture.issuer.revoke_family(delayed.family);
        }
        let bobs = delayed.cookies()?;
        delayed.fixture.issuer.gate().open();
        delayed
            .log
            .wait_for(&format!("answered: {}", !deletes))
            .await;
        assert!(delayed.cookies()? == bobs, "the cookie has changed");
        delayed.refresh_bob().await?;
        assert_eq!(within(delayed.waiting).await??.status(), 401);
    }
    Ok(())
}

/// Property: the late answer also keeps the cookie if it arrives between the next user's login and
/// the sign-in of the client.
#[tokio::test]
async fn a_late_answer_leaves_a_cookie_that_was_not_sent() -> TestResult {
    for deletes in [false, true] {
        let delayed = DelayedRefresh::new().await?;
        let credentials = json!({"user": "bob", "password": "any"});
        let request = delayed
            .api
            .post("/login")
            .without_token()
            .json(&credentials);
        let bob: common::SessionAnswer = read(request.send().await?).await;
        if deletes {
            delayed.fixture.issuer.revoke_family(delayed.family);
        }
        delayed.fixture.issuer.gate().open();
        delayed
            .log
            .wait_for(&format!("answered: {}", !deletes))
            .await;
        within(&mut { delayed.waiting }).await??;
        delayed.api.set_access_token(bob.access_token)?;
        delayed.fixture.issuer.expire_access_tokens();
        let echoed = echo(within(delayed.api.get("/echo").send()).await?).await;
        assert_eq!(echoed["subject"], "bob");
    }
    Ok(())
}

/// Property: after a sign-out the late cookie is not stored.
#[tokio::test]
async fn a_late_answer_after_a_sign_out_is_not_stored() -> TestResult {
    let delayed = DelayedRefresh::new().await?;
    let before = delayed.cookies()?;
    delayed.api.clear();
    delayed.fixture.issuer.gate().open();
    delayed.log.wait_for("LateTokens").await;
    assert!(delayed.cookies()? == before, "the cookie has changed");
    assert_eq!(within(delayed.waiting).await??.status(), 401);
    Ok(())
}

/// Property: if another cookie changes during the refresh, the session still gets its own cookie.
#[tokio::test]
async fn another_cookie_may_change_meanwhile() -> TestResult {
    let delayed = DelayedRefresh::new().await?;
    let url = delayed.fixture.upstream.url().parse()?;
    delayed.jar.add_cookie_str("theme=dark; Path=/", &url);
    delayed.fixture.issuer.gate().open();
    assert_eq!(echo(within(delayed.waiting).await??).await["generation"], 2);
    delayed.api.refresh_now().await?;
    let counters = delayed.fixture.issuer.counters();
    assert_eq!((counters.refreshes, counters.reuses), (2, 0));
    let url = (delayed.fixture.upstream.url().to_owned() + "/api/auth/refresh").parse()?;
    let cookies = delayed.jar.cookies(&url).ok_or("no cookies")?;
    assert!(cookies.to_str()?.contains("theme=dark"));
    Ok(())
}

/// Property: the client also protects the cookies of the refresh endpoint if it keeps the cookies
/// itself.
#[tokio::test]
async fn the_default_client_separates_cookies_of_users() -> TestResult {
    let fixture = ClientFixture::new().await;
    let log = EventLog::new();
    let api = fixture
        .builder_with_parser()
        .on_event(log.listener())
        .build()?;
    login(&api, "alice").await;
    fixture.issuer.expire_access_tokens();
    // The issuer has consumed the cookie and delays its answer.
    fixture.issuer.answer_gate().close();
    let waiting = tokio::spawn(api.get("/echo").send());
    within(fixture.issuer.answer_gate().arrived(1)).await;
    login(&api, "bob").await;
    fixture.issuer.answer_gate().open();
    log.wait_for("LateTokens").await;
    fixture.issuer.expire_access_tokens();
    let echoed = echo(within(api.get("/echo").send()).await?).await;
    assert_eq!(echoed["subject"], "bob");
    assert_eq!(within(waiting).await??.status(), 401);
    Ok(())
}

/// Property: a refresh that was not sent before the next user's sign-in does not spend that user's
/// cookie, by whichever method it is sent.
#[tokio::test]
async fn a_refresh_of_the_last_user_does_not_spend_the_next_ones_cookie() -> TestResult {
    for by_itself in [false, true] {
        let fixture = ClientFixture::new().await;
        let (log, gate) = (EventLog::new(), Arc::new(Semaphore::new(0)));
        let (source_log, closed_gate) = (log.clone(), Arc::clone(&gate));
        let api = fixture
            .builder_with_parser()
            .refresh_with(move |call| {
                let (source_log, closed_gate) = (source_log.clone(), Arc::clone(&closed_gate));
                async move {
                    source_log.push("begun");
                    drop(closed_gate.acquire().await);
                    let request = call.post("/api/auth/refresh")?;
                    if !by_itself || call.last().is_none() {
                        return call.send(request).await;
                    }
                    let request = request.build();
                    let request = request.map_err(token_rotator_reqwest::source_error)?;
                    let answer = call.execute(request).await;
                    let answer = answer.map_err(token_rotator_reqwest::source_error)?;
                    source_log.push(format!("status: {}", answer.status().as_u16()));
                    let answer = answer.json().await;
                    answer.map_err(token_rotator_reqwest::source_error)
                }
            })
            .build()?;
        login(&api, "alice").await;
        fixture.issuer.expire_access_tokens();
        let waiting = tokio::spawn(api.get("/echo").send());
        log.wait_for("begun").await;
        login(&api, "bob").await;
        gate.add_permits(1);
        if by_itself {
            log.wait_for("status: 401").await;
        }
        assert_eq!(within(waiting).await??.status(), 401);
        let echoed = echo(api.get("/echo").send().await?).await;
        assert_eq!(echoed["subject"], "bob");
        api.refresh_now().await?;
        let echoed = echo(api.get("/echo").send().await?).await;
        assert_eq!(
            (&echoed["subject"], &echoed["generation"]),
            (&json!("bob"), &json!(2))
        );
        // With `send` the request is not sent at all.
        assert_eq!(fixture.refresh_requests(), 1 + u64::from(by_itself));
        assert_eq!(fixture.refreshes(), 1);
    }
    Ok(())
}
