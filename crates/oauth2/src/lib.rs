//! OAuth 2 for `token-rotator`: the token endpoint as a token source, and the sign-ins that come before.
//!
//! [`refresh_token`] and [`client_credentials`] begin a [`TokenEndpoint`], which is what
//! `Rotator::builder` takes. It sends one request per refresh, through whatever [`Transport`] it
//! was given, and sorts every answer into what the rotator has to know: was the refresh token
//! spent, is it worth asking again, must somebody sign in?
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use http::{Request, Response};
//! use token_rotator::{Rotator, TokenSet};
//! use token_rotator_oauth2::{self as oauth2, SecretBytes, TransportError};
//!
//! // Any HTTP client behind one method; `token-rotator-reqwest` brings one.
//! async fn transport(_: Request<SecretBytes>) -> Result<Response<SecretBytes>, TransportError> {
//!     let answer = r#"{"access_token":"next","token_type":"Bearer","expires_in":300}"#;
//!     Ok(Response::new(answer.into()))
//! }
//!
//! let source = oauth2::refresh_token("https://issuer.example/token", "my-client")
//!     .client_secret_basic("the client's secret")
//!     .resource("https://api.example.com")
//!     .transport(transport)
//!     .build()?;
//!
//! let rotator = Rotator::builder(source).origin("https://api.example.com").build()?;
//! rotator.sign_in(TokenSet::bearer("first").with_refresh_token("single use"))?.await?;
//! assert_eq!(rotator.refresh_now().await?.header(), "Bearer next");
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! The first token set comes from a sign-in: [`authorization_code`](mod@authorization_code) with a browser,
//! [`device`](mod@device) without one, at the endpoints that [`discovery`] finds.
//!
//! Forgetting the transport does not compile; every other mistake is a [`BuildError`] that says
//! what to do.
//!
//! # Who does what
//!
//! | here | what it does |
//! |---|---|
//! | [`IssuerMetadata`] | where an issuer's endpoints are (RFC 8414; OIDC Discovery) |
//! | [`AuthorizationCodeGrant`] | signing in with a browser (RFC 6749 section 4.1), with PKCE (RFC 7636), `state`, `nonce` and `iss` (RFC 9207) checked |
//! | [`DeviceGrant`] | signing in on another device (RFC 8628) |
//! | [`TokenEndpoint`], [`Builder`] | the grants: refresh token (RFC 6749 section 6), client credentials (section 4.4); revocation (RFC 7009) |
//! | [`ClientAuth`] | who the client is: public, secret in the header or in the form, or anything of your own |
//! | [`Transport`] | how a request reaches the issuer |
//! | [`Exchange`] | what an answer means; also for endpoints that are not OAuth |
//! | [`Secrets`] | keeps what was sent out of every error |

mod answer;
pub mod authorization_code;
mod builder;
mod checks;
mod client;
mod client_auth;
pub mod device;
pub mod discovery;
mod endpoint;
mod form;
mod id_token;
mod options;
mod secrets;
mod sign_in;
mod transport;

pub use answer::Exchange;
pub use authorization_code::{
    AuthorizationCode, AuthorizationCodeGrant, AuthorizationRequest, CodeError, RandomnessError,
    RedirectError, authorization_code,
};
pub use builder::{BuildError, Builder, TransportMissing, client_credentials, refresh_token};
pub use client_auth::{
    Attempt, AuthError, ClientAuth, ClientSecretBasic, ClientSecretPost, Credentials, PublicClient,
};
pub use device::{
    DeviceAuthorization, DeviceAuthorizationError, DeviceError, DeviceGrant, DevicePoll, device,
};
pub use discovery::{DiscoveryError, IssuerMetadata, NoMetadata};
pub use endpoint::TokenEndpoint;
pub use id_token::IdTokenError;
pub use secrets::Secrets;
pub use sign_in::SignInBuilder;
pub use transport::{ANSWER_BYTES_MAX, SecretBytes, Transport, TransportError};

/// Public types can be built on one thread and used on another.
#[cfg(test)]
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Builder<()>>();
    is_send_and_sync::<TokenEndpoint>();
    is_send_and_sync::<AuthorizationCodeGrant>();
    is_send_and_sync::<AuthorizationCode>();
    is_send_and_sync::<AuthorizationRequest>();
    is_send_and_sync::<CodeError>();
    is_send_and_sync::<RedirectError>();
    is_send_and_sync::<RandomnessError>();
    is_send_and_sync::<BuildError>();
    is_send_and_sync::<AuthError>();
    is_send_and_sync::<ClientSecretBasic>();
    is_send_and_sync::<ClientSecretPost>();
    is_send_and_sync::<PublicClient>();
    is_send_and_sync::<DeviceAuthorization>();
    is_send_and_sync::<DeviceAuthorizationError>();
    is_send_and_sync::<DeviceError>();
    is_send_and_sync::<DeviceGrant>();
    is_send_and_sync::<DevicePoll>();
    is_send_and_sync::<DiscoveryError>();
    is_send_and_sync::<IssuerMetadata>();
    is_send_and_sync::<NoMetadata>();
    is_send_and_sync::<Exchange>();
    is_send_and_sync::<IdTokenError>();
    is_send_and_sync::<Secrets>();
    is_send_and_sync::<SecretBytes>();
    is_send_and_sync::<TransportError>();
    is_send_and_sync::<SignInBuilder<(), ()>>();
};
