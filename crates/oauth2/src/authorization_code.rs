//! Sign-in with a browser: the authorization code grant (RFC 6749 section 4.1), always with PKCE
//! (RFC 7636).
//!
//! The program opens the browser and waits for the redirect. This module builds the authorization
//! request and checks the redirect. `request` holds a running sign-in, `redirect` reads the
//! redirect, and `pkce` makes the random values.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # use http::{Request, Response};
//! # use token_rotator_oauth2::{IssuerMetadata, SecretBytes, TransportError};
//! # async fn transport(_: Request<SecretBytes>) -> Result<Response<SecretBytes>, TransportError> {
//! #     let answer = r#"{"access_token":"first","token_type":"Bearer","refresh_token":"r"}"#;
//! #     Ok(Response::new(answer.into()))
//! # }
//! # let issuer = IssuerMetadata::new()
//! #     .with_authorization_endpoint("https://issuer.example/authorize")?
//! #     .with_token_endpoint("https://issuer.example/token")?;
//! use token_rotator_oauth2::authorization_code;
//!
//! // The program already listens on a port that the system chose (RFC 8252 section 7.3).
//! let grant = authorization_code(&issuer, "my-client", "http://127.0.0.1:49152/callback")
//!     .scope("offline_access read")
//!     .transport(transport)
//!     .build()?;
//!
//! let request = grant.begin()?;
//! // ... open request.url() in a browser, and take the query of the redirect request.
//! # let state = request.url().split("state=").nth(1).unwrap().split('&').next().unwrap();
//! let query = format!("code=c1&state={state}");
//!
//! let tokens = request.redirected(&query)?.exchange().await?;
//! assert!(tokens.refresh_token().is_some());
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

mod pkce;
mod redirect;
mod request;

use std::fmt;
use std::sync::Arc;

use http::Uri;
use token_rotator::{Cause, ExposeSecret};

use crate::builder::{BuildError, TransportMissing};
use crate::checks;
use crate::discovery::IssuerMetadata;
use crate::sign_in::{SignInBuilder, SignInSettings};
use crate::transport::Transport;
use pkce::Verifier;
pub use redirect::RedirectError;
pub(crate) use request::sign_in_again;
pub use request::{AuthorizationCode, AuthorizationRequest, CodeError};

/// Begins a sign-in with a browser. The issuer needs an authorization and a token endpoint.
///
/// The issuer sends the browser to `redirect_uri` with the code. The URI is a loopback address where
/// the program listens, an https address, or a private-use scheme of the program. It must be
/// registered at the issuer. For a loopback address the port may differ from the registered port
/// (RFC 8252 section 7.3).
pub fn authorization_code(
    issuer: &IssuerMetadata,
    client_id: impl Into<String>,
    redirect_uri: impl Into<String>,
) -> SignInBuilder<AuthorizationCodeGrant, TransportMissing> {
    SignInBuilder::new(issuer, client_id.into(), redirect_uri.into())
}

impl<T: Transport> SignInBuilder<AuthorizationCodeGrant, T> {
    /// Builds the sign-in.
    ///
    /// *Errors*: a [`BuildError`] for the first option that cannot be used.
    pub fn build(self) -> Result<AuthorizationCodeGrant, BuildError> {
        let authorization_url = self.issuer.require_authorization_endpoint()?.clone();
        checks::redirect_uri(&self.redirect_uri)?;
        let methods = self.issuer.code_challenge_methods_supported();
        // Metadata without a list decides nothing: an issuer without PKCE ignores its parameters.
        if methods.is_some_and(|methods| {
            !methods.is_empty() && !methods.iter().any(|method| method == "S256")
        }) {
            return Err(BuildError::CodeChallenge);
        }
        let iss_required = self.issuer.authorization_response_iss_parameter_supported();
        let redirect_uri = self.redirect_uri.clone();
        Ok(AuthorizationCodeGrant {
            redirect_uri: redirect_uri.into(),
            authorization_url,
            iss_required,
            sign_in: Arc::new(self.sign_in()?),
        })
    }
}

/// Sign-in with a browser. [`authorization_code`] begins its builder. A clone is cheap.
#[derive(Clone)]
pub struct AuthorizationCodeGrant {
    pub(crate) sign_in: Arc<SignInSettings>,
    authorization_url: Uri,
    redirect_uri: Arc<str>,
    iss_required: bool,
}

impl AuthorizationCodeGrant {
    /// Begins a sign-in: makes a new `state` and code verifier, and a new `nonce` if the scope has
    /// `openid`.
    ///
    /// Sends nothing. *Errors*: [`RandomnessError`] if the system returns no random numbers.
    pub fn begin(&self) -> Result<AuthorizationRequest, RandomnessError> {
        let verifier = Verifier::generate()?;
        let state = pkce::random_secret()?;
        let nonce = if self.sign_in.is_openid() {
            Some(pkce::random_secret()?)
        } else {
            None
        };
        let options = &self.sign_in.options;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("response_type", "code");
        query.append_pair("client_id", &options.client.id);
        query.append_pair("redirect_uri", &self.redirect_uri);
        if let Some(scope) = &options.scope {
            query.append_pair("scope", scope);
        }
        query.append_pair("state", state.expose_secret());
        query.append_pair("code_challenge", &verifier.challenge());
        query.append_pair("code_challenge_method", "S256");
        if let Some(nonce) = &nonce {
            query.append_pair("nonce", nonce.expose_secret());
        }
        for uri in &options.resources {
            query.append_pair("resource", uri);
        }
        if let Some(audience) = &options.audience {
            query.append_pair("audience", audience);
        }
        for (name, value) in &options.params {
            query.append_pair(name, value.expose_secret());
        }
        // The query of the configured address stays (RFC 6749 section 3.1).
        let base = self.authorization_url.to_string();
        let separator = match self.authorization_url.query() {
            None => "?",
            Some("") => "",
            Some(_) => "&",
        };
        Ok(AuthorizationRequest {
            url: format!("{base}{separator}{}", query.finish()).into(),
            sign_in: Arc::clone(&self.sign_in),
            redirect_uri: Arc::clone(&self.redirect_uri),
            iss_required: self.iss_required,
            state,
            nonce,
            verifier,
        })
    }
}

impl fmt::Debug for AuthorizationCodeGrant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AuthorizationCodeGrant")
            .field(
                "authorization_url",
                &checks::without_query(&self.authorization_url),
            )
            .field("client_id", &self.sign_in.options.client.id)
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

/// The system returned no random numbers, and a sign-in without them is not safe.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the system returned no random numbers, and a sign-in without them is not safe")]
pub struct RandomnessError {
    #[source]
    cause: Cause,
}

impl RandomnessError {
    /// Returns the action for this error.
    pub fn hint(&self) -> Option<&'static str> {
        Some("try again in a moment")
    }
}
