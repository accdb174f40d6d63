//! Login, refresh and logout with an httpOnly cookie, at the issuer and at the upstream.

mod support;

use serde_json::{Value, json};
use support::{Answered, Tested, get, started};
use token_rotator_testkit::{Fault, Issuer, RefreshPolicy};

fn browser() -> reqwest::Client {
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
) -> Result<Answered, reqwest::Error> {
    let body = json!({"user": "alice", "password": password});
    Answered::from(
        client
            .post(format!("{origin}/login"))
            .json(&body)
            .send()
            .await?,
    )
    .await
}

async fn renew(client: &reqwest::Client, origin: &str) -> Result<Answered, reqwest::Error> {
    Answered::from(
        client
            .post(format!("{origin}/api/auth/refresh"))
            .send()
            .await?,
    )
    .await
}

#[tokio::test]
async fn the_cookie_rotates_and_its_session_lives_on_either_origin() -> Tested {
    let (issuer, upstream) = started(Issuer::builder()).await;
    for origin in [issuer.url(), upstream.url()] {
        let client = browser();
        let signed_in = login(&client, origin, "any").await?;
        assert_eq!(signed_in.status, 200);
        assert_eq!(signed_in.header("cache-control"), "no-store");
        let cookie = signed_in.header("set-cookie");
        assert!(
            cookie.starts_with("refresh_token=") && cookie.contains("HttpOnly"),
            "no cookie for the session"
        );
        assert!(
            cookie.contains("Path=/api/auth;"),
            "the cookie reaches too far"
        );
        assert_eq!(signed_in.json()["expiresIn"], 3600);

        for generation in 2..4 {
            let renewed = renew(&client, origin).await?;
            assert_eq!(renewed.status, 200);
            assert!(!renewed.string("wsToken").is_empty());
            let access = renewed.string("accessToken");
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
        "forwarded routes are not the upstream's own"
    );
    Ok(())
}

#[tokio::test]
async fn without_a_cookie_or_with_a_dead_one_the_answer_is_401() -> Tested {
    let issuer = Issuer::builder().start().await?;
    let none = renew(&browser(), issuer.url()).await?;
    assert_eq!(
        (none.status, none.string("error").as_str()),
        (401, "invalid_grant")
    );

    let client = browser();
    let access = login(&client, issuer.url(), "any")
        .await?
        .string("accessToken");
    assert!(issuer.accepts(&access));
    let out = client
        .post(issuer.logout_url())
        .bearer_auth(&access)
        .send()
        .await?;
    assert_eq!(out.status().as_u16(), 204);
    assert!(!issuer.accepts(&access));
    let dead = renew(&client, issuer.url()).await?;
    assert_eq!(dead.status, 401);
    assert!(dead.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(
        (issuer.counters().logouts, issuer.counters().reuses),
        (1, 0)
    );
    let counters = issuer.counters();
    assert_eq!((counters.ended_by_client, counters.revocations), (1, 0));
    Ok(())
}

#[tokio::test]
async fn reuse_of_a_cookie_revokes_the_family() -> Tested {
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
async fn a_wrong_password_or_a_body_that_is_none_signs_nobody_in() -> Tested {
    let issuer = Issuer::builder().start().await?;
    let client = browser();
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
async fn the_cookie_stays_where_tokens_are_used_many_times() -> Tested {
    let issuer = Issuer::builder()
        .refresh_policy(RefreshPolicy::MultiUse)
        .start()
        .await?;
    let client = browser();
    login(&client, issuer.url(), "any").await?;
    for _ in 0..2 {
        let renewed = renew(&client, issuer.url()).await?;
        assert_eq!((renewed.status, renewed.header("set-cookie")), (200, ""));
    }
    Ok(())
}

#[tokio::test]
async fn faults_and_silence_about_the_lifetime_hold_here_too() -> Tested {
    let issuer = Issuer::builder().announce_lifetime(false).start().await?;
    let client = browser();
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
        renew(&client, issuer.url()).await?.string("expiresIn"),
        "soon"
    );
    let limited = renew(&client, issuer.url()).await?;
    assert_eq!((limited.status, limited.header("retry-after")), (429, "3"));
    assert_eq!(
        renew(&client, issuer.url()).await?.json().get("expiresIn"),
        None
    );
    Ok(())
}
