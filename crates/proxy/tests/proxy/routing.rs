//! Which requests go where, and which nowhere.

use token_rotator::SecretString;
use token_rotator_proxy::{BuildError, Handle, Listen, Listener, Route, StartError};

use crate::world::{World, client, config, loopback, problem};

#[tokio::test]
async fn the_longest_prefix_wins_and_is_stripped() {
    let world = World::with(|config| {
        let mut short = config.routes[0].clone();
        short.name = "v1".to_owned();
        short.prefix = "/v1".to_owned();
        short.strip_prefix = true;
        let mut long = short.clone();
        long.name = "open".to_owned();
        long.prefix = "/v1/x/".to_owned();
        config.routes = vec![short, long];
    })
    .await;
    let path = async |path: &str| {
        let echo: serde_json::Value = world.get(path).await.json().await.expect("JSON");
        echo["path"].as_str().expect("a path").to_owned()
    };
    assert_eq!(path("/v1/echo?q=1").await, "/echo");
    assert_eq!(path("/v1/x/echo").await, "/echo");
    assert_eq!(
        problem(world.get("/v1x/echo").await).await,
        (404, "no-route".to_owned())
    );
    assert_eq!(
        problem(world.get("/").await).await,
        (404, "no-route".to_owned())
    );
}

#[tokio::test]
async fn routes_that_cannot_be_told_apart_are_refused() {
    let world = World::new().await;
    let one = Route::new("one", world.upstream.url(), world.rotator.clone());
    let mut other = one.clone();
    other.name = "other".to_owned();
    let refused = |routes| match Handle::start(&config(routes)) {
        Err(StartError::Config(error)) => error,
        _ => panic!("not refused"),
    };
    assert!(matches!(
        refused(vec![one.clone(), other]),
        BuildError::Ambiguous(..)
    ));
    let mut same = one.clone();
    same.prefix = "/x".to_owned();
    assert!(matches!(refused(vec![one, same]), BuildError::Name(_)));
}

#[tokio::test]
async fn a_public_address_is_refused_unless_it_is_said() {
    let world = World::new().await;
    let mut config = config(vec![Route::new(
        "api",
        world.upstream.url(),
        world.rotator.clone(),
    )]);
    let everywhere = Listen::Tcp(([0, 0, 0, 0], 0).into());
    config.listeners = vec![Listener {
        listen: everywhere.clone(),
        public: false,
    }];
    let error = Handle::start(&config).err().expect("refused");
    assert!(
        matches!(error, StartError::Config(BuildError::Public(_))),
        "{error}"
    );
    config.listeners = vec![Listener {
        listen: everywhere,
        public: true,
    }];
    Handle::start(&config).expect("a proxy");
}

/// A page whose name was made to point here reaches nothing (DNS rebinding).
#[tokio::test]
async fn foreign_hosts_are_misdirected() {
    let world = World::with(|config| config.allowed_hosts = vec!["api.local".to_owned()]).await;
    let get = async |host: &str| {
        client()
            .get(world.url("/echo"))
            .header("host", host)
            .send()
            .await
            .expect("an answer")
    };
    assert_eq!(
        problem(get("evil.example").await).await,
        (421, "host".to_owned())
    );
    for host in [
        "api.local",
        "API.local:80",
        "localhost:1",
        "127.0.0.1",
        "[::1]:8",
    ] {
        assert_eq!(get(host).await.status(), 200, "{host}");
    }
    // The upstream is told its own name, whatever the caller said.
    let echo: serde_json::Value = get("api.local").await.json().await.expect("JSON");
    let own = world
        .upstream
        .url()
        .strip_prefix("http://")
        .expect("an origin");
    assert_eq!(echo["headers"]["host"], serde_json::json!([own]));
    // An absolute target counts, not the field.
    let absolute =
        "GET http://evil.example/echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(world.raw(absolute).await.starts_with("HTTP/1.1 421 "));
    let absolute =
        "GET http://localhost/echo HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert!(world.raw(absolute).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn callers_show_the_local_bearer() {
    let world =
        World::with(|config| config.local_bearer = Some(SecretString::from("open-sesame"))).await;
    let answer = world.get("/echo").await;
    assert_eq!(
        answer.headers()["www-authenticate"],
        "Bearer realm=\"token-rotator\""
    );
    assert_eq!(problem(answer).await, (401, "local-bearer".to_owned()));
    let get = async |bearer: &str| {
        client()
            .get(world.url("/echo"))
            .bearer_auth(bearer)
            .send()
            .await
            .expect("an answer")
            .status()
    };
    assert_eq!(get("open-sesam").await, 401);
    assert_eq!(get("open-sesame").await, 200);
    assert_eq!(world.upstream.counters().refused, 0);
}

