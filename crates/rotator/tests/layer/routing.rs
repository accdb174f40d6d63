//! Which requests get the token.

use http::{Request, Uri};
use http_body_util::Full;
use token_rotator::tower::WithoutToken;
use token_rotator::{BuildError, Event, Rotator, SourceError, TokenSet};
use token_rotator_testkit::Upstream;
use tower::ServiceExt;

use crate::world::{World, read};

/// The token goes to declared origins alone; requests to others pass through bare, with an event.
#[tokio::test]
async fn a_foreign_origin_gets_no_token() {
    let world = World::new().await;
    let foreign = Upstream::start(&world.issuer).await.expect("an upstream");
    let uri = format!("{}/open/echo", foreign.url());
    let request = Request::get(&uri).body(Full::default()).expect("a request");
    let (_, echo) = read(world.client().oneshot(request).await.expect("an answer")).await;
    assert!(echo["headers"].get("authorization").is_none(), "{echo}");
    assert_eq!(
        world.heard(|event| matches!(event, Event::ForeignOrigin { origin: Some(origin) } if origin == foreign.url())),
        1
    );
    let (_, echo) = read(
        world
            .client()
            .oneshot(world.get("/open/echo"))
            .await
            .expect("an answer"),
    )
    .await;
    assert!(echo["headers"].get("authorization").is_some(), "{echo}");
}

/// A caller's own Authorization is left alone, and its refusal is the caller's.
#[tokio::test]
async fn a_callers_own_authorization_wins() {
    let world = World::new().await;
    let mut request = world.get("/echo");
    let own = "Bearer of-my-own".parse().expect("a header");
    request.headers_mut().insert("authorization", own);
    let answer = world.client().oneshot(request).await.expect("an answer");
    assert_eq!(answer.status(), 401);
    assert_eq!(world.refreshes(), 0);
}

/// A request can opt out of the token.
#[tokio::test]
async fn a_request_can_go_without_token() {
    let world = World::new().await;
    let mut request = world.get("/open/echo");
    request.extensions_mut().insert(WithoutToken);
    let (_, echo) = read(world.client().oneshot(request).await.expect("an answer")).await;
    assert!(echo["headers"].get("authorization").is_none(), "{echo}");
}

/// The token can be sent in another header, bare.
#[tokio::test]
async fn the_token_can_go_into_another_header() {
    let name = http::HeaderName::from_static("x-auth-token");
    let world = World::with(|builder| builder.token_header(name)).await;
    let path = "/header/x-auth-token/echo";
    let (status, _) = read(
        world
            .client()
            .oneshot(world.get(path))
            .await
            .expect("an answer"),
    )
    .await;
    assert_eq!(status, 200);
}

/// A layer with no origin at all does not build.
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

/// A request whose URI does not say where it goes is foreign, unless the layer declares it.
#[tokio::test]
async fn a_request_without_authority_goes_where_the_layer_says() {
    let world = World::new().await;
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
    let unsaid = || {
        let mut request = world.get("/echo");
        *request.uri_mut() = Uri::from_static("/echo");
        request
    };
    let bare = tower::Layer::layer(&world.layer(), inner);
    let answer = bare.oneshot(unsaid()).await.expect("an answer");
    assert_eq!(answer.status(), 409);
    assert_eq!(
        world.heard(|event| matches!(event, Event::ForeignOrigin { origin: None })),
        1
    );

    let declared = world
        .rotator
        .layer_for(world.upstream.url())
        .expect("an origin");
    let declared = tower::Layer::layer(&declared, inner);
    let answer = declared.oneshot(unsaid()).await.expect("an answer");
    assert_eq!(answer.status(), 200);
}
