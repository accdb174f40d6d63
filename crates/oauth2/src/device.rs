//! Sign-in on another device: the device authorization grant (RFC 8628).
//!
//! The program shows a code and an address, and polls until the user has entered the code at that
//! address. The program provides the sleep between two polls:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! # use http::{Request, Response};
//! # use token_rotator_oauth2::{IssuerMetadata, SecretBytes, TransportError};
//! # async fn transport(request: Request<SecretBytes>) -> Result<Response<SecretBytes>, TransportError> {
//! #     let answer = match request.uri().path() {
//! #         "/device" => r#"{"device_code":"d","user_code":"WDJB-MJHT","verification_uri":"https://issuer.example/d","expires_in":600}"#,
//! #         _ => r#"{"access_token":"first","token_type":"Bearer"}"#,
//! #     };
//! #     Ok(Response::new(answer.into()))
//! # }
//! # let issuer = IssuerMetadata::new()
//! #     .with_device_authorization_endpoint("https://issuer.example/device")?
//! #     .with_token_endpoint("https://issuer.example/token")?;
//! use token_rotator_oauth2::device;
//!
//! let grant = device(&issuer, "my-client").scope("read").transport(transport).build()?;
//! let authorization = grant.begin().await?;
//! eprintln!("enter {} at {}", authorization.user_code(), authorization.verification_uri());
//! let tokens = authorization.tokens(tokio::time::sleep).await?;
//! # assert!(tokens.refresh_token().is_none());
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

mod authorization;
mod error;

use std::fmt;
use std::sync::Arc;

use http::Uri;

use crate::answer::{RequestKind, refusal};
use crate::builder::{BuildError, TransportMissing};
use crate::checks;
use crate::client::FormRequest;
use crate::discovery::IssuerMetadata;
use crate::sign_in::{SignInBuilder, SignInSettings};
use crate::transport::Transport;
pub use authorization::{DeviceAuthorization, DevicePoll};
pub use error::{DeviceAuthorizationError, DeviceError};

/// Begins a sign-in on another device. The issuer needs a device authorization and a token
/// endpoint.
pub fn device(
    issuer: &IssuerMetadata,
    client_id: impl Into<String>,
) -> SignInBuilder<DeviceGrant, TransportMissing> {
    SignInBuilder::new(issuer, client_id.into(), String::new())
}

impl<T: Transport> SignInBuilder<DeviceGrant, T> {
    /// Builds the sign-in.
    ///
    /// *Errors*: a [`BuildError`] for the first option that cannot be used.
    pub fn build(self) -> Result<DeviceGrant, BuildError> {
        let device_authorization_url = self.issuer.require_device_authorization_endpoint()?.clone();
        Ok(DeviceGrant {
            device_authorization_url,
            sign_in: Arc::new(self.sign_in()?),
        })
    }
}

/// Sign-in on another device. [`device`] begins its builder. A clone is cheap.
#[derive(Clone)]
pub struct DeviceGrant {
    sign_in: Arc<SignInSettings>,
    device_authorization_url: Uri,
}

impl DeviceGrant {
    /// Requests a device code with one request (RFC 8628 section 3.1), which is never repeated.
    ///
    /// *Waits* as long as the transport does. *Cancellation*: dropping the future abandons the
    /// request; a device code that the issuer has already issued expires unused.
    pub async fn begin(&self) -> Result<DeviceAuthorization, DeviceAuthorizationError> {
        let sign_in = &self.sign_in;
        let mut post = FormRequest::to(&self.device_authorization_url);
        post.options(&sign_in.options);
        let kind = RequestKind::DeviceAuthorization;
        let (answer, secrets) = sign_in.options.client.post(kind, post).await?;
        // GitHub sends errors with status 200.
        if !answer.status().is_success() || refusal::code(&answer).is_some() {
            return Err(kind.refusal(&answer, &secrets).into());
        }
        DeviceAuthorization::read(&answer, Arc::clone(sign_in))
    }
}

impl fmt::Debug for DeviceGrant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = checks::without_query(&self.device_authorization_url);
        out.debug_struct("DeviceGrant")
            .field("device_authorization_url", &url)
            .field("client_id", &self.sign_in.options.client.id)
            .finish_non_exhaustive()
    }
}
