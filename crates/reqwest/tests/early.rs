//! When a token expires, and the refresh that comes before.

mod common;

use std::time::Duration;

use common::{Hands, Heard, Session, Tested, World, echo, exposed, login};
use serde_json::json;
use token_rotator::Expiry;
use token_rotator::middleware::RotatorExt as _;
use token_rotator_reqwest::{Client, ClientBuilder, Reads};
use token_rotator_testkit::{Fault, Issuer, TokenFormat};

const EARLY: &str = "RefreshStarted { flight: 1, purpose: Early";

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn expiry(api: &Client) -> Option<Expiry> {
    let token = api.rotator().access_token()?;
    Some(token.token_set().expiry())
}

/// Tokens that nobody can read, and an answer that says how long they live.
fn opaque(lifetime: u64) -> token_rotator_testkit::IssuerBuilder {
    Issuer::builder()
        .token_format(TokenFormat::Opaque)
        .access_lifetime(seconds(lifetime))
}

/// Property: the margin given is the one that counts, and the old token is served meanwhile.
#[tokio::test]
async fn the_margin_given_counts() -> Tested {
    for (margin, early) in [(None, false), (Some(seconds(600)), true)] {
        let world = World::new().await;
        let (clock, heard) = (Hands::default(), Heard::new());
        let mut builder: ClientBuilder<Reads<Session>> = world
            .reading()
            .clock(clock.clone())
            .on_event(heard.listener());
        if let Some(margin) = margin {
            builder = builder.refresh_before(margin);
        }
        let api = builder.build()?;
        // Of an hour: its early refresh is due 600 to 720 s before its end, or 60 to 72 s.
        login(&api, "alice").await;
        clock.advance(seconds(2870));
        assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 1);
        assert_eq!(heard.count("RefreshStarted"), 0);
        clock.advance(seconds(140));
        assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 1);
        assert_eq!(heard.count(EARLY), usize::from(early));
        if early {
            heard.wait_for("Refreshed").await;
            assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
        }
    }
    Ok(())
}

/// Property: the lifetime beside the token in the answer is the token's, though the parser only names
/// the token, and starts the next refresh before expiry.
#[tokio::test]
async fn the_lifetime_beside_the_token_counts() -> Tested {
    let world = World::of(opaque(1000)).await;
    let (clock, heard) = (Hands::default(), Heard::new());
    let api = world
        .reading()
        .clock(clock.clone())
        .on_event(heard.listener())
        .build()?;
    login(&api, "alice").await;
    assert_eq!(expiry(&api), Some(Expiry::Unknown));
    api.refresh_now().await?;
    assert_eq!(expiry(&api), Some(Expiry::In(seconds(1000))));
    clock.advance(seconds(920));
    assert_eq!(api.get("/echo").send().await?.status(), 200);
    assert_eq!(heard.count("RefreshStarted"), 1);
    clock.advance(seconds(25));
    assert_eq!(echo(api.get("/echo").send().await?).await["generation"], 2);
    heard
        .wait_for("RefreshStarted { flight: 2, purpose: Early")
        .await;

    for (said, expected) in [
        (json!("900"), Expiry::In(seconds(900))),
        (json!(900.5), Expiry::In(Duration::from_millis(900_500))),
        (json!("soon"), Expiry::Unknown),
        (json!(0), Expiry::Unknown),
    ] {
        let world = World::of(opaque(1000)).await;
        let api = world.signed_in().await;
        world.issuer.faults().push(Fault::WrongExpiry(said.clone()));
        api.refresh_now().await?;
        assert_eq!(expiry(&api), Some(expected), "{said}");
    }
    Ok(())
}

/// Property: a parser that gives a lifetime of its own has the last word.
#[tokio::test]
async fn the_parsers_lifetime_wins() -> Tested {
    let world = World::of(opaque(1000)).await;
    let api = world
        .builder()
        .on_refresh_success_with(|data: &Session| (data.access_token.clone(), seconds(500)))
        .build()?;
    login(&api, "alice").await;
    api.refresh_now().await?;
    assert_eq!(expiry(&api), Some(Expiry::In(seconds(500))));
    Ok(())
}

/// Property: a token whose `exp` has passed by the clock here is served all the same: that may be the
/// clock alone, and the API decides.
#[tokio::test]
async fn a_hint_does_not_take_a_token_away() -> Tested {
    let world = World::new().await;
    let api = world.reading().build()?;
    // {"exp":1300819380} and no `iat`: of the year 2011.
    let past = "e30.eyJleHAiOjEzMDA4MTkzODB9.c2ln";
    api.set_access_token(past)?;
    assert_eq!(exposed(api.access_token()).as_deref(), Some(past));
    assert_eq!(expiry(&api), Some(Expiry::Unknown));
    let echoed = echo(api.get("/open/echo").send().await?).await;
    assert_eq!(
        echoed["headers"]["authorization"],
        json!(["Bearer unknown"])
    );
    assert_eq!(world.asked(), 0);
    Ok(())
}
