//! The attacks, each identified by a number.

use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http2;

const PATIENCE: Duration = Duration::from_secs(20);
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The bytes of an attack, and the expected outcome.
pub(crate) struct Attack {
    name: &'static str,
    bytes: Vec<u8>,
    after_send: AfterSend,
    expected: ExpectedOutcome,
}

/// What the attacker does after it has sent all bytes.
#[derive(Clone, Copy)]
enum AfterSend {
    /// Reads until the proxy closes.
    Reads,
    /// Closes its sending half and reads.
    ClosesHalf,
    /// Drops the connection.
    Drops,
}

#[derive(Clone, Copy, Debug)]
enum ExpectedOutcome {
    /// At most one answer: 400, 408, 431, 501 or a similar status.
    Refused,
    /// One answer, then the end of the connection.
    AnsweredOnce,
    /// Any answer; only the requests that reach the upstream count.
    Any,
}

impl Attack {
    /// Returns the attack with this number; a number always gives the same attack.
    pub(crate) fn number(number: usize) -> Self {
        let mut random = Rng::with_seed(number as u64);
        let kinds: [fn(&mut Rng) -> Self; 12] = [
            two_framings,
            lengths,
            codings,
            lines,
            names,
            chunks,
            oversized,
            slow,
            half_closed,
            dropped_connection,
            noise,
            http2_attack,
        ];
        kinds[number % kinds.len()](&mut random)
    }

    pub(crate) async fn run(self, port: u16) {
        let answer = tokio::time::timeout(PATIENCE, self.send(port)).await;
        let Ok(answer) = answer else {
            panic!("{}: neither answered nor closed", self.name);
        };
        let text = String::from_utf8_lossy(&answer);
        let answers = text.matches("HTTP/1.1 ").count();
        let good = match self.expected {
            ExpectedOutcome::Any => true,
            ExpectedOutcome::AnsweredOnce => answers == 1,
            ExpectedOutcome::Refused => {
                let status = text.get(9..12).unwrap_or("400");
                answers <= 1 && (status.starts_with('4') || status == "501")
            }
        };
        let sent = String::from_utf8_lossy(&self.bytes[..self.bytes.len().min(400)]).into_owned();
        assert!(
            good,
            "{}, {:?}: {text:?} to {sent:?}",
            self.name, self.expected
        );
    }

    async fn send(&self, port: u16) -> Vec<u8> {
        let mut stream = connect(port).await;
        // If the proxy closes the connection early, that is its answer.
        let sent = stream.write_all(&self.bytes).await;
        match self.after_send {
            AfterSend::Drops => return Vec::new(),
            AfterSend::ClosesHalf if sent.is_ok() => {
                let _ = stream.shutdown().await;
            }
            _ => {}
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }
}

async fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).await;
    stream.expect("the proxy accepts")
}

/// Sends the bytes and returns all that the proxy answers.
pub(crate) async fn send_and_read(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(port).await;
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answered");
    answer
}

fn attack(name: &'static str, bytes: impl Into<Vec<u8>>, expected: ExpectedOutcome) -> Attack {
    Attack {
        name,
        bytes: bytes.into(),
        after_send: AfterSend::Reads,
        expected,
    }
}

fn pick<'a>(random: &mut Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(0..of.len())]
}

/// A content length and a transfer coding: the proxy reads by the coding and then closes the
/// connection.
fn two_framings(random: &mut Rng) -> Attack {
    let coding = pick(
        random,
        &["Transfer-Encoding: chunked", "transfer-encoding:chunked"],
    );
    let length = format!("Content-Length: {}", pick(random, &["4", "5", "60", "0"]));
    let fields = if random.bool() {
        format!("{coding}\r\n{length}")
    } else {
        format!("{length}\r\n{coding}")
    };
    let bytes =
        format!("POST /honest HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n\r\n0\r\n\r\n{HIDDEN}");
    attack("two framings", bytes, ExpectedOutcome::AnsweredOnce)
}

