//! Device codes: the page that takes the user code, and polling.

mod support;

use std::time::Duration;

use support::{ReceivedResponse, TestResult, claims, client, post, refresh};
use token_rotator_testkit::{Issuer, IssuerBuilder};

const DEVICE_GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn builder() -> IssuerBuilder {
    Issuer::builder()
        .client("demo", None)
        .client("tv", Some("s3cret"))
        .device_codes(Duration::from_secs(60), Duration::from_secs(2))
}

async fn request_device_code(issuer: &Issuer) -> Result<ReceivedResponse, reqwest::Error> {
    let form = [("client_id", "demo"), ("scope", "openid read")];
    post(issuer.device_authorization_url(), &form).await
}

async fn poll(issuer: &Issuer, device_code: &str) -> Result<ReceivedResponse, reqwest::Error> {
    let form = [
        ("grant_type", DEVICE_GRANT_TYPE),
        ("device_code", device_code),
        ("client_id", "demo"),
    ];
    post(issuer.token_url(), &form).await
}

/// Advances the clock by `seconds`, polls, and returns the error code.
async fn error_after(issuer: &Issuer, seconds: u64, code: &str) -> Result<String, reqwest::Error> {
    issuer.advance_clock(Duration::from_secs(seconds));
    let response = poll(issuer, code).await?;
    assert_eq!(response.status, 400, "{}", response.text);
    Ok(response.string("error"))
}

#[tokio::test]
async fn polling_succeeds_after_the_user_has_entered_the_code() -> TestResult {
    let issuer = builder().start().await?;
    let authorization = request_device_code(&issuer).await?;
    assert_eq!(authorization.status, 200, "{}", authorization.text);
    assert_eq!(authorization.header("cache-control"), "no-store");
    let (device, user) = (
        authorization.string("device_code"),
        authorization.string("user_code"),
    );
    assert_eq!(
        authorization.string("verification_uri"),
        issuer.device_url()
    );
    let complete = format!("{}?user_code={user}", issuer.device_url());
    assert_eq!(authorization.string("verification_uri_complete"), complete);
    assert_eq!(
        (
            &authorization.json()["expires_in"],
            &authorization.json()["interval"]
        ),
        (&60.into(), &2.into())
    );

    assert_eq!(
        error_after(&issuer, 0, &device).await?,
        "authorization_pending"
    );
    // As a user types the code.
    let typed = user.to_lowercase().replace('-', " ");
    assert!(issuer.approve_device(&typed, "bob"));
    assert!(
        !issuer.approve_device(&user, "mallory"),
        "a code can be entered once"
    );
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
async fn polling_too_soon_extends_the_interval_by_five_seconds() -> TestResult {
    let codes = (Duration::from_secs(3600), Duration::from_secs(100));
    let issuer = builder().device_codes(codes.0, codes.1).start().await?;
    let device = request_device_code(&issuer).await?.string("device_code");
    let errors = [
        (0, "authorization_pending"),
        (100, "authorization_pending"),
        (50, "slow_down"),
        // The interval is 105 seconds from here on.
        (102, "slow_down"),
        // The interval is 110 seconds from here on.
        (112, "authorization_pending"),
        (112, "authorization_pending"),
    ];
    for (seconds, error) in errors {
        assert_eq!(error_after(&issuer, seconds, &device).await?, error);
    }
    Ok(())
}

#[tokio::test]
async fn a_code_expires_or_is_denied() -> TestResult {
    let issuer = builder().start().await?;
    let denied = request_device_code(&issuer).await?;
    assert!(issuer.deny_device(&denied.string("user_code")));
    assert_eq!(
        error_after(&issuer, 0, &denied.string("device_code")).await?,
        "access_denied"
    );

    let expired = request_device_code(&issuer).await?;
    let error = error_after(&issuer, 60, &expired.string("device_code")).await?;
    assert_eq!(error, "expired_token");
    assert!(!issuer.approve_device(&expired.string("user_code"), "alice"));
    Ok(())
}

#[tokio::test]
async fn a_code_belongs_to_its_client() -> TestResult {
    let issuer = builder().start().await?;
    let form = [("client_id", "tv"), ("client_secret", "s3cret")];
    let authorization = post(issuer.device_authorization_url(), &form).await?;
    assert!(issuer.approve_device(&authorization.string("user_code"), "alice"));
    let error = error_after(&issuer, 0, &authorization.string("device_code")).await?;
    assert_eq!(error, "invalid_grant");
    assert_eq!(error_after(&issuer, 0, "another").await?, "invalid_grant");
    for form in [
        &[("client_id", "tv")][..],
        &[("client_id", "unknown-client")],
        &[],
    ] {
        let refused = post(issuer.device_authorization_url(), form).await?;
        assert_eq!(
            (refused.status, refused.string("error").as_str()),
            (401, "invalid_client")
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_user_enters_the_code_on_a_text_page() -> TestResult {
    let issuer = builder().start().await?;
    let page = ReceivedResponse::from(client().get(issuer.device_url()).send().await?).await?;
    assert_eq!(page.status, 200);
    assert!(
        page.text.contains("/device?user_code=CODE"),
        "{}",
        page.text
    );

    let by_link = request_device_code(&issuer).await?;
    let link = by_link.string("verification_uri_complete");
    let page = ReceivedResponse::from(client().get(&link).send().await?).await?;
    assert_eq!(
        (page.status, page.text.as_str()),
        (200, "Signed in as alice. The device continues by itself.\n")
    );
    let tokens = poll(&issuer, &by_link.string("device_code")).await?;
    assert_eq!(claims(&tokens.string("access_token"))["sub"], "alice");
    let page = ReceivedResponse::from(client().get(&link).send().await?).await?;
    assert_eq!(page.status, 404, "{}", page.text);

    let by_form = request_device_code(&issuer).await?;
    let user_code = by_form.string("user_code");
    let form = [("user_code", user_code.as_str()), ("user", "bob")];
    assert_eq!(post(issuer.device_url(), &form).await?.status, 200);
    let tokens = poll(&issuer, &by_form.string("device_code")).await?;
    assert_eq!(claims(&tokens.string("access_token"))["sub"], "bob");

    let refused = request_device_code(&issuer).await?;
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
