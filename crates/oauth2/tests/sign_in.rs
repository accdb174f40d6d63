//! Tests sign-ins at a real issuer over real sockets, from discovery to sign-out.

mod support;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use support::sockets;
use token_rotator::{ExposeSecret, FailureKind, TokenSet, TokenSource};
use token_rotator_oauth2::{
    AuthorizationCodeGrant, AuthorizationRequest, CodeError, DeviceError, DeviceGrant, DevicePoll,
    DiscoveryError, IssuerMetadata, RedirectError, SecretBytes, SignInBuilder, TokenEndpoint,
    Transport, TransportMissing, authorization_code, device, refresh_token,
};
use token_rotator_testkit::{Issuer, IssuerBuilder};

const CALLBACK: &str = "http://127.0.0.1:49152/callback";

async fn start(builder: IssuerBuilder) -> (Issuer, IssuerMetadata) {
    let issuer = builder.start().await.unwrap();
    let metadata = IssuerMetadata::discover(issuer.url(), &sockets()).await;
    (issuer, metadata.unwrap())
}

fn grant(metadata: &IssuerMetadata) -> AuthorizationCodeGrant {
    grant_of(authorization_code(metadata, "demo", CALLBACK).scope("openid read"))
}

fn grant_of(
    builder: SignInBuilder<AuthorizationCodeGrant, TransportMissing>,
) -> AuthorizationCodeGrant {
    builder.transport(sockets()).build().unwrap()
}

fn device_grant(metadata: &IssuerMetadata) -> DeviceGrant {
    let builder = device(metadata, "demo").scope("openid read");
    builder.transport(sockets()).build().unwrap()
}

/// Returns the token source that refreshes the tokens of a sign-in.
fn source(metadata: &IssuerMetadata) -> TokenEndpoint {
    let token = metadata.token_endpoint().unwrap().to_string();
    let revocation = metadata.revocation_endpoint().unwrap().to_string();
    let builder = refresh_token(token, "demo").revocation_url(revocation);
    builder.transport(sockets()).build().unwrap()
}

/// Follows the sign-in address as a browser does and returns the redirect.
async fn browse(url: &str) -> String {
    let answer = get(url).await;
    assert_eq!(answer.status(), 302, "{answer:?}");
    answer.headers()["location"].to_str().unwrap().to_owned()
}

async fn get(url: &str) -> Response<SecretBytes> {
    let mut request = Request::new(SecretBytes::default());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = url.parse().unwrap();
    sockets().send(request).await.unwrap()
}

async fn sign_in(request: &AuthorizationRequest) -> TokenSet {
    let redirect = browse(request.url()).await;
    let code = request.redirected(&redirect).unwrap();
    code.exchange().await.unwrap()
}

#[tokio::test]
async fn a_session_works_from_discovery_to_sign_out() {
    let (issuer, metadata) = start(Issuer::builder()).await;
    assert_eq!(metadata.issuer(), Some(issuer.url()));
    let request = grant(&metadata).begin().unwrap();
    let tokens = sign_in(&request).await;
    assert!(issuer.accepts(tokens.access_token().expose_secret()));
    assert!(tokens.id_token().is_some());
    assert_eq!(tokens.scope(), Some("openid read"));

    let source = source(&metadata);
    let next = source.refresh(Some(Arc::new(tokens))).await.unwrap().tokens;
    assert!(issuer.accepts(next.access_token().expose_secret()));
    source.revoke(Arc::new(next.clone())).await.unwrap();
    assert!(!issuer.accepts(next.access_token().expose_secret()));
    let counters = issuer.counters();
    assert_eq!((counters.logins, counters.refreshes), (1, 1));
    assert_eq!((counters.ended_by_client, counters.reuses), (1, 0));
}