fn lengths(random: &mut Rng) -> Attack {
    let field = pick(
        random,
        &[
            "content-length: 5\r\ncontent-length: 6",
            "content-length: 5, 6",
            "content-length: +5",
            "content-length: -5",
            "content-length: 0x5",
            "content-length: 5 5",
            "content-length: 18446744073709551616",
            "content-length: 5.0",
            "content-length: ",
            "content-length: five",
        ],
    );
    let bytes = format!("POST /honest HTTP/1.1\r\nhost: localhost\r\n{field}\r\n\r\nhello{HIDDEN}");
    attack("lengths", bytes, ExpectedOutcome::Refused)
}

fn codings(random: &mut Rng) -> Attack {
    let (version, field) = match random.u8(0..8) {
        0 => ("1.1", "transfer-encoding: xchunked"),
        1 => ("1.1", "transfer-encoding: chunked, identity"),
        2 => ("1.1", "transfer-encoding: gzip, chunked"),
        3 => (
            "1.1",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        ),
        4 => ("1.0", "transfer-encoding: chunked"),
        5 => ("1.1", "transfer-encoding: \"chunked\""),
        6 => ("1.1", "transfer-encoding: chunked, chunked"),
        _ => (
            "1.1",
            "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        ),
    };
    let bytes = format!(
        "POST /honest HTTP/{version}\r\nhost: localhost\r\n{field}\r\n\r\n0\r\n\r\n{HIDDEN}"
    );
    attack("codings", bytes, ExpectedOutcome::Refused)
}

fn lines(random: &mut Rng) -> Attack {
    let bytes = pick(
        random,
        &[
            "GET /honest HTTP/1.1\r\nhost: localhost\r\nx-a: b\r\n c: d\r\n\r\n",
            "GET /honest HTTP/1.1\r\nhost: localhost\r\n folded: x\r\n\r\n",
            "GET /honest HTTP/1.1\r\nhost: localhost\r\nx: a\rb\r\n\r\n",
            "GET /honest HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n",
            "GET  /honest  HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "GET /honest HTTP/1.1 x\r\nhost: localhost\r\n\r\n",
            "GET /hon est HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "GET /honest HTTP/2.5\r\nhost: localhost\r\n\r\n",
            "GET /honest\r\n\r\n",
            "GE\tT /honest HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "GET /honest HTTP/1.1\r\nhost: localhost\r\nhost: other\r\n\r\n",
            "GET /honest HTTP/1.1\r\nhost: localhost@other\r\n\r\n",
            "GET /../smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "GET http://other.test/smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n",
        ],
    );
    attack("lines", bytes, ExpectedOutcome::Refused)
}

/// The proxy may accept ambiguous line ends, but must forward proper line ends.
fn names(random: &mut Rng) -> Attack {
    let (bytes, expected) = match random.u8(0..6) {
        0 => (
            "GET /honest HTTP/1.1\nhost: localhost\nconnection: close\n\n".to_owned(),
            ExpectedOutcome::Any,
        ),
        1 => (
            format!(
                "POST /honest HTTP/1.1\r\nhost: localhost\r\ncontent-length : 5\r\n\r\nhello{HIDDEN}"
            ),
            ExpectedOutcome::Refused,
        ),
        2 => (
            "POST /honest HTTP/1.1\r\nhost: localhost\r\ncontent_length: 5\r\n\
                 connection: close\r\n\r\n"
                .to_owned(),
            ExpectedOutcome::AnsweredOnce,
        ),
        3 => (
            "GET /honest HTTP/1.1\r\nhost: localhost\r\n: empty\r\n\r\n".to_owned(),
            ExpectedOutcome::Refused,
        ),
        4 => (
            "GET /honest HTTP/1.1\r\nhost: localhost\r\nx(y): 1\r\n\r\n".to_owned(),
            ExpectedOutcome::Refused,
        ),
        _ => (
            "GET /honest HTTP/1.1\r\nhost: localhost\r\nconnection: close, authorization, host, \
             content-length\r\nauthorization: Bearer of-the-attacker\r\n\r\n"
                .to_owned(),
            ExpectedOutcome::AnsweredOnce,
        ),
    };
    attack("names", bytes, expected)
}

fn chunks(random: &mut Rng) -> Attack {
    let body = match random.u8(0..9) {
        0 => format!("5\r\nhello0\r\n\r\n{HIDDEN}"),
        1 => format!("-1\r\n\r\n{HIDDEN}"),
        2 => format!("fffffffffffffffff\r\nx\r\n0\r\n\r\n{HIDDEN}"),
        3 => format!("5\nhello\n0\n\n{HIDDEN}"),
        4 => format!("0x5\r\nhello\r\n0\r\n\r\n{HIDDEN}"),
        5 => format!(
            "5;{}\r\nhello\r\n0\r\n\r\n",
            "x".repeat(random.usize(20_000..40_000))
        ),
        6 => format!("5\r\nhello\r\n0\r\n{}\r\n", "x: y\r\n".repeat(5_000)),
        7 => format!("\r\n5\r\nhello\r\n0\r\n\r\n{HIDDEN}"),
        _ => format!("5\r\nhello\r\n0\r\ncontent-length: 7\r\nhost: other\r\n\r\n{HIDDEN}"),
    };
    let bytes = format!(
        "POST /honest HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{body}"
    );
    attack("chunks", bytes, ExpectedOutcome::Any)
}

fn oversized(random: &mut Rng) -> Attack {
    let length = random.usize(100_000..300_000);
    let bytes = match random.u8(0..3) {
        0 => format!(
            "GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "x".repeat(length)
        ),
        1 => format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
            "x".repeat(length)
        ),
        _ => format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
            "a: b\r\n".repeat(2_000)
        ),
    };
    attack("oversized", bytes, ExpectedOutcome::Refused)
}

