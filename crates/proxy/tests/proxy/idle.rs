//! Connections on which nothing happens.

use std::time::Duration;

use crate::raw::{self, Caller};
use crate::scene::{Scene, http2_client};

const SHORT: Duration = Duration::from_millis(150);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET http://localhost/echo`, from the static table but for path and authority (RFC 7541).
const GET: &[u8] = b"\x82\x86\x44\x05/echo\x41\x09localhost";

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

impl Caller {
    /// Begins to speak HTTP/2.
    async fn to_http2(port: u16) -> Self {
        let mut caller = Self::to(port).await;
        caller.say(PREFACE).await;
        caller.say(frame(SETTINGS, 0, 0, &[])).await;
        caller
    }

    /// The kinds of the frames that come until the proxy closes. Whatever wants an
    /// acknowledgement gets one, if `polite`.
    async fn frames(&mut self, polite: bool) -> Vec<u8> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut kinds = Vec::new();
        let read = async {
            let mut head = [0; 9];
            while self.0.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                if self.0.read_exact(&mut payload).await.is_err() {
                    break;
                }
                let (kind, flags) = (head[3], head[4]);
                kinds.push(kind);
                if polite && (kind == SETTINGS || kind == PING) && flags & ACK == 0 {
                    let payload = if kind == PING { &payload[..] } else { &[] };
                    // The proxy may be gone by then.
                    let _ = self.0.write_all(&frame(kind, ACK, 0, payload)).await;
                }
            }
        };
        let read = tokio::time::timeout(SHORT * 40, read).await;
        read.expect("the proxy closes");
        kinds
    }
}

fn impatient() -> impl Future<Output = Scene> {
    Scene::with(|config| {
        config.limits.header_timeout = SHORT;
        config.limits.connections = 1;
    })
}

#[tokio::test]
async fn an_http2_connection_without_streams_is_asked_to_end() {
    let scene = impatient().await;
    let mut caller = Caller::to_http2(scene.port()).await;
    let began = std::time::Instant::now();
    let kinds = caller.frames(true).await;
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    assert!(began.elapsed() >= SHORT / 2, "{:?}", began.elapsed());
    // And after a request as before it.
    let mut caller = Caller::to_http2(scene.port()).await;
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, GET);
    caller.say(request).await;
    let kinds = caller.frames(true).await;
    assert!(kinds.contains(&HEADERS), "an answer: {kinds:?}");
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    assert_eq!(scene.upstream.record().len(), 1);
}

#[tokio::test]
async fn an_http2_connection_that_does_not_end_is_cut_off() {
    let scene = impatient().await;
    // Headers that do not end, and somebody who acknowledges nothing.
    for beginning in [frame(HEADERS, END_STREAM, 1, GET), Vec::new()] {
        let mut caller = Caller::to_http2(scene.port()).await;
        caller.say(beginning).await;
        let kinds = caller.frames(false).await;
        assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    }
    assert!(scene.upstream.record().is_empty());
    assert_eq!(scene.get("/echo").await.status(), 200, "the place is free");
}

#[tokio::test]
async fn an_http2_connection_with_a_stream_is_not_idle() {
    let scene = impatient().await;
    scene.upstream.gate().close();
    let asked = tokio::spawn(http2_client().get(scene.url("/echo")).send());
    scene.upstream.gate().arrived(1).await;
    // Longer than it would take to be cut off.
    tokio::time::sleep(SHORT * 4).await;
    scene.upstream.gate().open();
    let answer = asked.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 200);
}

const HANDSHAKE: &str = "GET /socket HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\n\r\n";

#[tokio::test]
async fn a_tunnel_without_a_byte_is_closed() {
    let upstream = raw::Upstream::answering(&[SWITCHED]).await;
    let scene = Scene::before(upstream.url(), |config| {
        config.limits.tunnel_idle = Some(SHORT * 2);
    })
    .await;
    let mut caller = Caller::to(scene.port()).await;
    caller.say(HANDSHAKE).await;
    assert!(caller.head().await.starts_with("http/1.1 101"));
    // A byte in time, again and again, for longer than it may be idle.
    for _ in 0..6 {
        tokio::time::sleep(SHORT / 2).await;
        caller.say("x").await;
        assert_eq!(caller.read(1).await, b"x");
    }
    let began = std::time::Instant::now();
    assert_eq!(caller.rest().await, "");
    assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
}

/// Both sides' connections are watched by the kernel: a peer that is gone without a word would
/// keep its place for good.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn sockets_are_kept_alive() {
    let scene = Scene::start().await;
    let mut caller = Caller::to(scene.port()).await;
    let request = "GET /download/0 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    caller.say(request).await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
    let ours = caller.0.local_addr().expect("an address").port();
    let proxy = scene.port();
    let upstream: reqwest::Url = scene.upstream.url().parse().expect("a URL");
    let upstream = upstream.port().expect("a port");
    for (of, is_one) in [
        (
            "a caller",
            &(|local, remote| local == proxy && remote == ours) as &dyn Fn(u16, u16) -> bool,
        ),
        ("an upstream", &|_, remote| remote == upstream),
    ] {
        let kept = async {
            // An acknowledgement that is still to come has the one timer that is shown.
            while !keep_alives()
                .iter()
                .any(|&(local, remote)| is_one(local, remote))
            {
                tokio::time::sleep(SHORT / 10).await;
            }
        };
        let kept = tokio::time::timeout(SHORT * 20, kept).await;
        assert!(kept.is_ok(), "no keep-alive to {of}");
    }
}

/// The ports, local and remote, of connections that the kernel will ask after within a minute
/// (`/proc/net/tcp`, proc(5)).
#[cfg(target_os = "linux")]
fn keep_alives() -> Vec<(u16, u16)> {
    let port = |address: &str| {
        let (_, port) = address.split_once(':').expect("an address");
        u16::from_str_radix(port, 16).expect("a port")
    };
    let table = std::fs::read_to_string("/proc/net/tcp").expect("proc");
    let lines = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (timer, hundredths) = fields[5].split_once(':')?;
        let left = u64::from_str_radix(hundredths, 16).ok()?;
        let watched = fields[3] == "01" && timer == "02" && left <= 60 * 100;
        watched.then(|| (port(fields[1]), port(fields[2])))
    });
    lines.collect()
}
