//! Signing in with a browser: the authorization code grant (RFC 6749 section 4.1), always with PKCE
//! (RFC 7636).
//!
//! The program opens the browser and waits for the redirect; what is asked and what is believed is
//! decided here.
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
//! // The program listens there already, on a port of the system's choice (RFC 8252 section 7.3).
//! let grant = authorization_code(&issuer, "my-client", "http://127.0.0.1:49152/callback")
//!     .scope("offline_access read")
//!     .transport(transport)
//!     .build()?;
//!
//! let request = grant.begin()?;
//! // ... open request.url() in a browser, and take the query of the request that comes back.
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
use crate::sign_in::{SignIn, SignInBuilder};
use crate::transport::Transport;
use pkce::Verifier;
pub use redirect::RedirectError;
pub(crate) use request::sign_in_again;
pub use request::{AuthorizationCode, AuthorizationRequest, CodeError};

/// Begins a sign-in with a browser, at an issuer with an authorization and a token endpoint.
///
/// `redirect_uri` is where the issuer sends the browser with the code: an address on this machine
/// where the program listens, an https address, or a scheme of the program's own. It is registered
/// at the issuer, which lets the port of an address on this machine differ (RFC 8252 section 7.3).
pub fn authorization_code(
    issuer: &IssuerMetadata,
    client_id: impl Into<String>,
    redirect_uri: impl Into<String>,
) -> SignInBuilder<AuthorizationCodeGrant, TransportMissing> {
    SignInBuilder::new(issuer, client_id.into(), redirect_uri.into())
}

impl<T: Transport> SignInBuilder<AuthorizationCodeGrant, T> {
    /// The way to sign in, if the options are sound.
    pub fn build(self) -> Result<AuthorizationCodeGrant, BuildError> {
        let authorization_url = self.issuer.need_authorization_endpoint()?.clone();
        checks::redirect_uri(&self.redirect_uri)?;
        let methods = self.issuer.code_challenge_methods_supported();
        // Silence says nothing: whoever knows no PKCE ignores its parameters.
        if methods.is_some_and(|methods| {
            !methods.is_empty() && !methods.iter().any(|method| method == "S256")
        }) {
            return Err(BuildError::CodeChallenge);
        }
        let iss_promised = self.issuer.authorization_response_iss_parameter_supported();
        let redirect_uri = self.redirect_uri.clone();
        Ok(AuthorizationCodeGrant {
            redirect_uri: redirect_uri.into(),
            authorization_url,
            iss_promised,
            sign_in: Arc::new(self.sign_in()?),
        })
    }
}

/// Signing in with a browser. Begun with [`authorization_code`]; cheap to clone.
#[derive(Clone)]
pub struct AuthorizationCodeGrant {
    pub(crate) sign_in: Arc<SignIn>,
    authorization_url: Uri,
    redirect_uri: Arc<str>,
    iss_promised: bool,
}

impl AuthorizationCodeGrant {
    /// One sign-in: a new `state` and code verifier, and a new `nonce` where the scope has `openid`.
    ///
    /// Nothing is sent. Fails only where the system has no random numbers.
    pub fn begin(&self) -> Result<AuthorizationRequest, RandomnessError> {
        let verifier = Verifier::draw()?;
        let state = pkce::secret()?;
        let nonce = if self.sign_in.is_openid() {
            Some(pkce::secret()?)
        } else {
            None
        };
        let sign_in = &self.sign_in;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("response_type", "code");
        query.append_pair("client_id", &sign_in.client.id);
        query.append_pair("redirect_uri", &self.redirect_uri);
        if let Some(scope) = &sign_in.scope {
            query.append_pair("scope", scope);
        }
        query.append_pair("state", state.expose_secret());
        query.append_pair("code_challenge", &verifier.challenge());
        query.append_pair("code_challenge_method", "S256");
        if let Some(nonce) = &nonce {
            query.append_pair("nonce", nonce.expose_secret());
        }
        for uri in &sign_in.resources {
            query.append_pair("resource", uri);
        }
        if let Some(audience) = &sign_in.audience {
            query.append_pair("audience", audience);
        }
        for (name, value) in &sign_in.params {
            query.append_pair(name, value.expose_secret());
        }
        // RFC 6749 section 3.1: a query that is there already stays.
        let base = self.authorization_url.to_string();
        let joint = match self.authorization_url.query() {
            None => "?",
            Some("") => "",
            Some(_) => "&",
        };
        Ok(AuthorizationRequest {
            url: format!("{base}{joint}{}", query.finish()).into(),
            sign_in: Arc::clone(sign_in),
            redirect_uri: Arc::clone(&self.redirect_uri),
            iss_promised: self.iss_promised,
            state,
            nonce,
            verifier,
        })
    }
}

impl fmt::Debug for AuthorizationCodeGrant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AuthorizationCodeGrant")
            .field("authorization_url", &checks::shown(&self.authorization_url))
            .field("client_id", &self.sign_in.client.id)
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

/// The system gave no random numbers, without which no sign-in is safe.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the system gave no random numbers, without which no sign-in is safe")]
pub struct RandomnessError {
    #[source]
    cause: Cause,
}

impl RandomnessError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some("try again in a moment")
    }
}
