//! Reloading and ending.

use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator_proxy::{Handle, Route};

use crate::raw::Caller;
use crate::scene::{Scene, config, http2_client, loopback, session, tokens};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn draining_answers_what_is_under_way_and_takes_nothing_new() {
    for http2 in [false, true] {
        let scene = Scene::start().await;
        let client = if http2 {
            http2_client()
        } else {
            scene.client.clone()
        };
        let idle = Caller::to(scene.port()).await;
        let url = scene.url("/echo");
        scene.upstream.gate().close();
        let asked = tokio::spawn(client.get(&url).send());
        scene.upstream.gate().arrived(1).await;
        let draining = tokio::spawn(scene.proxy.drain(LONG));
        // Once the connection that says nothing is closed, the listener is as well.
        let mut idle = idle;
        assert_eq!(idle.rest().await, "");
        assert!(crate::scene::client().get(&url).send().await.is_err());
        scene.upstream.gate().open();
        let answer = asked.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status(), 200);
        assert!(draining.await.expect("no panic"), "all ended by itself");
    }
}

#[tokio::test]
async fn draining_gives_up_in_time_and_says_so() {
    let scene = Scene::start().await;
    scene.upstream.gate().close();
    let asked = tokio::spawn(scene.client.get(scene.url("/echo")).send());
    scene.upstream.gate().arrived(1).await;
    assert!(!scene.proxy.drain(Duration::from_millis(50)).await);
    assert!(asked.await.expect("no panic").is_err(), "cut off");
}

#[tokio::test]
async fn draining_waits_for_the_flight() {
    let scene = Scene::start().await;
    scene.issuer.expire_access_tokens();
    scene.issuer.answer_gate().close();
    let asked = tokio::spawn(scene.client.get(scene.url("/echo")).send());
    scene.issuer.answer_gate().arrived(1).await;
    asked.abort();
    let draining = tokio::spawn(scene.proxy.drain(LONG));
    scene.issuer.answer_gate().open();
    assert!(draining.await.expect("no panic"));
    let token = scene.rotator.access_token().expect("a token");
    assert_eq!(token.generation(), 2);
}

#[tokio::test]
async fn a_reload_keeps_connections_and_changes_routes() {
    let scene = Scene::start().await;
    let mut caller = Caller::to(scene.port()).await;
    let request = "GET /new/download/0 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    caller.say(request).await;
    assert!(caller.head().await.starts_with("http/1.1 404"));
    assert_eq!(scene.upstream.counters().served, 1, "the old route took it");

    let rotator = session(&scene.issuer, scene.upstream.url());
    let stored = rotator.sign_in(tokens(&scene.issuer.sign_in("bob")));
    stored.expect("usable tokens").await.expect("stored");
    let mut second = config(Route::new(
        "old",
        scene.upstream.url(),
        scene.rotator.clone(),
    ));
    let mut route = Route::new("new", scene.upstream.url(), rotator);
    route.prefix = "/new".to_owned();
    route.strip_prefix = true;
    second.routes.push(route);
    scene.proxy.reload(&second).expect("in force");
    caller.read_body_of_404().await;
    caller.say(request).await;
    assert!(caller.head().await.starts_with("http/1.1 200"));

    // One that contradicts itself changes nothing.
    let mut broken = second.clone();
    broken.routes[0].prefix = "/new/".to_owned();
    let error = scene.proxy.reload(&broken).expect_err("ambiguous");
    assert!(error.to_string().contains("`old` and `new`"), "{error}");
    caller.say(request).await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
}

impl Caller {
    /// The testkit's 404 has a body, which is not of interest.
    async fn read_body_of_404(&mut self) {
        self.read(br#"{"error":"not_found"}"#.len()).await;
    }
}

#[tokio::test]
async fn a_reload_opens_and_closes_listeners() {
    let scene = Scene::start().await;
    let first = scene.port();
    let mut changed = config(Route::new(
        "api",
        scene.upstream.url(),
        scene.rotator.clone(),
    ));
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    };
    changed.listeners.push(loopback());
    changed.listeners[1].listen = token_rotator_proxy::Listen::Tcp(free);
    scene.proxy.reload(&changed).expect("in force");
    assert_eq!(scene.port(), first, "what stays, stays open");
    let ask = async |port: u16| {
        let url = format!("http://127.0.0.1:{port}/echo");
        let fresh = crate::scene::client();
        fresh
            .get(url)
            .send()
            .await
            .map(|answer| answer.status().as_u16())
    };
    assert_eq!(ask(first).await.expect("an answer"), 200);
    assert_eq!(ask(free.port()).await.expect("an answer"), 200);
    changed.listeners.remove(0);
    scene.proxy.reload(&changed).expect("in force");
    while ask(first).await.is_ok() {}
    assert_eq!(ask(free.port()).await.expect("an answer"), 200);
}

#[tokio::test]
async fn a_handle_that_is_dropped_ends_its_proxy() {
    let scene = Scene::start().await;
    scene.echo().await;
    let url = scene.url("/echo");
    let Scene { proxy, client, .. } = scene;
    drop::<Handle>(proxy);
    assert!(client.get(url).send().await.is_err());
}
