//! How a request reaches the issuer: one method, over the types of `http`.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use token_rotator::Cause;

/// The most bytes of an answer that a [`Transport`] reads: 1 MiB.
///
/// Whoever reads the body stops there with [`TransportError::answer_too_long`]. A body that is
/// longer all the same is refused after it was read.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Sends one request to the issuer and reads its whole answer.
///
/// What it promises, because a refresh token must not be spent twice:
///
/// - **One attempt.** It repeats nothing, not even after a connection that broke at once; the
///   rotator decides about that.
/// - **No redirects** (RFC 6749 has none at the token endpoint, and a token would travel along). A
///   3xx is an answer like any other, and is handed back.
/// - **A fresh connection for each request.** A pooled one that the far side has closed meanwhile
///   would make an hourly refresh look as if its answer had been lost.
/// - **A bounded answer**: [`ANSWER_BYTES_MAX`] bytes.
/// - **An honest error**: [`TransportError::not_sent`] only where not one byte of the request can
///   have reached the issuer (name resolution, connect, TLS handshake); in doubt
///   [`maybe_sent`](TransportError::maybe_sent).
/// - **TLS with the issuer's certificate checked**, unless the address is this machine's own.
///
/// It needs no timeout: the rotator drops the future when the source has had its time. Headers
/// with credentials are marked sensitive, and [`SecretBytes`] shows nothing of itself, so `Debug`
/// output of requests and answers is harmless.
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
    /// Sends the request and reads the answer, whatever its status. Dropping the future gives the
    /// request up.
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

/// Several sources may share one transport.
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
/// It says whether the refresh token may be spent; what went wrong in detail is its
/// [`source`](StdError::source), which must not contain secrets. Some clients put the whole
/// address into their errors: take it out before handing them over.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Not one byte of the request can have reached the issuer.
    #[error("the issuer was not reached")]
    NotSent {
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// Something of the request may have reached the issuer.
    #[error("the issuer may have been reached, but its answer was not")]
    MaybeSent {
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// The answer is longer than [`ANSWER_BYTES_MAX`].
    #[error("the issuer's answer is longer than {ANSWER_BYTES_MAX} bytes")]
    AnswerTooLong,
}

impl TransportError {
    /// Not one byte of the request can have reached the issuer: the refresh token is unspent.
    pub fn not_sent(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::NotSent {
            cause: cause.into().into(),
        }
    }

    /// Something of the request may have reached the issuer: the refresh token may be spent.
    pub fn maybe_sent(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::MaybeSent {
            cause: cause.into().into(),
        }
    }

    /// The answer is longer than [`ANSWER_BYTES_MAX`]; reading was given up there.
    pub fn answer_too_long() -> Self {
        Self::AnswerTooLong
    }
}

/// A body with tokens in it. `Debug` shows its length only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(Bytes);

impl SecretBytes {
    /// The bytes, in the open.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The bytes, in the open.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
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

/// A transport whose type the endpoint has forgotten.
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
        Box::pin(Transport::send(self, request))
    }
}
