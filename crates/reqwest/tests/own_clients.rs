//! Refreshes over a client that was brought: what it may follow, and what it may not send twice.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Heard, Tested, World, answering, echo, login};
use reqwest::Url;
use reqwest::cookie::Jar;
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use serde_json::Value;
use token_rotator::FailureKind;
use token_rotator_reqwest::{Client, CookieStore, Profile, TokenError};
use token_rotator_testkit::{Fault, Upstream};

fn following() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().cookie_store(true)
}

/// A jar of reqwest's as the client that is made takes it.
struct Shared(Arc<Jar>);

impl CookieStore for Shared {
    fn set_cookies(&self, headers: &mut dyn Iterator<Item = &HeaderValue>, url: &Url) {
        reqwest::cookie::CookieStore::set_cookies(&*self.0, headers, url);
    }

    fn cookies(&self, url: &Url) -> Option<HeaderValue> {
        reqwest::cookie::CookieStore::cookies(&*self.0, url)
    }
}

/// The error of a refresh that failed.
fn kind(refreshed: Result<token_rotator_reqwest::Token, TokenError>) -> FailureKind {
    match refreshed {
        Err(TokenError::Refresh(error)) => error.kind(),
        other => panic!("{other:?}"),
    }
}

/// Property: whatever redirects the refresh, the secret in its body goes out once; the refresh fails
/// as one that passes and is not repeated, even where the profile would allow it.
#[tokio::test]
async fn a_refresh_that_is_redirected_spends_nothing_twice() -> Tested {
    for status in [301, 302, 303, 307, 308] {
        let world = World::new().await;
        let foreign = Upstream::start(&world.issuer).await?;
        let to = format!("{}/open/echo", foreign.url());
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let endpoint = answering(move |request| {
            assert!(request.ends_with("refresh_token=secret"), "the whole body");
            assert!(request.contains("content-length: 20\r\n"), "its length");
            counted.fetch_add(1, Ordering::SeqCst);
            format!(
                "HTTP/1.1 {status} There\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        })
        .await;
        let heard = Heard::new();
        let api = world
            .builder_with(following().build()?)
            .on_refresh_success_with(|_data: &Value| "what an echo must not become")
            .refresh_with(move |call| {
                let request = call.post(&endpoint);
                async move {
                    let form = [("refresh_token", "secret")];
                    call.send(request?.form(&form)).await
                }
            })
            .profile(Profile::multi_use())
            .on_event(heard.listener())
            .build()?;
        api.set_access_token("token")?;
        let kind = kind(api.refresh_now().await);
        assert_eq!(kind, FailureKind::Transient, "{status}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{status}");
        // Where it leads gets nothing, or from a client that follows a GET without a body.
        let followed = usize::from(status < 304);
        assert_eq!(foreign.record().len(), followed, "{status}");
        assert_eq!(heard.count("RefreshFailed"), 1, "{status}");
        assert_eq!(heard.count("PresentedAgain"), 0, "{status}");
        assert!(api.access_token().is_some(), "{status}");
    }
    Ok(())
}

/// Property: the POST to the refresh endpoint is not sent to where a 307 leads, though its body is
/// empty.
#[tokio::test]
async fn the_refresh_endpoint_is_not_followed() -> Tested {
    let world = World::new().await;
    let api = world
        .builder_with(following().build()?)
        .bearer_field("accessToken")
        .build()?;
    login(&api, "alice").await;
    let away = Fault::Redirect("/open/echo".to_owned());
    world.issuer.faults().push(away.once());
    assert_eq!(kind(api.refresh_now().await), FailureKind::Transient);
    assert_eq!((world.asked(), world.reached("/open/echo")), (1, 0));
    // It passes.
    api.refresh_now().await?;
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    Ok(())
}

/// Property: a client for refreshes alone has its own policy; with a shared cookie store it serves a
/// cookie session.
#[tokio::test]
async fn refreshes_may_have_a_client_of_their_own() -> Tested {
    let world = World::new().await;
    let jar = Arc::new(Jar::default());
    let refreshes = reqwest::Client::builder()
        .no_proxy()
        .cookie_provider(Arc::clone(&jar))
        .redirect(Policy::none())
        .build()?;
    let requests = following().cookie_provider(jar).build()?;
    let to = format!("{}/open/echo", world.upstream.url());
    let elsewhere = common::redirecting_with(303, to).await;
    let led = Arc::new(AtomicUsize::new(0));
    let api = world
        .builder_with(requests)
        .refresh_client(refreshes)
        .bearer_field("accessToken")
        .refresh_with(move |call| {
            // The first time it is led away.
            let away = led.fetch_add(1, Ordering::SeqCst) == 0;
            let elsewhere = elsewhere.clone();
            async move {
                let url = if away {
                    &*elsewhere
                } else {
                    "/api/auth/refresh"
                };
                call.send(call.post(url)?).await
            }
        })
        .build()?;
    login(&api, "alice").await;
    assert_eq!(kind(api.refresh_now().await), FailureKind::Transient);
    assert_eq!(world.reached("/open/echo"), 0);
    api.refresh_now().await?;
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    Ok(())
}

/// Property: the client that is made takes a refresh client as well.
#[tokio::test]
async fn requests_may_have_the_client_that_is_made() -> Tested {
    let world = World::new().await;
    let jar = Arc::new(Jar::default());
    let refreshes = following().cookie_provider(Arc::clone(&jar)).build()?;
    let api: Client = world
        .reading()
        .cookie_provider(Arc::new(Shared(jar)))
        .refresh_client(refreshes)
        .build()?;
    login(&api, "alice").await;
    world.issuer.expire_access_tokens();
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    assert_eq!(world.asked(), 1);
    Ok(())
}
