//! Reload, drain, health and metrics.

use std::net::SocketAddr;
use std::time::Duration;

use token_rotator_proxy::Listen;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{World, client, config, loopback, problem, tcp};

/// Requests under way are answered, new connections are refused, kept ones end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_finishes_what_is_under_way() {
    let world = World::new().await;
    let gate = world.upstream.gate();
    gate.close();
    let url = world.url("/echo");
    let under_way =
        tokio::spawn(async move { client().get(url).send().await.expect("an answer").status() });
    gate.arrived(1).await;
    let mut idle = TcpStream::connect(world.address)
        .await
        .expect("a connection");
    idle.write_all(b"GET /open/echo?held HTTP/1.1\r\n")
        .await
        .expect("written");
    let drained = tokio::spawn(world.proxy.drain(Duration::from_secs(20)));
    while TcpStream::connect(world.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    // The rest of a request that had begun is taken.
    gate.open();
    idle.write_all(b"host: localhost\r\n\r\n")
        .await
        .expect("written");
    let mut answer = String::new();
    idle.read_to_string(&mut answer)
        .await
        .expect("an answer, and the end");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(under_way.await.expect("no panic"), 200);
    assert!(drained.await.expect("no panic"));
}

/// What is not done by the deadline is cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_has_a_deadline() {
    let world = World::new().await;
    let gate = world.upstream.gate();
    gate.close();
    let url = world.url("/echo");
    let stuck = tokio::spawn(async move { client().get(url).send().await.map(|_| ()) });
    gate.arrived(1).await;
    assert!(!world.proxy.drain(Duration::from_millis(100)).await);
    stuck.await.expect("no panic").expect_err("cut off");
}

/// A reload changes routes under a connection that stays, and listeners only where they differ.
#[tokio::test]
async fn a_reload_drops_no_connection() {
    let world = World::new().await;
    let client = client();
    let get = async |path: &str| client.get(world.url(path)).send().await.expect("an answer");
    assert_eq!(get("/echo").await.status(), 200);
    let mut route =
        token_rotator_proxy::Route::new("new", world.upstream.url(), world.rotator.clone());
    route.prefix = "/new".to_owned();
    route.strip_prefix = true;
    let mut config = config(vec![route]);
    config.listeners.push(token_rotator_proxy::Listener {
        listen: Listen::Tcp(SocketAddr::from(([127, 0, 0, 2], 0))),
        public: false,
    });
    let mut held = TcpStream::connect(world.address)
        .await
        .expect("a connection");
    let mut head = [0; 12];
    held.write_all(b"GET /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n")
        .await
        .expect("written");
    world.proxy.reload(&config).expect("reloaded");
    held.write_all(b"\r\n").await.expect("written");
    held.read_exact(&mut head).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 404");
    assert_eq!(
        problem(get("/echo").await).await,
        (404, "no-route".to_owned())
    );
    assert_eq!(get("/new/echo").await.status(), 200);
    assert_eq!(world.proxy.listening().len(), 2);
    config.listeners = vec![loopback()];
    world.proxy.reload(&config).expect("reloaded");
    assert_eq!(world.proxy.listening().len(), 1);
    assert_eq!(tcp(&world.proxy), world.address);
    // One that is refused changes nothing.
    config.routes[0].prefix = "new".to_owned();
    world.proxy.reload(&config).expect_err("refused");
    assert_eq!(get("/new/echo").await.status(), 200);
}

#[tokio::test]
async fn health_and_metrics() {
    let world = World::with(|config| config.admin = Some(([127, 0, 0, 1], 0).into())).await;
    let admin = world.proxy.admin().expect("an address");
    let get = async |path: &str| {
        let answer = client()
            .get(format!("http://{admin}{path}"))
            .send()
            .await
            .expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    world.issuer.expire_access_tokens();
    assert_eq!(world.get("/echo").await.status(), 200);
    assert_eq!(world.get("/status/503").await.status(), 503);
    assert_eq!(get("/healthz").await.0, 200);
    assert_eq!(get("/readyz").await.0, 200);
    let (status, text) = get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "token_rotator_proxy_requests_total{route=\"api\",status=\"2xx\"} 1\n",
        "token_rotator_proxy_requests_total{route=\"api\",status=\"5xx\"} 1\n",
        "token_rotator_proxy_replays_total{route=\"api\"} 1\n",
        "token_rotator_proxy_waiting{route=\"api\"} 0\n",
        "token_rotator_proxy_duration_seconds_count{route=\"api\"} 2\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    let rebound = client()
        .get(format!("http://{admin}/metrics"))
        .header("host", "evil.example");
    assert_eq!(rebound.send().await.expect("an answer").status(), 421);
}

/// A proxy whose session has ended, and has nothing to serve, is alive and not ready.
#[tokio::test]
async fn an_ended_session_is_not_ready() {
    let world = World::with(|config| config.admin = Some(([127, 0, 0, 1], 0).into())).await;
    let admin = world.proxy.admin().expect("an address");
    let get = async |path: &str| {
        client()
            .get(format!("http://{admin}{path}"))
            .send()
            .await
            .expect("an answer")
    };
    world.issuer.revoke_family(&world.grant);
    assert_eq!(world.get("/echo").await.status(), 401);
    assert_eq!(get("/healthz").await.status(), 200);
    let answer = get("/readyz").await;
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.expect("text");
    assert!(text.contains("hint: run `token-rotator login`"), "{text}");
}
