//! Tests which redirects carry the token (rule 11).

mod common;

use common::{ClientFixture, EventLog, TestResult, echo, login, start_redirecting_server};
use serde_json::{Value, json};
use token_rotator_reqwest::{Client, Error};
use token_rotator_testkit::{Fault, Upstream};

fn redirect_path(url: &str, status: u16) -> String {
    let url: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
    format!("/redirect/to?url={url}&status={status}")
}

/// Property: a redirect within a declared origin keeps the token, and the answer has the final URL.
#[tokio::test]
async fn a_redirect_within_the_origin_keeps_the_token() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    let answer = api
        .get("/redirect/same?to=/echo%3Fa%3D1&status=302")
        .send()
        .await?;
    assert_eq!(
        answer.url().as_str(),
        format!("{}/echo?a=1", fixture.upstream.url())
    );
    let echoed = echo(answer).await;
    assert_eq!(
        (&echoed["generation"], &echoed["query"]),
        (&json!(1), &json!("a=1"))
    );
    assert_eq!(echoed["headers"].get("referer"), None);
    Ok(())
}

/// Property: another origin gets neither the token nor the caller's own header for the first
/// origin, whichever header carries the token. A redirect back does not restore them.
#[tokio::test]
async fn another_origin_gets_no_credentials() -> TestResult {
    let fixture = ClientFixture::new().await;
    let foreign = Upstream::start(&fixture.issuer).await?;
    let log = EventLog::new();
    let api = fixture
        .builder_with_parser()
        .on_event(log.listener())
        .build()?;
    login(&api, "alice").await;
    let there = redirect_path(&format!("{}/open/echo", foreign.url()), 307);
    let request = api
        .post(&there)
        .header("cookie", "theme=dark")
        .header("proxy-authorization", "Basic abc")
        .header("x-harmless", "1")
        .body("body");
    let echoed = echo(request.send().await?).await;
    for secret in ["authorization", "cookie", "proxy-authorization"] {
        assert_eq!(echoed["headers"].get(secret), None, "{secret}");
    }
    assert_eq!(echoed["headers"]["x-harmless"], json!(["1"]));
    assert_eq!(
        (&echoed["method"], &echoed["body_length"]),
        (&json!("POST"), &json!(4))
    );
    assert_eq!(log.count("ForeignOrigin"), 1);

    // A refusal of the other origin does not concern the token, and a redirect of that origin does
    // not carry the token.
    let refused = redirect_path(&format!("{}/echo", foreign.url()), 302);
    assert_eq!(api.get(&refused).send().await?.status(), 401);
    assert_eq!(fixture.refresh_requests(), 0);
    Ok(())
}

/// Property: a token in a custom header and the caller's own custom header obey the same rule as
/// `Authorization`.
#[tokio::test]
async fn a_custom_header_obeys_the_rule_of_authorization() -> TestResult {
    let fixture = ClientFixture::new().await;
    let foreign = Upstream::start(&fixture.issuer).await?;
    let away = start_redirecting_server(format!("{}/open/echo", foreign.url())).await;
    let here = start_redirecting_server(format!("{}/open/echo", fixture.upstream.url())).await;
    let builder = fixture.builder_with_parser().token_header("x-auth-token");
    let api = builder.origin(&*away).origin(&*here).build()?;
    login(&api, "alice").await;
    let echoed = echo(api.get("/header/x-auth-token/echo").send().await?).await;
    assert_eq!(echoed["generation"], 1);
    let echoed = echo(api.get(here).send().await?).await;
    assert_eq!(echoed["headers"]["x-auth-token"], json!(["1"]));
    let absolute = format!("{}/open/echo", foreign.url());
    for request in [
        api.get(absolute),
        api.get(&*away),
        api.get(&*away).header("x-auth-token", "mine"),
        api.get(&*away).bearer_auth("mine"),
    ] {
        let echoed = echo(request.send().await?).await;
        for secret in ["authorization", "x-auth-token"] {
            assert_eq!(echoed["headers"].get(secret), None, "{secret}");
        }
    }
    Ok(())
}

/// Property: an origin without the token cannot choose where the token is used: a redirect from it
/// does not restore the token.
#[tokio::test]
async fn a_redirect_from_another_origin_does_not_restore_the_token() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    let back = start_redirecting_server(format!("{}/open/echo", fixture.upstream.url())).await;
    let echoed = echo(api.post(format!("{back}/x")).body("body").send().await?).await;
    assert_eq!(
        (&echoed["method"], &echoed["body_length"]),
        (&json!("POST"), &json!(4))
    );
    assert_eq!(echoed["headers"].get("authorization"), None);
    let away = redirect_path(
        &start_redirecting_server(format!("{}/echo", fixture.upstream.url())).await,
        302,
    );
    let answer = api.get(&away).send().await?;
    assert_eq!(
        (answer.status().as_u16(), fixture.refresh_requests()),
        (401, 0)
    );
    Ok(())
}

