//! Why an issuer's metadata could not be had.

use http::StatusCode;

use crate::builder::BuildError;
use crate::transport::TransportError;

/// Why there is no metadata, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The issuer's identifier is no address that tokens may come from.
    #[error(transparent)]
    IssuerUrl(BuildError),
    /// RFC 8414 section 2 forbids it.
    #[error("the issuer URL has a query: remove everything from the `?` on")]
    Query,
    /// The issuer gave no answer.
    #[error(
        "the issuer's metadata could not be had from {url}: check the issuer URL and the network"
    )]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What went wrong.
        #[source]
        cause: TransportError,
    },
    /// Neither address has the metadata.
    #[error(
        "the issuer has no metadata at {}: check the issuer URL, or configure its endpoints one by one",
        list(asked)
    )]
    NoDocument {
        /// What was asked for, and what was there.
        asked: Vec<(String, NoMetadata)>,
    },
    /// The document is another issuer's (RFC 8414 section 3.3). Using it would let that one pass for
    /// the one asked for.
    #[error(
        "the document at {url} names the issuer `{named}`, and not `{asked}`: if that is the one you mean, configure exactly that"
    )]
    IssuerMismatch {
        /// Where the document is.
        url: String,
        /// The issuer that was asked for.
        asked: String,
        /// The issuer that the document names.
        named: String,
    },
    /// The document names an endpoint that no token may be sent to.
    #[error(
        "the document at {url} cannot be used: {problem}; this is the issuer's to correct, or configure its endpoints one by one"
    )]
    Endpoint {
        /// Where the document is.
        url: String,
        /// Which endpoint it is, and what is wrong with it.
        #[source]
        problem: BuildError,
    },
    /// The document of an issuer elsewhere names an endpoint on this machine, or one without TLS.
    #[error(
        "the document at {url} leads from an https issuer to a {which} without TLS: this is the issuer's to correct"
    )]
    Downgrade {
        /// Where the document is.
        url: String,
        /// Which endpoint it is.
        which: &'static str,
    },
}

/// What was there in place of an issuer's metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoMetadata {
    /// Another status than a success.
    #[error("HTTP {}", .0.as_u16())]
    Status(StatusCode),
    /// A redirect, which is not followed: whoever it leads to would speak for the issuer.
    #[error("a redirect{}", location.as_ref().map(|to| format!(" to {to}")).unwrap_or_default())]
    Redirect {
        /// Where it leads.
        location: Option<String>,
    },
    /// A web page.
    #[error("a web page")]
    WebPage,
    /// No JSON object, or one without an `issuer`.
    #[error("no JSON object that names an issuer")]
    NotADocument,
}

fn list(asked: &[(String, NoMetadata)]) -> String {
    let each = asked.iter().map(|(url, what)| format!("{url} ({what})"));
    each.collect::<Vec<_>>().join(" or ")
}
