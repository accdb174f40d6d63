//! Connections that go on in another protocol.

use token_rotator::{Rotator, SourceError, TokenSet};
use token_rotator_proxy::Route;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::world::World;

/// The handshake carries the token, and is sent once more where that is refused; then bytes go both
/// ways.
#[tokio::test]
async fn a_handshake_is_replayed_and_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move {
        for token in ["one", "two"] {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                stream.read_line(&mut head).await.expect("a line");
            }
            assert!(
                head.contains(&format!("authorization: Bearer {token}\r\n")),
                "{head}"
            );
            assert!(head.contains("upgrade: websocket\r\n"), "{head}");
            assert!(head.contains("sec-websocket-key: k\r\n"), "{head}");
            if token == "one" {
                let refusal = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(refusal.as_bytes()).await.expect("written");
                continue;
            }
            let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                          upgrade: websocket\r\nsec-websocket-accept: a\r\n\r\n";
            stream.write_all(switch.as_bytes()).await.expect("written");
            let mut said = [0; 4];
            stream.read_exact(&mut said).await.expect("four bytes");
            assert_eq!(&said, b"ping");
            stream.write_all(b"pong").await.expect("written");
        }
    });
    let world = World::with(|config| {
        let source = |last: Option<std::sync::Arc<TokenSet>>| async move {
            let next = if last.is_none() { "one" } else { "two" };
            Ok::<_, SourceError>(TokenSet::bearer(next))
        };
        let rotator = Rotator::builder(source)
            .origin(&url)
            .dedicated_thread()
            .build()
            .expect("a rotator");
        rotator
            .sign_in(TokenSet::bearer("one").with_refresh_token("r"))
            .expect("usable");
        let mut route = Route::new("socket", &url, rotator);
        route.prefix = "/socket".to_owned();
        config.routes.push(route);
    })
    .await;
    let mut caller = TcpStream::connect(world.address)
        .await
        .expect("a connection");
    let handshake = "GET /socket HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\n\
                     upgrade: websocket\r\nsec-websocket-key: k\r\n\r\n";
    caller
        .write_all(handshake.as_bytes())
        .await
        .expect("written");
    let mut caller = BufReader::new(caller);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        caller.read_line(&mut head).await.expect("a line");
    }
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: a\r\n"), "{head}");
    caller.write_all(b"ping").await.expect("written");
    let mut said = [0; 4];
    caller.read_exact(&mut said).await.expect("four bytes");
    assert_eq!(&said, b"pong");
    server.await.expect("no panic");
}

/// HTTP/2 by `Upgrade` would carry requests past the proxy: such a request goes on as it is.
#[tokio::test]
async fn no_upgrade_to_http2() {
    let world = World::new().await;
    let request = "GET /echo HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, http2-settings, close\r\n\
                   upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n";
    let answer = world.raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains("h2c"), "{answer}");
}
