//! The handle that signs in and out.

use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator::{Rotator, SecretString, Token, TokenError, UnusableTokens};

use crate::access_token::{AccessToken, IntoAccessToken, ParseError};

/// Signs in and out of a client's session. Returned by
/// [`ClientBuilder::build_split`](crate::ClientBuilder::build_split), whose client cannot sign in
/// or out.
///
/// ```
/// # use serde_json::Value;
/// use token_rotator_reqwest::{Client, SendOnly, SessionHandle};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (api, session): (Client<SendOnly>, SessionHandle) = Client::builder()
///     .base_url("https://api.example.com")
///     .bearer_field("accessToken")
///     .build_split()?;
/// session.set_access_token("from the login")?;
/// session.clear();
/// # Ok(()) }
/// # example().unwrap();
/// ```
///
/// ```compile_fail,E0599
/// # use token_rotator_reqwest::Client;
/// let (api, session) = Client::builder()
///     .base_url("https://api.example.com")
///     .bearer_field("accessToken")
///     .build_split()
///     .unwrap();
/// api.set_access_token("only the session can");
/// ```
///
/// ```compile_fail,E0599
/// # use token_rotator_reqwest::Client;
/// # let (api, session) = Client::builder()
/// #     .base_url("https://api.example.com")
/// #     .bearer_field("accessToken")
/// #     .build_split()
/// #     .unwrap();
/// api.clear();
/// ```
///
/// ```compile_fail,E0599
/// # use token_rotator_reqwest::Client;
/// # let (api, session) = Client::builder()
/// #     .base_url("https://api.example.com")
/// #     .bearer_field("accessToken")
/// #     .build_split()
/// #     .unwrap();
/// api.rotator();
/// ```
///
/// A refresh could undo a sign-out, so the client cannot refresh either:
///
/// ```compile_fail,E0599
/// # use token_rotator_reqwest::Client;
/// # let (api, session) = Client::builder()
/// #     .base_url("https://api.example.com")
/// #     .bearer_field("accessToken")
/// #     .build_split()
/// #     .unwrap();
/// let refreshing = api.refresh_now();
/// ```
#[derive(Clone, Debug)]
pub struct SessionHandle {
    rotator: Rotator,
}

impl SessionHandle {
    pub(crate) fn new(rotator: Rotator) -> Self {
        Self { rotator }
    }

    /// Signs in with this token, as [`Client::set_access_token`](crate::Client::set_access_token).
    pub fn set_access_token(&self, token: impl IntoAccessToken) -> Result<(), UnusableTokens> {
        // A value without a token becomes an empty token, which `sign_in` refuses.
        let empty = |_: ParseError| AccessToken::new("");
        let tokens = token
            .into_access_token()
            .unwrap_or_else(empty)
            .into_tokens();
        // The rotator saves the tokens in the background.
        self.rotator.sign_in(tokens).map(drop)
    }

    /// Signs out, as [`Client::clear`](crate::Client::clear).
    pub fn clear(&self) {
        drop(self.rotator.sign_out());
    }

    /// Refreshes now, as [`Client::refresh_now`](crate::Client::refresh_now).
    pub async fn refresh_now(&self) -> Result<Token, TokenError> {
        self.rotator.refresh_now().await
    }

    /// Returns the access token, or `None` if no token is usable now. Starts no refresh.
    pub fn access_token(&self) -> Option<SecretString> {
        let token = self.rotator.access_token()?;
        Some(token.secret().clone())
    }

    /// Returns the client's rotator.
    pub fn rotator(&self) -> &Rotator {
        &self.rotator
    }

    /// Prevents new refreshes and waits for the running refresh, as
    /// [`Client::shutdown`](crate::Client::shutdown).
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        self.rotator.shutdown(timeout).await
    }
}
