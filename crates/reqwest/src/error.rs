//! What can go wrong: building the client, and sending a request.

use std::sync::Arc;
use std::time::Duration;

use token_rotator::{OriginError, TokenError};

/// Why a request has no answer.
///
/// An answer with an error status is an answer: what a refused request gets when the refresh fails
/// is its own 401. No message holds a token; of a URL it shows scheme, host and path, for queries
/// hold secrets often enough.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request could not be built: a header, the body's serialisation.
    #[error("the request could not be built: {0}")]
    Builder(#[source] Arc<reqwest::Error>),
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The request had to wait for a token, and there is none. It was not sent.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The request's time was up: waiting for a token, for the answer, at a redirect or at the
    /// replay. The refresh, if one is in the air, goes on.
    #[error("the request took longer than {after:?}")]
    Timeout {
        /// How long it was given in all.
        after: Duration,
    },
    /// One redirect too many.
    #[error("more than {limit} redirects")]
    TooManyRedirects {
        /// How many were followed.
        limit: usize,
    },
    /// The request failed on the network.
    #[error(transparent)]
    Request(Arc<reqwest::Error>),
}

impl Error {
    /// Whether time was up: the request's, or the caller's share of waiting for a refresh.
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

    /// The error of reqwest behind it.
    pub fn as_reqwest(&self) -> Option<&reqwest::Error> {
        match self {
            Self::Builder(error) | Self::Request(error) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn builder(error: reqwest::Error) -> Self {
        Self::Builder(Arc::new(discreet(error)))
    }

    pub(crate) fn request(error: reqwest::Error) -> Self {
        Self::Request(Arc::new(discreet(error)))
    }
}

/// The error without those parts of its URL that may hold secrets.
fn discreet(mut error: reqwest::Error) -> reqwest::Error {
    if let Some(url) = error.url_mut() {
        url.set_query(None);
        url.set_fragment(None);
        // Both fail only for URLs that cannot have credentials.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    error
}

/// Why a request's URL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It is relative, and there is nothing to join it to.
    #[error(
        "the URL is relative and the client has no `base_url`; give it one, or give the whole URL"
    )]
    NoBase,
    /// It is none.
    #[error("the URL cannot be read: {0}")]
    Unreadable(#[from] url::ParseError),
}

/// Why a client cannot be built, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no base URL, and something needs one.
    #[error(
        "no base URL: call `base_url`, or give `refresh_endpoint` a whole URL and declare its origin with `origin`"
    )]
    NoBaseUrl,
    /// Nothing says where the token may go.
    #[error("no origin that the token may go to: call `base_url` or `origin`")]
    NoOrigin,
    /// The base URL cannot be read.
    #[error("`base_url` cannot be read: {0}")]
    BaseUrl(#[source] url::ParseError),
    /// The base URL has parts that no path can be joined to.
    #[error("`base_url` has a query or fragment (`?` or `#`): give scheme, host and path only")]
    BaseUrlTail,
    /// The token cannot go to the base URL.
    #[error("`base_url` cannot be used: {0}")]
    BaseUrlOrigin(#[source] OriginError),
    /// An added origin cannot be used.
    #[error("`origin` cannot be used: {0}")]
    Origin(#[source] OriginError),
    /// The refresh endpoint cannot be read.
    #[error("`refresh_endpoint` cannot be read: {0}")]
    RefreshEndpoint(#[source] UrlError),
    /// The refresh endpoint lies where the token does not go.
    #[error(
        "`refresh_endpoint` lies at an origin that is not declared: call `origin` with it, or give a path below `base_url`"
    )]
    RefreshEndpointOrigin,
    /// The name or value of a header cannot stand in a header.
    #[error("`{method}` was given a header {part} that cannot be used")]
    Header {
        /// The builder's method.
        method: &'static str,
        /// `name` or `value`.
        part: &'static str,
    },
    /// A client was brought, and settings were given that only a client made here can follow.
    #[error(
        "a client of your own and `{setting}`: drop `{setting}` and set it on your client, or drop `{client}`"
    )]
    ClientAnd {
        /// The setting to drop.
        setting: &'static str,
        /// The method that brought the client.
        client: &'static str,
    },
    /// A client was brought twice.
    #[error("two clients: drop `client` or `client_without_redirects`")]
    TwoClients,
    /// A client was brought whose redirects would carry a custom header anywhere.
    #[error(
        "`client` follows redirects by itself and would carry the header `{header}` to any origin: give \
         your client's settings to `configure` instead, or build it with `redirect::Policy::none()` and \
         give it to `client_without_redirects`"
    )]
    CustomHeaderWithClient {
        /// The header's name.
        header: String,
    },
    /// A rotator was brought, and settings were given that belong to its own builder.
    #[error(
        "a rotator of your own and `{setting}`: drop `{setting}` and set it on the rotator's builder"
    )]
    RotatorAnd {
        /// The setting to drop.
        setting: &'static str,
    },
    /// The token of the rotator that was brought does not go to the base URL.
    #[error(
        "the rotator's token does not go to the origin of `base_url`: call `origin` with it on the rotator's builder"
    )]
    RotatorOrigin,
    /// The rotator does not accept its settings.
    #[error(transparent)]
    Rotator(token_rotator::BuildError),
    /// The reqwest client cannot be built.
    #[error("the HTTP client cannot be built: {0}")]
    Http(#[source] reqwest::Error),
}

impl BuildError {
    /// What to do about it, if an origin or a setting of the rotator's builder was refused. Returns `None`
    /// otherwise: the other messages name the method to call.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Rotator(error) => error.hint(),
            Self::BaseUrlOrigin(error) | Self::Origin(error) => error.hint(),
            _ => None,
        }
    }
}
