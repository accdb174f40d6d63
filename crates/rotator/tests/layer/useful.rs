//! A refresh must prove useful, seen by the callers of a layer (rule 17). The clock is paused, and
//! the upstream is a function.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use token_rotator::{Rotator, SourceError, TokenSet};
use tokio::time::Instant;
use tower::{Layer as _, Service, ServiceExt as _};

/// The time between two rounds of requests.
const ROUND: Duration = Duration::from_millis(100);

/// An issuer whose tokens are numbered, and an upstream that accepts the tokens from one number on.
#[derive(Clone, Default)]
struct Servers {
    issued: Arc<AtomicU64>,
    oldest_accepted: Arc<AtomicU64>,
}

impl Servers {
    /// A session whose tokens have no known expiry.
    fn rotator(&self) -> Rotator {
        let issued = Arc::clone(&self.issued);
        let source = move |_: Option<Arc<TokenSet>>| {
            let issued = Arc::clone(&issued);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
                Ok::<_, SourceError>(TokenSet::bearer(number.to_string()))
            }
        };
        let builder = Rotator::builder(source).origin("http://127.0.0.1:8080");
        builder.build().expect("a rotator")
    }

    /// Refuses every token issued so far.
    fn change_key(&self) {
        let newest = self.issued.load(Ordering::SeqCst);
        self.oldest_accepted.store(newest + 1, Ordering::SeqCst);
    }

    /// `/public` accepts every token, `/healthy` those from the oldest accepted on. All other paths
    /// refuse every token.
    fn answer(&self, request: &Request<Full<Bytes>>) -> StatusCode {
        let token = request.headers().get(AUTHORIZATION);
        let token = token.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let number: u64 = token.expect("a token").parse().expect("a number");
        let is_accepted = match request.uri().path() {
            "/public" => true,
            "/healthy" => number >= self.oldest_accepted.load(Ordering::SeqCst),
            _ => false,
        };
        if is_accepted {
            StatusCode::OK
        } else {
            StatusCode::UNAUTHORIZED
        }
    }

    fn client(
        &self,
        rotator: &Rotator,
    ) -> impl Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error: std::fmt::Debug>
    + Clone {
        let servers = self.clone();
        let upstream = tower::service_fn(move |request: Request<Full<Bytes>>| {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = servers.answer(&request);
            async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Ok::<_, Infallible>(answer)
            }
        });
        rotator.layer().expect("an origin").layer(upstream)
    }

    fn refreshes(&self) -> u64 {
        self.issued.load(Ordering::SeqCst)
    }
}

async fn get(
    client: impl Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error: std::fmt::Debug>,
    path: &str,
) -> StatusCode {
    let uri = format!("http://127.0.0.1:8080{path}");
    let request = Request::get(uri).body(Full::default()).expect("a request");
    client.oneshot(request).await.expect("an answer").status()
}

/// One endpoint refuses every token and is polled. The healthy endpoint beside it sees twenty key
/// changes: none of its requests fails, and the refusals of the other space out their refreshes.
#[tokio::test(start_paused = true)]
async fn a_broken_endpoint_fails_no_healthy_request() {
    let servers = Servers::default();
    let rotator = servers.rotator();
    let client = servers.client(&rotator);
    assert_eq!(get(client.clone(), "/healthy").await, StatusCode::OK);
    let key_changes = 20;
    for _ in 0..key_changes {
        servers.change_key();
        // 7 s between two key changes.
        for _ in 0..70 {
            let healthy = join_all((0..5).map(|_| get(client.clone(), "/healthy")));
            let (broken, healthy) = tokio::join!(get(client.clone(), "/broken"), healthy);
            assert_eq!(broken, StatusCode::UNAUTHORIZED);
            assert_eq!(healthy, [StatusCode::OK; 5]);
            tokio::time::advance(ROUND).await;
        }
    }
    // The first token; one for each key change; for the broken endpoint those at 0, 2, 6, 14, 30,
    // 62 and 122 s.
    let refreshes = servers.refreshes();
    let most = 1 + key_changes + 7;
    assert!(refreshes > key_changes, "{refreshes} refreshes");
    assert!(refreshes <= most, "{refreshes} refreshes, at most {most}");
}

/// A token for the wrong audience: one public endpoint accepts it and a thousand paths refuse it.
/// The session refreshes at most eight times a minute.
#[tokio::test(start_paused = true)]
async fn a_wrong_audience_costs_few_refreshes() {
    let servers = Servers::default();
    let rotator = servers.rotator();
    let client = servers.client(&rotator);
    assert_eq!(get(client.clone(), "/public").await, StatusCode::OK);
    let first = servers.refreshes();
    for minute in 0..3 {
        let (start, before) = (Instant::now(), servers.refreshes());
        let mut path = 0;
        while start.elapsed() < Duration::from_secs(60) {
            let refused = format!("/private/{path}");
            path = (path + 1) % 1_000;
            let (refused, public) = tokio::join!(
                get(client.clone(), &refused),
                get(client.clone(), "/public")
            );
            assert_eq!(refused, StatusCode::UNAUTHORIZED);
            assert_eq!(public, StatusCode::OK);
            tokio::time::advance(ROUND / 2).await;
        }
        let refreshes = servers.refreshes() - before;
        assert!(refreshes <= 8, "minute {minute}: {refreshes} refreshes");
    }
    assert!(servers.refreshes() > first, "a refusal starts a refresh");
}
