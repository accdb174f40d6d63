//! What passes, and how.

use token_rotator::SecretString;
use token_rotator_proxy::Route;

use crate::raw::{self, Caller};
use crate::scene::{Scene, problem, session, tokens};

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn puts_the_token_on_a_request() {
    let scene = Scene::start().await;
    let answer = scene.get("/echo?x=1&y=%20").await;
    let echo: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(echo["method"], "GET");
    assert_eq!(echo["path"], "/echo");
    assert_eq!(echo["generation"], 1);
    assert_eq!(echo["subject"], "alice");
    let authority = scene.upstream.url().trim_start_matches("http://");
    assert_eq!(echo["headers"]["host"][0], authority);
    assert_eq!(echo["headers"]["via"][0], "1.1 token-rotator");
}

#[tokio::test]
async fn a_connection_to_the_upstream_serves_one_request_after_the_other() {
    let scene = Scene::start().await;
    for _ in 0..20 {
        scene.echo().await;
    }
    let record = scene.upstream.record();
    assert_eq!(record.len(), 20);
    assert!(record.iter().all(|request| request.connection == 1));
}

#[tokio::test]
async fn credentials_of_the_caller_and_their_look_alikes_stay_here() {
    let upstream = raw::Upstream::answering(&[EMPTY]).await;
    let scene = Scene::before(upstream.url(), |_| {}).await;
    let mut request = scene.client.get(scene.url("/"));
    for name in [
        "authorization",
        "proxy-authorization",
        "x-authorization",
        "x_authorization",
        "x-forwarded-authorization",
        "x-original-authorization",
    ] {
        request = request.header(name, "Bearer of-the-caller");
    }
    let answer = request.header("x-other", "stays").send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
    let heads = upstream.heads();
    assert!(!heads[0].contains("of-the-caller"), "{heads:?}");
    assert!(heads[0].contains("x-other: stays"), "{heads:?}");
    assert_eq!(heads[0].matches("authorization: bearer ").count(), 1);
}

#[tokio::test]
async fn a_route_may_pass_the_callers_authorization() {
    let upstream = raw::Upstream::answering(&[EMPTY]).await;
    let scene = Scene::before(upstream.url(), |config| {
        config.routes[0].pass_authorization = true;
    })
    .await;
    let own = scene.client.get(scene.url("/own"));
    let answer = own.header("authorization", "Basic mine").send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
    scene.get("/without").await;
    let heads = upstream.heads();
    assert!(heads[0].contains("authorization: basic mine"), "{heads:?}");
    assert_eq!(heads[0].matches("authorization").count(), 1);
    assert!(heads[1].contains("authorization: bearer "), "{heads:?}");
}

#[tokio::test]
async fn what_is_for_one_connection_stays_on_it() {
    let upstream = raw::Upstream::answering(&[
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
         proxy-authenticate: Basic\r\nx-end: 1\r\ncontent-length: 2\r\n\r\nok",
    ])
    .await;
    let scene = Scene::before(upstream.url(), |_| {}).await;
    let mut caller = Caller::to(scene.port()).await;
    caller
        .say(
            "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: keep-alive, x-mine, host\r\n\
             x-mine: 1\r\nkeep-alive: 5\r\nproxy-connection: close\r\nte: gzip, trailers\r\n\
             http2-settings: AAAA\r\nx-end: 1\r\n\r\n",
        )
        .await;
    let answer = caller.head().await;
    assert_eq!(caller.read(2).await, b"ok");
    for gone in ["x-hop", "keep-alive", "proxy-authenticate"] {
        assert!(!answer.contains(gone), "{gone} in {answer}");
    }
    assert!(answer.contains("x-end: 1"), "{answer}");
    let head = &upstream.heads()[0];
    for gone in [
        "x-mine",
        "keep-alive",
        "proxy-connection",
        "http2-settings",
        "gzip",
    ] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    for there in ["x-end: 1", "te: trailers", "\r\nhost: 127.0.0.1:"] {
        assert!(head.contains(there), "{there} in {head}");
    }
}

#[tokio::test]
async fn redirects_are_the_callers_to_follow() {
    let scene = Scene::start().await;
    let answer = scene.get("/redirect/same?to=/echo&status=307").await;
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.headers()["location"], "/echo");
    assert_eq!(scene.upstream.counters().served, 1);
}

#[tokio::test]
async fn the_longest_prefix_of_the_right_host_takes_the_request() {
    let (one, two, three) = (
        raw::Upstream::answering(&["HTTP/1.1 201 One\r\ncontent-length: 0\r\n\r\n"]).await,
        raw::Upstream::answering(&["HTTP/1.1 202 Two\r\ncontent-length: 0\r\n\r\n"]).await,
        raw::Upstream::answering(&["HTTP/1.1 203 Three\r\ncontent-length: 0\r\n\r\n"]).await,
    );
    let scene = Scene::before(one.url(), |_| {}).await;
    let other = |url: &str| {
        let rotator = session(&scene.issuer, url);
        let stored = rotator.sign_in(tokens(&scene.issuer.sign_in("bob")));
        drop(stored.expect("usable tokens"));
        rotator
    };
    let mut config = crate::scene::config(Route::new("all", one.url(), scene.rotator.clone()));
    let mut route = Route::new("two", two.url(), other(two.url()));
    route.prefix = "/two/".to_owned();
    route.strip_prefix = true;
    config.routes.push(route);
    let mut route = Route::new("three", three.url(), other(three.url()));
    route.host = Some("Three.Test".to_owned());
    config.routes.push(route);
    let proxy = token_rotator_proxy::Handle::start(&config).expect("a proxy");
    let url = format!("http://127.0.0.1:{}", crate::scene::port(&proxy));
    let ask = async |path: &str, host: &str| {
        let request = scene.client.get(format!("{url}{path}"));
        let answer = request.header("host", host).send().await;
        answer.expect("an answer").status().as_u16()
    };
    assert_eq!(ask("/two", "localhost").await, 202);
    assert_eq!(ask("/two/x?q", "localhost").await, 202);
    assert_eq!(ask("/twofold", "localhost:80").await, 201);
    assert_eq!(ask("/two/x", "three.test:99").await, 203);
    let heads = two.heads();
    assert!(heads[0].starts_with("get / http/1.1\r\n"), "{heads:?}");
    assert!(heads[1].starts_with("get /x?q http/1.1\r\n"), "{heads:?}");
    assert!(three.heads()[0].starts_with("get /two/x http/1.1\r\n"));
}

