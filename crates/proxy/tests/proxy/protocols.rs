//! Tests HTTP/2, gRPC and upgrades to other protocols.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{ProxyFixture, http2_client, http2_upstream};
use crate::raw::{self, Caller};

#[tokio::test]
async fn both_sides_support_both_versions() {
    for upstream_http2 in [false, true] {
        let fixture = ProxyFixture::with(|config| {
            if upstream_http2 {
                http2_upstream(config);
            }
        })
        .await;
        for client in [fixture.client.clone(), http2_client()] {
            let grant = fixture.issuer.sign_in("alice");
            let stored = fixture.rotator.sign_in(crate::fixture::tokens(&grant));
            stored.expect("usable tokens").await.expect("stored");
            fixture.issuer.expire_access_tokens();
            let requests: Vec<_> = (0..20)
                .map(|number| {
                    let post = client.post(fixture.url("/upload"));
                    tokio::spawn(post.body(vec![7_u8; number * 1000]).send())
                })
                .collect();
            for (number, answer) in requests.into_iter().enumerate() {
                let answer = answer.await.expect("no panic").expect("an answer");
                assert_eq!(answer.status(), 200);
                let echo: serde_json::Value = answer.json().await.expect("JSON");
                assert_eq!(echo["bytes"], number * 1000);
            }
        }
        assert_eq!(fixture.issuer.counters().refreshes, 2);
        if upstream_http2 {
            let record = fixture.upstream.record();
            let first = record[0].connection;
            assert!(
                record.iter().all(|request| request.connection == first),
                "one connection"
            );
        }
    }
}

/// Makes a unary call and returns head, message and gRPC status.
async fn unary_call(
    port: u16,
    path: &str,
    message: &'static [u8],
) -> (Response<()>, Bytes, String) {
    let stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a connection");
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    let request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::from(message))
        .expect("a request");
    let answer: Response<Incoming> = sender.send_request(request).await.expect("an answer");
    let (head, body) = answer.into_parts();
    let whole = body.collect().await.expect("a body");
    let trailers = whole.trailers().cloned().unwrap_or_default();
    let status = trailers
        .get("grpc-status")
        .or_else(|| head.headers.get("grpc-status"));
    let status = status.expect("a status").to_str().expect("text").to_owned();
    (Response::from_parts(head, ()), whole.to_bytes(), status)
}

#[tokio::test]
async fn grpc_calls_pass_with_trailers_and_are_replayed() {
    let message = b"\0\0\0\0\x03abc";
    let fixture = ProxyFixture::with(http2_upstream).await;
    let (_, body, status) = unary_call(fixture.port(), "/grpc/ok", message).await;
    assert_eq!((body.as_ref(), status.as_str()), (&message[..], "0"));
    for path in ["/grpc/unauthenticated"] {
        fixture.issuer.expire_access_tokens();
        let (_, body, status) = unary_call(fixture.port(), path, message).await;
        assert_eq!(
            (body.as_ref(), status.as_str()),
            (&message[..], "0"),
            "{path}"
        );
    }
    assert_eq!(fixture.issuer.counters().refreshes, 1);
}

#[tokio::test]
async fn a_call_that_is_not_forwarded_gets_a_grpc_status() {
    let fixture = ProxyFixture::with(|config| config.routes[0].prefix = "/api".to_owned()).await;
    let (head, body, status) = unary_call(fixture.port(), "/x.Service/Call", b"").await;
    assert_eq!(
        (head.status().as_u16(), status.as_str(), body.len()),
        (200, "12", 0)
    );
    assert_eq!(head.headers()["content-type"], "application/grpc");
    let fixture = ProxyFixture::with(http2_upstream).await;
    fixture.rotator.sign_out().await.expect("signed out");
    let (head, _, status) = unary_call(fixture.port(), "/grpc/ok", b"").await;
    assert_eq!(status, "16");
    assert!(
        head.headers()["grpc-message"]
            .to_str()
            .expect("text")
            .contains("login")
    );
}

