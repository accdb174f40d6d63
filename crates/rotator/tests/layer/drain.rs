//! Tests how much of a refused answer is read before the request is replayed.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use token_rotator::{Rotator, SourceError, TokenSet};
use tokio::time::{Instant, timeout};
use tower::{Layer, ServiceExt};

use crate::fixture::LayerFixture;

type TestBody = UnsyncBoxBody<Bytes, Infallible>;
type FrameResult = Result<Frame<Bytes>, Infallible>;

/// Maximum number of bytes of a refused answer that are read, and the maximum time.
const BYTES: usize = 16 * 1024;
const TIME: Duration = Duration::from_millis(50);

/// Fails a test that hangs; every test is much faster.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a request whose first answer is a 401 with this body. Returns after the replay.
async fn send_with_refusal(body: impl Stream<Item = FrameResult> + Send + 'static) {
    let source = |_| async { Ok::<_, SourceError>(TokenSet::bearer("second")) };
    let rotator = Rotator::builder(source)
        .origin("https://api.example.com")
        .build()
        .expect("a rotator");
    let first = TokenSet::bearer("first").with_refresh_token("single use");
    rotator.sign_in(first).expect("usable tokens");
    let body = Arc::new(std::sync::Mutex::new(Some(
        StreamBody::new(body).boxed_unsync(),
    )));
    let upstream = tower::service_fn(move |request: Request<()>| {
        let first = request.headers()["authorization"] == "Bearer first";
        let (status, body) = if first {
            let body = body.lock().expect("a body").take();
            (StatusCode::UNAUTHORIZED, body.expect("one refusal"))
        } else {
            (StatusCode::OK, Empty::new().boxed_unsync())
        };
        let mut answer = Response::<TestBody>::new(body);
        *answer.status_mut() = status;
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let client = rotator.layer().expect("an origin").layer(upstream);
    let request = Request::get("https://api.example.com/").body(());
    let answer = client.oneshot(request.expect("a request"));
    let answer = timeout(TEST_TIMEOUT, answer).await.expect("a replay");
    assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
}

/// Returns frames of this length, and the number of frames that were read.
fn frames(length: usize) -> (impl Stream<Item = FrameResult> + Send, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let frames = stream::repeat_with(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(Frame::data(Bytes::from(vec![0; length])))
    });
    (frames, read)
}

/// An endless body is dropped after 16 KiB and the frame that exceeds them.
#[tokio::test(start_paused = true)]
async fn no_more_than_16_kib_of_a_refusal_are_read() {
    let (endless, read) = frames(1024);
    send_with_refusal(endless).await;
    assert_eq!(read.load(Ordering::Relaxed), BYTES / 1024 + 1);
}

/// Empty frames that are always ready are bounded like other bytes. A time limit alone does not help: a
/// body that is always ready gives the timer no turn.
#[tokio::test(start_paused = true)]
async fn empty_frames_of_a_refusal_are_bounded() {
    let (empty, read) = frames(0);
    send_with_refusal(empty.take(200_000)).await;
    let read = read.load(Ordering::Relaxed);
    assert!(read <= BYTES + 1, "{read} empty frames are read");
}

/// A body of 16 KiB is read to its end, a longer body is not.
#[tokio::test(start_paused = true)]
async fn a_refusal_within_the_bound_is_read_to_its_end() {
    for (frame, read_out) in [(BYTES / 4, true), (BYTES / 4 + 1, false)] {
        let ended = Arc::new(AtomicBool::new(false));
        let end = {
            let ended = Arc::clone(&ended);
            stream::poll_fn(move |_| {
                ended.store(true, Ordering::Relaxed);
                Poll::Ready(None)
            })
        };
        send_with_refusal(frames(frame).0.take(4).chain(end)).await;
        assert_eq!(ended.load(Ordering::Relaxed), read_out, "4 times {frame}");
    }
}

/// A body that stalls delays the replay by 50 ms at most.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_stalls_is_left_after_50_ms() {
    let began = Instant::now();
    let (some, _) = frames(10);
    send_with_refusal(some.take(3).chain(stream::pending())).await;
    let delay = began.elapsed();
    assert!(delay >= TIME && delay < 2 * TIME, "{delay:?}");
}

/// Over sockets: a refusal that was read to its end leaves its connection for the replay. A longer
/// refusal costs the connection but does not delay the replay.
#[tokio::test]
async fn a_short_refusal_leaves_its_connection_to_the_replay() {
    for (length, connections) in [("16384", [1, 1]), ("1000000", [1, 2]), ("endless", [1, 2])] {
        let fixture = LayerFixture::new().await;
        fixture.issuer.expire_access_tokens();
        let path = format!("/long-401/{length}");
        let answer = timeout(TEST_TIMEOUT, fixture.send(&path))
            .await
            .expect("a replay");
        assert_eq!(answer.status(), StatusCode::OK);
        let records = fixture.upstream.record();
        let used: Vec<_> = records.iter().map(|record| record.connection).collect();
        assert_eq!(used, connections, "{length}");
    }
}
