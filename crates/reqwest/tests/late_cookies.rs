//! Cookies when a refresh answers late: sign-in and sign-out win (rule 4).

mod common;

use std::sync::Arc;

use common::{Failure, Heard, Tested, World, echo, login, read, within};
use serde_json::json;
use token_rotator_reqwest::{Client, CookieStore as _, Jar, Response};
use token_rotator_testkit::IssuerEvent;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Alice's refresh, held at the issuer.
struct Held {
    world: World,
    api: Client,
    heard: Heard,
    jar: Arc<Jar>,
    family: u64,
    waiting: JoinHandle<Result<Response, token_rotator_reqwest::Error>>,
}

impl Held {
    async fn new() -> Result<Self, Failure> {
        let world = World::new().await;
        let mut events = world.issuer.events();
        let (heard, jar) = (Heard::new(), Arc::new(Jar::default()));
        let told = heard.clone();
        let api = world
            .reading()
            .cookie_provider(Arc::clone(&jar))
            .on_event(heard.listener())
            .refresh_with(move |call| {
                let told = told.clone();
                async move {
                    let answer = call.send(call.post("/api/auth/refresh")?).await;
                    told.say(format!("answered: {}", answer.is_ok()));
                    answer
                }
            })
            .build()?;
        login(&api, "alice").await;
        let IssuerEvent::SignedIn { family } = events.recv().await? else {
            return Err("nobody signed in".into());
        };
        world.issuer.expire_access_tokens();
        world.issuer.gate().close();
        let waiting = tokio::spawn(api.get("/echo").send());
        within(world.issuer.gate().arrived(1)).await;
        Ok(Self {
            world,
            api,
            heard,
            jar,
            family,
            waiting,
        })
    }

    fn cookies(&self) -> Result<String, Failure> {
        let url = self.world.upstream.url().to_owned() + "/api/auth/refresh";
        let cookies = self.jar.cookies(&url.parse()?).ok_or("no cookie")?;
        Ok(cookies.to_str()?.to_owned())
    }

    /// Bob's token expires, and Bob is refreshed.
    async fn bob_is_refreshed(&self) -> Tested {
        self.world.issuer.expire_access_tokens();
        let answer = within(self.api.get("/echo").send()).await?;
        let echoed = echo(answer).await;
        assert_eq!(
            (&echoed["subject"], &echoed["generation"]),
            (&json!("bob"), &json!(2))
        );
        assert_eq!(self.world.issuer.counters().reuses, 0);
        Ok(())
    }
}

/// Property: the late answer to the last user's refresh neither overwrites nor deletes the cookie of
/// the next one, who is refreshed as themself later.
#[tokio::test]
async fn a_late_answer_leaves_the_next_users_cookie() -> Tested {
    for deletes in [false, true] {
        let held = Held::new().await?;
        login(&held.api, "bob").await;
        if deletes {
            // 401, and `Max-Age=0`.
            held.world.issuer.revoke_family(held.family);
        }
        let bobs = held.cookies()?;
        held.world.issuer.gate().open();
        held.heard
            .wait_for(&format!("answered: {}", !deletes))
            .await;
        assert!(held.cookies()? == bobs, "the cookie has changed");
        held.bob_is_refreshed().await?;
        assert_eq!(within(held.waiting).await??.status(), 401);
    }
    Ok(())
}

/// Property: the same when the answer comes between the next user's login and their sign-in here.
#[tokio::test]
async fn a_late_answer_leaves_a_cookie_that_is_not_the_one_sent() -> Tested {
    for deletes in [false, true] {
        let held = Held::new().await?;
        let credentials = json!({"user": "bob", "password": "any"});
        let request = held.api.post("/login").without_token().json(&credentials);
        let bob: common::Session = read(request.send().await?).await;
        if deletes {
            held.world.issuer.revoke_family(held.family);
        }
        held.world.issuer.gate().open();
        held.heard
            .wait_for(&format!("answered: {}", !deletes))
            .await;
        within(&mut { held.waiting }).await??;
        held.api.set_access_token(bob.access_token)?;
        held.world.issuer.expire_access_tokens();
        let echoed = echo(within(held.api.get("/echo").send()).await?).await;
        assert_eq!(echoed["subject"], "bob");
    }
    Ok(())
}

