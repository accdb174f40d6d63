//! An access token just received, and what may be read as one.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use token_rotator::{Expiry, ExposeSecret as _, SecretString, TokenSet, jwt};

/// An access token just received, and when it expires.
///
/// Where nothing is said about expiry and the token is a JWT, its own `exp` serves as a hint: if it
/// has an `iat` too, the time between the two is counted from now, so that a clock that is wrong
/// does no harm; else `exp` is taken as it stands, unless it has passed already: that may be the clock
/// alone, and the API decides.
#[derive(Clone)]
pub struct Fresh {
    pub(crate) token: SecretString,
    pub(crate) expiry: Expiry,
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

    /// Good for this long, unless something is said about that already.
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
                // A token that would have expired on arrival was not sent to be refused here.
                None if UNIX_EPOCH + exp <= SystemTime::now() => Expiry::Unknown,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: an `exp` alone is taken as it stands while it lies ahead; one that has passed says
    /// nothing.
    #[test]
    fn a_hint_does_not_expire_a_token_on_arrival() {
        // {"exp":1300819380}, of 2011, and {"exp":4102444800}, of 2100.
        let past = "e30.eyJleHAiOjEzMDA4MTkzODB9.c2ln";
        let ahead = "e30.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln";
        assert_eq!(hinted(past), Expiry::Unknown);
        let at = UNIX_EPOCH + Duration::from_secs(4_102_444_800);
        assert_eq!(hinted(ahead), Expiry::At(at));
        // With {"iat":1300815780}: an hour from now, whenever that is.
        let both = "e30.eyJpYXQiOjEzMDA4MTU3ODAsImV4cCI6MTMwMDgxOTM4MH0.c2ln";
        assert_eq!(hinted(both), Expiry::In(Duration::from_secs(3600)));
    }

    /// Property: the answer's lifetime does not stand above what a parser says.
    #[test]
    fn a_parser_has_the_last_word() {
        let said = Duration::from_secs(60);
        let unsaid = Fresh::new("t").or_expires_in(Some(said));
        assert_eq!(unsaid.expiry, Expiry::In(said));
        let sooner = Fresh::new("t").expires_in(Duration::from_secs(1));
        let kept = sooner.or_expires_in(Some(said)).expiry;
        assert_eq!(kept, Expiry::In(Duration::from_secs(1)));
    }
}
