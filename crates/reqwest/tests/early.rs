//! Tests when a token expires, and the early refresh before that.

mod common;

use std::time::Duration;

use common::{
    ClientFixture, EventLog, ManualClock, SessionAnswer, TestResult, echo, exposed_text, login,
};
use serde_json::json;
use token_rotator::Expiry;
use token_rotator::middleware::RotatorExt as _;
use token_rotator_reqwest::{Client, ClientBuilder, WithParser};
use token_rotator_testkit::{Fault, Issuer, TokenFormat};

const EARLY: &str = "RefreshStarted { flight: 1, purpose: Early";

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn expiry(api: &Client) -> Option<Expiry> {
    let token = api.rotator().access_token()?;
    Some(token.token_set().expiry())
}

/// An issuer of opaque tokens whose answer states their lifetime.
fn opaque(lifetime: u64) -> token_rotator_testkit::IssuerBuilder {
    Issuer::builder()
        .token_format(TokenFormat::Opaque)
        .access_lifetime(seconds(lifetime))
}

/// Property: the configured margin counts, and the old token is served during the refresh.
#[tokio::test]
async fn the_configured_margin_counts() -> TestResult {
    for (margin, early) in [(None, false), (Some(seconds(600)), true)] {
        let fixture = ClientFixture::new().await;
        let (clock, log) = (ManualClock::default(), EventLog::new());
        let mut builder: ClientBuilder<WithParser<SessionAnswer>> = fixture
            .builder_with_parser()
            .clock(clock.clone())
            .on_event(log.listener());
        if let Some(margin) = margin {
            builder = builder.refresh_before(margin);
        }
        let api = builder.build()?;
        // The token lives one hour: its early refresh is due 600 to 720 s before its end, or 60 to
        // 72 s.
        login(&api, "alice").await;
        clock.advance(seconds(2870));
        assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 1);
        assert_eq!(log.count("RefreshStarted"), 0);
        clock.advance(seconds(140));
        assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 1);
        assert_eq!(log.count(EARLY), usize::from(early));
        if early {
            log.wait_for("Refreshed").await;
            assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
        }
    }
    Ok(())
}

/// Property: the lifetime beside the token in the answer is the token's lifetime, although the
/// parser returns only the token. It starts the next refresh before expiry.
#[tokio::test]
async fn the_lifetime_beside_the_token_counts() -> TestResult {
    let fixture = ClientFixture::of(opaque(1000)).await;
    let (clock, log) = (ManualClock::default(), EventLog::new());
    let api = fixture
        .builder_with_parser()
        .clock(clock.clone())
        .on_event(log.listener())
        .build()?;
    login(&api, "alice").await;
    assert_eq!(expiry(&api), Some(Expiry::Unknown));
    api.refresh_now().await?;
    assert_eq!(expiry(&api), Some(Expiry::In(seconds(1000))));
    clock.advance(seconds(920));
    assert_eq!(api.get("/echo").send().await?.status(), 200);
    assert_eq!(log.count("RefreshStarted"), 1);
    clock.advance(seconds(25));
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    log.wait_for("RefreshStarted { flight: 2, purpose: Early")
        .await;

    for (lifetime, expected) in [
        (json!("900"), Expiry::In(seconds(900))),
        (json!(900.5), Expiry::In(Duration::from_millis(900_500))),
        (json!("soon"), Expiry::Unknown),
        (json!(0), Expiry::Unknown),
    ] {
        let fixture = ClientFixture::of(opaque(1000)).await;
        let api = fixture.signed_in().await;
        fixture
            .issuer
            .faults()
            .push(Fault::WrongExpiry(lifetime.clone()));
        api.refresh_now().await?;
        assert_eq!(expiry(&api), Some(expected), "{lifetime}");
    }
    Ok(())
}

/// Property: a lifetime from the parser wins over the answer's.
#[tokio::test]
async fn the_parsers_lifetime_wins() -> TestResult {
    let fixture = ClientFixture::of(opaque(1000)).await;
    let api = fixture
        .builder()
        .on_refresh_success_with(|data: &SessionAnswer| (data.access_token.clone(), seconds(500)))
        .build()?;
    login(&api, "alice").await;
    api.refresh_now().await?;
    assert_eq!(expiry(&api), Some(Expiry::In(seconds(500))));
    Ok(())
}

/// Property: a token whose `exp` has passed by the local clock is still served: the clock may be
/// wrong, and the API decides.
#[tokio::test]
async fn an_expired_exp_does_not_remove_the_token() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.builder_with_parser().build()?;
    // The payload is {"exp":1300819380}, of the year 2011, without `iat`.
    let past = "e30.eyJleHAiOjEzMDA4MTkzODB9.c2ln";
    api.set_access_token(past)?;
    assert_eq!(exposed_text(api.access_token()).as_deref(), Some(past));
    assert_eq!(expiry(&api), Some(Expiry::Unknown));
    let echoed = echo(api.get("/open/echo").send().await?).await;
    assert_eq!(
        echoed["headers"]["authorization"],
        json!(["Bearer unknown"])
    );
    assert_eq!(fixture.refresh_requests(), 0);
    Ok(())
}

/// Row 0 of the Rust cases. A token that is set as expired is refreshed before it is sent: 50 requests, one refresh, and
/// none of them carries the dead token.
#[tokio::test]
async fn a_token_that_is_set_as_expired_is_refreshed_first() -> TestResult {
    let fixture = ClientFixture::of(opaque(1000)).await;
    let api = fixture.signed_in().await;
    let dead = token_rotator_reqwest::AccessToken::new("dead").expires_in(Duration::ZERO);
    api.set_access_token(dead)?;
    let requests = (0..50).map(|_| api.get("/echo").send());
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer?.status(), 200);
    }
    assert_eq!(fixture.refresh_requests(), 1);
    assert_eq!(fixture.upstream.counters().refused, 0);
    Ok(())
}