/// Stops in the middle of the head or of the body.
fn slow(random: &mut Rng) -> Attack {
    let bytes = pick(
        random,
        &[
            "",
            "G",
            "PRI * HTTP/2.0\r\n\r\nS",
            "GET /honest HTTP/1.1\r\nhost: local",
            "POST /honest HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhel",
            "POST /honest HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        ],
    );
    attack("slow", bytes, ExpectedOutcome::Refused)
}

fn half_closed(random: &mut Rng) -> Attack {
    let bytes = pick(
        random,
        &[
            "GET /honest HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "GET /honest HTTP/1.1\r\nhost: local",
            "POST /honest HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhel",
        ],
    );
    Attack {
        after_send: AfterSend::ClosesHalf,
        ..attack("half closed", bytes, ExpectedOutcome::Any)
    }
}

fn dropped_connection(random: &mut Rng) -> Attack {
    let length = random.usize(10..200_000);
    let part = random.usize(0..length);
    let head =
        format!("POST /honest HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend(std::iter::repeat_n(b'x', part));
    Attack {
        after_send: AfterSend::Drops,
        ..attack("dropped connection", bytes, ExpectedOutcome::Any)
    }
}

fn noise(random: &mut Rng) -> Attack {
    let length = random.usize(1..4_000);
    let mut bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
    if random.bool() {
        // A valid request with a few bytes changed.
        bytes = b"POST /honest HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\
            x-some: header\r\naccept: */*\r\nconnection: close\r\n\r\nhello"
            .to_vec();
        for _ in 0..random.usize(1..4) {
            let position = random.usize(0..bytes.len());
            bytes[position] = random.u8(..);
        }
    }
    attack("noise", bytes, ExpectedOutcome::Any)
}

fn http2_attack(random: &mut Rng) -> Attack {
    let (name, bytes) = http2::attack(random);
    Attack {
        after_send: if random.bool() {
            AfterSend::ClosesHalf
        } else {
            AfterSend::Drops
        },
        ..attack(name, bytes, ExpectedOutcome::Any)
    }
}
