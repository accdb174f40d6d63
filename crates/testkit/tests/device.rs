//! Device codes, the page where they are entered, and the questions about them.

mod support;

use std::time::Duration;

use support::{Answered, Tested, claims, client, post, refresh};
use token_rotator_testkit::{Issuer, IssuerBuilder};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn builder() -> IssuerBuilder {
    Issuer::builder()
        .client("demo", None)
        .client("tv", Some("s3cret"))
        .device_codes(Duration::from_secs(60), Duration::from_secs(2))
}

async fn given(issuer: &Issuer) -> Result<Answered, reqwest::Error> {
    let form = [("client_id", "demo"), ("scope", "openid read")];
    post(issuer.device_authorization_url(), &form).await
}

async fn poll(issuer: &Issuer, device_code: &str) -> Result<Answered, reqwest::Error> {
    let form = [
        ("grant_type", GRANT),
        ("device_code", device_code),
        ("client_id", "demo"),
    ];
    post(issuer.token_url(), &form).await
}

/// The error of a question asked so many seconds after the one before.
async fn error_after(issuer: &Issuer, seconds: u64, code: &str) -> Result<String, reqwest::Error> {
    issuer.advance_clock(Duration::from_secs(seconds));
    let answer = poll(issuer, code).await?;
    assert_eq!(answer.status, 400, "{}", answer.text);
    Ok(answer.string("error"))
}

#[tokio::test]
async fn a_code_waits_until_somebody_has_entered_it() -> Tested {
    let issuer = builder().start().await?;
    let given = given(&issuer).await?;
    assert_eq!(given.status, 200, "{}", given.text);
    assert_eq!(given.header("cache-control"), "no-store");
    let (device, user) = (given.string("device_code"), given.string("user_code"));
    assert_eq!(given.string("verification_uri"), issuer.device_url());
    let complete = format!("{}?user_code={user}", issuer.device_url());
    assert_eq!(given.string("verification_uri_complete"), complete);
    assert_eq!(
        (&given.json()["expires_in"], &given.json()["interval"]),
        (&60.into(), &2.into())
    );

    assert_eq!(
        error_after(&issuer, 0, &device).await?,
        "authorization_pending"
    );
    // Typed by hand.
    let typed = user.to_lowercase().replace('-', " ");
    assert!(issuer.approve_device(&typed, "bob"));
    assert!(!issuer.approve_device(&user, "mallory"), "once");
    issuer.advance_clock(Duration::from_secs(2));
    let tokens = poll(&issuer, &device).await?;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    assert_eq!(tokens.string("scope"), "openid read");
    assert_eq!(claims(&tokens.string("id_token"))["sub"], "bob");
    let next = refresh(&issuer, &tokens.string("refresh_token")).await?;
    assert!(issuer.accepts(&next.string("access_token")));
    assert_eq!(error_after(&issuer, 2, &device).await?, "invalid_grant");
    let counters = issuer.counters();
    assert_eq!(
        (
            counters.device_codes,
            counters.device_polls,
            counters.logins
        ),
        (1, 3, 1)
    );
    Ok(())
}

#[tokio::test]
async fn whoever_asks_too_soon_waits_five_seconds_more_for_good() -> Tested {
    let codes = (Duration::from_secs(3600), Duration::from_secs(100));
    let issuer = builder().device_codes(codes.0, codes.1).start().await?;
    let device = given(&issuer).await?.string("device_code");
    let errors = [
        (0, "authorization_pending"),
        (100, "authorization_pending"),
        (50, "slow_down"),
        // 105 seconds from here on.
        (102, "slow_down"),
        // And 110.
        (112, "authorization_pending"),
        (112, "authorization_pending"),
    ];
    for (seconds, error) in errors {
        assert_eq!(error_after(&issuer, seconds, &device).await?, error);
    }
    Ok(())
}

#[tokio::test]
async fn a_code_expires_or_is_denied() -> Tested {
    let issuer = builder().start().await?;
    let denied = given(&issuer).await?;
    assert!(issuer.deny_device(&denied.string("user_code")));
    assert_eq!(
        error_after(&issuer, 0, &denied.string("device_code")).await?,
        "access_denied"
    );

    let expired = given(&issuer).await?;
    let error = error_after(&issuer, 60, &expired.string("device_code")).await?;
    assert_eq!(error, "expired_token");
    assert!(!issuer.approve_device(&expired.string("user_code"), "alice"));
    Ok(())
}

#[tokio::test]
async fn a_code_is_its_clients_own() -> Tested {
    let issuer = builder().start().await?;
    let form = [("client_id", "tv"), ("client_secret", "s3cret")];
    let given = post(issuer.device_authorization_url(), &form).await?;
    assert!(issuer.approve_device(&given.string("user_code"), "alice"));
    let error = error_after(&issuer, 0, &given.string("device_code")).await?;
    assert_eq!(error, "invalid_grant");
    assert_eq!(error_after(&issuer, 0, "another").await?, "invalid_grant");
    for form in [&[("client_id", "tv")][..], &[("client_id", "nobody")], &[]] {
        let refused = post(issuer.device_authorization_url(), form).await?;
        assert_eq!(
            (refused.status, refused.string("error").as_str()),
            (401, "invalid_client")
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_person_enters_the_code_on_a_page_of_text() -> Tested {
    let issuer = builder().start().await?;
    let page = Answered::from(client().get(issuer.device_url()).send().await?).await?;
    assert_eq!(page.status, 200);
    assert!(
        page.text.contains("/device?user_code=CODE"),
        "{}",
        page.text
    );

    let by_link = given(&issuer).await?;
    let link = by_link.string("verification_uri_complete");
    let page = Answered::from(client().get(&link).send().await?).await?;
    assert_eq!(
        (page.status, page.text.as_str()),
        (200, "Signed in as alice. The device goes on by itself.\n")
    );
    let tokens = poll(&issuer, &by_link.string("device_code")).await?;
    assert_eq!(claims(&tokens.string("access_token"))["sub"], "alice");
    let page = Answered::from(client().get(&link).send().await?).await?;
    assert_eq!(page.status, 404, "{}", page.text);

    let by_form = given(&issuer).await?;
    let user_code = by_form.string("user_code");
    let form = [("user_code", user_code.as_str()), ("user", "bob")];
    assert_eq!(post(issuer.device_url(), &form).await?.status, 200);
    let tokens = poll(&issuer, &by_form.string("device_code")).await?;
    assert_eq!(claims(&tokens.string("access_token"))["sub"], "bob");

    let refused = given(&issuer).await?;
    let user_code = refused.string("user_code");
    let page = post(
        issuer.device_url(),
        &[("user_code", &user_code), ("deny", "")],
    )
    .await?;
    assert_eq!(page.text, "Denied.\n");
    let error = error_after(&issuer, 0, &refused.string("device_code")).await?;
    assert_eq!(error, "access_denied");
    Ok(())
}
