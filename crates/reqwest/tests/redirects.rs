//! Where the token goes when an answer leads elsewhere: rule 11.

mod common;

use common::{Heard, Tested, World, echo, login, redirecting};
use serde_json::{Value, json};
use token_rotator_reqwest::{Client, Error};
use token_rotator_testkit::{Fault, Upstream};

fn leading_to(url: &str, status: u16) -> String {
    let url: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
    format!("/redirect/to?url={url}&status={status}")
}

/// Property: a redirect within a declared origin keeps the token, and the answer says where it came
/// from.
#[tokio::test]
async fn within_the_origin_the_token_stays() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    let answer = api
        .get("/redirect/same?to=/echo%3Fa%3D1&status=302")
        .send()
        .await?;
    assert_eq!(
        answer.url().as_str(),
        format!("{}/echo?a=1", world.upstream.url())
    );
    let echoed = echo(answer).await;
    assert_eq!(
        (&echoed["generation"], &echoed["query"]),
        (&json!(1), &json!("a=1"))
    );
    assert_eq!(echoed["headers"].get("referer"), None);
    Ok(())
}

/// Property: another origin gets neither the token nor what the caller set by hand for this one,
/// whichever header carries the token, and it does not come back.
#[tokio::test]
async fn another_origin_gets_no_credentials() -> Tested {
    let world = World::new().await;
    let foreign = Upstream::start(&world.issuer).await?;
    let heard = Heard::new();
    let api = world.reading().on_event(heard.listener()).build()?;
    login(&api, "alice").await;
    let there = leading_to(&format!("{}/open/echo", foreign.url()), 307);
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
    assert_eq!(heard.count("ForeignOrigin"), 1);

    // Its refusal is not about our token, and its redirects do not send our token anywhere.
    let refused = leading_to(&format!("{}/echo", foreign.url()), 302);
    assert_eq!(api.get(&refused).send().await?.status(), 401);
    assert_eq!(world.asked(), 0);
    Ok(())
}

/// Property: a token in a header of its own obeys the same rule, and so does such a header of the
/// caller's.
#[tokio::test]
async fn a_custom_header_obeys_the_same_rule() -> Tested {
    let world = World::new().await;
    let foreign = Upstream::start(&world.issuer).await?;
    let away = redirecting(format!("{}/open/echo", foreign.url())).await;
    let here = redirecting(format!("{}/open/echo", world.upstream.url())).await;
    let builder = world.reading().token_header("x-auth-token");
    let api = builder.origin(&*away).origin(&*here).build()?;
    login(&api, "alice").await;
    let kept = echo(api.get("/header/x-auth-token/echo").send().await?).await;
    assert_eq!(kept["generation"], 1);
    let kept = echo(api.get(here).send().await?).await;
    assert_eq!(kept["headers"]["x-auth-token"], json!(["1"]));
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

/// Property: whoever the token does not go to cannot choose what it is used for: where they lead, it
/// does not come back.
#[tokio::test]
async fn the_token_does_not_come_back_from_elsewhere() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    let back = redirecting(format!("{}/open/echo", world.upstream.url())).await;
    let echoed = echo(api.post(format!("{back}/x")).body("body").send().await?).await;
    assert_eq!(
        (&echoed["method"], &echoed["body_length"]),
        (&json!("POST"), &json!(4))
    );
    assert_eq!(echoed["headers"].get("authorization"), None);
    let away = leading_to(
        &redirecting(format!("{}/echo", world.upstream.url())).await,
        302,
    );
    let answer = api.get(&away).send().await?;
    assert_eq!((answer.status().as_u16(), world.asked()), (401, 0));
    Ok(())
}

