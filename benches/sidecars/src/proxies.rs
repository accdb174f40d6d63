//! The compared proxies, each with the setup of its documentation.

mod apache;
mod envoy;
mod ours;

use std::error::Error;

use tempfile::TempDir;
use token_rotator_testkit::CertifiedIssuer;

use crate::process::Running;

/// A kind of proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    Ours,
    Envoy,
    Apache,
}

impl Contestant {
    pub(crate) const ALL: [Self; 3] = [Self::Ours, Self::Envoy, Self::Apache];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "token-rotator",
            Self::Envoy => "Envoy",
            Self::Apache => "mod_auth_openidc",
        }
    }

    /// Returns the version of the proxy. Errors: it is not installed.
    pub(crate) fn version(self) -> Result<String, Box<dyn Error>> {
        match self {
            Self::Ours => ours::version(),
            Self::Envoy => envoy::version(),
            Self::Apache => apache::version(),
        }
    }

    /// Starts the proxy with a session, before the API of the issuer. Errors: the proxy does not start, or the sign-in
    /// fails.
    pub(crate) async fn start(self, issuer: &CertifiedIssuer) -> Result<Proxy, Box<dyn Error>> {
        match self {
            Self::Ours => ours::start(issuer).await,
            Self::Envoy => envoy::start(issuer).await,
            Self::Apache => apache::start(issuer).await,
        }
    }
}

/// A running proxy.
pub(crate) struct Proxy {
    /// The address for callers.
    pub(crate) authority: String,
    /// The cookie of callers, for a proxy with a session for each user.
    pub(crate) cookies: Option<String>,
    // Dropped before its files.
    _running: Running,
    _home: TempDir,
}

/// Returns the port in a URL. Errors: the URL has none.
fn port(url: &str) -> Result<u16, Box<dyn Error>> {
    let (_, port) = url.rsplit_once(':').ok_or("a URL without a port")?;
    let port = port.split('/').next().unwrap_or_default();
    Ok(port.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_url() {
        for url in ["http://127.0.0.1:8080", "http://127.0.0.1:8080/token"] {
            assert_eq!(port(url).ok(), Some(8080), "{url}");
        }
        for url in ["http://127.0.0.1/token", ""] {
            assert!(port(url).is_err(), "{url}");
        }
    }
}