/// Property: a redirect to a declared origin carries the token; a redirect from an undeclared
/// origin does not restore it.
#[tokio::test]
async fn a_declared_origin_gets_the_token() -> TestResult {
    let fixture = ClientFixture::new().await;
    let declared = Upstream::start(&fixture.issuer).await?;
    let foreign = Upstream::start(&fixture.issuer).await?;
    let api = fixture
        .builder_with_parser()
        .origin(declared.url())
        .build()?;
    login(&api, "alice").await;
    let there = redirect_path(&format!("{}/echo", declared.url()), 302);
    assert_eq!(echo(api.get(&there).send().await?).await["generation"], 1);
    assert_eq!(
        echo(api.get(format!("{}/echo", declared.url())).send().await?).await["generation"],
        1
    );
    let absolute = format!("{}/open/echo", foreign.url());
    assert_eq!(
        echo(api.get(absolute).send().await?).await["headers"].get("authorization"),
        None
    );
    Ok(())
}

/// Property: methods and bodies change as in RFC 9110 section 15.4 and in browsers.
#[tokio::test]
async fn methods_and_bodies_follow_the_status() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    for (status, sent, method, body) in [
        (301, "POST", "GET", 0),
        (302, "POST", "GET", 0),
        (303, "POST", "GET", 0),
        (303, "PUT", "GET", 0),
        (307, "POST", "POST", 4),
        (308, "POST", "POST", 4),
        (301, "PUT", "PUT", 4),
        (302, "DELETE", "DELETE", 4),
    ] {
        let path = format!("/redirect/same?to=/echo&status={status}");
        let request = api
            .request(sent.parse()?, path)
            .header("content-type", "text/plain")
            .body("body");
        let echoed = echo(request.send().await?).await;
        assert_eq!(
            (&echoed["method"], &echoed["body_length"]),
            (&json!(method), &json!(body)),
            "{status} {sent}"
        );
        assert_eq!(echoed["headers"].get("content-type").is_some(), body > 0);
    }
    let head = api
        .head("/redirect/same?to=/echo&status=303")
        .send()
        .await?;
    assert_eq!((head.status().as_u16(), head.url().path()), (200, "/echo"));
    let not_followed = api.get("/redirect/same?to=/echo&status=304").send().await?;
    assert_eq!(not_followed.status(), 304);
    // A body that cannot be sent twice: the redirect is handed back, unless the next request needs
    // no body.
    let once = || {
        let parts = futures_util::stream::iter([Ok::<_, std::io::Error>("body")]);
        reqwest::Body::wrap_stream(parts)
    };
    let back = api
        .post("/redirect/same?to=/echo&status=307")
        .body(once())
        .send()
        .await?;
    assert_eq!(back.status(), 307);
    let seen = api
        .post("/redirect/same?to=/echo&status=303")
        .body(once())
        .send()
        .await?;
    assert_eq!(echo(seen).await["method"], "GET");
    Ok(())
}

/// Property: a redirected request that is refused is replayed at the refusing URL, so that no
/// earlier step is repeated.
#[tokio::test]
async fn a_replay_repeats_no_earlier_step() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.signed_in().await;
    let gate = fixture.upstream.gate();
    gate.close();
    let acting = tokio::spawn(
        api.post("/redirect/same?to=/echo&status=303")
            .body("act")
            .send(),
    );
    common::within(gate.arrived(1)).await;
    gate.let_through(1);
    common::within(async {
        while fixture.request_count("/redirect/same") == 0 || gate.waiting() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    fixture.issuer.expire_access_tokens();
    gate.open();
    let echoed = echo(common::within(acting).await??).await;
    assert_eq!(
        (&echoed["method"], &echoed["generation"]),
        (&json!("GET"), &json!(2))
    );
    assert_eq!(
        (
            fixture.request_count("/redirect/same"),
            fixture.request_count("/echo")
        ),
        (1, 2)
    );
    Ok(())
}

#[tokio::test]
async fn redirects_have_a_limit() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.builder_with_parser().max_redirects(2).build()?;
    login(&api, "alice").await;
    let twice = "/redirect/same?status=302&to=/redirect/same";
    assert_eq!(echo(api.get(twice).send().await?).await["generation"], 1);
    let thrice = "/redirect/same?status=302&to=/redirect/same%3Fto%3D/redirect/same";
    let error = api.get(thrice).send().await.unwrap_err();
    assert!(
        matches!(error, Error::TooManyRedirects { limit: 2 }),
        "{error}"
    );
    assert!(error.is_redirect());
    Ok(())
}

