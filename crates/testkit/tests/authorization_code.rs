//! The authorization endpoint, and authorization codes at the token endpoint.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::{ReceivedResponse, TestResult, claims, client, post, refresh};
use token_rotator_testkit::{Issuer, IssuerBuilder, IssuerEvent, RevocationCause};

const CALLBACK: &str = "http://127.0.0.1:49152/callback";

/// The pair of RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn builder() -> IssuerBuilder {
    Issuer::builder()
        .client("demo", None)
        .client("web", Some("s3cret"))
        .redirect_uri("web", "https://web.example/callback?x=1")
        .redirect_uri("web", "http://127.0.0.1/web")
}

const REQUEST: [(&str, &str); 8] = [
    ("response_type", "code"),
    ("client_id", "demo"),
    ("redirect_uri", CALLBACK),
    ("state", "s 1&"),
    ("scope", "openid read"),
    ("nonce", "n1"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
];

/// Sends `REQUEST` with `changes`. A parameter with an empty value is left out.
async fn authorize(
    issuer: &Issuer,
    changes: &[(&str, &str)],
) -> Result<ReceivedResponse, reqwest::Error> {
    let mut query: BTreeMap<&str, &str> = REQUEST.into_iter().collect();
    query.extend(changes.iter().copied());
    query.retain(|_, value| !value.is_empty());
    let query: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query)
        .finish();
    let url = format!("{}?{query}", issuer.authorize_url());
    ReceivedResponse::from(client().get(url).send().await?).await
}

/// Returns the redirect URI of the response, and its query parameters.
fn redirect(response: &ReceivedResponse) -> (String, BTreeMap<String, String>) {
    assert_eq!(response.status, 302, "{}", response.text);
    let (location, query) = response
        .header("location")
        .split_once('?')
        .expect("a query");
    let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
    (location.to_owned(), pairs.collect())
}

async fn code(issuer: &Issuer, changes: &[(&str, &str)]) -> Result<String, reqwest::Error> {
    let (_, mut parameters) = redirect(&authorize(issuer, changes).await?);
    Ok(parameters.remove("code").expect("a code"))
}

async fn redeem(
    issuer: &Issuer,
    code: &str,
    changes: &[(&str, &str)],
) -> Result<ReceivedResponse, reqwest::Error> {
    let mut form: BTreeMap<&str, &str> = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", "demo"),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ]
    .into();
    form.extend(changes.iter().copied());
    form.retain(|_, value| !value.is_empty());
    let form: Vec<_> = form.into_iter().collect();
    post(issuer.token_url(), &form).await
}

#[tokio::test]
async fn a_redeemed_code_returns_tokens_that_can_be_refreshed() -> TestResult {
    let issuer = builder().start().await?;
    let response = authorize(&issuer, &[("login_hint", "bob"), ("prompt", "login")]).await?;
    let (location, mut parameters) = redirect(&response);
    assert_eq!(location, CALLBACK);
    let code = parameters.remove("code").expect("a code");
    assert_eq!(parameters.remove("state").as_deref(), Some("s 1&"));
    assert_eq!(parameters.remove("iss").as_deref(), Some(issuer.url()));
    assert!(parameters.is_empty(), "{parameters:?}");

    let tokens = redeem(&issuer, &code, &[]).await?;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    assert_eq!(tokens.string("scope"), "openid read");
    assert_eq!(claims(&tokens.string("access_token"))["sub"], "bob");
    let id_token = tokens.string("id_token");
    let id = claims(&id_token);
    assert_eq!(id["iss"], issuer.url());
    assert_eq!(
        (&id["sub"], &id["aud"], &id["nonce"]),
        (&"bob".into(), &"demo".into(), &"n1".into())
    );
    assert!(
        !issuer.accepts(&id_token),
        "an id_token is not an access token"
    );
    let next = refresh(&issuer, &tokens.string("refresh_token")).await?;
    assert!(issuer.accepts(&next.string("access_token")));
    assert_eq!(issuer.counters().authorization_codes, 1);
    assert_eq!(issuer.counters().logins, 1);
    Ok(())
}

