//! Tests tonic's channel with the layer.

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use token_rotator::tower::SendOnce;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::Layer;

use crate::fixture::LayerFixture;

/// `UNAUTHENTICATED` in a trailers-only answer is a refusal: it starts the refresh, and the next
/// call has the new token. A tonic body can be sent only once, so the call itself gets the refusal.
#[tokio::test]
async fn unauthenticated_starts_the_refresh() {
    let fixture = LayerFixture::new().await;
    let channel = Channel::from_shared(fixture.upstream.url().to_owned()).expect("an address");
    let channel = channel.connect().await.expect("a connection");
    let layer = fixture
        .rotator
        .layer_for(fixture.upstream.url())
        .expect("an origin");
    let service = layer.copy_body(SendOnce).layer(channel);
    let mut client = tonic::client::Grpc::new(service);
    let mut call = async || {
        client
            .ready()
            .await
            .map_err(|error| Status::unknown(error.to_string()))?;
        let path = PathAndQuery::from_static("/grpc/unauthenticated");
        let message = tonic::Request::new(Bytes::from_static(b"hello"));
        client
            .unary(message, path, RawCodec)
            .await
            .map(tonic::Response::into_inner)
    };
    assert_eq!(call().await.expect("an answer"), b"hello".as_slice());
    fixture.issuer.expire_access_tokens();
    assert_eq!(
        call().await.expect_err("refused").code(),
        Code::Unauthenticated
    );
    assert_eq!(call().await.expect("an answer"), b"hello".as_slice());
    assert_eq!(fixture.refreshes(), 1);
}

/// A gRPC request whose body can be copied is replayed.
#[tokio::test]
async fn a_copied_message_is_replayed() {
    let fixture = LayerFixture::new().await;
    fixture.issuer.expire_access_tokens();
    let channel = Channel::from_shared(fixture.upstream.url().to_owned()).expect("an address");
    let channel = channel.connect().await.expect("a connection");
    let layer = fixture
        .rotator
        .layer_for(fixture.upstream.url())
        .expect("an origin");
    let stack = tower::ServiceBuilder::new()
        .layer(layer)
        .map_request(|request: http::Request<http_body_util::Full<Bytes>>| {
            request.map(tonic::body::Body::new)
        })
        .service(channel);
    let request = http::Request::post("/grpc/unauthenticated")
        .header("content-type", "application/grpc")
        .body(http_body_util::Full::new(Bytes::from_static(
            b"\0\0\0\0\x05hello",
        )))
        .expect("a request");
    let answer = tower::ServiceExt::oneshot(stack, request)
        .await
        .expect("an answer");
    assert!(
        answer
            .headers()
            .get("grpc-status")
            .is_none_or(|status| status == "0")
    );
    let body = http_body_util::BodyExt::collect(answer.into_body())
        .await
        .expect("a body");
    assert_eq!(body.trailers().expect("trailers")["grpc-status"], "0");
    assert_eq!(fixture.refreshes(), 1);
}

/// Passes messages as raw bytes, because the test needs no schema.
#[derive(Clone, Copy)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
