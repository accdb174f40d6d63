//! The token endpoint: client authentication, errors, scope, and the start and end of the server.

mod support;

use std::sync::Arc;

use serde_json::Value;
use support::{ReceivedResponse, TestResult, client, post, refresh, with_timeout};
use token_rotator_testkit::{Issuer, StartError};

#[tokio::test]
async fn clients_authenticate_by_header_or_parameters() -> TestResult {
    let issuer = Issuer::builder()
        .client("a:b c", Some("s&1 %:+"))
        .client("public", None)
        .start()
        .await?;
    let form = [("grant_type", "client_credentials")];
    // RFC 6749 section 2.3.1: client id and secret are form-urlencoded inside the header.
    let basic = |name: &str, secret: &str| {
        client()
            .post(issuer.token_url())
            .basic_auth(name, Some(secret))
            .form(&form)
    };
    assert_eq!(
        basic("a%3Ab+c", "s%261+%25%3A%2B")
            .send()
            .await?
            .status()
            .as_u16(),
        200
    );

    let wrong = ReceivedResponse::from(basic("a%3Ab+c", "guess").send().await?).await?;
    assert_eq!(
        (wrong.status, wrong.string("error").as_str()),
        (401, "invalid_client")
    );
    assert!(wrong.header("www-authenticate").starts_with("Basic "));

    let by_parameters = [
        form[0],
        ("client_id", "a:b c"),
        ("client_secret", "s&1 %:+"),
    ];
    assert_eq!(post(issuer.token_url(), &by_parameters).await?.status, 200);
    let without_secret = post(issuer.token_url(), &[form[0], ("client_id", "a:b c")]).await?;
    assert_eq!(
        (
            without_secret.status,
            without_secret.header("www-authenticate")
        ),
        (401, "")
    );
    let public = post(issuer.token_url(), &[form[0], ("client_id", "public")]).await?;
    assert_eq!(
        (public.status, public.string("error").as_str()),
        (400, "unauthorized_client")
    );

    let twice = basic("a%3Ab+c", "s%261+%25%3A%2B")
        .form(&by_parameters)
        .send()
        .await?;
    assert_eq!(
        ReceivedResponse::from(twice).await?.string("error"),
        "invalid_request"
    );
    Ok(())
}

#[tokio::test]
async fn invalid_requests_get_the_error_of_their_cause() -> TestResult {
    let issuer = Issuer::builder().start().await?;
    let refused = |form: &'static [(&'static str, &'static str)]| {
        let url = issuer.token_url().to_owned();
        async move {
            let response = post(&url, form).await.expect("a response");
            assert_eq!(response.header("cache-control"), "no-store");
            (response.status, response.string("error"))
        }
    };
    let expected = |status: u16, error: &str| (status, error.to_owned());
    assert_eq!(
        refused(&[("client_id", "demo")]).await,
        expected(400, "invalid_request")
    );
    assert_eq!(
        refused(&[("client_id", "demo"), ("client_id", "demo")]).await,
        expected(400, "invalid_request")
    );
    assert_eq!(
        refused(&[("grant_type", "x"), ("client_id", "demo")]).await,
        expected(400, "unsupported_grant_type")
    );
    assert_eq!(
        refused(&[("grant_type", "refresh_token")]).await,
        expected(401, "invalid_client")
    );
    assert_eq!(
        refused(&[("grant_type", "refresh_token"), ("client_id", "no")]).await,
        expected(401, "invalid_client")
    );
    let missing = &[("grant_type", "refresh_token"), ("client_id", "demo")];
    assert_eq!(refused(missing).await, expected(400, "invalid_request"));
    let unknown = &[
        ("grant_type", "refresh_token"),
        ("client_id", "demo"),
        ("refresh_token", "rt-0"),
    ];
    assert_eq!(refused(unknown).await, expected(400, "invalid_grant"));
    let wrong = &[
        ("grant_type", "password"),
        ("client_id", "demo"),
        ("username", "a"),
        ("password", "wrong"),
    ];
    assert_eq!(refused(wrong).await, expected(400, "invalid_grant"));

    let json = client()
        .post(issuer.token_url())
        .json(&Value::Null)
        .send()
        .await?;
    assert_eq!(
        ReceivedResponse::from(json).await?.string("error"),
        "invalid_request"
    );
    let response = client().get(issuer.token_url()).send().await?;
    assert_eq!(
        (
            response.status().as_u16(),
            response.headers()["allow"].to_str()?
        ),
        (405, "POST")
    );
    assert_eq!(issuer.counters().token_requests, 9);
    Ok(())
}

