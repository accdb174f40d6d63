//! Tests requests of web pages: exact heads of browsers and programs over real sockets.
//! `crates/cli/tests/page/cross_site.rs` sends such requests with a real browser.

use serde_json::Value;

use crate::fixture::{ProxyFixture, http2_client, problem};
use crate::raw::{Caller, RawUpstream};

const PAGE: &str = "http://localhost:5173";
const WEBSOCKET: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn with_page() -> ProxyFixture {
    ProxyFixture::with(|config| config.allowed_origins = vec![PAGE.to_owned()]).await
}

/// Sends a head with `Host` of the proxy; `OWN` stands for host and port. Returns the answer's head.
async fn send(fixture: &ProxyFixture, line: &str, fields: &str) -> String {
    let own = format!("127.0.0.1:{}", fixture.port());
    let fields = fields.replace("OWN", &own);
    let mut caller = Caller::to(fixture.port()).await;
    let head = format!("{line} HTTP/1.1\r\nhost: {own}\r\n{fields}\r\n");
    caller.send_bytes(head).await;
    caller.head().await
}

/// Property: no kind of request of a page reaches the upstream, and each gets the reason.
#[tokio::test]
async fn a_page_of_another_origin_gets_403() {
    let fixture = ProxyFixture::start().await;
    let origin = "origin: https://attacker.test\r\n";
    let cross = "sec-fetch-site: cross-site\r\n";
    for (line, fields) in [
        // What Chromium sends for each kind, without the headers that decide nothing.
        ("GET /echo", format!("{cross}sec-fetch-mode: no-cors\r\n")),
        (
            "POST /echo",
            format!("{origin}{cross}sec-fetch-mode: no-cors\r\n"),
        ),
        (
            "GET /echo",
            format!("{cross}sec-fetch-mode: no-cors\r\nsec-fetch-dest: image\r\n"),
        ),
        (
            "POST /echo",
            format!("{origin}{cross}sec-fetch-mode: navigate\r\nsec-fetch-dest: iframe\r\n"),
        ),
        (
            "POST /echo",
            format!("{origin}{cross}sec-fetch-mode: navigate\r\nsec-fetch-user: ?1\r\n"),
        ),
        ("GET /echo", format!("{cross}sec-fetch-mode: navigate\r\n")),
        (
            "GET /echo",
            format!("{origin}{cross}sec-fetch-mode: cors\r\n"),
        ),
        (
            "OPTIONS /echo",
            format!("{origin}{cross}access-control-request-method: DELETE\r\n"),
        ),
        (
            "DELETE /echo",
            format!("{origin}{cross}sec-fetch-mode: cors\r\n"),
        ),
        ("GET /echo", format!("{origin}{WEBSOCKET}")),
        (
            "GET /echo",
            format!("{origin}{cross}accept: text/event-stream\r\n"),
        ),
        (
            "POST /echo",
            format!("{origin}{cross}sec-fetch-dest: empty\r\n"),
        ),
        // A sandboxed frame, a file, and a page of another port of this machine.
        ("POST /echo", "origin: null\r\n".to_owned()),
        ("GET /echo", format!("origin: null\r\n{WEBSOCKET}")),
        (
            "GET /echo",
            format!("origin: http://127.0.0.1:1\r\n{WEBSOCKET}"),
        ),
        ("GET /echo", "sec-fetch-site: same-site\r\n".to_owned()),
        (
            "POST /echo",
            "sec-fetch-site: none\r\nsec-fetch-mode: navigate\r\n".to_owned(),
        ),
        (
            "GET /echo",
            "sec-fetch-site: same-origin\r\nsec-fetch-mode: navigate\r\n".to_owned(),
        ),
        // A path or method that the proxy refuses anyway tells the page nothing more.
        ("GET /a/../b", format!("{origin}{cross}")),
    ] {
        let answer = send(&fixture, line, &fields).await;
        assert!(
            answer.starts_with("http/1.1 403"),
            "{line} {fields}\n{answer}"
        );
        assert!(!answer.contains("access-control-"), "{answer}");
    }
    assert!(fixture.upstream.record().is_empty());
    let count = "token_rotator_proxy_rejected_total{problem=\"cross-site\"} 19";
    assert!(
        fixture.proxy.metrics().contains(count),
        "{}",
        fixture.proxy.metrics()
    );
}

