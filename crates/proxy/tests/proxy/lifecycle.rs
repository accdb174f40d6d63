//! Tests reload and shutdown.

use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator_proxy::{Handle, Route};

use crate::fixture::{ProxyFixture, config, http2_client, loopback, session, tokens};
use crate::raw::Caller;

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_drain_answers_running_requests_and_accepts_no_new_ones() {
    for http2 in [false, true] {
        let fixture = ProxyFixture::start().await;
        let client = if http2 {
            http2_client()
        } else {
            fixture.client.clone()
        };
        let idle = Caller::to(fixture.port()).await;
        let url = fixture.url("/echo");
        fixture.upstream.gate().close();
        let request = tokio::spawn(client.get(&url).send());
        fixture.upstream.gate().arrived(1).await;
        let draining = tokio::spawn(fixture.proxy.drain(LONG));
        // After the idle connection is closed, the listener is closed too.
        let mut idle = idle;
        assert_eq!(idle.rest().await, "");
        assert!(crate::fixture::client().get(&url).send().await.is_err());
        fixture.upstream.gate().open();
        let answer = request.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status(), 200);
        assert!(
            draining.await.expect("no panic"),
            "every connection ended by itself"
        );
    }
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_and_reports_it() {
    let fixture = ProxyFixture::start().await;
    fixture.upstream.gate().close();
    let request = tokio::spawn(fixture.client.get(fixture.url("/echo")).send());
    fixture.upstream.gate().arrived(1).await;
    assert!(!fixture.proxy.drain(Duration::from_millis(50)).await);
    assert!(
        request.await.expect("no panic").is_err(),
        "the connection was closed"
    );
}

#[tokio::test]
async fn a_drain_waits_for_the_flight() {
    let fixture = ProxyFixture::start().await;
    fixture.issuer.expire_access_tokens();
    fixture.issuer.answer_gate().close();
    let request = tokio::spawn(fixture.client.get(fixture.url("/echo")).send());
    fixture.issuer.answer_gate().arrived(1).await;
    request.abort();
    let draining = tokio::spawn(fixture.proxy.drain(LONG));
    fixture.issuer.answer_gate().open();
    assert!(draining.await.expect("no panic"));
    let token = fixture.rotator.access_token().expect("a token");
    assert_eq!(token.generation(), 2);
}

#[tokio::test]
async fn a_reload_keeps_connections_and_changes_routes() {
    let fixture = ProxyFixture::start().await;
    let mut caller = Caller::to(fixture.port()).await;
    let request = "GET /new/download/0 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    caller.send_bytes(request).await;
    assert!(caller.head().await.starts_with("http/1.1 404"));
    assert_eq!(
        fixture.upstream.counters().served,
        1,
        "the old route took it"
    );

    let rotator = session(&fixture.issuer, fixture.upstream.url());
    let stored = rotator.sign_in(tokens(&fixture.issuer.sign_in("bob")));
    stored.expect("usable tokens").await.expect("stored");
    let mut second = config(Route::new(
        "old",
        fixture.upstream.url(),
        fixture.rotator.clone(),
    ));
    let mut route = Route::new("new", fixture.upstream.url(), rotator);
    route.prefix = "/new".to_owned();
    route.strip_prefix = true;
    second.routes.push(route);
    fixture.proxy.reload(&second).expect("in force");
    caller.read_body_of_404().await;
    caller.send_bytes(request).await;
    assert!(caller.head().await.starts_with("http/1.1 200"));

    // A contradicting configuration changes nothing.
    let mut broken = second.clone();
    broken.routes[0].prefix = "/new/".to_owned();
    let error = fixture.proxy.reload(&broken).expect_err("ambiguous");
    assert!(error.to_string().contains("`old` and `new`"), "{error}");
    caller.send_bytes(request).await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
}

impl Caller {
    /// Reads the body of the testkit's 404, which the test ignores.
    async fn read_body_of_404(&mut self) {
        self.read(br#"{"error":"not_found"}"#.len()).await;
    }
}

#[tokio::test]
async fn a_reload_opens_and_closes_listeners() {
    let fixture = ProxyFixture::start().await;
    let first = fixture.port();
    let mut changed = config(Route::new(
        "api",
        fixture.upstream.url(),
        fixture.rotator.clone(),
    ));
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    };
    changed.listeners.push(loopback());
    changed.listeners[1].listen = token_rotator_proxy::Listen::Tcp(free);
    fixture.proxy.reload(&changed).expect("in force");
    assert_eq!(fixture.port(), first, "an unchanged listener stays open");
    let ask = async |port: u16| {
        let url = format!("http://127.0.0.1:{port}/echo");
        let new_client = crate::fixture::client();
        new_client
            .get(url)
            .send()
            .await
            .map(|answer| answer.status().as_u16())
    };
    assert_eq!(ask(first).await.expect("an answer"), 200);
    assert_eq!(ask(free.port()).await.expect("an answer"), 200);
    changed.listeners.remove(0);
    fixture.proxy.reload(&changed).expect("in force");
    while ask(first).await.is_ok() {}
    assert_eq!(ask(free.port()).await.expect("an answer"), 200);
}

#[tokio::test]
async fn a_handle_that_is_dropped_ends_its_proxy() {
    let fixture = ProxyFixture::start().await;
    fixture.echo().await;
    let url = fixture.url("/echo");
    let ProxyFixture { proxy, client, .. } = fixture;
    drop::<Handle>(proxy);
    assert!(client.get(url).send().await.is_err());
}
