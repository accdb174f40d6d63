//! The handle that alone can sign in and out.

use std::time::Duration;

use token_rotator::middleware::RotatorExt as _;
use token_rotator::{Rotator, SecretString, Token, TokenError, UnusableTokens};

use crate::fresh::{Fresh, IntoFresh, ParseError};

/// Signs in and out of a client's session. Made by
/// [`ClientBuilder::build_split`](crate::ClientBuilder::build_split); whoever has only the client
/// cannot.
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
/// A refresh could undo a sign-out, so that is not for everybody either:
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
    pub fn set_access_token(&self, token: impl IntoFresh) -> Result<(), UnusableTokens> {
        // A parser may find nothing; here that is a token as empty as one can be, and refused so.
        let nothing = |_: ParseError| Fresh::new("");
        let tokens = token.into_fresh().unwrap_or_else(nothing).into_tokens();
        // The store, if there is one, takes the tokens in the background.
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

    /// The access token, if there is one that may be used now. Starts nothing.
    pub fn access_token(&self) -> Option<SecretString> {
        let token = self.rotator.access_token()?;
        Some(token.secret().clone())
    }

    /// The engine behind the client.
    pub fn rotator(&self) -> &Rotator {
        &self.rotator
    }

    /// Lets no refresh start any more and waits for the one in the air, as
    /// [`Client::shutdown`](crate::Client::shutdown).
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        self.rotator.shutdown(timeout).await
    }
}