const HANDSHAKE: &str = "GET /socket HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAA\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-accept: BBBB\r\n\r\n";
const REFUSED: &str = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer \
    error=\"invalid_token\"\r\ncontent-length: 4\r\nconnection: close\r\n\r\ngone";

#[tokio::test]
async fn a_websocket_passes_with_the_token_on_its_handshake() {
    for script in [&[SWITCHED][..], &[REFUSED, SWITCHED][..]] {
        let upstream = raw::RawUpstream::with_script(script).await;
        let fixture = ProxyFixture::with_upstream(upstream.url(), |_| {}).await;
        let mut caller = Caller::to(fixture.port()).await;
        caller.send_bytes(HANDSHAKE).await;
        let head = caller.head().await;
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("upgrade: websocket"), "{head}");
        assert!(head.contains("sec-websocket-accept: bbbb"), "{head}");
        caller.send_bytes("frames").await;
        assert_eq!(caller.read(6).await, b"frames");
        let heads = upstream.heads();
        assert_eq!(heads.len(), script.len());
        for head in &heads {
            assert!(head.contains("authorization: bearer "), "{head}");
            assert!(head.contains("connection: upgrade\r\n"), "{head}");
            assert!(head.contains("sec-websocket-key: aaaa"), "{head}");
        }
        assert_eq!(fixture.issuer.counters().refreshes, script.len() as u64 - 1);
        // A drain waits for the tunnel and closes it at the deadline.
        let drained = fixture
            .proxy
            .drain(std::time::Duration::from_millis(50))
            .await;
        assert!(!drained);
        assert_eq!(caller.rest().await, "");
    }
}

#[tokio::test]
async fn an_upgrade_that_the_upstream_declines_is_a_normal_answer() {
    let upstream = raw::RawUpstream::with_script(&[
        "HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno",
    ])
    .await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |_| {}).await;
    let mut caller = Caller::to(fixture.port()).await;
    caller.send_bytes(HANDSHAKE).await;
    assert!(caller.head().await.starts_with("http/1.1 426"));
    assert_eq!(caller.read(2).await, b"no");
}

#[tokio::test]
async fn an_upgrade_to_http2_is_not_forwarded() {
    let upstream =
        raw::RawUpstream::with_script(&["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]).await;
    let fixture = ProxyFixture::with_upstream(upstream.url(), |_| {}).await;
    let mut caller = Caller::to(fixture.port()).await;
    let request = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, http2-settings\r\n\
        upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    caller.send_bytes(request).await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
    let head = &upstream.heads()[0];
    assert!(
        !head.contains("upgrade") && !head.contains("http2-settings"),
        "{head}"
    );
}

/// Starts an HTTP/2 upstream that answers with the trailers of each request.
async fn start_trailer_upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                let whole = request.into_body().collect().await?;
                let trailers = format!("{:?}", whole.trailers());
                Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(trailers))))
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    url
}

#[tokio::test]
async fn trailers_pass_without_credentials() {
    let upstream = start_trailer_upstream().await;
    let fixture = ProxyFixture::with_upstream(&upstream, http2_upstream).await;
    let stream = TcpStream::connect(("127.0.0.1", fixture.port())).await;
    let stream = TokioIo::new(stream.expect("a connection"));
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake(stream)
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    let trailers = [
        ("x-sum", "1"),
        ("authorization", "Bearer mine"),
        ("x_authorization", "Bearer mine"),
        ("content-length", "7"),
    ];
    let trailers = trailers.map(|(name, value)| {
        let value = HeaderValue::from_static(value);
        (HeaderName::from_static(name), value)
    });
    let frames = [
        Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"abc"))),
        Ok(Frame::trailers(trailers.into_iter().collect())),
    ];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let request = Request::post("http://localhost/").body(body);
    let answer = sender.send_request(request.expect("a request")).await;
    let whole = answer.expect("an answer").collect().await.expect("a body");
    let trailers = String::from_utf8(whole.to_bytes().to_vec()).expect("text");
    assert_eq!(trailers, r#"Some({"x-sum": "1"})"#);
}
