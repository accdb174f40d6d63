//! Reads token and lifetime from the refresh endpoint's answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;
use token_rotator::SourceError;

use crate::access_token::{AccessToken, IntoAccessToken, ParseError};

/// The closure that reads the token from the answer, with its type erased.
pub(crate) struct Parser<T>(ParseFn<T>);

type ParseFn<T> =
    Box<dyn Fn(Arc<T>) -> BoxFuture<'static, Result<AccessToken, ParseError>> + Send + Sync>;

impl<T: Send + Sync + 'static> Parser<T> {
    pub(crate) fn new(
        parse: impl Fn(&T) -> Result<AccessToken, ParseError> + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(move |answer| {
            let token = parse(&answer);
            Box::pin(std::future::ready(token))
        }))
    }

    pub(crate) fn new_async<F, Fut>(parse: F) -> Self
    where
        F: Fn(Arc<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoAccessToken> + Send + 'static,
    {
        Self(Box::new(move |answer| {
            Box::pin(parse(answer).map(IntoAccessToken::into_access_token))
        }))
    }

    /// Reads the token.
    ///
    /// *Errors*: the parser found no token, failed or panicked.
    pub(crate) async fn read(&self, answer: &Arc<T>) -> Result<AccessToken, SourceError> {
        let reading = async { (self.0)(Arc::clone(answer)).await };
        let read = AssertUnwindSafe(reading).catch_unwind().await;
        read.unwrap_or(Err(ParseError::Panicked)).map_err(|error| {
            // Not uncertain: the answer arrived, and a second refresh would return the same form.
            SourceError::misconfigured(
                "the refresh answer was received, but no token was read from it",
            )
            .with_cause(error)
        })
    }
}

/// Reads the token from a field of a JSON object, and the lifetime from the same object.
pub(crate) fn field(name: &str, answer: &Value) -> Result<AccessToken, ParseError> {
    let token = at(answer, name).and_then(Value::as_str);
    let token = AccessToken::new(
        token
            .filter(|token| !token.is_empty())
            .ok_or(ParseError::NoToken)?,
    );
    let parent = name
        .rsplit_once('.')
        .map_or(Some(answer), |(path, _)| at(answer, path));
    Ok(token.or_expires_in(parent.and_then(lifetime_in)))
}

/// The fields that hold a token's lifetime in seconds (RFC 6749 section 5.1).
const LIFETIMES: [&str; 2] = ["expiresIn", "expires_in"];

/// Returns the lifetime at the top level of an answer, or `None` if the answer has none.
pub(crate) fn lifetime(body: &[u8]) -> Option<Duration> {
    lifetime_in(&serde_json::from_slice(body).ok()?)
}

/// Returns the lifetime in a field of this object.
fn lifetime_in(object: &Value) -> Option<Duration> {
    LIFETIMES.iter().find_map(|name| seconds(object.get(name)?))
}

/// Returns the value at a path with dots, such as `data.accessToken`.
fn at<'a>(answer: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(answer, |value, name| value.get(name))
}

/// Reads a lifetime in seconds from a number, or from a string, which some issuers send.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::String(text) => text.trim().parse().ok()?,
        value => value.as_f64()?,
    };
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|lifetime| !lifetime.is_zero())
}

/// Deserializes the answer's JSON. The error does not repeat values of the answer.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        let position = format!("line {} column {}", error.line(), error.column());
        // serde's message has the value before `, expected `, and only the expected type after it.
        if let Some((_, expected)) = text.rsplit_once(", expected ") {
            format!("expected {expected}")
        } else if text.starts_with("missing field `") {
            text
        } else if error.is_data() {
            format!("it does not fit the parser's type, at {position}")
        } else {
            format!("it is not JSON, at {position}")
        }
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;
    use token_rotator::{Expiry, ExposeSecret as _};

    use super::*;

    /// Property: the token is found at its path, and the lifetime in the same object, in both
    /// spellings.
    #[test]
    fn a_field_is_read_with_its_lifetime() {
        let cases = [
            (
                "a",
                json!({"a": "t", "expiresIn": 60}),
                Expiry::In(Duration::from_secs(60)),
            ),
            (
                "a",
                json!({"a": "t", "expires_in": "60"}),
                Expiry::In(Duration::from_secs(60)),
            ),
            (
                "a",
                json!({"a": "t", "expires_in": 1.5}),
                Expiry::In(Duration::from_millis(1500)),
            ),
            ("a", json!({"a": "t", "expires_in": -1}), Expiry::Unknown),
            ("a", json!({"a": "t", "expires_in": 0}), Expiry::Unknown),
            (
                "a",
                json!({"a": "t", "expires_in": "soon"}),
                Expiry::Unknown,
            ),
            ("a", json!({"a": "t", "expires_in": 1e300}), Expiry::Unknown),
            (
                "d.a",
                json!({"d": {"a": "t", "expiresIn": 5}}),
                Expiry::In(Duration::from_secs(5)),
            ),
            (
                "d.a",
                json!({"d": {"a": "t"}, "expiresIn": 5}),
                Expiry::Unknown,
            ),
        ];
        for (name, answer, expected) in cases {
            let parsed = field(name, &answer).expect("a token");
            assert_eq!(parsed.token.expose_secret(), "t", "{answer}");
            assert_eq!(parsed.expiry, expected, "{answer}");
        }
        for answer in [
            json!({}),
            json!({"a": ""}),
            json!({"a": 1}),
            json!("a"),
            json!(null),
        ] {
            assert_eq!(
                field("a", &answer).unwrap_err(),
                ParseError::NoToken,
                "{answer}"
            );
        }
    }

    /// Property: the lifetime is found in both spellings, as a number or as a string.
    #[test]
    fn an_answer_has_a_lifetime() {
        for (body, expected) in [
            (r#"{"accessToken":"t","expiresIn":900}"#, Some(900)),
            (r#"{"access_token":"t","expires_in":"900"}"#, Some(900)),
            (r#"{"expiresIn":900,"expires_in":1}"#, Some(900)),
            (r#"{"expiresIn":null,"expires_in":900.0}"#, Some(900)),
            (r#"{"expiresIn":0}"#, None),
            (r#"{"expiresIn":"soon"}"#, None),
            (r#"{"data":{"expiresIn":900}}"#, None),
            ("[900]", None),
            ("", None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(lifetime(body.as_bytes()), expected, "{body}");
        }
    }

    /// Property: no error repeats a value of the answer.
    #[test]
    fn unreadable_answers_are_described_without_their_values() {
        #[derive(Debug, Deserialize)]
        #[allow(dead_code, reason = "read by serde only")]
        struct Answer {
            token: String,
            number: u64,
            kind: Kind,
        }
        #[derive(Debug, Deserialize)]
        enum Kind {
            A,
        }
        let cases = [
            (r#"{"number":"CANARY, expected CANARY"}"#, "expected u64"),
            (r#"{"kind":"CANARY"}"#, "expected `A`"),
            (r#"{"token":"CANARY"}"#, "missing field `number`"),
            (r#"{"token":"CANARY" CANARY"#, "expected `,` or `}`"),
            (r"CANARY", "expected value"),
            ("", "it is not JSON"),
        ];
        for (body, expected) in cases {
            let error = decode::<Answer>(body.as_bytes()).unwrap_err();
            assert!(!error.contains("CANARY"), "{error}");
            assert!(
                error.contains(expected) || error.starts_with("it is not JSON"),
                "{body}: {error}"
            );
        }
    }
}
