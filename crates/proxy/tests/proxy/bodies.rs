//! Bodies: streamed, copied up to a cap, sent once more byte for byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};
use token_rotator::{Clock, SystemClock};
use tokio::sync::mpsc;

use crate::raw::{self, Caller};
use crate::scene::{Scene, http2_client, http2_upstream};

/// The system's clock and so many seconds.
#[derive(Clone, Default)]
struct Late(Arc<AtomicU64>);

impl Late {
    fn by(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

impl Clock for Late {
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

/// A body in pieces, of unknown length.
fn pieces(bytes: &[u8], size: usize) -> reqwest::Body {
    let pieces: Vec<_> = bytes
        .chunks(size)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
}

#[tokio::test]
async fn a_body_within_the_cap_goes_out_again_byte_for_byte() {
    for (length, streamed) in [(1, false), (65_536, false), (1, true), (60_000, true)] {
        let scene = Scene::start().await;
        scene.issuer.expire_access_tokens();
        let sent = bytes(length);
        let body = if streamed {
            pieces(&sent, 999)
        } else {
            sent.clone().into()
        };
        let answer = scene.client.post(scene.url("/upload")).body(body).send();
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), 200, "{length} bytes");
        let echo: Value = answer.json().await.expect("JSON");
        assert_eq!(echo["bytes"], length);
        assert_eq!(echo["sha256"], hash(&sent));
        assert_eq!(scene.issuer.counters().refreshes, 1);
        let metrics = scene.proxy.metrics();
        assert!(
            metrics.contains("token_rotator_proxy_copies_bytes 0"),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn a_body_beyond_the_cap_is_sent_once_and_its_refusal_handed_back() {
    for streamed in [false, true] {
        let scene = Scene::start().await;
        scene.issuer.expire_access_tokens();
        let sent = bytes(65_537);
        let body = if streamed {
            pieces(&sent, 4096)
        } else {
            sent.clone().into()
        };
        let answer = scene.client.post(scene.url("/upload")).body(body).send();
        assert_eq!(answer.await.expect("an answer").status(), 401);
        // The refusal was reported: the next finds a new token.
        let answer = scene.client.post(scene.url("/upload")).body(sent).send();
        assert_eq!(answer.await.expect("an answer").status(), 200);
        assert_eq!(scene.issuer.counters().refreshes, 1);
    }
}

#[tokio::test]
async fn all_copies_together_have_a_bound() {
    let scene = Scene::with(|config| config.limits.replay_bytes_total = 1000).await;
    scene.issuer.expire_access_tokens();
    let answer = scene
        .client
        .post(scene.url("/upload"))
        .body(bytes(1001))
        .send();
    assert_eq!(answer.await.expect("an answer").status(), 401);
    let answer = scene
        .client
        .post(scene.url("/upload"))
        .body(bytes(1001))
        .send();
    assert_eq!(answer.await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_refusal_before_the_end_of_the_body_loses_none_of_it() {
    let upstream = raw::Upstream::answering(&[
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer error=\"invalid_token\"\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ])
    .await;
    // The second answer would never come: what counts is what the second attempt is sent.
    let scene = Scene::before(upstream.url(), |_| {}).await;
    let mut caller = Caller::to(scene.port()).await;
    caller
        .say("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n01234")
        .await;
    while upstream.heads().len() < 2 {
        tokio::task::yield_now().await;
    }
    caller.say("56789").await;
    let head = &upstream.heads()[1];
    assert!(head.contains("content-length: 10"), "{head}");
    assert_eq!(scene.issuer.counters().refreshes, 1);
}

#[tokio::test]
async fn a_long_upload_does_not_set_out_with_a_token_about_to_expire() {
    let clock = Late::default();
    let scene = Scene::with_clock(clock.clone()).await;
    // The grant is for an hour, of which half a minute is left.
    clock.0.store(3570, Ordering::SeqCst);
    let answer = scene
        .client
        .post(scene.url("/upload"))
        .body(bytes(100_000))
        .send();
    assert_eq!(answer.await.expect("an answer").status(), 200);
    let record = scene.upstream.record();
    assert_eq!(record.len(), 1);
    assert_eq!(record[0].generation, Some(2));
}

#[tokio::test]
async fn an_upload_reaches_the_upstream_while_it_is_still_being_sent() {
    let scene = Scene::start().await;
    let (send, mut receive) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let stream = futures_util::stream::poll_fn(move |context| receive.poll_recv(context));
    let request = scene.client.post(scene.url("/upload"));
    let request = tokio::spawn(request.body(reqwest::Body::wrap_stream(stream)).send());
    scene.upstream.gate().close();
    send.send(Ok(Bytes::from_static(b"first")))
        .await
        .expect("read");
    scene.upstream.gate().arrived(1).await;
    scene.upstream.gate().open();
    send.send(Ok(Bytes::from(bytes(1_000_000))))
        .await
        .expect("read");
    drop(send);
    let answer = request.await.expect("no panic").expect("an answer");
    let echo: Value = answer.json().await.expect("JSON");
    assert_eq!(echo["bytes"], 1_000_005);
}

#[tokio::test]
async fn a_long_answer_passes_whole() {
    let scene = Scene::start().await;
    for length in [0, 1, 16_384, 16_385, 5_000_000] {
        let answer = scene.get(&format!("/download/{length}")).await;
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
async fn a_caller_who_waits_to_be_told_to_send_is_told() {
    let scene = Scene::start().await;
    let mut caller = Caller::to(scene.port()).await;
    caller
        .say(
            "POST /upload HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
             content-length: 5\r\n\r\n",
        )
        .await;
    assert_eq!(caller.head().await, "http/1.1 100 continue\r\n\r\n");
    caller.say("hello").await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
    assert!(!scene.upstream.record().is_empty());
}

#[tokio::test]
async fn a_head_request_has_a_length_and_no_body() {
    let scene = Scene::start().await;
    let mut caller = Caller::to(scene.port()).await;
    caller
        .say("HEAD /download/77 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let head = caller.head().await;
    assert!(head.contains("content-length: 77"), "{head}");
    caller
        .say("GET /download/3 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    let rest = caller.rest().await;
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{rest}");
}

#[tokio::test]
async fn a_body_of_unknown_length_arrives_whatever_the_method() {
    for http2 in [false, true] {
        let scene = Scene::with(|config| {
            if http2 {
                http2_upstream(config);
            }
        })
        .await;
        for method in [Method::GET, Method::DELETE, Method::POST] {
            let ask = http2_client().request(method.clone(), scene.url("/echo"));
            let answer = ask.body(pieces(&bytes(5000), 1000)).send().await;
            let echo: Value = answer.expect("an answer").json().await.expect("JSON");
            assert_eq!(
                echo["body_length"], 5000,
                "{method}, HTTP/2 behind: {http2}"
            );
            let mut caller = Caller::to(scene.port()).await;
            let head = format!("{method} /echo HTTP/1.1\r\nhost: localhost\r\n");
            caller.say(head).await;
            let rest = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
            caller.say(rest).await;
            let answer = caller.rest().await;
            assert!(answer.contains("\"body_length\":5,"), "{method}: {answer}");
        }
    }
}
