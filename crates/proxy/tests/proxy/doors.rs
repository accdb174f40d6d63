//! Who is let in.

use token_rotator_proxy::{BuildError, Handle, Listen, Listener, Route, StartError};

use crate::raw::Caller;
use crate::scene::{Scene, config, problem, session};

#[tokio::test]
async fn a_name_of_somebody_elses_is_not_served() {
    let scene =
        Scene::with(|config| config.allowed_hosts = vec!["Proxy.Internal".to_owned()]).await;
    let ask = async |host: &str| {
        let request = scene.client.get(scene.url("/echo")).header("host", host);
        request.send().await.expect("an answer")
    };
    for allowed in [
        "localhost:1",
        "127.0.0.1",
        "[::1]:80",
        "proxy.internal:8080",
        "LOCALHOST",
    ] {
        assert_eq!(ask(allowed).await.status(), 200, "{allowed}");
    }
    for foreign in [
        "attacker.test",
        "localhost.attacker.test:80",
        "127.0.0.1.attacker.test",
    ] {
        let answer = ask(foreign).await;
        assert_eq!(answer.status(), 421, "{foreign}");
        assert_eq!(problem(answer).await, "host");
    }
}

#[tokio::test]
async fn a_request_that_could_be_read_in_two_ways_is_refused() {
    let scene = Scene::start().await;
    for (request, status) in [
        ("GET /echo HTTP/1.1\r\n\r\n", "400"),
        (
            "GET /echo HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n",
            "400",
        ),
        ("GET /echo HTTP/1.1\r\nhost: user@localhost\r\n\r\n", "400"),
        ("GET /echo HTTP/1.1\r\nhost: localhost, b\r\n\r\n", "400"),
        (
            "GET http://me:pw@localhost/echo HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "400",
        ),
        ("GET /a/../echo HTTP/1.1\r\nhost: localhost\r\n\r\n", "400"),
        (
            "GET /a/%2e%2E/echo HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "400",
        ),
        (
            "GET /a/..%2fecho HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "400",
        ),
        (
            "GET /a/..%5Cecho HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "400",
        ),
        (
            "GET /a/..;x/echo HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "400",
        ),
        (
            "GET /a/..%3Bx/echo HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "400",
        ),
        ("GET /a/. HTTP/1.1\r\nhost: localhost\r\n\r\n", "400"),
        ("TRACE /echo HTTP/1.1\r\nhost: localhost\r\n\r\n", "501"),
        (
            "CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n",
            "501",
        ),
    ] {
        let mut caller = Caller::to(scene.port()).await;
        caller.say(request).await;
        let head = caller.head().await;
        assert!(
            head.starts_with(&format!("http/1.1 {status}")),
            "{request}\n{head}"
        );
    }
    assert!(scene.upstream.record().is_empty());
    // Dots that are no segments are nobody's business.
    let answer = scene.get("/status/200/..hidden/.well-known/x%2ey").await;
    assert_eq!(answer.status(), 404);
    assert_eq!(scene.upstream.record().len(), 1);
}

fn refused(change: impl FnOnce(&mut token_rotator_proxy::Config, &Route)) -> BuildError {
    let rotator = token_rotator::Rotator::builder(|_| async {
        Ok::<_, token_rotator::SourceError>(token_rotator::TokenSet::bearer("t"))
    })
    .origin("https://api.example.com")
    .build()
    .expect("a rotator");
    let route = Route::new("api", "https://api.example.com", rotator);
    let mut config = config(route.clone());
    change(&mut config, &route);
    match Handle::start(&config) {
        Err(StartError::Config(error)) => error,
        Err(error) => panic!("refused for another reason: {error}"),
        Ok(_) => panic!("not refused"),
    }
}

#[tokio::test]
async fn contradictions_are_refused_before_anything_is_opened() {
    let public: std::net::SocketAddr = "0.0.0.0:0".parse().expect("an address");
    let listener = Listener {
        listen: Listen::Tcp(public),
        public: false,
    };
    let error = refused(|config, _| config.listeners.push(listener));
    assert_eq!(error, BuildError::Public(public));
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.starts_with("listen on 127.0.0.1")),
        "{error}"
    );
    assert_eq!(
        refused(|config, _| config.admin = Some(public)),
        BuildError::PublicAdmin(public)
    );
    assert_eq!(
        refused(|config, _| config.listeners.clear()),
        BuildError::NoListener
    );
    assert_eq!(
        refused(|config, route| {
            let mut same = route.clone();
            same.name = "same".to_owned();
            config.routes.push(same);
        }),
        BuildError::Ambiguous("api".to_owned(), "same".to_owned())
    );
    assert_eq!(
        refused(|config, route| {
            let mut other = route.clone();
            other.prefix = "/other".to_owned();
            config.routes.push(other);
        }),
        BuildError::Name("api".to_owned())
    );
    for prefix in ["api", "/a/../b", "/a?b", "/a#b"] {
        assert_eq!(
            refused(|config, _| config.routes[0].prefix = prefix.to_owned()),
            BuildError::Prefix("api".to_owned())
        );
    }
    assert!(matches!(
        refused(|config, _| config.routes[0].upstream = "ftp://x".to_owned()),
        BuildError::Upstream { .. }
    ));
    assert!(matches!(
        refused(|config, _| config.routes[0].upstream = "https://other.example.com".to_owned()),
        BuildError::ForeignUpstream { .. }
    ));
    assert_eq!(
        refused(|config, _| {
            config.local_bearer = Some("x".into());
            config.routes[0].pass_authorization = true;
        }),
        BuildError::BearerPassed("api".to_owned())
    );
}

#[tokio::test]
async fn a_public_address_is_served_when_it_is_named_so() {
    let scene = Scene::with(|config| {
        config.listeners[0] = Listener {
            listen: Listen::Tcp("0.0.0.0:0".parse().expect("an address")),
            public: true,
        };
    })
    .await;
    scene.echo().await;
}

#[tokio::test]
async fn a_place_that_is_taken_is_named() {
    let scene = Scene::start().await;
    let taken = scene.upstream.url().trim_start_matches("http://");
    let rotator = session(&scene.issuer, scene.upstream.url());
    let mut config = config(Route::new("api", scene.upstream.url(), rotator));
    config.listeners[0].listen = Listen::Tcp(taken.parse().expect("an address"));
    let Err(error) = Handle::start(&config) else {
        panic!("started");
    };
    assert!(error.to_string().contains(taken), "{error}");
    assert!(error.hint().is_some(), "{error}");
}
