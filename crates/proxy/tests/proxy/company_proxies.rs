//! Tests upstreams behind an HTTP proxy of the network.
//! `crates/cli/tests/proxy/company_proxies.rs` tests the environment variables.

use token_rotator_proxy::{BuildError, Config, Handle, Protocol, Route, StartError, UpstreamProxy};
use token_rotator_testkit::HttpProxy;

use crate::fixture::{ProxyFixture, http2_upstream, problem};
use crate::raw::{Caller, RawUpstream};

/// `me:hunter2`
const CREDENTIALS: &str = "Basic bWU6aHVudGVyMg==";

async fn company_proxy(credentials: Option<&'static str>) -> HttpProxy {
    HttpProxy::start(credentials).await.expect("a proxy")
}

fn through(proxy: &HttpProxy, credentials: &str) -> UpstreamProxy {
    let address = format!("http://{credentials}{}", proxy.address());
    UpstreamProxy::Address(address.parse().expect("an address"))
}

/// Property: an https upstream gets a tunnel with the TLS of the upstream, in either version of HTTP.
#[tokio::test]
async fn an_https_upstream_is_reached_through_a_tunnel() {
    for (alpn, version) in [
        ("h2", "HTTP/2, token: true"),
        ("http/1.1", "HTTP/1.1, token: true"),
    ] {
        let proxy = company_proxy(Some(CREDENTIALS)).await;
        let (url, certificate) = crate::encrypted::upstream(&[alpn]).await;
        let fixture = ProxyFixture::with_upstream(&url, |config| {
            config.routes[0].extra_roots = vec![certificate.to_vec()];
            config.routes[0].proxy = through(&proxy, "me:hunter2@");
        })
        .await;
        for _ in 0..3 {
            let answer = fixture.get("/").await;
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.text().await.expect("text"), version);
        }
        let record = proxy.record();
        assert_eq!(
            record.len(),
            1,
            "one tunnel serves the requests: {record:?}"
        );
        assert_eq!(
            record[0].line,
            format!("CONNECT {}", url.trim_start_matches("https://"))
        );
        assert_eq!(record[0].authorization.as_deref(), Some(CREDENTIALS));
    }
}

/// Property: an http upstream gets absolute URIs; a refused request is replayed; only the proxy gets the
/// credentials.
#[tokio::test]
async fn an_http_upstream_is_reached_with_absolute_uris() {
    let proxy = company_proxy(Some(CREDENTIALS)).await;
    let fixture = ProxyFixture::with(|config| {
        config.routes[0].proxy = through(&proxy, "me:hunter2@");
    })
    .await;
    fixture.issuer.expire_access_tokens();
    let post = fixture.client.post(fixture.url("/echo?q=1")).body("hello");
    let answer = post.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let echo: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(echo["body_length"], 5);
    assert!(
        echo["headers"].get("proxy-authorization").is_none(),
        "{echo}"
    );
    let line = format!("POST {}/echo?q=1", fixture.upstream.url());
    let record = proxy.record();
    assert_eq!(record.len(), 2, "the request and its replay: {record:?}");
    for request in record {
        assert_eq!(
            (request.line, request.authorization.as_deref()),
            (line.clone(), Some(CREDENTIALS))
        );
    }
}

#[tokio::test]
async fn upgrades_and_http2_without_tls_use_a_tunnel() {
    let proxy = company_proxy(None).await;
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let upstream = RawUpstream::with_script(&[switch]).await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |config| {
        config.routes[0].proxy = through(&proxy, "");
    })
    .await;
    let mut caller = Caller::to(fixture.port()).await;
    let head = "GET /x HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    caller.send_bytes(head).await;
    assert!(caller.head().await.starts_with("http/1.1 101"));
    caller.send_bytes("ping").await;
    assert_eq!(caller.read(4).await, b"ping");
    assert!(upstream.heads()[0].starts_with("get /x http/1.1\r\n"));
    let fixture = ProxyFixture::with(|config| {
        http2_upstream(config);
        config.routes[0].proxy = through(&proxy, "");
    })
    .await;
    fixture.echo().await;
    let lines: Vec<_> = proxy
        .record()
        .into_iter()
        .map(|request| request.line)
        .collect();
    let tunnel = |url: &str| format!("CONNECT {}", url.trim_start_matches("http://"));
    assert_eq!(
        lines,
        [tunnel(upstream.url()), tunnel(fixture.upstream.url())]
    );
}

/// Property: a 407 is an error of its own, in a tunnel and without one. The caller gets neither the
/// challenge of the proxy nor the address of it.
#[tokio::test]
async fn wrong_credentials_are_an_error_that_names_the_setting() {
    let proxy = company_proxy(Some("Basic other")).await;
    for credentials in ["", "me:hunter2@"] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let fixture = ProxyFixture::with(|config| {
                config.routes[0].protocol = protocol;
                config.routes[0].proxy = through(&proxy, credentials);
            })
            .await;
            let answer = fixture.get("/echo").await;
            assert_eq!(answer.status(), 502);
            assert!(!answer.headers().contains_key("proxy-authenticate"));
            let text = answer.text().await.expect("text");
            for part in [
                "problem:proxy-credentials",
                "`proxy` of the route",
                "`HTTPS_PROXY`",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert!(
                !text.contains("hunter2") && !text.contains(proxy.address()),
                "{text}"
            );
            assert!(fixture.upstream.record().is_empty());
        }
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_is_502() {
    let gone = company_proxy(None).await;
    let address = through(&gone, "");
    drop(gone);
    let fixture = ProxyFixture::with(|config| config.routes[0].proxy = address).await;
    let answer = fixture.get("/echo").await;
    assert_eq!(answer.status(), 502);
    assert_eq!(problem(answer).await, "proxy");
    assert!(fixture.upstream.record().is_empty());
}

/// An upstream's own 407 through a tunnel is an answer like any other.
#[tokio::test]
async fn a_407_of_the_upstream_reaches_the_caller() {
    let fixture = ProxyFixture::start().await;
    assert_eq!(fixture.get("/status/407").await.status(), 407);
}

#[tokio::test]
async fn a_proxy_that_does_not_fit_the_route_is_refused() {
    let fixture = ProxyFixture::start().await;
    let refused = |change: &dyn Fn(&mut Config)| {
        let route = Route::new("api", fixture.upstream.url(), fixture.rotator.clone());
        let mut config = crate::fixture::config(route);
        change(&mut config);
        match Handle::start(&config) {
            Err(StartError::Config(error @ BuildError::Proxy { .. })) => {
                assert!(
                    error.hint().is_some() && error.route() == Some("api"),
                    "{error}"
                );
                error.to_string()
            }
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("not refused"),
        }
    };
    let proxy = |text: &str| UpstreamProxy::Address(text.parse().expect("an address"));
    for scheme in ["socks5", "https"] {
        let text = format!("{scheme}://me:hunter2@proxy.example.com:1080");
        let shown = refused(&|config| config.routes[0].proxy = proxy(&text));
        assert!(
            shown.contains(scheme) && !shown.contains("hunter2"),
            "{shown}"
        );
    }
    refused(&|config| {
        config.routes[0].proxy = proxy("http://proxy.example.com:3128");
        config.routes[0].upstream_socket = Some("/run/api.sock".into());
    });
}
