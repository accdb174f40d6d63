//! Tests bodies: streamed, copied up to a limit, and replayed byte for byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};
use token_rotator::{Clock, SystemClock};
use tokio::sync::mpsc;

use crate::fixture::{ProxyFixture, http2_client, http2_upstream};
use crate::raw::{self, Caller};

/// The system's clock plus a number of seconds.
#[derive(Clone, Default)]
struct ShiftedClock(Arc<AtomicU64>);

impl ShiftedClock {
    fn by(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

impl Clock for ShiftedClock {
    fn wall(&self) -> SystemTime {
        SystemClock.wall() + self.by()
    }

    fn steady(&self) -> Duration {
        SystemClock.steady() + self.by()
    }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 % 251) as u8).collect()
}

fn hash(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut hash = String::new();
    for byte in Sha256::digest(bytes) {
        write!(hash, "{byte:02x}").expect("a string");
    }
    hash
}

/// Returns a body in pieces, of unknown length.
fn pieces(bytes: &[u8], size: usize) -> reqwest::Body {
    let pieces: Vec<_> = bytes
        .chunks(size)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
}

#[tokio::test]
async fn a_body_within_the_limit_is_replayed_byte_for_byte() {
    for (length, streamed) in [(1, false), (65_536, false), (1, true), (60_000, true)] {
        let fixture = ProxyFixture::start().await;
        fixture.issuer.expire_access_tokens();
        let sent = bytes(length);
        let body = if streamed {
            pieces(&sent, 999)
        } else {
            sent.clone().into()
        };
        let answer = fixture
            .client
            .post(fixture.url("/upload"))
            .body(body)
            .send();
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), 200, "{length} bytes");
        let echo: Value = answer.json().await.expect("JSON");
        assert_eq!(echo["bytes"], length);
        assert_eq!(echo["sha256"], hash(&sent));
        assert_eq!(fixture.issuer.counters().refreshes, 1);
        let metrics = fixture.proxy.metrics();
        assert!(
            metrics.contains("token_rotator_proxy_copies_bytes 0"),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_sent_once_and_its_refusal_handed_back() {
    for streamed in [false, true] {
        let fixture = ProxyFixture::start().await;
        fixture.issuer.expire_access_tokens();
        let sent = bytes(65_537);
        let body = if streamed {
            pieces(&sent, 4096)
        } else {
            sent.clone().into()
        };
        let answer = fixture
            .client
            .post(fixture.url("/upload"))
            .body(body)
            .send();
        assert_eq!(answer.await.expect("an answer").status(), 401);
        // The refusal was reported, so the next request gets a new token.
        let answer = fixture
            .client
            .post(fixture.url("/upload"))
            .body(sent)
            .send();
        assert_eq!(answer.await.expect("an answer").status(), 200);
        assert_eq!(fixture.issuer.counters().refreshes, 1);
    }
}

#[tokio::test]
async fn all_copies_together_have_a_limit() {
    let fixture = ProxyFixture::with(|config| config.limits.replay_bytes_total = 1000).await;
    fixture.issuer.expire_access_tokens();
    let answer = fixture
        .client
        .post(fixture.url("/upload"))
        .body(bytes(1001))
        .send();
    assert_eq!(answer.await.expect("an answer").status(), 401);
    let answer = fixture
        .client
        .post(fixture.url("/upload"))
        .body(bytes(1001))
        .send();
    assert_eq!(answer.await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_refusal_before_the_end_of_the_body_loses_no_part_of_it() {
    let upstream = raw::RawUpstream::with_script(&[
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer error=\"invalid_token\"\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ])
    .await;
    // The second answer never arrives; only the replayed request counts.
    let fixture = ProxyFixture::with_upstream(upstream.url(), |_| {}).await;
    let mut caller = Caller::to(fixture.port()).await;
    caller
        .send_bytes("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n01234")
        .await;
    while upstream.heads().len() < 2 {
        tokio::task::yield_now().await;
    }
    caller.send_bytes("56789").await;
    let head = &upstream.heads()[1];
    assert!(head.contains("content-length: 10"), "{head}");
    assert_eq!(fixture.issuer.counters().refreshes, 1);
}

#[tokio::test]
async fn a_long_upload_does_not_start_with_an_expiring_token() {
    let clock = ShiftedClock::default();
    let fixture = ProxyFixture::with_clock(clock.clone()).await;
    // The token lives one hour, of which 30 s are left.
    clock.0.store(3570, Ordering::SeqCst);
    let answer = fixture
        .client
        .post(fixture.url("/upload"))
        .body(bytes(100_000))
        .send();
    assert_eq!(answer.await.expect("an answer").status(), 200);
    let record = fixture.upstream.record();
    assert_eq!(record.len(), 1);
    assert_eq!(record[0].generation, Some(2));
}

#[tokio::test]
async fn an_upload_is_streamed_to_the_upstream() {
    let fixture = ProxyFixture::start().await;
    let (send, mut receive) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let stream = futures_util::stream::poll_fn(move |context| receive.poll_recv(context));
    let request = fixture.client.post(fixture.url("/upload"));
    let request = tokio::spawn(request.body(reqwest::Body::wrap_stream(stream)).send());
    fixture.upstream.gate().close();
    send.send(Ok(Bytes::from_static(b"first")))
        .await
        .expect("read");
    fixture.upstream.gate().arrived(1).await;
    fixture.upstream.gate().open();
    send.send(Ok(Bytes::from(bytes(1_000_000))))
        .await
        .expect("read");
    drop(send);
    let answer = request.await.expect("no panic").expect("an answer");
    let echo: Value = answer.json().await.expect("JSON");
    assert_eq!(echo["bytes"], 1_000_005);
}

#[tokio::test]
async fn a_long_answer_passes_completely() {
    let fixture = ProxyFixture::start().await;
    for length in [0, 1, 16_384, 16_385, 5_000_000] {
        let answer = fixture.get(&format!("/download/{length}")).await;
        assert_eq!(
            answer.headers()["content-length"],
            length.to_string().as_str()
        );
        let body = answer.bytes().await.expect("a body");
        assert_eq!(body.len(), length);
        assert!(
            body.iter()
                .enumerate()
                .all(|(index, byte)| *byte == (index % 251) as u8)
        );
    }
}

#[tokio::test]
async fn a_caller_that_expects_100_continue_gets_it() {
    let fixture = ProxyFixture::start().await;
    let mut caller = Caller::to(fixture.port()).await;
    caller
        .send_bytes(
            "POST /upload HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
             content-length: 5\r\n\r\n",
        )
        .await;
    assert_eq!(caller.head().await, "http/1.1 100 continue\r\n\r\n");
    caller.send_bytes("hello").await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
    assert!(!fixture.upstream.record().is_empty());
}

#[tokio::test]
async fn a_head_request_has_a_length_and_no_body() {
    let fixture = ProxyFixture::start().await;
    let mut caller = Caller::to(fixture.port()).await;
    caller
        .send_bytes("HEAD /download/77 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let head = caller.head().await;
    assert!(head.contains("content-length: 77"), "{head}");
    caller
        .send_bytes("GET /download/3 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    let rest = caller.rest().await;
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{rest}");
}

#[tokio::test]
async fn a_body_of_unknown_length_arrives_with_any_method() {
    for http2 in [false, true] {
        let fixture = ProxyFixture::with(|config| {
            if http2 {
                http2_upstream(config);
            }
        })
        .await;
        for method in [Method::GET, Method::DELETE, Method::POST] {
            let ask = http2_client().request(method.clone(), fixture.url("/echo"));
            let answer = ask.body(pieces(&bytes(5000), 1000)).send().await;
            let echo: Value = answer.expect("an answer").json().await.expect("JSON");
            assert_eq!(
                echo["body_length"], 5000,
                "{method}, HTTP/2 behind: {http2}"
            );
            let mut caller = Caller::to(fixture.port()).await;
            let head = format!("{method} /echo HTTP/1.1\r\nhost: localhost\r\n");
            caller.send_bytes(head).await;
            let rest = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
            caller.send_bytes(rest).await;
            let answer = caller.rest().await;
            assert!(answer.contains("\"body_length\":5,"), "{method}: {answer}");
        }
    }
}
