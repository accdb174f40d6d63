//! Errors of discovery.

use http::StatusCode;

use crate::builder::BuildError;
use crate::transport::TransportError;

/// Why discovery found no metadata, and the remedy.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The issuer's identifier is an address that must not receive tokens.
    #[error(transparent)]
    IssuerUrl(BuildError),
    /// The issuer URL has a query, which RFC 8414 section 2 forbids.
    #[error("the issuer URL has a query: remove everything from the `?` on")]
    Query,
    /// The issuer did not answer.
    #[error(
        "the issuer's metadata could not be fetched from {url}: check the issuer URL and the network"
    )]
    Unreachable {
        /// The requested address.
        url: String,
        /// What went wrong.
        #[source]
        cause: TransportError,
    },
    /// No address has the metadata.
    #[error(
        "the issuer has no metadata at {}: check the issuer URL, or configure its endpoints one by one",
        list(asked)
    )]
    NoDocument {
        /// The requested addresses, each with what it returned.
        asked: Vec<(String, NoMetadata)>,
    },
    /// The document names a different issuer (RFC 8414 section 3.3). A client that used the
    /// document would trust the wrong issuer.
    #[error(
        "the document at {url} names the issuer `{named}`, and not `{asked}`: if that is the one you mean, configure exactly that"
    )]
    IssuerMismatch {
        /// Address of the document.
        url: String,
        /// The issuer that the caller asked for.
        asked: String,
        /// The issuer that the document names.
        named: String,
    },
    /// The document names an endpoint that must not receive tokens.
    #[error(
        "the document at {url} cannot be used: {problem}; this is the issuer's to correct, or configure its endpoints one by one"
    )]
    Endpoint {
        /// Address of the document.
        url: String,
        /// The endpoint, and what is wrong with its address.
        #[source]
        problem: BuildError,
    },
    /// The document of an https issuer names a loopback endpoint or an endpoint without TLS.
    #[error(
        "the document at {url} leads from an https issuer to a {which} without TLS: this is the issuer's to correct"
    )]
    Downgrade {
        /// Address of the document.
        url: String,
        /// Name of the endpoint.
        which: &'static str,
    },
}

/// What an address returned instead of the issuer's metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoMetadata {
    /// A status other than success.
    #[error("HTTP {}", .0.as_u16())]
    Status(StatusCode),
    /// A redirect. Discovery does not follow it, because the target would speak for the issuer.
    #[error("a redirect{}", location.as_ref().map(|to| format!(" to {to}")).unwrap_or_default())]
    Redirect {
        /// Target of the redirect.
        location: Option<String>,
    },
    /// A web page.
    #[error("a web page")]
    WebPage,
    /// The body is not a JSON object with an `issuer`.
    #[error("no JSON object that names an issuer")]
    NotADocument,
}

fn list(asked: &[(String, NoMetadata)]) -> String {
    let each = asked.iter().map(|(url, found)| format!("{url} ({found})"));
    each.collect::<Vec<_>>().join(" or ")
}