#[tokio::test]
async fn without_openid_there_is_no_id_token_and_the_default_user_signs_in() -> TestResult {
    let issuer = builder().start().await?;
    let code = code(
        &issuer,
        &[("scope", ""), ("nonce", ""), ("audience", "api.example")],
    )
    .await?;
    let tokens = redeem(&issuer, &code, &[]).await?;
    let access = claims(&tokens.string("access_token"));
    assert_eq!(
        (&access["sub"], &access["aud"]),
        (&"alice".into(), &"api.example".into())
    );
    assert!(tokens.json().get("id_token").is_none());
    Ok(())
}

#[tokio::test]
async fn a_second_use_of_a_code_revokes_the_family() -> TestResult {
    let issuer = builder().start().await?;
    let mut events = issuer.events();
    let code = code(&issuer, &[]).await?;
    let tokens = redeem(&issuer, &code, &[]).await?;
    // Another client cannot revoke the family with the code.
    let other = redeem(
        &issuer,
        &code,
        &[("client_id", "web"), ("client_secret", "s3cret")],
    )
    .await?;
    assert_eq!(other.string("error"), "invalid_grant");
    assert!(issuer.accepts(&tokens.string("access_token")));

    let second_response = redeem(&issuer, &code, &[]).await?;
    assert_eq!(
        (
            second_response.status,
            second_response.string("error").as_str()
        ),
        (400, "invalid_grant")
    );
    assert!(!issuer.accepts(&tokens.string("access_token")));
    let refused = refresh(&issuer, &tokens.string("refresh_token")).await?;
    assert_eq!(refused.string("error"), "invalid_grant");
    assert_eq!(issuer.counters().code_reuses, 1);
    assert!(matches!(events.recv().await?, IssuerEvent::SignedIn { .. }));
    let cause = RevocationCause::CodeReuse;
    assert!(
        matches!(events.recv().await?, IssuerEvent::Revoked { cause: reported, .. } if reported == cause)
    );
    Ok(())
}

