//! Tests that a body rule costs neither the token nor the answer nor unbounded memory.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use token_rotator::middleware::BodyRule;
use token_rotator::{Rotator, SourceError, TokenSet};
use tower::{Layer as _, Service, ServiceExt as _};

use crate::fixture::ManualClock;

/// A session that is signed in, and an issuer that is down.
async fn signed_in(calls: &Arc<AtomicUsize>) -> Rotator {
    signed_in_at(ManualClock::new(), calls).await
}

async fn signed_in_at(clock: ManualClock, calls: &Arc<AtomicUsize>) -> Rotator {
    let calls = Arc::clone(calls);
    let source = move |_: Option<Arc<TokenSet>>| {
        calls.fetch_add(1, Ordering::SeqCst);
        async { Err::<TokenSet, _>(SourceError::transient("the issuer is down")) }
    };
    let rotator = Rotator::builder(source)
        .origin("http://127.0.0.1:8080")
        .clock(clock)
        .build()
        .expect("a rotator");
    let stored = rotator.sign_in(TokenSet::bearer("good").with_refresh_token("refresh"));
    stored.expect("usable").await.expect("in memory");
    rotator
}

fn request(path: &str) -> Request<Full<Bytes>> {
    let uri = format!("http://127.0.0.1:8080{path}");
    Request::get(uri).body(Full::default()).expect("a request")
}

/// Answers every request with JSON: `/search` with an empty list.
fn client(
    rotator: &Rotator,
) -> impl Service<
    Request<Full<Bytes>>,
    Response = Response<impl Body<Data = Bytes, Error: std::fmt::Debug>>,
    Error: std::fmt::Debug,
> + Clone {
    let upstream = tower::service_fn(|request: Request<Full<Bytes>>| {
        let body: &[u8] = match request.uri().path() {
            "/search" => b"[]",
            _ => b"[1]",
        };
        let answer = Response::builder().header("content-type", "application/json");
        let answer = answer.body(Full::new(Bytes::from_static(body)));
        async { Ok::<_, Infallible>(answer.expect("an answer")) }
    });
    let layer = rotator.layer().expect("an origin");
    let rule = BodyRule::json(|_, body| body == b"[]");
    layer.refused_when_body(rule).layer(upstream)
}

/// Property: an empty list may be the truth, so while the issuer is down it takes no good token away
/// (rule 9).
#[tokio::test(start_paused = true)]
async fn a_match_that_cannot_be_confirmed_displaces_no_token() {
    let calls = Arc::default();
    let rotator = signed_in(&calls).await;
    let client = client(&rotator);
    let get = async |path: &str| {
        let answer = client.clone().oneshot(request(path)).await;
        answer.expect("an answer").status()
    };
    assert_eq!(get("/other").await, StatusCode::OK);
    assert_eq!(get("/search").await, StatusCode::OK);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(get("/other").await, StatusCode::OK, "the token is good");
    let searches = join_all((0..1_000).map(|_| get("/search"))).await;
    assert!(searches.iter().all(StatusCode::is_success));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// Property: a session starts at most one confirming refresh in 10 s, also if each of them fails, and
/// with several layers.
#[tokio::test(start_paused = true)]
async fn confirming_refreshes_are_spaced_out() {
    let (clock, calls) = (ManualClock::new(), Arc::default());
    let rotator = signed_in_at(clock.clone(), &calls).await;
    let clients = [client(&rotator), client(&rotator)];
    for second in 0..30 {
        for client in &clients {
            let answer = client.clone().oneshot(request("/search")).await;
            assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
        }
        assert_eq!(calls.load(Ordering::SeqCst), second / 10 + 1, "{second} s");
        clock.advance_secs(1);
    }
}

/// A body of these frames, which stays open.
struct Open(VecDeque<Bytes>);

impl Body for Open {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => Poll::Pending,
        }
    }
}

/// Property: a JSON answer that stays open, such as a feed of changes, reaches its caller.
#[tokio::test(start_paused = true)]
async fn an_answer_that_stays_open_is_handed_on() {
    let rotator = signed_in(&Arc::default()).await;
    let upstream = tower::service_fn(|_: Request<Full<Bytes>>| async {
        let first = VecDeque::from([Bytes::from_static(b"{\"seq\":1}\n")]);
        let answer = Response::builder().header("content-type", "application/json");
        Ok::<_, Infallible>(answer.body(Open(first)).expect("an answer"))
    });
    let layer = rotator.layer().expect("an origin");
    let rule = BodyRule::json(|_, body| body == b"[]");
    let client = layer.refused_when_body(rule).layer(upstream);
    let answer = client.oneshot(request("/changes"));
    let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
    let answer = answer.expect("the head arrives").expect("an answer");
    let frame = answer.into_body().frame().await.expect("open");
    let data = frame.expect("no error").into_data().expect("data");
    assert_eq!(data, "{\"seq\":1}\n");
}

/// A body of empty frames, which counts the polls.
struct Hollow(Arc<AtomicUsize>);

impl Body for Hollow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // The end keeps the test short where nothing else does.
        if self.0.fetch_add(1, Ordering::SeqCst) < 200_000 {
            Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
        } else {
            Poll::Ready(None)
        }
    }
}

/// Property: what is kept of a body to judge it is bounded in frames too, not in bytes alone.
#[tokio::test(start_paused = true)]
async fn empty_frames_do_not_pile_up() {
    let rotator = signed_in(&Arc::default()).await;
    let polls = Arc::new(AtomicUsize::new(0));
    let body = Arc::clone(&polls);
    let upstream = tower::service_fn(move |_: Request<Full<Bytes>>| {
        let answer = Response::builder().header("content-type", "application/json");
        let answer = answer.body(Hollow(Arc::clone(&body)));
        async { Ok::<_, Infallible>(answer.expect("an answer")) }
    });
    let layer = rotator.layer().expect("an origin");
    let rule = BodyRule::json(|_, body| body == b"[]");
    let client = layer.refused_when_body(rule).layer(upstream);
    let answer = client.oneshot(request("/hollow")).await;
    let kept = polls.load(Ordering::SeqCst);
    assert!(kept <= 10_000, "{kept} frames are kept");
    drop(answer.expect("an answer"));
}

/// Property: the rule gets no compressed body, whose bytes would match by accident.
#[tokio::test(start_paused = true)]
async fn a_compressed_body_passes_unjudged() {
    for (encoding, refreshes) in [("gzip", 0), ("identity", 1)] {
        let calls = Arc::default();
        let rotator = signed_in(&calls).await;
        let upstream = tower::service_fn(move |_: Request<Full<Bytes>>| async move {
            let answer = Response::builder()
                .header("content-type", "application/json")
                .header("content-encoding", encoding);
            Ok::<_, Infallible>(
                answer
                    .body(Full::new(Bytes::from_static(b"[]")))
                    .expect("an answer"),
            )
        });
        let layer = rotator.layer().expect("an origin");
        let client = layer
            .refused_when_body(BodyRule::json(|_, _| true))
            .layer(upstream);
        let answer = client.oneshot(request("/search")).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(calls.load(Ordering::SeqCst), refreshes, "{encoding}");
    }
}
