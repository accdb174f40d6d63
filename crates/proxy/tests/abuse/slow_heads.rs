//! Callers that send their headers slowly.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::strict_upstream::StrictUpstream;

/// Number of slow callers.
const CALLERS: usize = 500;

/// Property: a caller that never finishes its headers holds less than the limit of the headers allows,
/// and all callers that the default lets in hold less than 96 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_callers_hold_little_memory() {
    let strict_upstream = StrictUpstream::start().await;
    let proxy = crate::proxy_with(&strict_upstream, |config| {
        config.limits.header_timeout = std::time::Duration::from_secs(120);
    })
    .await;
    let port = crate::port(&proxy);
    let begun = "GET /honest HTTP/1.1\r\nhost: localhost\r\nx: ";
    // The largest head that the proxy reads.
    let largest = format!("{begun}{}", "x".repeat(2 * 32 * 1024));
    let mut each = Vec::new();
    for head in ["", begun, &largest] {
        let before = crate::resident_kib();
        let mut callers = Vec::with_capacity(CALLERS);
        for _ in 0..CALLERS {
            let mut caller = TcpStream::connect(("127.0.0.1", port))
                .await
                .expect("a connection");
            caller.write_all(head.as_bytes()).await.expect("sent");
            callers.push(caller);
        }
        // A caller after them is served, so the proxy has read what they sent.
        let honest = b"GET /honest HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let answer = crate::attack::send_and_read(port, honest).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        let held = crate::resident_kib().saturating_sub(before) / CALLERS;
        each.push(held);
        drop(callers);
    }
    println!("KiB for each caller: {each:?}");
    assert!(each[0] < 8 && each[1] < 24, "{each:?}");
    assert!(each[2] < 96, "{each:?}");
    let default = token_rotator_proxy::Limits::default().connections;
    assert!(
        each[2] * default < 96 * 1024,
        "{} KiB for {default} callers",
        each[2] * default
    );
}