#[tokio::test]
async fn a_code_is_bound_to_client_redirect_uri_and_verifier_and_mistakes_do_not_consume_it()
-> TestResult {
    let issuer = builder().start().await?;
    let code = code(&issuer, &[]).await?;
    let short = &VERIFIER[1..];
    let mistakes: [&[(&str, &str)]; 6] = [
        &[("client_id", "web"), ("client_secret", "s3cret")],
        &[("redirect_uri", "http://127.0.0.1:49153/callback")],
        &[("code_verifier", "")],
        &[("code_verifier", CHALLENGE)],
        &[("code_verifier", short)],
        &[("code", "another")],
    ];
    for mistake in mistakes {
        let refused = redeem(&issuer, &code, mistake).await?;
        assert_eq!(refused.status, 400, "{mistake:?}");
        assert_eq!(refused.string("error"), "invalid_grant", "{mistake:?}");
    }
    for missing in ["code", "redirect_uri"] {
        let refused = redeem(&issuer, &code, &[(missing, "")]).await?;
        assert_eq!(refused.string("error"), "invalid_request", "{missing}");
    }
    assert_eq!(redeem(&issuer, &code, &[]).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_code_expires_after_a_minute() -> TestResult {
    let issuer = builder().start().await?;
    let expired_code = code(&issuer, &[]).await?;
    issuer.advance_clock(Duration::from_secs(60));
    let refused = redeem(&issuer, &expired_code, &[]).await?;
    assert_eq!(refused.string("error"), "invalid_grant");
    let code = code(&issuer, &[]).await?;
    issuer.advance_clock(Duration::from_secs(55));
    assert_eq!(redeem(&issuer, &code, &[]).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_confidential_client_may_omit_pkce_in_both_requests() -> TestResult {
    let issuer = builder().start().await?;
    let web: [(&str, &str); 2] = [("client_id", "web"), ("client_secret", "s3cret")];
    let location = [("redirect_uri", "https://web.example/callback?x=1")];
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    let request = [&web[..1], &location, &without].concat();
    let response = authorize(&issuer, &request).await?;
    assert!(
        response
            .header("location")
            .starts_with("https://web.example/callback?x=1&code=")
    );
    let mut code = redirect(&response).1.remove("code").expect("a code");
    let refused = redeem(&issuer, &code, &[&web[..], &location].concat()).await?;
    assert_eq!(refused.string("error"), "invalid_grant");
    let redeemed = [&web[..], &location, &[("code_verifier", "")]].concat();
    assert_eq!(redeem(&issuer, &code, &redeemed).await?.status, 200);

    let request = [&web[..1], &[("redirect_uri", "http://127.0.0.1:7/web")]].concat();
    code = redirect(&authorize(&issuer, &request).await?)
        .1
        .remove("code")
        .expect("a code");
    let wrong = [
        &web[..1],
        &[
            ("redirect_uri", "http://127.0.0.1:7/web"),
            ("client_secret", "no"),
        ],
    ]
    .concat();
    assert_eq!(redeem(&issuer, &code, &wrong).await?.status, 401);
    Ok(())
}

#[tokio::test]
async fn an_unregistered_redirect_uri_gets_no_redirect() -> TestResult {
    let issuer = builder().start().await?;
    let cases = [
        ("demo", "https://evil.example/callback"),
        ("demo", "http://127.0.0.1@evil.example/"),
        ("demo", "http://127.0.0.1:1/callback#x"),
        ("demo", "http://user@127.0.0.1/callback"),
        ("demo", ""),
        ("web", "https://web.example/callback"),
        ("web", "https://web.example/callback?x=1&y=2"),
        ("web", "http://127.0.0.1:7/other"),
        ("web", "http://[::1]:7/web"),
        ("web", "http://localhost:7/web"),
        ("unknown-client", CALLBACK),
    ];
    for (client_id, redirect_uri) in cases {
        let changes = [("client_id", client_id), ("redirect_uri", redirect_uri)];
        let response = authorize(&issuer, &changes).await?;
        assert_eq!(response.status, 400, "{changes:?}");
        assert_eq!(response.header("location"), "", "{changes:?}");
        assert!(response.text.starts_with("The sign-in cannot begin: "));
    }
    let twice = format!("{}?client_id=demo&client_id=demo", issuer.authorize_url());
    assert_eq!(client().get(twice).send().await?.status(), 400);
    assert_eq!(
        client().head(issuer.authorize_url()).send().await?.status(),
        405
    );
    for redirect_uri in ["http://localhost:9/", "http://[::1]:9/x"] {
        let response = authorize(&issuer, &[("redirect_uri", redirect_uri)]).await?;
        assert_eq!(response.status, 302, "{redirect_uri}");
    }
    Ok(())
}

#[tokio::test]
async fn other_errors_are_redirected_to_the_client() -> TestResult {
    let issuer = builder().start().await?;
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[("response_type", "token")], "unsupported_response_type"),
        (&[("response_mode", "fragment")], "invalid_request"),
        (&[("code_challenge", "")], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("deny", "1")], "access_denied"),
    ];
    for (changes, error) in cases {
        let (location, parameters) = redirect(&authorize(&issuer, changes).await?);
        assert_eq!(location, CALLBACK);
        assert_eq!(parameters["error"], error, "{changes:?}");
        assert_eq!(
            (parameters["state"].as_str(), parameters["iss"].as_str()),
            ("s 1&", issuer.url())
        );
        assert!(!parameters.contains_key("code"));
    }
    issuer.deny_sign_ins(true);
    let (_, parameters) = redirect(&authorize(&issuer, &[]).await?);
    assert_eq!(parameters["error"], "access_denied");
    issuer.deny_sign_ins(false);
    assert!(code(&issuer, &[]).await.is_ok());
    Ok(())
}

#[tokio::test]
async fn both_metadata_documents_are_equal() -> TestResult {
    let issuer = builder().start().await?;
    let mut documents = Vec::new();
    for name in ["oauth-authorization-server", "openid-configuration"] {
        let url = format!("{}/.well-known/{name}", issuer.url());
        documents.push(
            ReceivedResponse::from(client().get(url).send().await?)
                .await?
                .json(),
        );
    }
    assert_eq!(documents[0], documents[1]);
    let document = &documents[0];
    assert_eq!(document["issuer"], issuer.url());
    assert_eq!(document["authorization_endpoint"], issuer.authorize_url());
    assert_eq!(
        document["device_authorization_endpoint"],
        issuer.device_authorization_url()
    );
    assert_eq!(document["code_challenge_methods_supported"][0], "S256");
    assert_eq!(
        document["authorization_response_iss_parameter_supported"],
        true
    );
    Ok(())
}
