//! Access tokens: what they say, when they are good, revocation and introspection.

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::{Tested, claims, get, post, refresh, started};
use token_rotator_testkit::{Issuer, StartError, TokenFormat};

#[tokio::test]
async fn tokens_carry_what_they_say_and_the_clock_skews() -> Tested {
    let (issuer, upstream) = started(
        Issuer::builder()
            .access_lifetime(Duration::from_secs(90))
            .clock_skew(-600_000),
    )
    .await;
    let grant = issuer.sign_in("alice");
    let said = claims(&grant.access_token);
    let ours = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let issued_at = said["iat"].as_i64().ok_or("no iat")?;
    assert!(
        (ours - 602..=ours - 598).contains(&issued_at),
        "issued {} s ago",
        ours - issued_at
    );
    assert_eq!(said["exp"].as_i64(), Some(issued_at + 90));
    assert_eq!(
        (&said["iss"], &said["sub"]),
        (&Value::from(issuer.url()), &Value::from("alice"))
    );
    assert_eq!(
        (&said["gen"], &said["family"]),
        (&Value::from(1), &Value::from(grant.family))
    );

    // It lives its 90 seconds by the issuer's clock, however wrong that is.
    issuer.advance_clock(Duration::from_secs(85));
    assert_eq!(
        get(&upstream, "/echo", &grant.access_token).await?.status,
        200
    );
    issuer.advance_clock(Duration::from_secs(5));
    assert_eq!(
        get(&upstream, "/echo", &grant.access_token).await?.status,
        401
    );
    assert!(issuer.session_alive(&grant));
    Ok(())
}

#[tokio::test]
async fn a_forged_token_is_nobody_s() -> Tested {
    let (issuer, upstream) = started(Issuer::builder()).await;
    let other = Issuer::builder().start().await?;
    let grant = issuer.sign_in("alice");
    let (signed, _) = grant.access_token.rsplit_once('.').ok_or("no signature")?;
    let others = other.sign_in("alice").access_token;
    let (_, signature) = others.rsplit_once('.').ok_or("no signature")?;
    for forged in [
        format!("{signed}.{signature}"),
        format!("{signed}."),
        signed.to_owned(),
    ] {
        assert_eq!(issuer.generation_of(&forged), None);
        assert_eq!(get(&upstream, "/echo", &forged).await?.status, 401);
    }
    Ok(())
}

#[tokio::test]
async fn revocation_follows_the_kind_of_token() -> Tested {
    let issuer = Issuer::builder().start().await?;
    let grant = issuer.sign_in("alice");
    let revoke = |token: String| {
        let url = issuer.revoke_url().to_owned();
        async move {
            post(&url, &[("token", &token), ("client_id", "demo")])
                .await
                .map(|answer| answer.status)
        }
    };
    assert_eq!(revoke(grant.access_token.clone()).await?, 200);
    assert!(!issuer.accepts(&grant.access_token));
    assert!(issuer.session_alive(&grant));
    let newer = refresh(&issuer, &grant.refresh_token).await?;
    assert!(issuer.accepts(&newer.string("access_token")));
    assert_eq!(revoke(newer.string("refresh_token")).await?, 200);
    assert!(!issuer.accepts(&newer.string("access_token")));
    assert!(!issuer.session_alive(&grant));
    assert_eq!(revoke("unknown".to_owned()).await?, 200);
    assert_eq!(
        post(issuer.revoke_url(), &[("token", "x")]).await?.status,
        401
    );
    let counters = issuer.counters();
    assert_eq!(
        (counters.revoke_calls, counters.revocations, counters.reuses),
        (4, 0, 0)
    );
    assert_eq!(
        counters.ended_by_client, 1,
        "an access token ends no family, a token nobody knows neither"
    );
    Ok(())
}

#[tokio::test]
async fn introspection_tells_the_living_from_the_dead() -> Tested {
    let issuer = Issuer::builder()
        .token_format(TokenFormat::Opaque)
        .start()
        .await?;
    let grant = issuer.sign_in("alice");
    let active = |token: &str| {
        let (url, token) = (issuer.introspect_url().to_owned(), token.to_owned());
        async move {
            post(&url, &[("token", &token), ("client_id", "demo")])
                .await
                .map(|answer| answer.json())
        }
    };
    let described = active(&grant.access_token).await?;
    assert_eq!(
        (&described["active"], &described["sub"]),
        (&Value::from(true), &Value::from("alice"))
    );
    assert_eq!(active(&grant.refresh_token).await?["active"], true);
    issuer.expire_access_tokens();
    assert_eq!(
        active(&grant.access_token).await?,
        serde_json::json!({"active": false})
    );
    assert_eq!(active(&grant.refresh_token).await?["active"], true);
    refresh(&issuer, &grant.refresh_token).await?;
    assert_eq!(active(&grant.refresh_token).await?["active"], false);
    Ok(())
}

#[tokio::test]
async fn the_canary_is_in_every_secret_and_in_no_debug() -> Tested {
    let issuer = Issuer::builder().secret_prefix("CANARY-").start().await?;
    let grant = issuer.sign_in("alice");
    assert!(grant.refresh_token.starts_with("CANARY-"));
    assert!(
        claims(&grant.access_token)["jti"]
            .as_str()
            .is_some_and(|jti| jti.starts_with("CANARY-"))
    );
    let opaque = Issuer::builder()
        .secret_prefix("CANARY-")
        .token_format(TokenFormat::Opaque)
        .start()
        .await?;
    assert!(opaque.sign_in("alice").access_token.starts_with("CANARY-"));
    assert!(!format!("{grant:?}{issuer:?}").contains("CANARY"));
    let refused = Issuer::builder().secret_prefix("a;b").start().await;
    assert!(matches!(refused, Err(StartError::SecretPrefix)));
    Ok(())
}