/// Property: after a sign-out the late cookie is not stored.
#[tokio::test]
async fn a_late_answer_after_a_sign_out_is_not_stored() -> Tested {
    let held = Held::new().await?;
    let before = held.cookies()?;
    held.api.clear();
    held.world.issuer.gate().open();
    held.heard.wait_for("LateTokens").await;
    assert!(held.cookies()? == before, "the cookie has changed");
    assert_eq!(within(held.waiting).await??.status(), 401);
    Ok(())
}

/// Property: another cookie that changes meanwhile does not cost the session its own.
#[tokio::test]
async fn another_cookie_may_change_meanwhile() -> Tested {
    let held = Held::new().await?;
    let url = held.world.upstream.url().parse()?;
    held.jar.add_cookie_str("theme=dark; Path=/", &url);
    held.world.issuer.gate().open();
    assert_eq!(echo(within(held.waiting).await??).await["generation"], 2);
    held.api.refresh_now().await?;
    let counters = held.world.issuer.counters();
    assert_eq!((counters.refreshes, counters.reuses), (2, 0));
    let url = (held.world.upstream.url().to_owned() + "/api/auth/refresh").parse()?;
    let cookies = held.jar.cookies(&url).ok_or("no cookies")?;
    assert!(cookies.to_str()?.contains("theme=dark"));
    Ok(())
}

/// Property: the same for the refresh endpoint itself and the cookies that nobody else keeps.
#[tokio::test]
async fn the_default_client_keeps_them_apart_too() -> Tested {
    let world = World::new().await;
    let heard = Heard::new();
    let api = world.reading().on_event(heard.listener()).build()?;
    login(&api, "alice").await;
    world.issuer.expire_access_tokens();
    // Consumed, and its answer held.
    world.issuer.answer_gate().close();
    let waiting = tokio::spawn(api.get("/echo").send());
    within(world.issuer.answer_gate().arrived(1)).await;
    login(&api, "bob").await;
    world.issuer.answer_gate().open();
    heard.wait_for("LateTokens").await;
    world.issuer.expire_access_tokens();
    let echoed = echo(within(api.get("/echo").send()).await?).await;
    assert_eq!(echoed["subject"], "bob");
    assert_eq!(within(waiting).await??.status(), 401);
    Ok(())
}

/// Property: a refresh that has not been sent when the next user signs in does not spend their
/// cookie, however it would have been sent.
#[tokio::test]
async fn a_refresh_of_the_last_user_does_not_spend_the_next_ones_cookie() -> Tested {
    for by_itself in [false, true] {
        let world = World::new().await;
        let (heard, door) = (Heard::new(), Arc::new(Semaphore::new(0)));
        let (told, held) = (heard.clone(), Arc::clone(&door));
        let api = world
            .reading()
            .refresh_with(move |call| {
                let (told, held) = (told.clone(), Arc::clone(&held));
                async move {
                    told.say("begun");
                    drop(held.acquire().await);
                    let request = call.post("/api/auth/refresh")?;
                    if !by_itself || call.last().is_none() {
                        return call.send(request).await;
                    }
                    let request = request.build();
                    let request = request.map_err(token_rotator_reqwest::source_error)?;
                    let answer = call.execute(request).await;
                    let answer = answer.map_err(token_rotator_reqwest::source_error)?;
                    told.say(format!("status: {}", answer.status().as_u16()));
                    let answer = answer.json().await;
                    answer.map_err(token_rotator_reqwest::source_error)
                }
            })
            .build()?;
        login(&api, "alice").await;
        world.issuer.expire_access_tokens();
        let waiting = tokio::spawn(api.get("/echo").send());
        heard.wait_for("begun").await;
        login(&api, "bob").await;
        door.add_permits(1);
        if by_itself {
            heard.wait_for("status: 401").await;
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
        // By `send` it is not even sent.
        assert_eq!(world.asked(), 1 + u64::from(by_itself));
        assert_eq!(world.refreshes(), 1);
    }
    Ok(())
}