#[tokio::test]
async fn a_sign_in_sends_client_secret_and_audience() {
    let builder = Issuer::builder().client("web", Some("s3cret"));
    let (issuer, metadata) = start(builder).await;
    for secret in ["basic", "post"] {
        let builder = authorization_code(&metadata, "web", CALLBACK)
            .audience("api.example")
            .param("login_hint", "bob");
        let builder = match secret {
            "basic" => builder.client_secret_basic("s3cret"),
            _ => builder.client_secret_post("s3cret"),
        };
        let tokens = sign_in(&grant_of(builder).begin().unwrap()).await;
        let access = tokens.access_token().expose_secret();
        assert!(issuer.accepts(access));
        let claims = access.split('.').nth(1).unwrap();
        let claims =
            base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims);
        let claims: serde_json::Value = serde_json::from_slice(&claims.unwrap()).unwrap();
        assert_eq!(
            (&claims["sub"], &claims["aud"]),
            (&"bob".into(), &"api.example".into())
        );
    }
    let builder = authorization_code(&metadata, "web", CALLBACK).client_secret_basic("wrong");
    let request = grant_of(builder).begin().unwrap();
    let redirect = browse(request.url()).await;
    let error = request.redirected(&redirect).unwrap().exchange().await;
    let CodeError::Refused(error) = error.unwrap_err() else {
        panic!("refused by the issuer");
    };
    assert_eq!(error.kind(), FailureKind::Misconfigured);
    assert_eq!(error.code(), Some("invalid_client"));
}

#[tokio::test]
async fn a_redirect_works_only_in_its_own_sign_in_and_a_code_once() {
    let (issuer, metadata) = start(Issuer::builder()).await;
    let grant = grant(&metadata);
    let (one, other) = (grant.begin().unwrap(), grant.begin().unwrap());
    let redirect = browse(one.url()).await;
    assert_eq!(
        other.redirected(&redirect).unwrap_err(),
        RedirectError::Foreign
    );
    let tokens = one.redirected(&redirect).unwrap().exchange().await.unwrap();

    // The attacker has the redirect but no verifier. A second exchange with both ends the session.
    let again = one.redirected(&redirect).unwrap().exchange().await;
    let CodeError::Refused(error) = again.unwrap_err() else {
        panic!("refused by the issuer");
    };
    assert_eq!(error.kind(), FailureKind::Terminal);
    assert_eq!(issuer.counters().code_reuses, 1);
    assert!(!issuer.accepts(tokens.access_token().expose_secret()));
}

