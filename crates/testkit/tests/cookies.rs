//! Login, refresh and logout with an httpOnly cookie, at the issuer and at the upstream.

mod support;

use serde_json::{Value, json};
use support::{ReceivedResponse, TestResult, get, start_servers};
use token_rotator_testkit::{Fault, Issuer, RefreshPolicy};

fn cookie_client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .cookie_store(true)
        .build()
        .expect("a client")
}

async fn login(
    client: &reqwest::Client,
    origin: &str,
    password: &str,
) -> Result<ReceivedResponse, reqwest::Error> {
    let body = json!({"user": "alice", "password": password});
    ReceivedResponse::from(
        client
            .post(format!("{origin}/login"))
            .json(&body)
            .send()
            .await?,
    )
    .await
}

async fn refresh_by_cookie(
    client: &reqwest::Client,
    origin: &str,
) -> Result<ReceivedResponse, reqwest::Error> {
    ReceivedResponse::from(
        client
            .post(format!("{origin}/api/auth/refresh"))
            .send()
            .await?,
    )
    .await
}

#[tokio::test]
async fn the_cookie_rotates_at_issuer_and_upstream() -> TestResult {
    let (issuer, upstream) = start_servers(Issuer::builder()).await;
    for origin in [issuer.url(), upstream.url()] {
        let client = cookie_client();
        let signed_in = login(&client, origin, "any").await?;
        assert_eq!(signed_in.status, 200);
        assert_eq!(signed_in.header("cache-control"), "no-store");
        let cookie = signed_in.header("set-cookie");
        assert!(
            cookie.starts_with("refresh_token=") && cookie.contains("HttpOnly"),
            "the response sets no httpOnly cookie"
        );
        assert!(
            cookie.contains("Path=/api/auth;"),
            "the cookie's path is not /api/auth"
        );
        assert_eq!(signed_in.json()["expiresIn"], 3600);

        for generation in 2..4 {
            let refreshed = refresh_by_cookie(&client, origin).await?;
            assert_eq!(refreshed.status, 200);
            assert!(!refreshed.string("wsToken").is_empty());
            let access = refreshed.string("accessToken");
            assert_eq!(issuer.generation_of(&access), Some(generation));
            assert_eq!(
                get(&upstream, "/echo", &access).await?.json()["subject"],
                "alice"
            );
        }
    }
    let counters = issuer.counters();
    assert_eq!(
        (
            counters.logins,
            counters.refreshes,
            counters.token_requests,
            counters.reuses
        ),
        (2, 4, 4, 0)
    );
    assert_eq!(
        upstream.counters().served,
        4,
        "the upstream does not count the issuer's endpoints"
    );
    Ok(())
}

#[tokio::test]
async fn a_missing_or_revoked_cookie_gets_401() -> TestResult {
    let issuer = Issuer::builder().start().await?;
    let without_cookie = refresh_by_cookie(&cookie_client(), issuer.url()).await?;
    assert_eq!(
        (
            without_cookie.status,
            without_cookie.string("error").as_str()
        ),
        (401, "invalid_grant")
    );

    let client = cookie_client();
    let access = login(&client, issuer.url(), "any")
        .await?
        .string("accessToken");
    assert!(issuer.accepts(&access));
    let logged_out = client
        .post(issuer.logout_url())
        .bearer_auth(&access)
        .send()
        .await?;
    assert_eq!(logged_out.status().as_u16(), 204);
    assert!(!issuer.accepts(&access));
    let after_logout = refresh_by_cookie(&client, issuer.url()).await?;
    assert_eq!(after_logout.status, 401);
    assert!(after_logout.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(
        (issuer.counters().logouts, issuer.counters().reuses),
        (1, 0)
    );
    let counters = issuer.counters();
    assert_eq!((counters.ended_by_client, counters.revocations), (1, 0));
    Ok(())
}

#[tokio::test]
async fn reuse_of_a_cookie_revokes_the_family() -> TestResult {
    let issuer = Issuer::builder().start().await?;
    let grant = issuer.sign_in("alice");
    let present = || {
        let cookie = format!("theme=dark; refresh_token={}", grant.refresh_token);
        support::client()
            .post(issuer.cookie_refresh_url())
            .header("cookie", cookie)
            .send()
    };
    assert_eq!(present().await?.status().as_u16(), 200);
    assert_eq!(present().await?.status().as_u16(), 401);
    assert!(!issuer.session_alive(&grant));
    assert_eq!(issuer.counters().reuses, 1);
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_or_an_invalid_body_does_not_sign_in() -> TestResult {
    let issuer = Issuer::builder().start().await?;
    let client = cookie_client();
    assert_eq!(login(&client, issuer.url(), "wrong").await?.status, 401);
    assert_eq!(
        client
            .post(issuer.login_url())
            .body("{")
            .send()
            .await?
            .status()
            .as_u16(),
        400
    );
    assert_eq!(
        client
            .get(issuer.login_url())
            .send()
            .await?
            .status()
            .as_u16(),
        405
    );
    assert_eq!(issuer.counters().logins, 0);
    Ok(())
}

#[tokio::test]
async fn a_multi_use_refresh_sets_no_new_cookie() -> TestResult {
    let issuer = Issuer::builder()
        .refresh_policy(RefreshPolicy::MultiUse)
        .start()
        .await?;
    let client = cookie_client();
    login(&client, issuer.url(), "any").await?;
    for _ in 0..2 {
        let refreshed = refresh_by_cookie(&client, issuer.url()).await?;
        assert_eq!(
            (refreshed.status, refreshed.header("set-cookie")),
            (200, "")
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_cookie_endpoint_draws_faults_and_omits_the_lifetime_if_configured() -> TestResult {
    let issuer = Issuer::builder().announce_lifetime(false).start().await?;
    let client = cookie_client();
    let signed_in = login(&client, issuer.url(), "any").await?;
    assert_eq!(signed_in.json().get("expiresIn"), None);
    issuer
        .faults()
        .push(Fault::WrongExpiry(Value::from("soon")));
    issuer.faults().push(Fault::Status {
        status: 429,
        retry_after: Some("3".to_owned()),
    });
    assert_eq!(
        refresh_by_cookie(&client, issuer.url())
            .await?
            .string("expiresIn"),
        "soon"
    );
    let limited = refresh_by_cookie(&client, issuer.url()).await?;
    assert_eq!((limited.status, limited.header("retry-after")), (429, "3"));
    assert_eq!(
        refresh_by_cookie(&client, issuer.url())
            .await?
            .json()
            .get("expiresIn"),
        None
    );
    Ok(())
}
