//! Errors of building a client and of sending a request.

use std::sync::Arc;
use std::time::Duration;

use token_rotator::{OriginError, TokenError};

/// Why a request has no answer.
///
/// An answer with an error status is an answer: if the refresh fails, a refused request gets its
/// own 401. No message contains a token. Messages show only scheme, host and path of a URL, because
/// a query may contain secrets.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request could not be built, because of a header or the serialisation of the body.
    #[error("the request could not be built: {0}")]
    Builder(#[source] Arc<reqwest::Error>),
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The request waited for a token and got none. The request was not sent.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The request's timeout passed: in the wait for a token or the answer, at a redirect or at the
    /// replay. A running refresh continues.
    #[error("the request took longer than {after:?}")]
    Timeout {
        /// The request's timeout.
        after: Duration,
    },
    /// The request was redirected more often than allowed.
    #[error("more than {limit} redirects")]
    TooManyRedirects {
        /// Number of redirects that were followed.
        limit: usize,
    },
    /// The request failed on the network.
    #[error(transparent)]
    Request(Arc<reqwest::Error>),
}

impl Error {
    /// Whether a timeout passed: the request's, or the caller's wait for a refresh.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Token(TokenError::WaitTimedOut { .. }) => true,
            Self::Request(error) => error.is_timeout(),
            _ => false,
        }
    }

    /// Whether no connection was made.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Request(error) if error.is_connect())
    }

    /// Whether there was no token to send the request with.
    pub fn is_token(&self) -> bool {
        matches!(self, Self::Token(_))
    }

    /// Whether there were too many redirects.
    pub fn is_redirect(&self) -> bool {
        match self {
            Self::TooManyRedirects { .. } => true,
            Self::Request(error) => error.is_redirect(),
            _ => false,
        }
    }

    /// Returns the action for the cause. Returns `None` if the cause needs none of its own.
    ///
    /// For an https URL in a client that was built without TLS, the hint names the feature. For a
    /// certificate that is not valid at the time of the local clock, the hint names the clock.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Token(error) => error.hint(),
            Self::Builder(error) | Self::Request(error) => crate::transport::hint(error),
            Self::Url(_) | Self::Timeout { .. } | Self::TooManyRedirects { .. } => None,
        }
    }

    /// Returns the error of reqwest that is the cause, or `None` if the cause is another one.
    pub fn as_reqwest(&self) -> Option<&reqwest::Error> {
        match self {
            Self::Builder(error) | Self::Request(error) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn builder(error: reqwest::Error) -> Self {
        Self::Builder(Arc::new(without_secrets(error)))
    }

    pub(crate) fn request(error: reqwest::Error) -> Self {
        Self::Request(Arc::new(without_secrets(error)))
    }
}

/// Removes the parts of the error's URL that may contain secrets.
fn without_secrets(mut error: reqwest::Error) -> reqwest::Error {
    if let Some(url) = error.url_mut() {
        url.set_query(None);
        url.set_fragment(None);
        // Both calls fail only for URLs that cannot have credentials.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    error
}

/// Why a request's URL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// The URL is relative, and the client has no base URL.
    #[error(
        "the URL is relative and the client has no `base_url`; set `base_url`, or use an absolute URL"
    )]
    NoBase,
    /// The URL cannot be parsed.
    #[error("the URL cannot be read: {0}")]
    Unreadable(#[from] url::ParseError),
}

/// Why a client cannot be built. Messages without a [`hint`](Self::hint) name the action.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A relative refresh endpoint needs a base URL, and there is none.
    #[error(
        "no base URL: call `base_url`, or give `refresh_endpoint` a whole URL and declare its origin with `origin`"
    )]
    NoBaseUrl,
    /// No origin may get the token.
    #[error("no origin that the token may go to: call `base_url` or `origin`")]
    NoOrigin,
    /// The base URL cannot be read.
    #[error("`base_url` cannot be read: {0}")]
    BaseUrl(#[source] url::ParseError),
    /// The base URL has a query or fragment, so no path can be appended.
    #[error("`base_url` has a query or fragment (`?` or `#`): give scheme, host and path only")]
    BaseUrlTail,
    /// The base URL has no origin that may get a token.
    #[error("`base_url` cannot be used: {0}")]
    BaseUrlOrigin(#[source] OriginError),
    /// An added origin cannot be used.
    #[error("`origin` cannot be used: {0}")]
    Origin(#[source] OriginError),
    /// The refresh endpoint cannot be read.
    #[error("`refresh_endpoint` cannot be read: {0}")]
    RefreshEndpoint(#[source] UrlError),
    /// The refresh endpoint's origin is not declared.
    #[error(
        "the origin of `refresh_endpoint` is not declared: call `origin` with it, or give a path below `base_url`"
    )]
    RefreshEndpointOrigin,
    /// A header's name or value contains characters that HTTP does not allow.
    #[error("`{method}` was given a header {part} that cannot be used")]
    Header {
        /// The builder's method.
        method: &'static str,
        /// `name` or `value`.
        part: &'static str,
    },
    /// The caller gave a reqwest client and a setting that applies only to clients that the builder
    /// creates.
    #[error(
        "a client of your own and `{setting}`: drop `{setting}` and set it on your client, or drop `{client}`"
    )]
    ClientAnd {
        /// The setting to drop.
        setting: &'static str,
        /// The method that took the client.
        client: &'static str,
    },
    /// The caller gave two reqwest clients for requests.
    #[error("two clients: drop `client` or `client_without_redirects`")]
    TwoClients,
    /// The caller's client follows redirects and would send a custom header to any origin.
    #[error(
        "`client` follows redirects by itself and would carry the header `{header}` to any origin: give \
         your client's settings to `configure` instead, or build it with `redirect::Policy::none()` and \
         give it to `client_without_redirects`"
    )]
    CustomHeaderWithClient {
        /// The header's name.
        header: String,
    },
    /// The caller gave a rotator and a setting that belongs to the rotator's builder.
    #[error(
        "a rotator of your own and `{setting}`: drop `{setting}` and set it on the rotator's builder"
    )]
    RotatorAnd {
        /// The setting to drop.
        setting: &'static str,
    },
    /// The caller's rotator does not have the origin of the base URL.
    #[error(
        "the rotator's token does not go to the origin of `base_url`: call `origin` with it on the rotator's builder"
    )]
    RotatorOrigin,
    /// The rotator's builder refused the settings.
    #[error(transparent)]
    Rotator(token_rotator::BuildError),
    /// The reqwest client cannot be built.
    #[error("the HTTP client cannot be built: {0}")]
    Http(#[source] reqwest::Error),
}

impl BuildError {
    /// Returns the action for an origin or a setting of the rotator that was refused. Returns
    /// `None` for other errors, whose messages name the method to call.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Rotator(error) => error.hint(),
            Self::BaseUrlOrigin(error) | Self::Origin(error) => error.hint(),
            _ => None,
        }
    }
}
