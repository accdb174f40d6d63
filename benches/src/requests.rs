//! The requests for the services. Each request is made from text that is not static, so that the
//! first clone of a `Bytes` made from a `Vec` is counted.

use std::hint::black_box;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

/// A body in memory.
pub type Body = Full<Bytes>;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// GET, no headers, no body.
    Bare,
    /// POST, six headers, a small JSON body.
    Typical,
}

impl Shape {
    /// All shapes.
    pub const ALL: [Self; 2] = [Self::Bare, Self::Typical];

    /// The name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "no headers",
            Self::Typical => "6 headers, body",
        }
    }

    /// Makes a request.
    ///
    /// # Panics
    ///
    /// Never: every part is valid.
    pub fn request(self) -> Request<Body> {
        let request = match self {
            Self::Bare => {
                Request::get(black_box("https://api.example.com/users/me")).body(Body::default())
            }
            Self::Typical => Request::post(black_box("https://api.example.com/orders?page=2"))
                .header("accept", "application/json")
                .header("content-type", "application/json")
                .header("user-agent", "shop/1.4.2")
                .header("idempotency-key", black_box("0192f1c4-7d0a-7b1e-9f3c"))
                .header("if-match", black_box("\"d41d8cd98f00b204\""))
                .header(
                    "traceparent",
                    black_box("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
                )
                .body(Full::new(Bytes::from(
                    black_box(r#"{"item":4711,"count":2,"note":"by the door"}"#).to_owned(),
                ))),
        };
        request.expect("a valid request")
    }
}