#[tokio::test]
async fn a_stolen_code_fails_in_another_sign_in() {
    let (issuer, metadata) = start(Issuer::builder()).await;
    let grant = grant(&metadata);
    let (mine, thiefs) = (grant.begin().unwrap(), grant.begin().unwrap());
    let stolen = browse(mine.url()).await;
    let code = stolen
        .split("code=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap();
    let own = browse(thiefs.url()).await;
    let own_code = own
        .split("code=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap();
    let injected = own.replace(own_code, code);
    let outcome = thiefs.redirected(&injected).unwrap().exchange().await;
    assert!(matches!(outcome, Err(CodeError::Refused(_))), "{outcome:?}");
    assert_eq!(issuer.counters().logins, 0);
    // The failed exchange in the attacker's sign-in did not spend the code.
    assert!(mine.redirected(&stolen).unwrap().exchange().await.is_ok());
}

#[tokio::test]
async fn a_denied_sign_in_returns_access_denied() {
    let (issuer, metadata) = start(Issuer::builder()).await;
    issuer.deny_sign_ins(true);
    let request = grant(&metadata).begin().unwrap();
    let error = request
        .redirected(&browse(request.url()).await)
        .unwrap_err();
    let description = Some("the user denied the request".to_owned());
    assert_eq!(error, RedirectError::AccessDenied { description });
}

#[tokio::test]
async fn a_device_signs_in_when_the_user_has_entered_the_code() {
    let (issuer, metadata) = start(Issuer::builder()).await;
    let authorization = device_grant(&metadata).begin().await.unwrap();
    assert_eq!(authorization.verification_uri(), issuer.device_url());
    let complete = authorization
        .verification_uri_complete()
        .unwrap()
        .to_owned();
    let waits = std::sync::Mutex::new(Vec::new());
    // The test advances the issuer's clock by each wait; the user enters the code in the third
    // wait.
    let tokens = authorization.tokens(async |wait| {
        issuer.advance_clock(wait);
        let pauses = {
            let mut waits = waits.lock().unwrap();
            waits.push(wait.as_secs());
            waits.len()
        };
        if pauses == 3 {
            assert_eq!(get(&complete).await.status(), 200);
        }
    });
    let tokens = tokens.await.unwrap();
    assert!(issuer.accepts(tokens.access_token().expose_secret()));
    assert!(tokens.id_token().is_some());
    assert_eq!(*waits.lock().unwrap(), [5, 5, 5]);
    let next = source(&metadata)
        .refresh(Some(Arc::new(tokens)))
        .await
        .unwrap();
    assert!(issuer.accepts(next.tokens.access_token().expose_secret()));
    assert_eq!(issuer.counters().device_polls, 3);
}

#[tokio::test]
async fn a_device_that_polls_too_soon_slows_down() {
    let (issuer, metadata) = start(Issuer::builder()).await;
    let mut authorization = device_grant(&metadata).begin().await.unwrap();
    let ask =
        async |authorization: &mut token_rotator_oauth2::DeviceAuthorization| match authorization
            .poll()
            .await
            .unwrap()
        {
            DevicePoll::Pending(wait) => wait.as_secs(),
            DevicePoll::Tokens(tokens) => {
                panic!("tokens before the user has signed in: {tokens:?}")
            }
        };
    assert_eq!(ask(&mut authorization).await, 5);
    // Polls without the wait.
    assert_eq!(ask(&mut authorization).await, 10);
    issuer.advance_clock(Duration::from_secs(10));
    assert_eq!(ask(&mut authorization).await, 10);
    issuer.advance_clock(Duration::from_secs(10));
    assert!(issuer.approve_device(authorization.user_code(), "bob"));
    let answer = authorization.poll().await.unwrap();
    assert!(matches!(answer, DevicePoll::Tokens(_)), "{answer:?}");
}

#[tokio::test]
async fn a_device_code_that_is_denied_or_expires_ends_the_sign_in() {
    let codes = (Duration::from_secs(12), Duration::from_secs(5));
    let (issuer, metadata) = start(Issuer::builder().device_codes(codes.0, codes.1)).await;
    let grant = device_grant(&metadata);
    let mut denied = grant.begin().await.unwrap();
    assert!(issuer.deny_device(denied.user_code()));
    let error = denied.poll().await.unwrap_err();
    assert!(matches!(error, DeviceError::AccessDenied), "{error:?}");

    let mut expired = grant.begin().await.unwrap();
    issuer.advance_clock(Duration::from_secs(12));
    // The local clock has not reached the expiry, but the issuer's clock has.
    let error = expired.poll().await.unwrap_err();
    assert!(matches!(error, DeviceError::Expired), "{error:?}");
    assert_eq!(issuer.counters().device_polls, 2);

    let waited = grant.begin().await.unwrap();
    let outcome = waited.tokens(async |wait| issuer.advance_clock(wait)).await;
    assert!(matches!(outcome, Err(DeviceError::Expired)), "{outcome:?}");
}

#[tokio::test]
async fn a_device_keeps_polling_while_the_issuer_is_unreachable() {
    let (issuer, metadata) = start(Issuer::builder()).await;
    let mut authorization = device_grant(&metadata).begin().await.unwrap();
    issuer.shutdown().await;
    for seconds in [10, 20, 40] {
        let answer = authorization.poll().await.unwrap();
        let wait = Duration::from_secs(seconds);
        assert!(
            matches!(answer, DevicePoll::Pending(found) if found == wait),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn discovery_requires_the_exact_issuer_name() {
    let issuer = Issuer::builder().start().await.unwrap();
    let nearly = issuer.url().replace("127.0.0.1", "localhost");
    let error = IssuerMetadata::discover(&nearly, &sockets())
        .await
        .unwrap_err();
    let DiscoveryError::IssuerMismatch { asked, named, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (asked.as_str(), named.as_str()),
        (nearly.as_str(), issuer.url())
    );

    let elsewhere = format!("{}/realms/none", issuer.url());
    let error = IssuerMetadata::discover(&elsewhere, &sockets())
        .await
        .unwrap_err();
    let DiscoveryError::NoDocument { asked } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(asked.len(), 2);
    assert!(error.to_string().contains("(HTTP 404)"), "{error}");

    issuer.shutdown().await;
    let error = IssuerMetadata::discover(issuer.url(), &sockets())
        .await
        .unwrap_err();
    assert!(
        matches!(error, DiscoveryError::Unreachable { .. }),
        "{error:?}"
    );
}