/// Property: a declared origin gets the token at a redirect, another does not get it back.
#[tokio::test]
async fn a_declared_origin_gets_the_token() -> Tested {
    let world = World::new().await;
    let declared = Upstream::start(&world.issuer).await?;
    let foreign = Upstream::start(&world.issuer).await?;
    let api = world.reading().origin(declared.url()).build()?;
    login(&api, "alice").await;
    let there = leading_to(&format!("{}/echo", declared.url()), 302);
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

/// Property: methods and bodies change as RFC 9110 section 15.4 and browsers have it.
#[tokio::test]
async fn methods_and_bodies_follow_the_status() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
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
    // A body that cannot be sent twice: the redirect is handed back, or the body is not needed.
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

/// Property: a redirected request that is refused is replayed where it was refused, so that nothing
/// that was done before is done again.
#[tokio::test]
async fn a_replay_does_not_repeat_what_was_done_before() -> Tested {
    let world = World::new().await;
    let api = world.signed_in().await;
    let gate = world.upstream.gate();
    gate.close();
    let acting = tokio::spawn(
        api.post("/redirect/same?to=/echo&status=303")
            .body("act")
            .send(),
    );
    common::within(gate.arrived(1)).await;
    gate.let_through(1);
    common::within(async {
        while world.reached("/redirect/same") == 0 || gate.waiting() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.issuer.expire_access_tokens();
    gate.open();
    let echoed = echo(common::within(acting).await??).await;
    assert_eq!(
        (&echoed["method"], &echoed["generation"]),
        (&json!("GET"), &json!(2))
    );
    assert_eq!(
        (world.reached("/redirect/same"), world.reached("/echo")),
        (1, 2)
    );
    Ok(())
}

#[tokio::test]
async fn there_is_a_limit() -> Tested {
    let world = World::new().await;
    let api = world.reading().max_redirects(2).build()?;
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

/// Property: with a limit of none a redirect is handed back as any answer.
#[tokio::test]
async fn a_redirect_can_be_handed_back() -> Tested {
    let world = World::new().await;
    let api = world.reading().max_redirects(0).build()?;
    login(&api, "alice").await;
    let answer = api.get("/redirect/same?to=/echo&status=302").send().await?;
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.headers()["location"], "/echo");
    assert_eq!(world.reached("/echo"), 0);
    Ok(())
}

/// Property: redirects are followed here, by our rules, whatever the closure says about them.
#[tokio::test]
async fn no_configuration_takes_redirects_away() -> Tested {
    use reqwest::redirect::Policy;

    let policies: [fn() -> Policy; 3] = [
        Policy::none,
        || Policy::limited(10),
        || Policy::custom(|attempt| attempt.error("not here")),
    ];
    for policy in policies {
        let world = World::new().await;
        let foreign = Upstream::start(&world.issuer).await?;
        let away = redirecting(format!("{}/open/echo", foreign.url())).await;
        let api = world
            .reading()
            .configure(move |builder| builder.no_proxy().redirect(policy()))
            .token_header("x-auth-token")
            .origin(&*away)
            .build()?;
        login(&api, "alice").await;
        // reqwest itself would take this header along.
        let echoed = echo(api.get(&*away).send().await?).await;
        assert_eq!(echoed["headers"].get("x-auth-token"), None);
        // The refresh follows none.
        let there = format!("{}/open/echo", foreign.url());
        world.issuer.faults().push(Fault::Redirect(there));
        assert!(api.refresh_now().await.is_err());
        assert_eq!(foreign.record().len(), 1);
    }
    Ok(())
}

/// Property: a client that follows redirects by itself takes the token nowhere else, and its replay
/// does not repeat what was done before.
#[tokio::test]
async fn a_client_of_ones_own_follows_its_own_redirects() -> Tested {
    let world = World::new().await;
    let foreign = Upstream::start(&world.issuer).await?;
    let mine = reqwest::Client::builder()
        .no_proxy()
        .cookie_store(true)
        .build()?;
    let heard = Heard::new();
    let api = Client::builder()
        .base_url(world.upstream.url())
        .client(mine)
        .bearer_field("accessToken")
        .on_event(heard.listener())
        .build()?;
    login(&api, "alice").await;
    assert_eq!(
        echo(api.get("/redirect/same?to=/echo").send().await?).await["generation"],
        1
    );
    let there = leading_to(&format!("{}/open/echo", foreign.url()), 302);
    let echoed: Value = echo(api.get(&there).send().await?).await;
    assert_eq!(echoed["headers"].get("authorization"), None);
    let refused = leading_to(&format!("{}/echo", foreign.url()), 302);
    assert_eq!(api.get(&refused).send().await?.status(), 401);
    assert_eq!(world.asked(), 0);

    let answer = api
        .post("/redirect/same?to=/always-401&status=303")
        .body("act")
        .send()
        .await?;
    assert_eq!(answer.status(), 401);
    assert_eq!(world.reached("/redirect/same"), 2);
    heard.wait_for("NotReplayed { reason: Redirected }").await;
    Ok(())
}

/// Property: with redirects turned off in it, a client of one's own may carry a custom header.
#[tokio::test]
async fn redirects_of_a_client_of_ones_own_can_be_governed() -> Tested {
    let world = World::new().await;
    let foreign = Upstream::start(&world.issuer).await?;
    let away = redirecting(format!("{}/open/echo", foreign.url())).await;
    let mine = reqwest::Client::builder()
        .no_proxy()
        .cookie_store(true)
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let api = Client::builder()
        .base_url(world.upstream.url())
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
