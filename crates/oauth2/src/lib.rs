//! The OAuth 2 token endpoint as a token source for `token-rotator`.
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
//! Forgetting the transport does not compile; every other mistake is a [`BuildError`] that says
//! what to do.
//!
//! # Who does what
//!
//! | here | what it does |
//! |---|---|
//! | [`TokenEndpoint`], [`Builder`] | the grants: refresh token (RFC 6749 section 6), client credentials (section 4.4); revocation (RFC 7009) |
//! | [`ClientAuth`] | who the client is: public, secret in the header or in the form, or anything of your own |
//! | [`Transport`] | how a request reaches the issuer |
//! | [`Exchange`] | what an answer means; also for endpoints that are not OAuth |
//! | [`Secrets`] | keeps what was sent out of every error |

mod answer;
mod builder;
mod client_auth;
mod endpoint;
mod form;
mod secrets;
mod transport;

pub use answer::Exchange;
pub use builder::{BuildError, Builder, TransportMissing, client_credentials, refresh_token};
pub use client_auth::{
    Attempt, AuthError, ClientAuth, ClientSecretBasic, ClientSecretPost, Credentials, PublicClient,
};
pub use endpoint::TokenEndpoint;
pub use secrets::Secrets;
pub use transport::{ANSWER_BYTES_MAX, SecretBytes, Transport, TransportError};
