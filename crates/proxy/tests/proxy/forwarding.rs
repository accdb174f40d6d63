//! Tests which requests the proxy forwards, and how it changes them.

use token_rotator::SecretString;
use token_rotator_proxy::Route;

use crate::fixture::{ProxyFixture, problem, session, tokens};
use crate::raw::{self, Caller};

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_forwarded_request_carries_the_token() {
    let fixture = ProxyFixture::start().await;
    let answer = fixture.get("/echo?x=1&y=%20").await;
    let echo: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(echo["method"], "GET");
    assert_eq!(echo["path"], "/echo");
    assert_eq!(echo["generation"], 1);
    assert_eq!(echo["subject"], "alice");
    let authority = fixture.upstream.url().trim_start_matches("http://");
    assert_eq!(echo["headers"]["host"][0], authority);
    assert_eq!(echo["headers"]["via"][0], "1.1 token-rotator");
}

#[tokio::test]
async fn a_connection_to_the_upstream_serves_one_request_after_the_other() {
    let fixture = ProxyFixture::start().await;
    for _ in 0..20 {
        fixture.echo().await;
    }
    let record = fixture.upstream.record();
    assert_eq!(record.len(), 20);
    assert!(record.iter().all(|request| request.connection == 1));
}

#[tokio::test]
async fn credentials_of_the_caller_and_similar_fields_are_not_forwarded() {
    let upstream = raw::RawUpstream::with_script(&[EMPTY]).await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |_| {}).await;
    let mut request = fixture.client.get(fixture.url("/"));
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
    let upstream = raw::RawUpstream::with_script(&[EMPTY]).await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |config| {
        config.routes[0].pass_authorization = true;
    })
    .await;
    let own = fixture.client.get(fixture.url("/own"));
    let answer = own.header("authorization", "Basic mine").send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
    fixture.get("/without").await;
    let heads = upstream.heads();
    assert!(heads[0].contains("authorization: basic mine"), "{heads:?}");
    assert_eq!(heads[0].matches("authorization").count(), 1);
    assert!(heads[1].contains("authorization: bearer "), "{heads:?}");
}

#[tokio::test]
async fn hop_by_hop_fields_are_not_forwarded() {
    let upstream = raw::RawUpstream::with_script(&[
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
         proxy-authenticate: Basic\r\nx-end: 1\r\ncontent-length: 2\r\n\r\nok",
    ])
    .await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |_| {}).await;
    let mut caller = Caller::to(fixture.port()).await;
    caller
        .send_bytes(
            "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: keep-alive, x-mine, host\r\n\
             x-mine: 1\r\nkeep-alive: 5\r\nproxy-connection: close\r\nte: gzip, trailers\r\n\
             http2-settings: AAAA\r\nx-end: 1\r\n\r\n",
        )
        .await;
    let answer = caller.head().await;
    assert_eq!(caller.read(2).await, b"ok");
    for removed in ["x-hop", "keep-alive", "proxy-authenticate"] {
        assert!(!answer.contains(removed), "{removed} in {answer}");
    }
    assert!(answer.contains("x-end: 1"), "{answer}");
    let head = &upstream.heads()[0];
    for removed in [
        "x-mine",
        "keep-alive",
        "proxy-connection",
        "http2-settings",
        "gzip",
    ] {
        assert!(!head.contains(removed), "{removed} in {head}");
    }
    for there in ["x-end: 1", "te: trailers", "\r\nhost: 127.0.0.1:"] {
        assert!(head.contains(there), "{there} in {head}");
    }
}

#[tokio::test]
async fn redirects_are_handed_to_the_caller() {
    let fixture = ProxyFixture::start().await;
    let answer = fixture.get("/redirect/same?to=/echo&status=307").await;
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.headers()["location"], "/echo");
    assert_eq!(fixture.upstream.counters().served, 1);
}

