//! Tests refreshes through a given client: the redirects that it may follow, and the requests that
//! it must not send twice.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{ClientFixture, EventLog, TestResult, echo, login, start_server};
use reqwest::Url;
use reqwest::cookie::Jar;
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use serde_json::Value;
use token_rotator::FailureKind;
use token_rotator_reqwest::{Client, CookieStore, Profile, TokenError};
use token_rotator_testkit::{Fault, Upstream};

fn client_that_follows_redirects() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().cookie_store(true)
}

/// Cookie jar of reqwest, as the built client takes it.
struct SharedJar(Arc<Jar>);

impl CookieStore for SharedJar {
    fn set_cookies(&self, headers: &mut dyn Iterator<Item = &HeaderValue>, url: &Url) {
        reqwest::cookie::CookieStore::set_cookies(&*self.0, headers, url);
    }

    fn cookies(&self, url: &Url) -> Option<HeaderValue> {
        reqwest::cookie::CookieStore::cookies(&*self.0, url)
    }
}

/// Returns the failure kind of a failed refresh.
fn kind(refreshed: Result<token_rotator_reqwest::Token, TokenError>) -> FailureKind {
    match refreshed {
        Err(TokenError::Refresh(error)) => error.kind(),
        outcome => panic!("{outcome:?}"),
    }
}

/// Property: whatever redirects the refresh, the secret in its body is sent once. The failure is
/// transient and the request is not repeated, even if the profile would allow it.
#[tokio::test]
async fn a_redirected_refresh_sends_its_secret_once() -> TestResult {
    for status in [301, 302, 303, 307, 308] {
        let fixture = ClientFixture::new().await;
        let foreign = Upstream::start(&fixture.issuer).await?;
        let to = format!("{}/open/echo", foreign.url());
        let refresh_requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&refresh_requests);
        let endpoint = start_server(move |request| {
            assert!(request.ends_with("refresh_token=secret"), "the whole body");
            assert!(request.contains("content-length: 20\r\n"), "its length");
            counted.fetch_add(1, Ordering::SeqCst);
            format!(
                "HTTP/1.1 {status} There\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        })
        .await;
        let log = EventLog::new();
        let api = fixture
            .builder_with(client_that_follows_redirects().build()?)
            .on_refresh_success_with(|_data: &Value| "what an echo must not become")
            .refresh_with(move |call| {
                let request = call.post(&endpoint);
                async move {
                    let form = [("refresh_token", "secret")];
                    call.send(request?.form(&form)).await
                }
            })
            .profile(Profile::multi_use())
            .on_event(log.listener())
            .build()?;
        api.set_access_token("token")?;
        let kind = kind(api.refresh_now().await);
        assert_eq!(kind, FailureKind::Transient, "{status}");
        assert_eq!(refresh_requests.load(Ordering::SeqCst), 1, "{status}");
        // The redirect target gets nothing, or a GET without a body from a client that follows
        // redirects.
        let followed = usize::from(status < 304);
        assert_eq!(foreign.record().len(), followed, "{status}");
        assert_eq!(log.count("RefreshFailed"), 1, "{status}");
        assert_eq!(log.count("PresentedAgain"), 0, "{status}");
        assert!(api.access_token().is_some(), "{status}");
    }
    Ok(())
}

/// Property: the POST to the refresh endpoint does not follow a 307, although its body is empty.
#[tokio::test]
async fn a_redirect_of_the_refresh_endpoint_is_not_followed() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture
        .builder_with(client_that_follows_redirects().build()?)
        .bearer_field("accessToken")
        .build()?;
    login(&api, "alice").await;
    let redirect = Fault::Redirect("/open/echo".to_owned());
    fixture.issuer.faults().push(redirect.once());
    assert_eq!(kind(api.refresh_now().await), FailureKind::Transient);
    assert_eq!(
        (
            fixture.refresh_requests(),
            fixture.request_count("/open/echo")
        ),
        (1, 0)
    );
    // The failure is transient.
    api.refresh_now().await?;
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    Ok(())
}

/// Property: a client for refreshes alone has its own redirect policy. With a shared cookie store
/// it serves a cookie session.
#[tokio::test]
async fn refreshes_may_use_a_separate_client() -> TestResult {
    let fixture = ClientFixture::new().await;
    let jar = Arc::new(Jar::default());
    let refreshes = reqwest::Client::builder()
        .no_proxy()
        .cookie_provider(Arc::clone(&jar))
        .redirect(Policy::none())
        .build()?;
    let requests = client_that_follows_redirects()
        .cookie_provider(jar)
        .build()?;
    let to = format!("{}/open/echo", fixture.upstream.url());
    let redirecting_server = common::start_redirecting_server_with(303, to).await;
    let redirect_count = Arc::new(AtomicUsize::new(0));
    let api = fixture
        .builder_with(requests)
        .refresh_client(refreshes)
        .bearer_field("accessToken")
        .refresh_with(move |call| {
            // Only the first refresh is redirected.
            let is_redirected = redirect_count.fetch_add(1, Ordering::SeqCst) == 0;
            let redirecting_server = redirecting_server.clone();
            async move {
                let url = if is_redirected {
                    &*redirecting_server
                } else {
                    "/api/auth/refresh"
                };
                call.send(call.post(url)?).await
            }
        })
        .build()?;
    login(&api, "alice").await;
    assert_eq!(kind(api.refresh_now().await), FailureKind::Transient);
    assert_eq!(fixture.request_count("/open/echo"), 0);
    api.refresh_now().await?;
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    Ok(())
}

/// Property: the client that the builder makes works with a given refresh client.
#[tokio::test]
async fn requests_may_use_the_client_of_the_builder() -> TestResult {
    let fixture = ClientFixture::new().await;
    let jar = Arc::new(Jar::default());
    let refreshes = client_that_follows_redirects()
        .cookie_provider(Arc::clone(&jar))
        .build()?;
    let api: Client = fixture
        .builder_with_parser()
        .cookie_provider(Arc::new(SharedJar(jar)))
        .refresh_client(refreshes)
        .build()?;
    login(&api, "alice").await;
    fixture.issuer.expire_access_tokens();
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    assert_eq!(fixture.refresh_requests(), 1);
    Ok(())
}
