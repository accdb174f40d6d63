//! The authorization endpoint, and codes at the token endpoint.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::{Answered, Tested, claims, client, post, refresh};
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

/// The request with these parameters in place of its own; without those that have no value.
async fn authorize(issuer: &Issuer, changes: &[(&str, &str)]) -> Result<Answered, reqwest::Error> {
    let mut query: BTreeMap<&str, &str> = REQUEST.into_iter().collect();
    query.extend(changes.iter().copied());
    query.retain(|_, value| !value.is_empty());
    let query: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query)
        .finish();
    let url = format!("{}?{query}", issuer.authorize_url());
    Answered::from(client().get(url).send().await?).await
}

/// Where an answer redirects to, and with what.
fn redirect(answer: &Answered) -> (String, BTreeMap<String, String>) {
    assert_eq!(answer.status, 302, "{}", answer.text);
    let (place, query) = answer.header("location").split_once('?').expect("a query");
    let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
    (place.to_owned(), pairs.collect())
}

async fn code(issuer: &Issuer, changes: &[(&str, &str)]) -> Result<String, reqwest::Error> {
    let (_, mut said) = redirect(&authorize(issuer, changes).await?);
    Ok(said.remove("code").expect("a code"))
}

async fn exchange(
    issuer: &Issuer,
    code: &str,
    changes: &[(&str, &str)],
) -> Result<Answered, reqwest::Error> {
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
async fn a_code_becomes_tokens_that_can_be_refreshed() -> Tested {
    let issuer = builder().start().await?;
    let answer = authorize(&issuer, &[("login_hint", "bob"), ("prompt", "login")]).await?;
    let (place, mut said) = redirect(&answer);
    assert_eq!(place, CALLBACK);
    let code = said.remove("code").expect("a code");
    assert_eq!(said.remove("state").as_deref(), Some("s 1&"));
    assert_eq!(said.remove("iss").as_deref(), Some(issuer.url()));
    assert!(said.is_empty(), "{said:?}");

    let tokens = exchange(&issuer, &code, &[]).await?;
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
    assert!(!issuer.accepts(&id_token), "it is no access token");
    let next = refresh(&issuer, &tokens.string("refresh_token")).await?;
    assert!(issuer.accepts(&next.string("access_token")));
    assert_eq!(issuer.counters().authorization_codes, 1);
    assert_eq!(issuer.counters().logins, 1);
    Ok(())
}

#[tokio::test]
async fn without_openid_there_is_no_id_token_and_alice_signs_in() -> Tested {
    let issuer = builder().start().await?;
    let code = code(
        &issuer,
        &[("scope", ""), ("nonce", ""), ("audience", "api.example")],
    )
    .await?;
    let tokens = exchange(&issuer, &code, &[]).await?;
    let access = claims(&tokens.string("access_token"));
    assert_eq!(
        (&access["sub"], &access["aud"]),
        (&"alice".into(), &"api.example".into())
    );
    assert!(tokens.json().get("id_token").is_none());
    Ok(())
}

#[tokio::test]
async fn a_second_use_of_a_code_revokes_what_the_first_one_brought() -> Tested {
    let issuer = builder().start().await?;
    let mut events = issuer.events();
    let code = code(&issuer, &[]).await?;
    let tokens = exchange(&issuer, &code, &[]).await?;
    // Another client cannot do that.
    let other = exchange(
        &issuer,
        &code,
        &[("client_id", "web"), ("client_secret", "s3cret")],
    )
    .await?;
    assert_eq!(other.string("error"), "invalid_grant");
    assert!(issuer.accepts(&tokens.string("access_token")));

    let again = exchange(&issuer, &code, &[]).await?;
    assert_eq!(
        (again.status, again.string("error").as_str()),
        (400, "invalid_grant")
    );
    assert!(!issuer.accepts(&tokens.string("access_token")));
    let refused = refresh(&issuer, &tokens.string("refresh_token")).await?;
    assert_eq!(refused.string("error"), "invalid_grant");
    assert_eq!(issuer.counters().code_reuses, 1);
    assert!(matches!(events.recv().await?, IssuerEvent::SignedIn { .. }));
    let cause = RevocationCause::CodeReuse;
    assert!(
        matches!(events.recv().await?, IssuerEvent::Revoked { cause: told, .. } if told == cause)
    );
    Ok(())
}

#[tokio::test]
async fn a_code_is_bound_to_client_redirect_uri_and_verifier_and_spent_by_none_of_the_mistakes()
-> Tested {
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
        let refused = exchange(&issuer, &code, mistake).await?;
        assert_eq!(refused.status, 400, "{mistake:?}");
        assert_eq!(refused.string("error"), "invalid_grant", "{mistake:?}");
    }
    for missing in ["code", "redirect_uri"] {
        let refused = exchange(&issuer, &code, &[(missing, "")]).await?;
        assert_eq!(refused.string("error"), "invalid_request", "{missing}");
    }
    assert_eq!(exchange(&issuer, &code, &[]).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_code_lives_for_a_minute() -> Tested {
    let issuer = builder().start().await?;
    let old = code(&issuer, &[]).await?;
    issuer.advance_clock(Duration::from_secs(60));
    let refused = exchange(&issuer, &old, &[]).await?;
    assert_eq!(refused.string("error"), "invalid_grant");
    let code = code(&issuer, &[]).await?;
    issuer.advance_clock(Duration::from_secs(55));
    assert_eq!(exchange(&issuer, &code, &[]).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_confidential_client_may_leave_pkce_out_but_then_on_both_ends() -> Tested {
    let issuer = builder().start().await?;
    let web: [(&str, &str); 2] = [("client_id", "web"), ("client_secret", "s3cret")];
    let place = [("redirect_uri", "https://web.example/callback?x=1")];
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    let asked = [&web[..1], &place, &without].concat();
    let answer = authorize(&issuer, &asked).await?;
    assert!(
        answer
            .header("location")
            .starts_with("https://web.example/callback?x=1&code=")
    );
    let mut code = redirect(&answer).1.remove("code").expect("a code");
    let refused = exchange(&issuer, &code, &[&web[..], &place].concat()).await?;
    assert_eq!(refused.string("error"), "invalid_grant");
    let redeemed = [&web[..], &place, &[("code_verifier", "")]].concat();
    assert_eq!(exchange(&issuer, &code, &redeemed).await?.status, 200);

    let asked = [&web[..1], &[("redirect_uri", "http://127.0.0.1:7/web")]].concat();
    code = redirect(&authorize(&issuer, &asked).await?)
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
    assert_eq!(exchange(&issuer, &code, &wrong).await?.status, 401);
    Ok(())
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_is_not_the_clients() -> Tested {
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
        ("nobody", CALLBACK),
    ];
    for (client_id, redirect_uri) in cases {
        let changes = [("client_id", client_id), ("redirect_uri", redirect_uri)];
        let answer = authorize(&issuer, &changes).await?;
        assert_eq!(answer.status, 400, "{changes:?}");
        assert_eq!(answer.header("location"), "", "{changes:?}");
        assert!(answer.text.starts_with("The sign-in cannot begin: "));
    }
    let twice = format!("{}?client_id=demo&client_id=demo", issuer.authorize_url());
    assert_eq!(client().get(twice).send().await?.status(), 400);
    assert_eq!(
        client().head(issuer.authorize_url()).send().await?.status(),
        405
    );
    for redirect_uri in ["http://localhost:9/", "http://[::1]:9/x"] {
        let answer = authorize(&issuer, &[("redirect_uri", redirect_uri)]).await?;
        assert_eq!(answer.status, 302, "{redirect_uri}");
    }
    Ok(())
}

#[tokio::test]
async fn what_else_is_wrong_is_told_to_the_client() -> Tested {
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
        let (place, said) = redirect(&authorize(&issuer, changes).await?);
        assert_eq!(place, CALLBACK);
        assert_eq!(said["error"], error, "{changes:?}");
        assert_eq!(
            (said["state"].as_str(), said["iss"].as_str()),
            ("s 1&", issuer.url())
        );
        assert!(!said.contains_key("code"));
    }
    issuer.deny_sign_ins(true);
    let (_, said) = redirect(&authorize(&issuer, &[]).await?);
    assert_eq!(said["error"], "access_denied");
    issuer.deny_sign_ins(false);
    assert!(code(&issuer, &[]).await.is_ok());
    Ok(())
}

#[tokio::test]
async fn both_well_known_addresses_say_the_same() -> Tested {
    let issuer = builder().start().await?;
    let mut documents = Vec::new();
    for name in ["oauth-authorization-server", "openid-configuration"] {
        let url = format!("{}/.well-known/{name}", issuer.url());
        documents.push(
            Answered::from(client().get(url).send().await?)
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