#[tokio::test]
async fn the_longest_prefix_of_the_right_host_takes_the_request() {
    let (one, two, three) = (
        raw::RawUpstream::with_script(&["HTTP/1.1 201 One\r\ncontent-length: 0\r\n\r\n"]).await,
        raw::RawUpstream::with_script(&["HTTP/1.1 202 Two\r\ncontent-length: 0\r\n\r\n"]).await,
        raw::RawUpstream::with_script(&["HTTP/1.1 203 Three\r\ncontent-length: 0\r\n\r\n"]).await,
    );
    let fixture = ProxyFixture::with_upstream(one.url(), |_| {}).await;
    let other = |url: &str| {
        let rotator = session(&fixture.issuer, url);
        let stored = rotator.sign_in(tokens(&fixture.issuer.sign_in("bob")));
        drop(stored.expect("usable tokens"));
        rotator
    };
    let mut config = crate::fixture::config(Route::new("all", one.url(), fixture.rotator.clone()));
    let mut route = Route::new("two", two.url(), other(two.url()));
    route.prefix = "/two/".to_owned();
    route.strip_prefix = true;
    config.routes.push(route);
    let mut route = Route::new("three", three.url(), other(three.url()));
    route.host = Some("Three.Test".to_owned());
    config.routes.push(route);
    config.unsafe_no_bearer = true;
    let proxy = token_rotator_proxy::Handle::start(&config).expect("a proxy");
    let url = format!("http://127.0.0.1:{}", crate::fixture::port(&proxy));
    let ask = async |path: &str, host: &str| {
        let request = fixture.client.get(format!("{url}{path}"));
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
async fn a_request_without_a_route_is_not_sent() {
    let fixture = ProxyFixture::with(|config| config.routes[0].prefix = "/api".to_owned()).await;
    let answer = fixture.get("/echo").await;
    assert_eq!(answer.status(), 404);
    assert_eq!(problem(answer).await, "no-route");
    assert!(fixture.upstream.record().is_empty());
}

#[tokio::test]
async fn an_absolute_target_wins_over_the_host_field() {
    let fixture = ProxyFixture::start().await;
    let mut caller = Caller::to(fixture.port()).await;
    let request = "GET http://localhost/echo?a HTTP/1.1\r\nhost: elsewhere.test\r\n\r\n";
    caller.send_bytes(request).await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
    let mut caller = Caller::to(fixture.port()).await;
    let request = "GET http://elsewhere.test/echo HTTP/1.1\r\nhost: localhost\r\n\r\n";
    caller.send_bytes(request).await;
    assert!(caller.head().await.starts_with("http/1.1 421"));
    assert_eq!(fixture.upstream.record().len(), 1);
}

/// A request line without a path would be invalid, or a different request.
#[tokio::test]
async fn an_options_request_for_the_server_is_forwarded() {
    let upstream =
        raw::RawUpstream::with_script(&["HTTP/1.1 204 No Content\r\nallow: GET, OPTIONS\r\n\r\n"])
            .await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |_| {}).await;
    let mut caller = raw::Caller::to(fixture.port()).await;
    caller
        .send_bytes("OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let head = caller.head().await;
    assert!(head.contains("allow: get, options"), "{head}");
    let head = &upstream.heads()[0];
    assert!(head.starts_with("options * http/1.1\r\n"), "{head}");
    caller
        .send_bytes("GET * HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    assert!(caller.head().await.starts_with("http/1.1 400"));
    assert_eq!(upstream.heads().len(), 1);
}

#[tokio::test]
async fn an_absolute_target_without_a_path_means_the_root() {
    for target in [
        "http://localhost",
        "http://localhost#x",
        "http://localhost?a",
    ] {
        let upstream = raw::RawUpstream::with_script(&[EMPTY]).await;
        let fixture = ProxyFixture::with_upstream(upstream.url(), |_| {}).await;
        let mut caller = Caller::to(fixture.port()).await;
        caller
            .send_bytes(format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
            .await;
        let head = caller.head().await;
        assert!(head.starts_with("http/1.1 200"), "{target}: {head}");
        let line = upstream.heads()[0].lines().next().map(str::to_owned);
        let query = if target.ends_with("?a") { "?a" } else { "" };
        assert_eq!(line, Some(format!("get /{query} http/1.1")), "{target}");
    }
}

#[tokio::test]
async fn a_pooled_connection_that_the_upstream_closed_loses_no_answer() {
    let closing = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let upstream = raw::RawUpstream::with_script(&[closing]).await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |_| {}).await;
    assert_eq!(fixture.get("/1").await.status(), 200);
    // The upstream closes the connection that the proxy has pooled.
    let closing_upstream = raw::RawUpstream::with_script(&[
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    ])
    .await;
    let fixture = ProxyFixture::with_upstream(closing_upstream.url(), |_| {}).await;
    for number in 0..10 {
        let answer = fixture.client.post(fixture.url("/")).body("x").send().await;
        assert_eq!(answer.expect("an answer").status(), 200, "POST {number}");
        assert_eq!(fixture.get("/").await.status(), 200, "GET {number}");
    }
    assert_eq!(closing_upstream.heads().len(), 20);
}

#[tokio::test]
async fn a_proxy_with_a_local_bearer_requires_it() {
    let fixture = ProxyFixture::with(|config| {
        config.local_bearer = Some(SecretString::from("of this machine"));
    })
    .await;
    for shown in [
        None,
        Some("Bearer of another"),
        Some("Basic of this machine"),
    ] {
        let mut request = fixture.client.get(fixture.url("/echo"));
        if let Some(shown) = shown {
            request = request.header("authorization", shown);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 401);
        assert!(answer.headers().contains_key("www-authenticate"));
        assert_eq!(problem(answer).await, "local-bearer");
    }
    assert!(fixture.upstream.record().is_empty());
    for shown in ["Bearer of this machine", "bearer of this machine"] {
        let request = fixture.client.get(fixture.url("/echo"));
        let answer = request.header("authorization", shown).send().await;
        assert_eq!(answer.expect("an answer").status(), 200);
    }
}