#[tokio::test]
async fn the_403_names_the_origin_and_the_setting() {
    let fixture = ProxyFixture::start().await;
    let detail = async |origin: &str| {
        let request = fixture.client.get(fixture.url("/echo"));
        let answer = request.header("origin", origin).send().await;
        let answer = answer.expect("an answer").text().await.expect("text");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["detail"].as_str().expect("a detail").to_owned()
    };
    let text = detail("http://localhost:5173").await;
    assert!(
        text.contains("add \"http://localhost:5173\" to `allowed_origins` of `[proxy]`"),
        "{text}"
    );
    let text = detail("null").await;
    assert!(
        text.contains("`null`") && text.contains("`allowed_origins` of `[proxy]`"),
        "{text}"
    );
    // HTTP/2 callers and gRPC callers get the reason too.
    for grpc in [false, true] {
        let request = http2_client()
            .post(fixture.url("/grpc/ok"))
            .header("origin", PAGE);
        let kind = if grpc {
            "application/grpc"
        } else {
            "application/json"
        };
        let answer = request
            .header("content-type", kind)
            .send()
            .await
            .expect("an answer");
        if grpc {
            assert_eq!(answer.headers()["grpc-status"], "7");
            let message = answer.headers()["grpc-message"].to_str().expect("text");
            assert!(message.contains(PAGE), "{message}");
        } else {
            assert_eq!(answer.status(), 403);
            assert_eq!(problem(answer).await, "cross-site");
        }
    }
    assert!(fixture.upstream.record().is_empty());
}

/// Property: programs that send a part of a browser's headers are served.
#[tokio::test]
async fn programs_are_served() {
    let fixture = ProxyFixture::start().await;
    for (line, fields) in [
        ("GET /echo", "user-agent: curl/8.5.0\r\naccept: */*\r\n"),
        (
            "GET /echo",
            "user-agent: python-requests/2.32.3\r\naccept-encoding: gzip, deflate\r\n",
        ),
        // Node's fetch
        (
            "POST /echo",
            "accept: */*\r\nsec-fetch-mode: cors\r\nuser-agent: node\r\n",
        ),
        // A user who types the address into a browser.
        (
            "GET /echo",
            "sec-fetch-site: none\r\nsec-fetch-mode: navigate\r\nsec-fetch-user: ?1\r\n",
        ),
        // A page of the proxy's own origin.
        (
            "POST /echo",
            "origin: http://OWN\r\nsec-fetch-site: same-origin\r\nsec-fetch-mode: cors\r\n",
        ),
        (
            "GET /echo",
            "sec-fetch-site: same-origin\r\nsec-fetch-mode: no-cors\r\n",
        ),
        // A development server in between (Vite's `changeOrigin`).
        (
            "POST /echo",
            "origin: http://localhost:5173\r\nsec-fetch-site: same-origin\r\n",
        ),
    ] {
        let answer = send(&fixture, line, fields).await;
        assert!(
            answer.starts_with("http/1.1 200"),
            "{line} {fields}\n{answer}"
        );
        assert!(
            !answer.contains("access-control-") && !answer.contains("vary"),
            "{answer}"
        );
    }
    assert_eq!(fixture.upstream.record().len(), 7);
    // Python's websocket-client sends the target's own origin.
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let upstream = RawUpstream::with_script(&[switch]).await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |config| {
        config.allowed_origins = vec![PAGE.to_owned()];
    })
    .await;
    for origin in [
        "origin: http://OWN\r\n",
        "",
        "origin: http://localhost:5173\r\n",
    ] {
        let answer = send(&fixture, "GET /socket", &format!("{origin}{WEBSOCKET}")).await;
        assert!(answer.starts_with("http/1.1 101"), "{origin} {answer}");
    }
    assert!(upstream.heads()[0].contains("authorization: bearer "));
}

/// Property: the proxy answers preflights of an allowed origin, and the page can read every answer: of
/// the upstream, after a refresh, and of the proxy itself.
#[tokio::test]
async fn a_page_of_an_allowed_origin_reads_the_answers() {
    let fixture = with_page().await;
    let origin =
        format!("origin: {PAGE}\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: cors\r\n");
    let asks =
        "access-control-request-method: DELETE\r\naccess-control-request-headers: x-trace\r\n";
    let private = "access-control-request-private-network: true\r\n";
    let preflight = send(
        &fixture,
        "OPTIONS /echo",
        &format!("{origin}{asks}{private}"),
    )
    .await;
    assert!(preflight.starts_with("http/1.1 204"), "{preflight}");
    for field in [
        "access-control-allow-origin: http://localhost:5173\r\n",
        "access-control-allow-methods: delete\r\n",
        "access-control-allow-headers: x-trace\r\n",
        "access-control-allow-private-network: true\r\n",
        "vary: origin\r\n",
    ] {
        assert!(preflight.contains(field), "{field} {preflight}");
    }
    assert!(
        fixture.upstream.record().is_empty(),
        "a preflight reaches no upstream"
    );
    fixture.issuer.expire_access_tokens();
    for (line, status) in [
        ("DELETE /echo", 200),
        ("GET /echo", 200),
        ("GET /status/404", 404),
        ("GET /always-401", 401),
        ("GET /a/../b", 400),
        ("TRACE /echo", 501),
    ] {
        let answer = send(&fixture, line, &origin).await;
        assert!(
            answer.starts_with(&format!("http/1.1 {status}")),
            "{line} {answer}"
        );
        for field in [
            "access-control-allow-origin: http://localhost:5173\r\n",
            "access-control-allow-credentials: true\r\n",
            "vary: origin\r\n",
        ] {
            assert_eq!(answer.matches(field).count(), 1, "{line} {field} {answer}");
        }
        let exposed = answer
            .lines()
            .find(|line| line.starts_with("access-control-expose-headers: "));
        assert!(
            exposed.is_some_and(|exposed| exposed.contains("content-type")),
            "{answer}"
        );
    }
    // A cache must not give the answer to a program to the page.
    let answer = send(&fixture, "GET /echo", "").await;
    assert!(
        answer.contains("vary: origin\r\n") && !answer.contains("access-control"),
        "{answer}"
    );
    // An OPTIONS request of the page that is no preflight goes to the upstream.
    let answer = send(&fixture, "OPTIONS /echo", &origin).await;
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
}

