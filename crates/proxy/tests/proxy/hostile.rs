//! Callers that mean no good: the proxy refuses them, lives on and leaks nothing.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::World;

/// How a caller misbehaves.
const CASES: [&[u8]; 12] = [
    b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
    b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: +4\r\n\r\nabcd",
    b"POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked, identity\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nabcd",
    b"POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nhost: localhost\r\nx: a\x00b\r\n\r\n",
    b"GET /echo HTTP/9.9\r\nhost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all",
    b"POST /upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\naborted",
];

/// Each is refused or read as what it says, and never as two requests. The number comes from
/// `TOKEN_ROTATOR_HOSTILE`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abuse_leaves_nothing_behind() {
    let number = std::env::var("TOKEN_ROTATOR_HOSTILE");
    let number: usize = number
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(2_000);
    let world = World::new().await;
    assert_eq!(world.get("/echo").await.status(), 200);
    let before = descriptors();
    for index in 0..number {
        let mut stream = TcpStream::connect(world.address)
            .await
            .expect("the proxy accepts");
        if index % CASES.len() == 10 && index % 2 == 0 {
            stream.write_all(&rapid_reset()).await.expect("written");
        } else {
            stream
                .write_all(CASES[index % CASES.len()])
                .await
                .expect("written");
        }
        if index % 3 == 0 {
            continue;
        }
        stream.shutdown().await.ok();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let read = tokio::time::timeout(std::time::Duration::from_secs(10), read).await;
        assert!(read.is_ok(), "case {} hangs", index % CASES.len());
    }
    let paths = world.upstream.record();
    assert!(paths.iter().all(|record| record.path != "/smuggled"));
    assert_eq!(world.get("/echo").await.status(), 200);
    let gauge = "token_rotator_proxy_connections ";
    let settled = async {
        loop {
            let metrics = world.proxy.metrics();
            let open = metrics.lines().find_map(|line| line.strip_prefix(gauge));
            let open: usize = open.expect("a gauge").parse().expect("a number");
            if open <= 2 && descriptors() <= before + 8 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let settled = tokio::time::timeout(std::time::Duration::from_secs(20), settled).await;
    assert!(
        settled.is_ok(),
        "descriptors: {before} before, {} after",
        descriptors()
    );
}

/// Streams opened and reset at once (CVE-2023-44487).
fn rapid_reset() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    for stream in (1..400_u32).step_by(2) {
        // :method GET, :scheme http, :path /, :authority a
        let block = [0x82, 0x86, 0x84, 0x41, 0x01, b'a'];
        bytes.extend_from_slice(&[0, 0, 6, 1, 5]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(&block);
        bytes.extend_from_slice(&[0, 0, 4, 3, 0]);
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 8]);
    }
    bytes
}

/// This process's open descriptors; the proxy runs in it.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
