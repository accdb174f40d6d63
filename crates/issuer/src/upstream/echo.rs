//! Echoes and uploads: what arrived, described without showing any secret.

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

use crate::answer::{self, Answer};
use crate::issuer::IssuerShared;
use crate::upstream::bearer::Presented;

/// Length and hash of a body that was read to its end.
pub(super) struct Measured {
    bytes: u64,
    sha256: String,
}

impl Measured {
    /// Reads a body as a stream; `None` if it broke off.
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

    pub(super) fn answer(&self) -> Answer {
        answer::json(
            StatusCode::OK,
            &json!({"bytes": self.bytes, "sha256": self.sha256}),
        )
    }
}

/// The request as it arrived.
pub(super) fn describe(
    head: &Parts,
    body: &Measured,
    presented: &Presented,
    issuer: &IssuerShared,
) -> Answer {
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
    answer::json(StatusCode::OK, &described)
}

/// Reads a refused request's body to its end, so that the client hears the refusal over the connection it still
/// writes to. What is longer than any test sends on purpose is cut off.
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

/// `Bearer 3` for a token of generation 3, `Bearer unknown` for a foreign one.
fn without_credentials(value: &str, issuer: &IssuerShared) -> String {
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let shown = issuer
        .judge(token.trim())
        .generation()
        .map_or_else(|| "unknown".to_owned(), |known| known.to_string());
    if token.is_empty() {
        return without_token(scheme, issuer);
    }
    format!("{scheme} {shown}")
}

/// The value with every access token of ours in it replaced by its generation.
fn without_token(value: &str, issuer: &IssuerShared) -> String {
    let words = value
        .split(' ')
        .map(|word| match issuer.judge(word).generation() {
            Some(generation) => generation.to_string(),
            None => word.to_owned(),
        });
    words.collect::<Vec<_>>().join(" ")
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
