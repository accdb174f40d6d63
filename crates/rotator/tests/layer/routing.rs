//! Tests which requests get the token.

use http::{Request, Uri};
use http_body_util::Full;
use token_rotator::middleware::BodyRule;
use token_rotator::tower::WithoutToken;
use token_rotator::{BuildError, Event, Rotator, SourceError, TokenSet};
use token_rotator_testkit::Upstream;
use tower::ServiceExt;

use crate::fixture::{LayerFixture, read};

/// Only declared origins get the token; requests to other origins are sent without it, with an
/// event.
#[tokio::test]
async fn a_foreign_origin_gets_no_token() {
    let fixture = LayerFixture::new().await;
    let foreign = Upstream::start(&fixture.issuer).await.expect("an upstream");
    let uri = format!("{}/open/echo", foreign.url());
    let request = Request::get(&uri).body(Full::default()).expect("a request");
    let (_, echo) = read(fixture.client().oneshot(request).await.expect("an answer")).await;
    assert!(echo["headers"].get("authorization").is_none(), "{echo}");
    assert_eq!(
        fixture.count_events(|event| matches!(event, Event::ForeignOrigin { origin: Some(origin) } if origin == foreign.url())),
        1
    );
    let (_, echo) = read(
        fixture
            .client()
            .oneshot(fixture.get("/open/echo"))
            .await
            .expect("an answer"),
    )
    .await;
    assert!(echo["headers"].get("authorization").is_some(), "{echo}");
}

/// The caller's own Authorization header stays, and the caller gets its refusal.
#[tokio::test]
async fn a_callers_own_authorization_wins() {
    let fixture = LayerFixture::new().await;
    let mut request = fixture.get("/echo");
    let own = "Bearer of-my-own".parse().expect("a header");
    request.headers_mut().insert("authorization", own);
    let answer = fixture.client().oneshot(request).await.expect("an answer");
    assert_eq!(answer.status(), 401);
    assert_eq!(fixture.refreshes(), 0);
}

/// A request can opt out of the token.
#[tokio::test]
async fn a_request_can_go_without_token() {
    let fixture = LayerFixture::new().await;
    let mut request = fixture.get("/open/echo");
    request.extensions_mut().insert(WithoutToken);
    let (_, echo) = read(fixture.client().oneshot(request).await.expect("an answer")).await;
    assert!(echo["headers"].get("authorization").is_none(), "{echo}");
}

/// The token can be sent in another header, without a scheme.
#[tokio::test]
async fn the_token_can_go_into_another_header() {
    let name = http::HeaderName::from_static("x-auth-token");
    let fixture = LayerFixture::with(|builder| builder.token_header(name)).await;
    let path = "/header/x-auth-token/echo";
    let (status, _) = read(
        fixture
            .client()
            .oneshot(fixture.get(path))
            .await
            .expect("an answer"),
    )
    .await;
    assert_eq!(status, 200);
}

/// A layer without an origin does not build.
#[test]
fn a_layer_without_origin_does_not_build() {
    let source = |_| async { Ok::<_, SourceError>(TokenSet::bearer("token")) };
    let rotator = Rotator::builder(source).build().expect("a rotator");
    let error = rotator.layer().expect_err("no origin");
    assert_eq!(error, BuildError::NoOrigin);
    assert!(error.hint().is_some_and(|hint| hint.contains("layer_for")));
    let error = rotator
        .layer_for("http://api.example.com")
        .expect_err("in the clear");
    assert!(matches!(error, BuildError::Origin(_)), "{error}");
}

/// Property: a probe carries the token, so it never leads to another origin.
#[test]
fn a_probe_that_is_no_path_is_refused_with_a_hint() {
    let source = |_| async { Ok::<_, SourceError>(TokenSet::bearer("token")) };
    let rotator = Rotator::builder(source).origin("https://api.example.com");
    let rotator = rotator.build().expect("a rotator");
    let layer = || {
        let rule = BodyRule::json(|_, body| body == b"[]");
        rotator.layer().expect("an origin").refused_when_body(rule)
    };
    for path in [
        "whoami",
        "//other.example/",
        "https://other.example/",
        "/a\n",
    ] {
        let error = layer().probe(path).expect_err(path);
        assert_eq!(error, BuildError::Probe);
        assert!(error.hint().is_some_and(|hint| hint.contains("/-/whoami")));
    }
    assert!(layer().probe("/-/whoami").is_ok());
}

/// A request whose URI has no authority goes to a foreign origin, unless the layer declares the
/// origin.
#[tokio::test]
async fn a_request_without_authority_uses_the_declared_origin() {
    let fixture = LayerFixture::new().await;
    let inner = tower::service_fn(|request: Request<Full<bytes::Bytes>>| async move {
        let sent = request.headers().contains_key("authorization");
        let mut answer = http::Response::new(Full::<bytes::Bytes>::default());
        *answer.status_mut() = if sent {
            http::StatusCode::OK
        } else {
            http::StatusCode::CONFLICT
        };
        Ok::<_, std::io::Error>(answer)
    });
    let request_without_authority = || {
        let mut request = fixture.get("/echo");
        *request.uri_mut() = Uri::from_static("/echo");
        request
    };
    let bare = tower::Layer::layer(&fixture.layer(), inner);
    let answer = bare
        .oneshot(request_without_authority())
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 409);
    assert_eq!(
        fixture.count_events(|event| matches!(event, Event::ForeignOrigin { origin: None })),
        1
    );

    let declared = fixture
        .rotator
        .layer_for(fixture.upstream.url())
        .expect("an origin");
    let declared = tower::Layer::layer(&declared, inner);
    let answer = declared
        .oneshot(request_without_authority())
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
}