/// An upstream may have CORS rules of its own; two values would make the answer unreadable.
#[tokio::test]
async fn the_cors_headers_of_the_upstream_are_replaced() {
    let answer = "HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\nvary: accept\r\nx-page: 2\r\n\
                  access-control-expose-headers: etag\r\ncontent-length: 0\r\n\r\n";
    let upstream = RawUpstream::with_script(&[answer]).await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |config| {
        config.allowed_origins = vec![PAGE.to_owned()];
    })
    .await;
    let answer = send(&fixture, "GET /", &format!("origin: {PAGE}\r\n")).await;
    assert_eq!(
        answer.matches("access-control-allow-origin").count(),
        1,
        "{answer}"
    );
    assert_eq!(
        answer.matches("access-control-expose-headers").count(),
        1,
        "{answer}"
    );
    assert!(
        answer.contains("x-page") && answer.contains("vary: accept\r\n"),
        "{answer}"
    );
}

/// Browsers send no `Sec-Fetch` headers to a name that is not loopback: an image of any page there looks
/// like a program.
#[tokio::test]
async fn an_image_under_an_allowed_host_name_needs_the_bearer() {
    let fixture = ProxyFixture::with(|config| {
        config.allowed_hosts = vec!["proxy.internal".to_owned()];
        config.allowed_origins = vec![PAGE.to_owned()];
        config.local_bearer = Some("local".into());
    })
    .await;
    let image = "GET /echo HTTP/1.1\r\nhost: proxy.internal\r\naccept: image/*\r\n";
    for (fields, status) in [
        ("", 401),
        ("authorization: Bearer wrong\r\n", 401),
        ("authorization: Bearer local\r\n", 200),
    ] {
        let mut caller = Caller::to(fixture.port()).await;
        caller.send_bytes(format!("{image}{fields}\r\n")).await;
        let answer = caller.head().await;
        assert!(
            answer.starts_with(&format!("http/1.1 {status}")),
            "{fields} {answer}"
        );
    }
    assert_eq!(fixture.upstream.record().len(), 1);
    // The preflight of an allowed origin cannot carry the bearer; the request after it must.
    let origin = format!("origin: {PAGE}\r\n");
    let asks =
        "access-control-request-method: GET\r\naccess-control-request-headers: authorization\r\n";
    let preflight = send(&fixture, "OPTIONS /echo", &format!("{origin}{asks}")).await;
    assert!(preflight.starts_with("http/1.1 204"), "{preflight}");
    let answer = send(&fixture, "GET /echo", &origin).await;
    assert!(answer.starts_with("http/1.1 401"), "{answer}");
    assert!(
        answer.contains("access-control-allow-origin"),
        "the page can read the reason: {answer}"
    );
    // A page of another origin gets no further with the bearer.
    let foreign = "origin: http://attacker.test\r\nauthorization: Bearer local\r\n";
    let answer = send(&fixture, "GET /echo", foreign).await;
    assert!(answer.starts_with("http/1.1 403"), "{answer}");
}

/// A reload takes an origin into force, and out of force.
#[tokio::test]
async fn a_reload_changes_the_allowed_origins() {
    let fixture = ProxyFixture::start().await;
    let origin = format!("origin: {PAGE}\r\n");
    for (origins, status) in [
        (vec![], "403"),
        (vec![PAGE.to_owned()], "200"),
        (vec![], "403"),
    ] {
        let route =
            token_rotator_proxy::Route::new("api", fixture.upstream.url(), fixture.rotator.clone());
        let mut config = crate::fixture::config(route);
        config.allowed_origins = origins;
        fixture.proxy.reload(&config).expect("in force");
        let port = fixture.port();
        let mut caller = Caller::to(port).await;
        let head = format!("GET /echo HTTP/1.1\r\nhost: localhost:{port}\r\n{origin}\r\n");
        caller.send_bytes(head).await;
        let answer = caller.head().await;
        assert!(
            answer.starts_with(&format!("http/1.1 {status}")),
            "{answer}"
        );
    }
}
