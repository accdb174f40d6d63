//! OAuth 2 for `token-rotator`: the token endpoint as a token source, and the sign-ins that bring
//! the first token set.
//!
//! [`refresh_token`] and [`client_credentials`] begin a [`TokenEndpoint`], the source for
//! `Rotator::builder`. The endpoint sends one request per refresh through its [`Transport`]. It
//! sorts every answer by three questions: was the refresh token spent, is a retry useful, must the
//! user sign in again?
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use http::{Request, Response};
//! use token_rotator::{Rotator, TokenSet};
//! use token_rotator_oauth2::{self as oauth2, SecretBytes, TransportError};
//!
//! // Any HTTP client can be the transport; `token-rotator-reqwest` provides one.
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
//! A builder without a transport does not compile. Every other mistake is a [`BuildError`] whose
//! text names the remedy.
//!
//! # Parts of the crate
//!
//! | item | what it does |
//! |---|---|
//! | [`IssuerMetadata`] | finds an issuer's endpoints (RFC 8414; OIDC Discovery) |
//! | [`AuthorizationCodeGrant`] | signs a user in with a browser (RFC 6749 section 4.1); checks PKCE (RFC 7636), `state`, `nonce` and `iss` (RFC 9207) |
//! | [`DeviceGrant`] | signs a user in on another device (RFC 8628) |
//! | [`TokenEndpoint`], [`Builder`] | exchange a refresh token (RFC 6749 section 6) or client credentials (section 4.4); revoke tokens (RFC 7009) |
//! | [`ClientAuth`] | authenticates the client: public, secret in the header or in the form, or your own method |
//! | [`Transport`] | sends a request to the issuer |
//! | [`AnswerRules`] | the differences of one issuer: its own error codes, other token types, other field names |
//! | [`RequestKind`] | decides what an answer means, also for endpoints that are not OAuth |
//! | [`Secrets`] | keeps the secrets of a request out of every error |

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

pub use answer::{AnswerRules, RequestKind};
pub use authorization_code::{
    AuthorizationCode, AuthorizationCodeGrant, AuthorizationRequest, CodeError, RandomnessError,
    RedirectError, authorization_code,
};
pub use builder::{BuildError, Builder, TransportMissing, client_credentials, refresh_token};
pub use client_auth::{
    AuthError, ClientAuth, ClientSecretBasic, ClientSecretPost, Credentials, CredentialsRequest,
    PublicClient,
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

/// Compiles the example in this crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