#[tokio::test]
async fn a_refusal_without_reuse_consumes_nothing() -> TestResult {
    let issuer = Issuer::builder()
        .client("demo", None)
        .client("other", None)
        .start()
        .await?;
    let grant = issuer.sign_in("alice");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", grant.refresh_token.as_str()),
    ];
    let other_client = post(
        issuer.token_url(),
        &[form[0], form[1], ("client_id", "other")],
    )
    .await?;
    assert_eq!(other_client.string("error"), "invalid_grant");
    let excessive_scope = post(
        issuer.token_url(),
        &[
            form[0],
            form[1],
            ("client_id", "demo"),
            ("scope", "api admin"),
        ],
    )
    .await?;
    assert_eq!(excessive_scope.string("error"), "invalid_scope");
    assert_eq!(refresh(&issuer, &grant.refresh_token).await?.status, 200);
    assert_eq!(issuer.counters().reuses, 0);
    Ok(())
}

#[tokio::test]
async fn the_token_has_the_requested_scope_and_audience() -> TestResult {
    let issuer = Issuer::builder().start().await?;
    let password = [
        ("grant_type", "password"),
        ("client_id", "demo"),
        ("username", "alice"),
        ("password", "x"),
    ];
    let signed_in = post(
        issuer.token_url(),
        &[&password[..], &[("scope", "read write")]].concat(),
    )
    .await?;
    assert_eq!(signed_in.string("scope"), "read write");
    let refresh_token = signed_in.string("refresh_token");
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "demo"),
        ("refresh_token", &refresh_token),
        ("scope", "read"),
        ("resource", "https://api.example.com"),
    ];
    let narrowed = post(issuer.token_url(), &form).await?;
    let claims = support::claims(&narrowed.string("access_token"));
    assert_eq!(
        (&claims["scope"], &claims["aud"]),
        (
            &Value::from("read"),
            &Value::from("https://api.example.com")
        )
    );
    let full_scope = refresh(&issuer, &narrowed.string("refresh_token")).await?;
    assert_eq!(full_scope.string("scope"), "read write");
    Ok(())
}

#[tokio::test]
async fn client_credentials_use_one_family() -> TestResult {
    let issuer = Issuer::builder()
        .client("service", Some("secret"))
        .start()
        .await?;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "service"),
        ("client_secret", "secret"),
    ];
    for generation in 1..4 {
        let response = post(issuer.token_url(), &form).await?;
        assert_eq!(response.json().get("refresh_token"), None);
        assert_eq!(
            issuer.generation_of(&response.string("access_token")),
            Some(generation)
        );
    }
    assert_eq!(
        (
            issuer.counters().client_credentials,
            issuer.counters().refreshes
        ),
        (3, 0)
    );
    Ok(())
}

#[tokio::test]
async fn metadata_and_counters_are_served() -> TestResult {
    let issuer = Issuer::builder().start().await?;
    let read = |path: &str| client().get(format!("{}{path}", issuer.url())).send();
    let metadata: Value = read("/.well-known/oauth-authorization-server")
        .await?
        .json()
        .await?;
    assert_eq!(metadata["issuer"], issuer.url());
    assert_eq!(metadata["token_endpoint"], issuer.token_url());
    assert_eq!(metadata["revocation_endpoint"], issuer.revoke_url());
    let grant = issuer.sign_in("alice");
    refresh(&issuer, &grant.refresh_token).await?;
    let counters: Value = read("/counters").await?.json().await?;
    assert_eq!(counters["refreshes"], 1);
    assert_eq!(counters, serde_json::to_value(issuer.counters())?);
    assert_eq!(read("/nowhere").await?.status().as_u16(), 404);
    Ok(())
}

#[tokio::test]
async fn shutdown_and_drop_close_the_port() -> TestResult {
    let issuer = Arc::new(Issuer::builder().start().await?);
    let grant = issuer.sign_in("alice");
    let port = issuer.url().rsplit_once(':').ok_or("no port")?.1.parse()?;
    let second = Issuer::builder().port(port).start().await;
    assert!(matches!(second, Err(StartError::Listen { .. })));

    let gate = issuer.gate();
    gate.close();
    let held_request = {
        let (issuer, token) = (Arc::clone(&issuer), grant.refresh_token.clone());
        tokio::spawn(async move { refresh(&issuer, &token).await.is_err() })
    };
    with_timeout(gate.arrived(1)).await;
    with_timeout(issuer.shutdown()).await;
    assert!(
        with_timeout(held_request).await?,
        "a request got a response after the shutdown"
    );
    let refused = refresh(&issuer, &grant.refresh_token).await;
    assert!(refused.is_err_and(|error| error.is_connect()));
    assert!(issuer.session_alive(&grant));

    let restarted = Issuer::builder().port(port).start().await?;
    let metadata = format!("{}/.well-known/oauth-authorization-server", restarted.url());
    assert_eq!(client().get(&metadata).send().await?.status().as_u16(), 200);
    drop(restarted);
    with_timeout(async { while client().get(&metadata).send().await.is_ok() {} }).await;
    Ok(())
}
