//! A fixture with an issuer, an upstream, a rotator and a client with the layer.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use token_rotator::tower::{CloneBody, Rotation, RotationLayer};
use token_rotator::{
    Clock, Event, ExposeSecret, Rotator, RotatorBuilder, SourceError, TokenSet, TokenSource,
};
use token_rotator_testkit::{Grant, Issuer, Upstream};
use tower::{Layer, ServiceExt};

pub(crate) type Http<B> = Client<HttpConnector, B>;

pub(crate) struct LayerFixture {
    pub(crate) issuer: Issuer,
    pub(crate) upstream: Upstream,
    pub(crate) rotator: Rotator,
    pub(crate) grant: Grant,
    events: Arc<Mutex<Vec<Event>>>,
}

impl LayerFixture {
    /// Starts a fixture that is signed in. The token is good for an hour unless the issuer expires
    /// it.
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn with(set: impl FnOnce(RotatorBuilder) -> RotatorBuilder) -> Self {
        let fixture = Self::signed_out(set).await;
        let tokens = TokenSet::bearer(fixture.grant.access_token.as_str())
            .with_refresh_token(fixture.grant.refresh_token.as_str())
            .expires_in(fixture.grant.expires_in);
        fixture.rotator.sign_in(tokens).expect("usable tokens");
        fixture
    }

    /// Starts a fixture without a token. Its first refresh redeems the grant's refresh token, as a
    /// cookie endpoint would.
    pub(crate) async fn signed_out(set: impl FnOnce(RotatorBuilder) -> RotatorBuilder) -> Self {
        let issuer = Issuer::builder().start().await.expect("an issuer");
        let upstream = Upstream::start(&issuer).await.expect("an upstream");
        let grant = issuer.sign_in("alice");
        let events = Arc::new(Mutex::new(Vec::new()));
        let event_log = Arc::clone(&events);
        let source = source_from(issuer.token_url(), "demo", Some(&grant.refresh_token));
        let builder = Rotator::builder(source)
            .origin(upstream.url())
            .on_event(move |event| event_log.lock().expect("events").push(event.clone()));
        let rotator = set(builder).build().expect("a rotator");
        Self {
            issuer,
            upstream,
            rotator,
            grant,
            events,
        }
    }

    pub(crate) fn layer(&self) -> RotationLayer {
        self.rotator.layer().expect("an origin is declared")
    }

    pub(crate) fn client(&self) -> Rotation<Http<Full<Bytes>>, CloneBody> {
        self.layer().layer(http())
    }

    /// Returns a request to the upstream without a body.
    pub(crate) fn get(&self, path: &str) -> Request<Full<Bytes>> {
        Request::get(format!("{}{path}", self.upstream.url()))
            .body(Full::default())
            .expect("a request")
    }

    pub(crate) fn count_events(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        let events = self.events.lock().expect("events");
        events.iter().filter(|event| wanted(event)).count()
    }

    /// Sends a request through the client with the layer and returns the answer.
    pub(crate) async fn send(
        &self,
        path: &str,
    ) -> Response<impl http_body::Body<Error: std::fmt::Debug> + use<>> {
        let answer = self.client().oneshot(self.get(path)).await;
        answer.expect("an answer")
    }

    pub(crate) fn refreshes(&self) -> u64 {
        self.issuer.counters().refreshes
    }
}

pub(crate) fn http<B>() -> Http<B>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) async fn read<B>(answer: Response<B>) -> (StatusCode, serde_json::Value)
where
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// A token source for the refresh token grant (RFC 6749 section 6), as short as possible.
pub(crate) fn source(token_url: &str, client_id: &str) -> impl TokenSource + use<> {
    source_from(token_url, client_id, None)
}

/// A token source for the refresh token grant that uses `first` as refresh token before the first
/// sign-in.
fn source_from(token_url: &str, client_id: &str, first: Option<&str>) -> impl TokenSource + use<> {
    let (token_url, client_id) = (token_url.to_owned(), client_id.to_owned());
    let first = first.map(str::to_owned);
    move |last: Option<Arc<TokenSet>>| {
        let (token_url, client_id, first) = (token_url.clone(), client_id.clone(), first.clone());
        async move {
            let last = last.as_ref().and_then(|last| last.refresh_token());
            let last = last.map(|token| token.expose_secret().to_owned());
            let refresh_token = last.or(first).expect("a refresh token");
            let form = format!(
                "grant_type=refresh_token&client_id={client_id}&refresh_token={refresh_token}"
            );
            let request = Request::post(token_url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(Full::new(Bytes::from(form)))
                .expect("a request");
            let uncertain = |_| SourceError::uncertain("no answer");
            let answer = http().oneshot(request).await.map_err(uncertain)?;
            let (status, answer) = read(answer).await;
            if !status.is_success() {
                return Err(SourceError::terminal("refused"));
            }
            let field = |name: &str| answer[name].as_str().expect("a string").to_owned();
            Ok(TokenSet::bearer(field("access_token"))
                .with_refresh_token(field("refresh_token"))
                .expires_in(Duration::from_secs(
                    answer["expires_in"].as_u64().expect("a number"),
                )))
        }
    }
}

/// A clock that a test advances, wall and steady.
#[derive(Clone)]
pub(crate) struct ManualClock(Arc<Mutex<Duration>>);

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Duration::ZERO)))
    }

    pub(crate) fn advance_secs(&self, seconds: u64) {
        *self.0.lock().expect("a clock") += Duration::from_secs(seconds);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.steady()
    }

    fn steady(&self) -> Duration {
        *self.0.lock().expect("a clock")
    }
}
