//! Tests access control: host names, ambiguous requests and contradicting configurations.

use token_rotator_proxy::{BuildError, Handle, Listen, Listener, Route, StartError};

use crate::fixture::{ProxyFixture, config, problem, session};
use crate::raw::Caller;

#[tokio::test]
async fn a_foreign_host_name_is_not_served() {
    let fixture = ProxyFixture::with(|config| {
        config.allowed_hosts = vec!["Proxy.Internal".to_owned()];
        config.unsafe_no_bearer = true;
    })
    .await;
    let get_as = async |host: &str| {
        let request = fixture
            .client
            .get(fixture.url("/echo"))
            .header("host", host);
        request.send().await.expect("an answer")
    };
    for allowed in [
        "localhost:1",
        "127.0.0.1",
        "[::1]:80",
        "proxy.internal:8080",
        "LOCALHOST",
    ] {
        assert_eq!(get_as(allowed).await.status(), 200, "{allowed}");
    }
    for foreign in [
        "attacker.test",
        "localhost.attacker.test:80",
        "127.0.0.1.attacker.test",
    ] {
        let answer = get_as(foreign).await;
        assert_eq!(answer.status(), 421, "{foreign}");
        assert_eq!(problem(answer).await, "host");
    }
}

#[tokio::test]
async fn an_ambiguous_request_is_refused() {
    let fixture = ProxyFixture::start().await;
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
        ("trace /echo HTTP/1.1\r\nhost: localhost\r\n\r\n", "501"),
        ("Track /echo HTTP/1.1\r\nhost: localhost\r\n\r\n", "501"),
        ("TRACK /echo HTTP/1.1\r\nhost: localhost\r\n\r\n", "501"),
        (
            "connect localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n",
            "501",
        ),
        (
            "CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n",
            "501",
        ),
    ] {
        let mut caller = Caller::to(fixture.port()).await;
        caller.send_bytes(request).await;
        let head = caller.head().await;
        assert!(
            head.starts_with(&format!("http/1.1 {status}")),
            "{request}\n{head}"
        );
    }
    assert!(fixture.upstream.record().is_empty());
    // Dots inside a segment are valid.
    let answer = fixture.get("/status/200/..hidden/.well-known/x%2ey").await;
    assert_eq!(answer.status(), 404);
    assert_eq!(fixture.upstream.record().len(), 1);
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
        Err(error) => panic!("refused with an unexpected error: {error}"),
        Ok(_) => panic!("not refused"),
    }
}

fn public_listener(address: std::net::SocketAddr) -> Listener {
    Listener {
        listen: Listen::Tcp(address),
        public: true,
    }
}

#[tokio::test]
async fn contradicting_settings_are_refused_before_a_listener_opens() {
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
        refused(|config, _| config.listeners[0] = public_listener(public)),
        BuildError::NoBearer("0.0.0.0:0".to_owned())
    );
    for name in ["proxy.internal", "localhost.example.com", "10.0.0.1", ""] {
        assert_eq!(
            refused(|config, _| config.allowed_hosts.push(name.to_owned())),
            BuildError::NoBearer(name.to_owned())
        );
        assert_eq!(
            refused(|config, _| config.routes[0].host = Some(name.to_owned())),
            BuildError::NoBearer(name.to_owned())
        );
    }
    for origin in ["*", "null", "localhost:5173", "http://localhost/app"] {
        let error = refused(|config, _| config.allowed_origins.push(origin.to_owned()));
        assert!(
            error.to_string().contains(origin) && error.hint().is_some(),
            "{error}"
        );
    }
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
async fn a_public_address_is_served_if_the_configuration_allows_it() {
    let fixture = ProxyFixture::with(|config| {
        config.listeners[0] = Listener {
            listen: Listen::Tcp("0.0.0.0:0".parse().expect("an address")),
            public: true,
        };
        config.unsafe_no_bearer = true;
    })
    .await;
    fixture.echo().await;
}

#[tokio::test]
async fn a_used_address_is_named_in_the_error() {
    let fixture = ProxyFixture::start().await;
    let used_address = fixture.upstream.url().trim_start_matches("http://");
    let rotator = session(&fixture.issuer, fixture.upstream.url());
    let mut config = config(Route::new("api", fixture.upstream.url(), rotator));
    config.listeners[0].listen = Listen::Tcp(used_address.parse().expect("an address"));
    let Err(error) = Handle::start(&config) else {
        panic!("started");
    };
    assert!(error.to_string().contains(used_address), "{error}");
    assert!(error.hint().is_some(), "{error}");
}
