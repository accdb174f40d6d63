//! An access token with its expiry, and the values that convert into it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use token_rotator::{Expiry, ExposeSecret as _, SecretString, TokenSet, jwt};

/// A new access token and its expiry.
///
/// If the expiry is unknown and the token is a JWT, its `exp` is the expiry. If the JWT also has an
/// `iat`, the time between both counts from now, so that a wrong local clock has no effect. An
/// `exp` in the past without `iat` is ignored, because the local clock may be wrong.
#[derive(Clone)]
pub struct AccessToken {
    pub(crate) token: SecretString,
    pub(crate) expiry: Expiry,
}

impl AccessToken {
    /// Creates a token with unknown expiry.
    pub fn new(token: impl Into<SecretString>) -> Self {
        Self {
            token: token.into(),
            expiry: Expiry::Unknown,
        }
    }

    /// Sets the lifetime from now.
    ///
    /// Zero: a token that is [set](crate::Client::set_access_token) has expired and is refreshed
    /// before it is sent. From a parser of the refresh answer, zero counts as unknown.
    pub fn expires_in(self, lifetime: Duration) -> Self {
        self.with_expiry(Expiry::In(lifetime))
    }

    /// Sets the expiry.
    pub fn with_expiry(mut self, expiry: Expiry) -> Self {
        self.expiry = expiry;
        self
    }

    /// Sets the lifetime if the expiry is unknown.
    pub(crate) fn or_expires_in(self, lifetime: Option<Duration>) -> Self {
        match (self.expiry, lifetime) {
            (Expiry::Unknown | Expiry::In(Duration::ZERO), Some(lifetime)) => {
                self.expires_in(lifetime)
            }
            _ => self,
        }
    }

    pub(crate) fn into_tokens(self) -> TokenSet {
        let expiry = match self.expiry {
            Expiry::Unknown => jwt_expiry(self.token.expose_secret()),
            expiry => expiry,
        };
        TokenSet::bearer(self.token).with_expiry(expiry)
    }
}

/// Shows the expiry and not the token.
impl fmt::Debug for AccessToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AccessToken")
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

/// Returns the expiry in a JWT, or [`Expiry::Unknown`].
fn jwt_expiry(token: &str) -> Expiry {
    match jwt::expiry_hint(token) {
        None => Expiry::Unknown,
        Some(hint) => {
            let exp = Duration::from_millis(hint.expires_at_unix_ms);
            match hint.issued_at_unix_ms.map(Duration::from_millis) {
                Some(iat) => Expiry::In(exp.saturating_sub(iat)),
                // An issuer sends no expired token, so the local clock is probably wrong.
                None if UNIX_EPOCH + exp <= SystemTime::now() => Expiry::Unknown,
                None => Expiry::At(UNIX_EPOCH + exp),
            }
        }
    }
}

/// A value that a parser may return and [`set_access_token`](crate::Client::set_access_token)
/// takes: a token (`&str`, `String`, [`SecretString`]), a pair of token and lifetime
/// ([`Duration`]), an [`AccessToken`], or an [`Option`] or [`Result`] of these.
///
/// `None` and `Err` make the refresh fail. The session stays signed in.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not something an access token can be read from",
    note = "return the token (`&String`, `String`, `&str`, `SecretString`), a pair of the token and a `Duration`, an `AccessToken`, or an `Option` or `Result` of those"
)]
pub trait IntoAccessToken {
    /// Returns the token, or the reason why there is none.
    fn into_access_token(self) -> Result<AccessToken, ParseError>;
}

/// Why a parser found no token in the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The parser returned `None`.
    #[error("the parser found no token in the refresh answer")]
    NoToken,
    /// The parser returned an error.
    #[error("the parser could not read the refresh answer: {0}")]
    Failed(Arc<str>),
    /// The parser panicked.
    #[error("the parser panicked on the refresh answer")]
    Panicked,
}

impl IntoAccessToken for AccessToken {
    fn into_access_token(self) -> Result<AccessToken, ParseError> {
        Ok(self)
    }
}

impl IntoAccessToken for SecretString {
    fn into_access_token(self) -> Result<AccessToken, ParseError> {
        Ok(AccessToken::new(self))
    }
}

impl IntoAccessToken for &SecretString {
    fn into_access_token(self) -> Result<AccessToken, ParseError> {
        Ok(AccessToken::new(self.clone()))
    }
}

impl IntoAccessToken for String {
    fn into_access_token(self) -> Result<AccessToken, ParseError> {
        Ok(AccessToken::new(self))
    }
}

impl IntoAccessToken for &String {
    fn into_access_token(self) -> Result<AccessToken, ParseError> {
        Ok(AccessToken::new(self.as_str()))
    }
}

impl IntoAccessToken for &str {
    fn into_access_token(self) -> Result<AccessToken, ParseError> {
        Ok(AccessToken::new(self))
    }
}

impl<T: IntoAccessToken> IntoAccessToken for (T, Duration) {
    fn into_access_token(self) -> Result<AccessToken, ParseError> {
        Ok(self.0.into_access_token()?.expires_in(self.1))
    }
}

impl<T: IntoAccessToken> IntoAccessToken for Option<T> {
    fn into_access_token(self) -> Result<AccessToken, ParseError> {
        self.ok_or(ParseError::NoToken)?.into_access_token()
    }
}

// Not implemented for every `&Option<T>`: the compiler would recurse through nested options.
impl IntoAccessToken for &Option<String> {
    fn into_access_token(self) -> Result<AccessToken, ParseError> {
        self.as_ref().into_access_token()
    }
}

impl IntoAccessToken for &Option<SecretString> {
    fn into_access_token(self) -> Result<AccessToken, ParseError> {
        self.as_ref().into_access_token()
    }
}

impl<T: IntoAccessToken, E: fmt::Display> IntoAccessToken for Result<T, E> {
    fn into_access_token(self) -> Result<AccessToken, ParseError> {
        match self {
            Ok(token) => token.into_access_token(),
            Err(error) => Err(ParseError::Failed(error.to_string().into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: an `exp` without `iat` counts if it is in the future, and is ignored if it has
    /// passed.
    #[test]
    fn an_exp_in_the_past_is_ignored() {
        // {"exp":1300819380}, of 2011, and {"exp":4102444800}, of 2100.
        let past = "e30.eyJleHAiOjEzMDA4MTkzODB9.c2ln";
        let future = "e30.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln";
        assert_eq!(jwt_expiry(past), Expiry::Unknown);
        let at = UNIX_EPOCH + Duration::from_secs(4_102_444_800);
        assert_eq!(jwt_expiry(future), Expiry::At(at));
        // With {"iat":1300815780} the lifetime is one hour from now.
        let both = "e30.eyJpYXQiOjEzMDA4MTU3ODAsImV4cCI6MTMwMDgxOTM4MH0.c2ln";
        assert_eq!(jwt_expiry(both), Expiry::In(Duration::from_secs(3600)));
    }

    /// Property: a lifetime from the parser overrides the lifetime in the answer.
    #[test]
    fn the_lifetime_of_a_parser_wins() {
        let answered = Duration::from_secs(60);
        let unknown = AccessToken::new("t").or_expires_in(Some(answered));
        assert_eq!(unknown.expiry, Expiry::In(answered));
        let parsed = AccessToken::new("t").expires_in(Duration::from_secs(1));
        let expiry = parsed.or_expires_in(Some(answered)).expiry;
        assert_eq!(expiry, Expiry::In(Duration::from_secs(1)));
    }
}
