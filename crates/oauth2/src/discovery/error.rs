//! Errors of discovery.

use http::StatusCode;

use super::tenant::PLACEHOLDER;
use crate::builder::BuildError;
use crate::transport::TransportError;

/// Why discovery found no metadata. [`hint`](Self::hint) returns the action for the cause.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The issuer's identifier is an address that must not receive tokens.
    #[error(transparent)]
    IssuerUrl(BuildError),
    /// The issuer URL has a query, which RFC 8414 section 2 forbids.
    #[error("the issuer URL has a query")]
    Query,
    /// The issuer did not answer.
    #[error("the issuer's metadata could not be fetched from {url}")]
    Unreachable {
        /// The requested address.
        url: String,
        /// What went wrong.
        #[source]
        cause: TransportError,
    },
    /// No address has the metadata.
    #[error("the issuer has no metadata at {}", list(asked))]
    NoDocument {
        /// The requested addresses, each with what it returned.
        asked: Vec<(String, NoMetadata)>,
    },
    /// The document names a different issuer (RFC 8414 section 3.3). A client that used the
    /// document would trust the wrong issuer.
    #[error("the document at {url} names the issuer `{named}`, and not `{asked}`")]
    IssuerMismatch {
        /// Address of the document.
        url: String,
        /// The issuer that the caller asked for.
        asked: String,
        /// The issuer that the document names.
        named: String,
    },
    /// The document names an endpoint that must not receive tokens.
    #[error("the document at {url} cannot be used: {problem}")]
    Endpoint {
        /// Address of the document.
        url: String,
        /// The endpoint, and what is wrong with its address.
        #[source]
        problem: BuildError,
    },
    /// The document of an https issuer names a loopback endpoint or an endpoint without TLS.
    #[error("the document at {url} leads from an https issuer to a {which} without TLS")]
    Downgrade {
        /// Address of the document.
        url: String,
        /// Name of the endpoint.
        which: &'static str,
    },
}

impl DiscoveryError {
    /// Returns the action for the cause. Every cause has a hint.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::IssuerUrl(error) => return error.hint(),
            Self::Query => "remove everything from the `?` on",
            Self::Unreachable { cause, .. } => cause
                .hint()
                .unwrap_or("check the issuer URL and the network"),
            Self::NoDocument { asked } if asked.iter().any(|(_, found)| found.may_pass()) => {
                "try again in a moment; the issuer answered that it cannot now"
            }
            Self::NoDocument { .. } => {
                "check the issuer URL, or configure the issuer's endpoints one by one"
            }
            Self::IssuerMismatch { named, .. } if named.contains(PLACEHOLDER) => {
                "call `discover_tenants`, which takes the tenant from the sign-in, or name your tenant \
                 in the issuer URL"
            }
            Self::IssuerMismatch { .. } => {
                "if the document's issuer is the one you mean, configure exactly that name"
            }
            Self::Endpoint { .. } => {
                "let the issuer correct its document, or configure its endpoints one by one"
            }
            Self::Downgrade { .. } => "let the issuer correct its document",
        })
    }
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

impl NoMetadata {
    /// Whether the issuer may answer otherwise in a moment: 408, 425, 429 and 5xx.
    pub fn may_pass(&self) -> bool {
        let Self::Status(status) = self else {
            return false;
        };
        status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
    }
}

fn list(asked: &[(String, NoMetadata)]) -> String {
    let each = asked.iter().map(|(url, found)| format!("{url} ({found})"));
    each.collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Property: each reason for no metadata has the hint for its own cause.
    #[test]
    fn each_cause_has_its_hint() {
        let url = || "https://issuer.example/meta".to_owned();
        let none = |found| DiscoveryError::NoDocument {
            asked: vec![(url(), found)],
        };
        let status = |status| none(NoMetadata::Status(status));
        for (error, hint) in [
            (
                DiscoveryError::IssuerUrl(BuildError::NotAUrl {
                    which: "issuer URL",
                }),
                "write the URL like",
            ),
            (DiscoveryError::Query, "from the `?` on"),
            (
                DiscoveryError::Unreachable {
                    url: url(),
                    cause: TransportError::not_sent("no route"),
                },
                "the network",
            ),
            (status(StatusCode::SERVICE_UNAVAILABLE), "in a moment"),
            (status(StatusCode::TOO_MANY_REQUESTS), "in a moment"),
            (status(StatusCode::NOT_FOUND), "one by one"),
            (none(NoMetadata::WebPage), "one by one"),
            (
                DiscoveryError::IssuerMismatch {
                    url: url(),
                    asked: "a".to_owned(),
                    named: "b".to_owned(),
                },
                "exactly that name",
            ),
            (
                DiscoveryError::Endpoint {
                    url: url(),
                    problem: BuildError::ClientId,
                },
                "let the issuer correct",
            ),
            (
                DiscoveryError::Downgrade {
                    url: url(),
                    which: "token endpoint",
                },
                "let the issuer correct",
            ),
        ] {
            let found = error.hint().expect("a hint");
            assert!(found.contains(hint), "{error}: {found}");
        }
    }
}
