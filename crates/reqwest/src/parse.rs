//! What the parser reads out of the refresh endpoint's answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;
use token_rotator::SourceError;

use crate::fresh::{Fresh, IntoFresh, ParseError};

/// The closure that reads the token out of the answer, its own type forgotten.
pub(crate) struct Parser<T>(ParseFn<T>);

type ParseFn<T> =
    Box<dyn Fn(Arc<T>) -> BoxFuture<'static, Result<Fresh, ParseError>> + Send + Sync>;

impl<T: Send + Sync + 'static> Parser<T> {
    pub(crate) fn new(
        parse: impl Fn(&T) -> Result<Fresh, ParseError> + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(move |answer| {
            let fresh = parse(&answer);
            Box::pin(std::future::ready(fresh))
        }))
    }

    pub(crate) fn new_async<F, Fut>(parse: F) -> Self
    where
        F: Fn(Arc<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoFresh> + Send + 'static,
    {
        Self(Box::new(move |answer| {
            Box::pin(parse(answer).map(IntoFresh::into_fresh))
        }))
    }

    /// Its panic is a failed refresh like any other.
    pub(crate) async fn read(&self, answer: &Arc<T>) -> Result<Fresh, SourceError> {
        let reading = async { (self.0)(Arc::clone(answer)).await };
        let read = AssertUnwindSafe(reading).catch_unwind().await;
        read.unwrap_or(Err(ParseError::Panicked)).map_err(|error| {
            // Not uncertain: the answer is here, and asking for it again would read it no better.
            SourceError::misconfigured(
                "the refresh answer was received, but no token was read from it",
            )
            .with_cause(error)
        })
    }
}

/// The parser for those who give none: a field of a JSON object, with the lifetime beside it.
pub(crate) fn field(name: &str, answer: &Value) -> Result<Fresh, ParseError> {
    let token = at(answer, name).and_then(Value::as_str);
    let fresh = Fresh::new(
        token
            .filter(|token| !token.is_empty())
            .ok_or(ParseError::NoToken)?,
    );
    let beside = name
        .rsplit_once('.')
        .map_or(Some(answer), |(parent, _)| at(answer, parent));
    let lifetime =
        beside.and_then(|beside| LIFETIMES.iter().find_map(|name| seconds(beside.get(name)?)));
    Ok(fresh.or_expires_in(lifetime))
}

/// The fields that hold a token's lifetime in seconds (RFC 6749 section 5.1).
const LIFETIMES: [&str; 2] = ["expiresIn", "expires_in"];

/// The lifetime in an answer of which nothing else is known.
pub(crate) fn lifetime(body: &[u8]) -> Option<Duration> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    LIFETIMES.iter().find_map(|name| seconds(answer.get(name)?))
}

/// `data.accessToken` inside of `{"data": {"accessToken": ...}}`.
fn at<'a>(answer: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(answer, |value, name| value.get(name))
}

/// A lifetime in seconds, as a number or, as some issuers write it, as a string.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::String(text) => text.trim().parse().ok()?,
        value => value.as_f64()?,
    };
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|lifetime| !lifetime.is_zero())
}

/// Reads the answer's JSON. The error says what is wrong without repeating what is there.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        let place = format!("line {} column {}", error.line(), error.column());
        // serde quotes the offending value in front of these words, and only what the type expects
        // behind them.
        if let Some((_, expected)) = text.rsplit_once(", expected ") {
            format!("expected {expected}")
        } else if text.starts_with("missing field `") {
            text
        } else if error.is_data() {
            format!("it does not fit the type that the parser takes, at {place}")
        } else {
            format!("it is not JSON, at {place}")
        }
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;
    use token_rotator::{Expiry, ExposeSecret as _};

    use super::*;

    /// Property: the field is found at its path, the lifetime beside it, in either spelling.
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
            let fresh = field(name, &answer).expect("a token");
            assert_eq!(fresh.token.expose_secret(), "t", "{answer}");
            assert_eq!(fresh.expiry, expected, "{answer}");
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

    /// Property: the lifetime is found in either spelling, as a number or as text.
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
