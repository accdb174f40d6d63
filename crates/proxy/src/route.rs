//! A route to an upstream, and its checks.

use std::path::PathBuf;

use token_rotator::middleware::proxies::{Proxies, ProxyAddress};
use token_rotator::middleware::{RefusalRules, RotatorExt as _};
use token_rotator::{Origin, OriginError, Rotator};

use crate::config::BuildError;

/// Protocol towards an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Over TLS the protocol that the upstream chooses (ALPN); without TLS HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS with prior knowledge.
    Http2,
}

/// The HTTP proxy of the network between this proxy and an upstream. An `https` upstream gets a tunnel
/// (CONNECT), and an `http` upstream gets absolute URIs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamProxy {
    /// The proxy of `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY`, except for the hosts in `NO_PROXY` and
    /// for this machine. The variables are read at the start and at each reload.
    #[default]
    Environment,
    /// No proxy.
    Direct,
    /// This proxy, even for this machine. Only it gets the credentials.
    Address(ProxyAddress),
}

/// Matches requests, and gives their upstream and the session whose token they carry.
#[derive(Clone)]
#[non_exhaustive]
pub struct Route {
    /// Name of the route in metrics and events.
    pub name: String,
    /// The `Host` that the route matches, without port; `None` matches every host.
    pub host: Option<String>,
    /// The path prefix that the route matches: `/api` matches `/api` and `/api/x`, not `/apix`. The
    /// longest prefix wins.
    pub prefix: String,
    /// The upstream's origin: `https://api.example.com`.
    pub upstream: String,
    /// Path of a unix socket that leads to the upstream.
    pub upstream_socket: Option<PathBuf>,
    /// Protocol towards the upstream.
    pub protocol: Protocol,
    /// The HTTP proxy of the network on the way to the upstream. It does not apply to
    /// `upstream_socket`.
    pub proxy: UpstreamProxy,
    /// DER certificates that are trusted in addition to the platform's.
    pub extra_roots: Vec<Vec<u8>>,
    /// The session. The upstream must be one of the session's origins.
    pub rotator: Rotator,
    /// The session's name on the page, as given to [`Recorder::named`](crate::Recorder::named). If `None`, the page shows
    /// the name of the first route with the session.
    pub session: Option<String>,
    /// Whether a caller's own `Authorization` is forwarded. A request with its own `Authorization`
    /// gets no token and no replay.
    pub pass_authorization: bool,
    /// Whether the proxy removes the prefix from the path.
    pub strip_prefix: bool,
    /// Bytes of a body that are kept for its replay. If `None`, [`Limits::replay_bytes`](crate::Limits::replay_bytes) applies.
    pub replay_bytes: Option<usize>,
    /// Rules that decide which answers refuse the token. Default: answers with the status 401.
    pub refusals: RefusalRules,
}

impl Route {
    /// Creates a route for every path of every host.
    pub fn new(name: impl Into<String>, upstream: impl Into<String>, rotator: Rotator) -> Self {
        Self {
            name: name.into(),
            host: None,
            prefix: "/".to_owned(),
            upstream: upstream.into(),
            upstream_socket: None,
            protocol: Protocol::Auto,
            proxy: UpstreamProxy::Environment,
            extra_roots: Vec::new(),
            rotator,
            session: None,
            pass_authorization: false,
            strip_prefix: false,
            replay_bytes: None,
            refusals: RefusalRules::new(),
        }
    }
}

impl Route {
    pub(crate) fn check(&self, local_bearer: bool) -> Result<(), BuildError> {
        let dots = self
            .prefix
            .split('/')
            .any(|part| part == "." || part == "..");
        if !self.prefix.starts_with('/') || self.prefix.contains(['?', '#']) || dots {
            return Err(BuildError::Prefix(self.name.clone()));
        }
        if local_bearer && self.pass_authorization {
            return Err(BuildError::BearerPassed(self.name.clone()));
        }
        let origin = self.origin()?;
        if !self.rotator.origins().iter().any(|known| *known == origin) {
            return Err(BuildError::ForeignUpstream {
                route: self.name.clone(),
                upstream: origin.to_string(),
            });
        }
        Ok(())
    }

    /// Returns the origin of the upstream.
    pub(crate) fn origin(&self) -> Result<Origin, BuildError> {
        let origin: Result<Origin, OriginError> = self.upstream.parse();
        origin.map_err(|error| BuildError::Upstream {
            route: self.name.clone(),
            problem: error.to_string(),
            hint: error.hint(),
        })
    }

    /// Returns the proxy of the network for the upstream, or `None` if there is none. `environment` are
    /// the proxies of the environment.
    pub(crate) fn company_proxy<'a>(
        &'a self,
        origin: &Origin,
        environment: &'a Proxies,
    ) -> Result<Option<&'a ProxyAddress>, BuildError> {
        let refused = |problem: String, hint| BuildError::Proxy {
            route: self.name.clone(),
            problem,
            hint,
        };
        let refused_environment = |problem: String, hint| BuildError::EnvironmentProxy {
            route: self.name.clone(),
            problem,
            hint,
        };
        let unsupported = |proxy: &ProxyAddress| {
            let scheme = proxy.scheme();
            (scheme != "http")
                .then(|| format!("a proxy with the scheme `{scheme}` is not supported"))
        };
        match (&self.proxy, self.upstream_socket.is_some()) {
            (UpstreamProxy::Direct, _) | (UpstreamProxy::Environment, true) => Ok(None),
            (UpstreamProxy::Environment, false) => {
                let host = origin.host().to_string();
                let proxy = environment.proxy_for(origin.scheme() == "https", &host, origin.port());
                let proxy =
                    proxy.map_err(|error| refused_environment(error.to_string(), error.hint()))?;
                if let Some(problem) = proxy.and_then(unsupported) {
                    let hint = "set `HTTPS_PROXY` to an `http://` proxy, add the upstream to \
                                `NO_PROXY`, or set `proxy` of the route";
                    let problem = format!("the environment names a proxy: {problem}");
                    return Err(refused_environment(problem, Some(hint)));
                }
                Ok(proxy)
            }
            (UpstreamProxy::Address(_), true) => {
                let problem = "the upstream is behind a unix socket, which no proxy reaches";
                Err(refused(
                    problem.to_owned(),
                    Some("leave out one of the two"),
                ))
            }
            (UpstreamProxy::Address(proxy), false) => match unsupported(proxy) {
                Some(problem) => {
                    let hint = "set `proxy` of the route to an `http://` proxy, or to \"none\"";
                    Err(refused(problem, Some(hint)))
                }
                None => Ok(Some(proxy)),
            },
        }
    }

    /// Returns the prefix without its trailing slash; it is empty if the route matches every path.
    pub(crate) fn bare_prefix(&self) -> &str {
        self.prefix.trim_end_matches('/')
    }

    pub(crate) fn host(&self) -> Option<String> {
        self.host.as_ref().map(|host| host.to_ascii_lowercase())
    }
}
