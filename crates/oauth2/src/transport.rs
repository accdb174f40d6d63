//! The transport that sends requests to the issuer, and its errors.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use token_rotator::Cause;
use token_rotator::middleware::certificate_hint;

/// The most bytes of an answer that a [`Transport`] reads: 1 MiB.
///
/// A transport stops reading at this limit and returns [`TransportError::answer_too_long`]. The
/// client also refuses a longer body that a transport has read.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Sends one request to the issuer and reads its whole answer.
///
/// An implementation must guarantee the following, because a refresh token must not be spent twice:
///
/// - **One attempt.** The transport never repeats a request, not even after a connection that broke
///   at once. The rotator decides about repeats.
/// - **No redirects.** RFC 6749 has none at the token endpoint, and a redirect would send the token
///   to another address. The transport returns a 3xx like any other answer.
/// - **A new connection for each request.** If the issuer has closed a pooled connection, a refresh
///   looks as if its answer had been lost.
/// - **A bounded answer**: at most [`ANSWER_BYTES_MAX`] bytes.
/// - **An honest error**: [`TransportError::not_sent`] only if no byte of the request can have
///   reached the issuer (name resolution, connect, TLS handshake); in doubt
///   [`maybe_sent`](TransportError::maybe_sent).
/// - **TLS with a verified issuer certificate**, except for a loopback address.
///
/// A transport needs no timeout: the rotator drops the future at the source's deadline. Headers
/// with credentials are marked sensitive, and [`SecretBytes`] hides its content, so `Debug` output
/// of requests and answers contains no secrets.
///
/// A closure from a request to a future is a transport:
///
/// ```
/// use http::{Request, Response};
/// use token_rotator_oauth2::{SecretBytes, Transport, TransportError};
///
/// async fn canned(request: Request<SecretBytes>) -> Result<Response<SecretBytes>, TransportError> {
///     assert_eq!(request.uri().path(), "/token");
///     Ok(Response::new(r#"{"access_token":"a","token_type":"Bearer"}"#.into()))
/// }
/// fn takes(_: impl Transport) {}
/// takes(canned);
/// ```
pub trait Transport: Send + Sync + 'static {
    /// Sends the request and reads the answer, whatever its status.
    ///
    /// *Cancellation*: dropping the future abandons the request.
    fn send(
        &self,
        request: Request<SecretBytes>,
    ) -> impl Future<Output = Result<Response<SecretBytes>, TransportError>> + Send;
}

impl<F, Fut> Transport for F
where
    F: Fn(Request<SecretBytes>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<SecretBytes>, TransportError>> + Send,
{
    fn send(
        &self,
        request: Request<SecretBytes>,
    ) -> impl Future<Output = Result<Response<SecretBytes>, TransportError>> + Send {
        self(request)
    }
}

/// Lets several sources share one transport.
impl<T: Transport> Transport for Arc<T> {
    fn send(
        &self,
        request: Request<SecretBytes>,
    ) -> impl Future<Output = Result<Response<SecretBytes>, TransportError>> + Send {
        T::send(self, request)
    }
}

/// Why there is no answer.
///
/// The variant decides whether the refresh token may be spent. [`source`](StdError::source) has the
/// details and must not contain secrets. Some clients put the whole address into their errors:
/// remove it before you pass an error on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No byte of the request can have reached the issuer.
    #[error("the issuer was not reached")]
    NotSent {
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// Part of the request may have reached the issuer.
    #[error("the issuer may have been reached, but its answer was not")]
    MaybeSent {
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// The client cannot send such a request at all, so no attempt of it helps: for example, it was
    /// built without TLS.
    #[error("the request to the issuer cannot be sent")]
    Misconfigured {
        /// What went wrong.
        #[source]
        cause: Cause,
        /// The setting to change.
        hint: &'static str,
    },
    /// The answer is longer than [`ANSWER_BYTES_MAX`].
    #[error("the issuer's answer is longer than {ANSWER_BYTES_MAX} bytes")]
    AnswerTooLong,
}

impl TransportError {
    /// No byte of the request can have reached the issuer: the refresh token is unspent.
    pub fn not_sent(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::NotSent {
            cause: cause.into().into(),
        }
    }

    /// Part of the request may have reached the issuer: the refresh token may be spent.
    pub fn maybe_sent(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::MaybeSent {
            cause: cause.into().into(),
        }
    }

    /// The client cannot send such a request at all. `hint` names the setting to change.
    pub fn misconfigured(
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
        hint: &'static str,
    ) -> Self {
        Self::Misconfigured {
            cause: cause.into().into(),
            hint,
        }
    }

    /// Returns the action for the cause. Returns `None` if the cause needs none of its own.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Misconfigured { hint, .. } => Some(hint),
            Self::NotSent { cause } | Self::MaybeSent { cause } => certificate_hint(cause),
            Self::AnswerTooLong => None,
        }
    }

    /// The answer is longer than [`ANSWER_BYTES_MAX`]; the transport stopped reading there.
    pub fn answer_too_long() -> Self {
        Self::AnswerTooLong
    }
}

/// A body that contains tokens. `Debug` shows its length only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(Bytes);

impl SecretBytes {
    /// Returns the bytes without protection.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Returns the bytes without protection.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the body is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Bytes> for SecretBytes {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<String> for SecretBytes {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&'static str> for SecretBytes {
    fn from(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SecretBytes({} bytes)", self.0.len())
    }
}

/// Object-safe form of [`Transport`]. It also refuses an answer that is too long.
pub(crate) trait DynTransport: Send + Sync + 'static {
    fn send(
        &self,
        request: Request<SecretBytes>,
    ) -> BoxFuture<'_, Result<Response<SecretBytes>, TransportError>>;
}

impl<T: Transport> DynTransport for T {
    fn send(
        &self,
        request: Request<SecretBytes>,
    ) -> BoxFuture<'_, Result<Response<SecretBytes>, TransportError>> {
        Box::pin(async move {
            let answer = Transport::send(self, request).await?;
            if answer.body().len() > ANSWER_BYTES_MAX {
                return Err(TransportError::answer_too_long());
            }
            Ok(answer)
        })
    }
}
