//! What the parser reads out of the refresh endpoint's answer.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;
use token_rotator::{Expiry, ExposeSecret as _, SecretString, SourceError, TokenSet, jwt};

/// An access token just received, and when it expires.
///
/// Where nothing is said about expiry and the token is a JWT, its own `exp` serves as a hint: if it
/// has an `iat` too, the time between the two is counted from now, so that a clock that is wrong
/// does no harm; else `exp` is taken as it stands.
#[derive(Clone)]
pub struct Fresh {
    token: SecretString,
    expiry: Expiry,
}

impl Fresh {
    /// A token of unknown expiry.
    pub fn new(token: impl Into<SecretString>) -> Self {
        Self {
            token: token.into(),
            expiry: Expiry::Unknown,
        }
    }

    /// Good for this long from now. Zero counts as unknown.
    pub fn expires_in(self, lifetime: Duration) -> Self {
        self.with_expiry(Expiry::In(lifetime))
    }

    /// With this expiry.
    pub fn with_expiry(mut self, expiry: Expiry) -> Self {
        self.expiry = expiry;
        self
    }

    pub(crate) fn into_tokens(self) -> TokenSet {
        let expiry = match self.expiry {
            Expiry::Unknown | Expiry::In(Duration::ZERO) => hinted(self.token.expose_secret()),
            expiry => expiry,
        };
        TokenSet::bearer(self.token).with_expiry(expiry)
    }
}

/// Shows the expiry and not the token.
impl fmt::Debug for Fresh {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Fresh")
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

/// What a token that is a JWT says about its own expiry.
fn hinted(token: &str) -> Expiry {
    match jwt::expiry_hint(token) {
        None => Expiry::Unknown,
        Some(hint) => {
            let exp = Duration::from_millis(hint.expires_at_unix_ms);
            match hint.issued_at_unix_ms.map(Duration::from_millis) {
                Some(iat) => Expiry::In(exp.saturating_sub(iat)),
                None => Expiry::At(UNIX_EPOCH + exp),
            }
        }
    }
}

/// What a parser may return, and what [`set_access_token`](crate::Client::set_access_token) takes:
/// a token (`&str`, `String`, [`SecretString`]), a token and its lifetime (a pair with a
/// [`Duration`]), a [`Fresh`], or an [`Option`] or [`Result`] of any of these.
///
/// `None` and `Err` make the refresh fail: nobody is served, nobody is signed out.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not something an access token can be read from",
    note = "return the token (`&String`, `String`, `&str`, `SecretString`), a pair of the token and a `Duration`, a `Fresh`, or an `Option` or `Result` of those"
)]
pub trait IntoFresh {
    /// The token, or why there is none.
    fn into_fresh(self) -> Result<Fresh, ParseError>;
}

/// Why a parser found no token in the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// It returned `None`.
    #[error("the parser found no token in the refresh answer")]
    NoToken,
    /// It returned an error.
    #[error("the parser could not read the refresh answer: {0}")]
    Failed(Arc<str>),
    /// It panicked.
    #[error("the parser panicked on the refresh answer")]
    Panicked,
}

impl IntoFresh for Fresh {
    fn into_fresh(self) -> Result<Fresh, ParseError> {
        Ok(self)
    }
}

impl IntoFresh for SecretString {
    fn into_fresh(self) -> Result<Fresh, ParseError> {
        Ok(Fresh::new(self))
    }
}

impl IntoFresh for &SecretString {
    fn into_fresh(self) -> Result<Fresh, ParseError> {
        Ok(Fresh::new(self.clone()))
    }
}

impl IntoFresh for String {
    fn into_fresh(self) -> Result<Fresh, ParseError> {
        Ok(Fresh::new(self))
    }
}

impl IntoFresh for &String {
    fn into_fresh(self) -> Result<Fresh, ParseError> {
        Ok(Fresh::new(self.as_str()))
    }
}

impl IntoFresh for &str {
    fn into_fresh(self) -> Result<Fresh, ParseError> {
        Ok(Fresh::new(self))
    }
}

impl<T: IntoFresh> IntoFresh for (T, Duration) {
    fn into_fresh(self) -> Result<Fresh, ParseError> {
        Ok(self.0.into_fresh()?.expires_in(self.1))
    }
}

impl<T: IntoFresh> IntoFresh for Option<T> {
    fn into_fresh(self) -> Result<Fresh, ParseError> {
        self.ok_or(ParseError::NoToken)?.into_fresh()
    }
}

// Not for every `&Option<T>`: the compiler would look through options of options for ever.
impl IntoFresh for &Option<String> {
    fn into_fresh(self) -> Result<Fresh, ParseError> {
        self.as_ref().into_fresh()
    }
}

impl IntoFresh for &Option<SecretString> {
    fn into_fresh(self) -> Result<Fresh, ParseError> {
        self.as_ref().into_fresh()
    }
}

impl<T: IntoFresh, E: fmt::Display> IntoFresh for Result<T, E> {
    fn into_fresh(self) -> Result<Fresh, ParseError> {
        match self {
            Ok(token) => token.into_fresh(),
            Err(error) => Err(ParseError::Failed(error.to_string().into())),
        }
    }
}

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
    let lifetime = beside.and_then(|beside| {
        ["expiresIn", "expires_in"]
            .iter()
            .find_map(|name| seconds(beside.get(name)?))
    });
    Ok(match lifetime {
        Some(lifetime) => fresh.expires_in(lifetime),
        None => fresh,
    })
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

    use super::*;

    fn lifetime(fresh: &Fresh) -> Expiry {
        fresh.expiry
    }

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
            assert_eq!(lifetime(&fresh), expected, "{answer}");
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