#[tokio::test]
async fn a_callers_own_credentials_are_stripped_or_passed() {
    let world = World::with(|config| {
        let mut passed = config.routes[0].clone();
        passed.name = "passed".to_owned();
        passed.prefix = "/open".to_owned();
        passed.pass_authorization = true;
        config.routes.push(passed);
    })
    .await;
    let get = async |path: &str| {
        let answer = client()
            .get(world.url(path))
            .header("authorization", "Bearer mine")
            .header("proxy-authorization", "Basic eA==")
            .header("x_forwarded_authorization", "Bearer mine")
            .send()
            .await
            .expect("an answer");
        answer.json::<serde_json::Value>().await.expect("JSON")
    };
    let stripped = get("/echo").await;
    assert_eq!(stripped["subject"], "alice");
    assert_eq!(
        stripped["headers"]["authorization"]
            .as_array()
            .expect("one")
            .len(),
        1
    );
    for name in ["proxy-authorization", "x_forwarded_authorization"] {
        assert!(stripped["headers"][name].is_null(), "{name}");
    }
    let passed = get("/open/echo").await;
    // The upstream shows a token that is none of its issuer's as `unknown`.
    assert_eq!(
        passed["headers"]["authorization"],
        serde_json::json!(["Bearer unknown"])
    );
}

#[tokio::test]
async fn hop_by_hop_headers_stop_here() {
    let world = World::new().await;
    let request = "GET /echo HTTP/1.1\r\nhost: localhost\r\nconnection: close, x-hop, host\r\n\
                   x-hop: 1\r\nkeep-alive: 5\r\nproxy-connection: keep-alive\r\nte: gzip\r\nx-end: 1\r\n\r\n";
    let answer = world.raw(request).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let echo: serde_json::Value = serde_json::from_str(body).expect("JSON");
    for name in [
        "connection",
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "te",
    ] {
        assert!(echo["headers"][name].is_null(), "{name}");
    }
    assert_eq!(echo["headers"]["x-end"], serde_json::json!(["1"]));
    assert_eq!(
        echo["headers"]["via"],
        serde_json::json!(["1.1 token-rotator"])
    );
}

#[tokio::test]
async fn redirects_are_the_callers() {
    let world = World::new().await;
    let answer = world.get("/redirect/same?to=/echo&status=307").await;
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.headers()["location"], "/echo");
    assert_eq!(world.upstream.counters().served, 1);
}

#[tokio::test]
async fn what_might_be_read_differently_is_refused() {
    let world = World::new().await;
    for (request, status) in [
        ("CONNECT a:1 HTTP/1.1\r\nhost: localhost\r\n", 501),
        ("TRACE / HTTP/1.1\r\nhost: localhost\r\n", 501),
        ("GET /echo HTTP/1.1\r\n", 400),
        (
            "GET /echo HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n",
            400,
        ),
        ("GET /echo HTTP/1.1\r\nhost: me@localhost\r\n", 400),
        (
            "GET http://me@localhost/echo HTTP/1.1\r\nhost: localhost\r\n",
            400,
        ),
        ("GET /a/../echo HTTP/1.1\r\nhost: localhost\r\n", 400),
        ("GET /a/%2E%2e/echo HTTP/1.1\r\nhost: localhost\r\n", 400),
    ] {
        let answer = world
            .raw(format!("{request}connection: close\r\n\r\n"))
            .await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
    }
    assert_eq!(world.upstream.counters().served, 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_serves_its_own_user() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let folder = tempfile::tempdir().expect("a folder");
    let (own, others) = (folder.path().join("own"), folder.path().join("others"));
    let socket = |path: &std::path::Path, uids| Listener {
        listen: Listen::Unix {
            path: path.to_owned(),
            uids,
            gids: Vec::new(),
        },
        public: false,
    };
    let world = World::with(|config| {
        config.listeners = vec![
            loopback(),
            socket(&own, vec![]),
            socket(&others, vec![4_000_000]),
        ];
    })
    .await;
    let get = async |path: &std::path::Path| {
        let mut stream = tokio::net::UnixStream::connect(path)
            .await
            .expect("a connection");
        let request = "GET /echo HTTP/1.1\r\nhost: any.example\r\nconnection: close\r\n\r\n";
        // A peer that is refused may find the socket closed already.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    };
    assert!(get(&own).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(get(&others).await, "");
    drop(world);
    assert!(!own.exists());
}
