//! Tests idle connections.

use std::time::Duration;

use crate::fixture::{ProxyFixture, http2_client};
use crate::raw::{self, Caller};

const SHORT: Duration = Duration::from_millis(150);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET http://localhost/echo`, from the static table except for path and authority (RFC 7541).
const GET: &[u8] = b"\x82\x86\x44\x05/echo\x41\x09localhost";

/// Builds a frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

impl Caller {
    /// Opens a connection and sends the HTTP/2 preface.
    async fn to_http2(port: u16) -> Self {
        let mut caller = Self::to(port).await;
        caller.send_bytes(PREFACE).await;
        caller.send_bytes(frame(SETTINGS, 0, 0, &[])).await;
        caller
    }

    /// Returns the kinds of the received frames until the proxy closes. If `polite`, acknowledges
    /// every frame that needs an acknowledgement.
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
                    // The proxy may have closed the connection.
                    let _ = self.0.write_all(&frame(kind, ACK, 0, payload)).await;
                }
            }
        };
        let read = tokio::time::timeout(SHORT * 40, read).await;
        read.expect("the proxy closes");
        kinds
    }
}

fn fixture_with_short_limits() -> impl Future<Output = ProxyFixture> {
    ProxyFixture::with(|config| {
        config.limits.header_timeout = SHORT;
        config.limits.connections = 1;
    })
}

#[tokio::test]
async fn an_http2_connection_without_streams_is_asked_to_end() {
    let fixture = fixture_with_short_limits().await;
    let mut caller = Caller::to_http2(fixture.port()).await;
    let began = std::time::Instant::now();
    let kinds = caller.frames(true).await;
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    assert!(began.elapsed() >= SHORT / 2, "{:?}", began.elapsed());
    // The connection is also asked to end after a request.
    let mut caller = Caller::to_http2(fixture.port()).await;
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, GET);
    caller.send_bytes(request).await;
    let kinds = caller.frames(true).await;
    assert!(kinds.contains(&HEADERS), "an answer: {kinds:?}");
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    assert_eq!(fixture.upstream.record().len(), 1);
}

#[tokio::test]
async fn an_http2_connection_that_does_not_end_is_closed() {
    let fixture = fixture_with_short_limits().await;
    // Headers without an end, and a peer that acknowledges nothing.
    for beginning in [frame(HEADERS, END_STREAM, 1, GET), Vec::new()] {
        let mut caller = Caller::to_http2(fixture.port()).await;
        caller.send_bytes(beginning).await;
        let kinds = caller.frames(false).await;
        assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    }
    assert!(fixture.upstream.record().is_empty());
    assert_eq!(
        fixture.get("/echo").await.status(),
        200,
        "the connection slot is free"
    );
}

#[tokio::test]
async fn an_http2_connection_with_a_stream_is_not_idle() {
    let fixture = fixture_with_short_limits().await;
    fixture.upstream.gate().close();
    let request = tokio::spawn(http2_client().get(fixture.url("/echo")).send());
    fixture.upstream.gate().arrived(1).await;
    // Waits longer than the idle limit.
    tokio::time::sleep(SHORT * 4).await;
    fixture.upstream.gate().open();
    let answer = request.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), 200);
}

const HANDSHAKE: &str = "GET /socket HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\n\r\n";

#[tokio::test]
async fn a_tunnel_without_a_byte_is_closed() {
    let upstream = raw::RawUpstream::with_script(&[SWITCHED]).await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |config| {
        config.limits.tunnel_idle = Some(SHORT * 2);
    })
    .await;
    let mut caller = Caller::to(fixture.port()).await;
    caller.send_bytes(HANDSHAKE).await;
    assert!(caller.head().await.starts_with("http/1.1 101"));
    // Sends a byte within the limit repeatedly, for longer than the limit.
    for _ in 0..6 {
        tokio::time::sleep(SHORT / 2).await;
        caller.send_bytes("x").await;
        assert_eq!(caller.read(1).await, b"x");
    }
    let began = std::time::Instant::now();
    assert_eq!(caller.rest().await, "");
    assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
}

/// The kernel checks the connections of both sides: a peer that disappeared silently would hold its
/// connection slot for ever.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn sockets_are_kept_alive() {
    let fixture = ProxyFixture::start().await;
    let mut caller = Caller::to(fixture.port()).await;
    let request = "GET /download/0 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    caller.send_bytes(request).await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
    let ours = caller.0.local_addr().expect("an address").port();
    let proxy = fixture.port();
    let upstream: reqwest::Url = fixture.upstream.url().parse().expect("a URL");
    let upstream = upstream.port().expect("a port");
    for (of, is_one) in [
        (
            "a caller",
            &(|local, remote| local == proxy && remote == ours) as &dyn Fn(u16, u16) -> bool,
        ),
        ("an upstream", &|_, remote| remote == upstream),
    ] {
        let has_keep_alive = async {
            // A pending acknowledgement hides the keep-alive timer, because the kernel shows one
            // timer.
            while !keep_alives()
                .iter()
                .any(|&(local, remote)| is_one(local, remote))
            {
                tokio::time::sleep(SHORT / 10).await;
            }
        };
        let has_keep_alive = tokio::time::timeout(SHORT * 20, has_keep_alive).await;
        assert!(has_keep_alive.is_ok(), "no keep-alive to {of}");
    }
}

/// Returns the local and remote ports of connections that the kernel will check within a minute
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
