//! Access tokens: claims, expiry, revocation and introspection.

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::{TestResult, claims, get, post, refresh, start_servers};
use token_rotator_testkit::{Issuer, StartError, TokenFormat};

#[tokio::test]
async fn claims_and_expiry_follow_the_skewed_clock() -> TestResult {
    let (issuer, upstream) = start_servers(
        Issuer::builder()
            .access_lifetime(Duration::from_secs(90))
            .clock_skew(-600_000),
    )
    .await;
    let grant = issuer.sign_in("alice");
    let token_claims = claims(&grant.access_token);
    let system_seconds = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let issued_at = token_claims["iat"].as_i64().ok_or("no iat")?;
    assert!(
        (system_seconds - 602..=system_seconds - 598).contains(&issued_at),
        "issued {} s ago",
        system_seconds - issued_at
    );
    assert_eq!(token_claims["exp"].as_i64(), Some(issued_at + 90));
    assert_eq!(
        (&token_claims["iss"], &token_claims["sub"]),
        (&Value::from(issuer.url()), &Value::from("alice"))
    );
    assert_eq!(
        (&token_claims["gen"], &token_claims["family"]),
        (&Value::from(1), &Value::from(grant.family))
    );

    // The token lives 90 seconds by the issuer's clock, whatever the skew.
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
async fn a_forged_token_is_refused() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    let other = Issuer::builder().start().await?;
    let grant = issuer.sign_in("alice");
    let (signing_input, _) = grant.access_token.rsplit_once('.').ok_or("no signature")?;
    let foreign_token = other.sign_in("alice").access_token;
    let (_, signature) = foreign_token.rsplit_once('.').ok_or("no signature")?;
    for forged in [
        format!("{signing_input}.{signature}"),
        format!("{signing_input}."),
        signing_input.to_owned(),
    ] {
        assert_eq!(issuer.generation_of(&forged), None);
        assert_eq!(get(&upstream, "/echo", &forged).await?.status, 401);
    }
    Ok(())
}

#[tokio::test]
async fn revoking_a_refresh_token_ends_the_family_and_revoking_an_access_token_does_not()
-> TestResult {
    let issuer = Issuer::builder().start().await?;
    let grant = issuer.sign_in("alice");
    let revoke = |token: String| {
        let url = issuer.revoke_url().to_owned();
        async move {
            post(&url, &[("token", &token), ("client_id", "demo")])
                .await
                .map(|response| response.status)
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
        "revoking an access token or an unknown token ends no family"
    );
    Ok(())
}

#[tokio::test]
async fn introspection_reports_valid_tokens_as_active() -> TestResult {
    let issuer = Issuer::builder()
        .token_format(TokenFormat::Opaque)
        .start()
        .await?;
    let grant = issuer.sign_in("alice");
    let introspect = |token: &str| {
        let (url, token) = (issuer.introspect_url().to_owned(), token.to_owned());
        async move {
            post(&url, &[("token", &token), ("client_id", "demo")])
                .await
                .map(|response| response.json())
        }
    };
    let described = introspect(&grant.access_token).await?;
    assert_eq!(
        (&described["active"], &described["sub"]),
        (&Value::from(true), &Value::from("alice"))
    );
    assert_eq!(introspect(&grant.refresh_token).await?["active"], true);
    issuer.expire_access_tokens();
    assert_eq!(
        introspect(&grant.access_token).await?,
        serde_json::json!({"active": false})
    );
    assert_eq!(introspect(&grant.refresh_token).await?["active"], true);
    refresh(&issuer, &grant.refresh_token).await?;
    assert_eq!(introspect(&grant.refresh_token).await?["active"], false);
    Ok(())
}

#[tokio::test]
async fn the_prefix_is_in_every_secret_and_in_no_debug_output() -> TestResult {
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
