//! Responses that describe the request. They contain no secret.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Buf;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::issuer::IssuerShared;
use crate::response::{self, HttpResponse};
use crate::upstream::bearer::PresentedToken;

/// Length and hash of a body that was read to its end.
pub(super) struct BodyDigest {
    bytes: u64,
    sha256: String,
}

impl BodyDigest {
    /// Reads a body as a stream. Returns `None` if the body is incomplete.
    pub(super) async fn read(mut body: Incoming) -> Option<Self> {
        let mut hash = Sha256::new();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            if let Ok(mut data) = frame.ok()?.into_data() {
                bytes += data.remaining() as u64;
                while data.has_remaining() {
                    let length = data.chunk().len();
                    hash.update(data.chunk());
                    data.advance(length);
                }
            }
        }
        Some(Self {
            bytes,
            sha256: hexadecimal(&hash.finalize()),
        })
    }

    pub(super) fn response(&self) -> HttpResponse {
        response::json(
            StatusCode::OK,
            &json!({"bytes": self.bytes, "sha256": self.sha256}),
        )
    }
}

/// Describes the request as it arrived.
pub(super) fn describe(
    head: &Parts,
    body: &BodyDigest,
    presented: &PresentedToken,
    issuer: &IssuerShared,
) -> HttpResponse {
    let described = json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "headers": headers(&head.headers, issuer),
        "body_length": body.bytes,
        "body_sha256": body.sha256,
        "generation": presented.generation(),
        "subject": presented.subject(),
    });
    response::json(StatusCode::OK, &described)
}

/// Reads the body of a refused request to its end, because the client may still be writing on the same connection.
/// Stops after 256 MiB, more than any test sends.
pub(super) async fn drain(mut body: Incoming) {
    const LIMIT: usize = 256 * 1024 * 1024;
    let mut drained = 0;
    while !body.is_end_stream() && drained < LIMIT {
        match body.frame().await {
            Some(Ok(frame)) => drained += frame.data_ref().map_or(0, Buf::remaining),
            Some(Err(_)) | None => return,
        }
    }
}

fn headers(headers: &HeaderMap, issuer: &IssuerShared) -> BTreeMap<String, Vec<Value>> {
    let mut shown: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let value = match name.as_str() {
            "cookie" => without_refresh_cookie(&value),
            "authorization" => without_credentials(&value, issuer),
            _ => without_token(&value, issuer),
        };
        shown
            .entry(name.as_str().to_owned())
            .or_default()
            .push(Value::from(value));
    }
    shown
}

/// Returns `Bearer 3` for a token of generation 3, and `Bearer unknown` for a token of another issuer.
fn without_credentials(value: &str, issuer: &IssuerShared) -> String {
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let shown = issuer
        .validate(token.trim())
        .generation()
        .map_or_else(|| "unknown".to_owned(), |generation| generation.to_string());
    if token.is_empty() {
        return without_token(scheme, issuer);
    }
    format!("{scheme} {shown}")
}

/// Replaces each of this issuer's access tokens in `value` by the token's generation.
fn without_token(value: &str, issuer: &IssuerShared) -> String {
    let parts = value
        .split(' ')
        .map(|part| match issuer.validate(part).generation() {
            Some(generation) => generation.to_string(),
            None => part.to_owned(),
        });
    parts.collect::<Vec<_>>().join(" ")
}

fn without_refresh_cookie(value: &str) -> String {
    let pairs = value.split(';').map(|pair| match pair.trim() {
        pair if pair.starts_with("refresh_token=") => "refresh_token=[redacted]",
        pair => pair,
    });
    pairs.collect::<Vec<_>>().join("; ")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