/// Property: with a limit of 0 a redirect is handed back like any answer.
#[tokio::test]
async fn a_redirect_can_be_handed_back() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = fixture.builder_with_parser().max_redirects(0).build()?;
    login(&api, "alice").await;
    let answer = api.get("/redirect/same?to=/echo&status=302").send().await?;
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.headers()["location"], "/echo");
    assert_eq!(fixture.request_count("/echo"), 0);
    Ok(())
}

/// Property: the client follows redirects by its own rules, whatever redirect policy the closure
/// sets.
#[tokio::test]
async fn the_redirect_policy_of_the_closure_is_ignored() -> TestResult {
    use reqwest::redirect::Policy;

    let policies: [fn() -> Policy; 3] = [
        Policy::none,
        || Policy::limited(10),
        || Policy::custom(|attempt| attempt.error("not here")),
    ];
    for policy in policies {
        let fixture = ClientFixture::new().await;
        let foreign = Upstream::start(&fixture.issuer).await?;
        let away = start_redirecting_server(format!("{}/open/echo", foreign.url())).await;
        let api = fixture
            .builder_with_parser()
            .configure(move |builder| builder.no_proxy().redirect(policy()))
            .token_header("x-auth-token")
            .origin(&*away)
            .build()?;
        login(&api, "alice").await;
        // reqwest alone would send this header to the other origin.
        let echoed = echo(api.get(&*away).send().await?).await;
        assert_eq!(echoed["headers"].get("x-auth-token"), None);
        // A refresh follows no redirect.
        let there = format!("{}/open/echo", foreign.url());
        fixture.issuer.faults().push(Fault::Redirect(there));
        assert!(api.refresh_now().await.is_err());
        assert_eq!(foreign.record().len(), 1);
    }
    Ok(())
}

/// Property: a given client that follows redirects itself sends the token to no other origin, and
/// its replay repeats no earlier step.
#[tokio::test]
async fn a_given_client_follows_its_own_redirects() -> TestResult {
    let fixture = ClientFixture::new().await;
    let foreign = Upstream::start(&fixture.issuer).await?;
    let mine = reqwest::Client::builder()
        .no_proxy()
        .cookie_store(true)
        .build()?;
    let log = EventLog::new();
    let api = Client::builder()
        .base_url(fixture.upstream.url())
        .client(mine)
        .bearer_field("accessToken")
        .on_event(log.listener())
        .build()?;
    login(&api, "alice").await;
    assert_eq!(
        echo(api.get("/redirect/same?to=/echo").send().await?).await["generation"],
        1
    );
    let there = redirect_path(&format!("{}/open/echo", foreign.url()), 302);
    let echoed: Value = echo(api.get(&there).send().await?).await;
    assert_eq!(echoed["headers"].get("authorization"), None);
    let refused = redirect_path(&format!("{}/echo", foreign.url()), 302);
    assert_eq!(api.get(&refused).send().await?.status(), 401);
    assert_eq!(fixture.refresh_requests(), 0);

    let answer = api
        .post("/redirect/same?to=/always-401&status=303")
        .body("act")
        .send()
        .await?;
    assert_eq!(answer.status(), 401);
    assert_eq!(fixture.request_count("/redirect/same"), 2);
    log.wait_for("NotReplayed { reason: Redirected }").await;
    Ok(())
}

/// Property: a given client with redirects turned off may use a custom token header.
#[tokio::test]
async fn a_given_client_without_redirects_may_use_a_custom_header() -> TestResult {
    let fixture = ClientFixture::new().await;
    let foreign = Upstream::start(&fixture.issuer).await?;
    let away = start_redirecting_server(format!("{}/open/echo", foreign.url())).await;
    let mine = reqwest::Client::builder()
        .no_proxy()
        .cookie_store(true)
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let api = Client::builder()
        .base_url(fixture.upstream.url())
        .origin(&*away)
        .client_without_redirects(mine)
        .bearer_field("accessToken")
        .token_header_with("x-auth-token", |token| format!("Token {token}"))
        .build()?;
    login(&api, "alice").await;
    let here = echo(api.get("/open/echo").send().await?).await;
    assert_eq!(here["headers"]["x-auth-token"], json!(["Token 1"]));
    let echoed = echo(api.get(away).send().await?).await;
    assert_eq!(echoed["headers"].get("x-auth-token"), None);
    Ok(())
}