#[tokio::test]
async fn where_no_route_matches_nothing_is_sent() {
    let scene = Scene::with(|config| config.routes[0].prefix = "/api".to_owned()).await;
    let answer = scene.get("/echo").await;
    assert_eq!(answer.status(), 404);
    assert_eq!(problem(answer).await, "no-route");
    assert!(scene.upstream.record().is_empty());
}

#[tokio::test]
async fn an_absolute_target_counts_and_not_the_field() {
    let scene = Scene::start().await;
    let mut caller = Caller::to(scene.port()).await;
    let request = "GET http://localhost/echo?a HTTP/1.1\r\nhost: elsewhere.test\r\n\r\n";
    caller.say(request).await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
    let mut caller = Caller::to(scene.port()).await;
    let request = "GET http://elsewhere.test/echo HTTP/1.1\r\nhost: localhost\r\n\r\n";
    caller.say(request).await;
    assert!(caller.head().await.starts_with("http/1.1 421"));
    assert_eq!(scene.upstream.record().len(), 1);
}

/// A request line without a path between its blanks would be no request, or another one.
#[tokio::test]
async fn a_question_about_the_whole_server_passes() {
    let upstream =
        raw::Upstream::answering(&["HTTP/1.1 204 No Content\r\nallow: GET, OPTIONS\r\n\r\n"]).await;
    let scene = Scene::before(upstream.url(), |_| {}).await;
    let mut caller = raw::Caller::to(scene.port()).await;
    caller
        .say("OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let head = caller.head().await;
    assert!(head.contains("allow: get, options"), "{head}");
    let asked = &upstream.heads()[0];
    assert!(asked.starts_with("options * http/1.1\r\n"), "{asked}");
    caller
        .say("GET * HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    assert!(caller.head().await.starts_with("http/1.1 400"));
    assert_eq!(upstream.heads().len(), 1);
}

#[tokio::test]
async fn an_absolute_target_without_a_path_asks_for_the_root() {
    for target in [
        "http://localhost",
        "http://localhost#x",
        "http://localhost?a",
    ] {
        let upstream = raw::Upstream::answering(&[EMPTY]).await;
        let scene = Scene::before(upstream.url(), |_| {}).await;
        let mut caller = Caller::to(scene.port()).await;
        caller
            .say(format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
            .await;
        let head = caller.head().await;
        assert!(head.starts_with("http/1.1 200"), "{target}: {head}");
        let line = upstream.heads()[0].lines().next().map(str::to_owned);
        let query = if target.ends_with("?a") { "?a" } else { "" };
        assert_eq!(line, Some(format!("get /{query} http/1.1")), "{target}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_closed_costs_nobody_an_answer() {
    let closing = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let upstream = raw::Upstream::answering(&[closing]).await;
    let scene = Scene::before(upstream.url(), |_| {}).await;
    assert_eq!(scene.get("/1").await.status(), 200);
    // The upstream ends the connection that the proxy keeps.
    let again = raw::Upstream::answering(&[
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    ])
    .await;
    let scene = Scene::before(again.url(), |_| {}).await;
    for number in 0..10 {
        let answer = scene.client.post(scene.url("/")).body("x").send().await;
        assert_eq!(answer.expect("an answer").status(), 200, "POST {number}");
        assert_eq!(scene.get("/").await.status(), 200, "GET {number}");
    }
    assert_eq!(again.heads().len(), 20);
}

#[tokio::test]
async fn a_proxy_with_a_bearer_of_its_own_serves_only_who_shows_it() {
    let scene = Scene::with(|config| {
        config.local_bearer = Some(SecretString::from("of this machine"));
    })
    .await;
    for shown in [
        None,
        Some("Bearer of another"),
        Some("Basic of this machine"),
    ] {
        let mut request = scene.client.get(scene.url("/echo"));
        if let Some(shown) = shown {
            request = request.header("authorization", shown);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 401);
        assert!(answer.headers().contains_key("www-authenticate"));
        assert_eq!(problem(answer).await, "local-bearer");
    }
    assert!(scene.upstream.record().is_empty());
    for shown in ["Bearer of this machine", "bearer of this machine"] {
        let request = scene.client.get(scene.url("/echo"));
        let answer = request.header("authorization", shown).send().await;
        assert_eq!(answer.expect("an answer").status(), 200);
    }
}
