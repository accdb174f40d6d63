//! The configuration of a proxy, and its checks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use token_rotator::SecretString;
use token_rotator::middleware::is_loopback_host;

use crate::cors::AllowedOrigin;
use crate::limits::Limits;
use crate::metrics::Recorder;
use crate::observe::Observer;
use crate::route::Route;

/// Configuration of a proxy. [`Handle::start`](crate::Handle::start) and
/// [`Handle::reload`](crate::Handle::reload) check the configuration before they change anything.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// Addresses and sockets for callers. At least one.
    pub listeners: Vec<Listener>,
    /// Routes to upstreams.
    pub routes: Vec<Route>,
    /// Limits of sizes, counts and times.
    pub limits: Limits,
    /// Further names, without port, that `Host` may have on TCP. Always allowed are `localhost`,
    /// `127.0.0.1`, `[::1]`, the listeners' addresses and the routes' hosts.
    pub allowed_hosts: Vec<String>,
    /// The bearer that callers must send as `Authorization: Bearer`.
    pub local_bearer: Option<SecretString>,
    /// Whether callers need no local bearer although web pages reach the proxy unrecognised: through a
    /// TCP listener that is not loopback, or through a name in `Host` that is neither `localhost` nor a
    /// loopback address. Browsers send no `Sec-Fetch` headers there. If `false`, such a configuration
    /// without `local_bearer` is an error.
    pub unsafe_no_bearer: bool,
    /// Origins of web pages that may use the proxy on TCP: `http://localhost:5173`. The proxy answers
    /// their preflights, and the pages can read the answers. Pages of all other origins get 403.
    pub allowed_origins: Vec<String>,
    /// Address of the admin listener, loopback only. It serves `/metrics`, `/healthz`, `/readyz`,
    /// and at `/` a page with the sessions and the last storm.
    pub admin: Option<SocketAddr>,
    /// Counts refreshes for the metrics and records them for the page. A reload does not change the
    /// recorder.
    pub recorder: Recorder,
    /// Number of worker threads; 0 means one for each processor. A reload does not change the
    /// number.
    pub workers: usize,
    /// Receives the events of every request. A reload does not change the observer.
    pub observer: Option<Arc<dyn Observer>>,
}

/// One address or socket for callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address or socket.
    pub listen: Listen,
    /// Whether other machines may reach the address. If `false`, an address that is not loopback is
    /// an error, because every caller of the proxy has the session's rights.
    pub public: bool,
}

/// An address or a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listen {
    /// A TCP address; port 0 takes a free port.
    Tcp(SocketAddr),
    /// A unix socket for peers with one of these ids. If both lists are empty, only the proxy's own
    /// user may connect. The socket's file gets mode 0600, or 0666 if other users may connect. A
    /// reload may change the lists and the mode; connected peers stay connected.
    Unix {
        /// Path of the socket's file.
        path: PathBuf,
        /// The ids of the allowed users.
        uids: Vec<u32>,
        /// The ids of the allowed groups.
        gids: Vec<u32>,
    },
}

impl Listen {
    /// Whether both have the same address or path. The allowed ids do not matter.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix { path, .. }, Self::Unix { path: other, .. }) => path == other,
            (listen, other) => listen == other,
        }
    }
}

impl fmt::Display for Listen {
    /// Writes the address or the path.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix { path, .. } => path.display().fmt(formatter),
        }
    }
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration has no listener, so no caller could connect.
    #[error("there is no listener")]
    NoListener,
    /// Two listeners have the same socket. Their allowed ids may differ.
    #[error("two listeners are at {0}")]
    Twice(Listen),
    /// Other machines can reach the address of a listener that is not public.
    #[error("other machines can reach {0}, and every caller has the session's rights")]
    Public(SocketAddr),
    /// Web pages reach the proxy unrecognised through this address or name, and there is no local
    /// bearer.
    #[error(
        "callers of {0} need a local bearer: browsers do not mark the requests that web pages send there"
    )]
    NoBearer(String),
    /// An entry of the allowed origins is not an origin.
    #[error("the allowed origin `{origin}` cannot be used: {problem}")]
    AllowedOrigin {
        /// The entry.
        origin: String,
        /// Why the entry cannot be used.
        problem: &'static str,
        /// The action for the cause.
        hint: &'static str,
    },
    /// Other machines can reach the admin listener's address.
    #[error("the admin listener's address {0} is not loopback")]
    PublicAdmin(SocketAddr),
    /// Two routes match the same requests.
    #[error("the routes `{0}` and `{1}` match the same requests")]
    Ambiguous(String, String),
    /// Two routes have the same name.
    #[error("two routes are named `{0}`")]
    Name(String),
    /// The path prefix of a route is invalid.
    #[error("route `{0}`: the path prefix must begin with `/` and have no `?` or dot segments")]
    Prefix(String),
    /// The upstream of a route is not an origin.
    #[error("route `{route}`: {problem}")]
    Upstream {
        /// The route's name.
        route: String,
        /// Why the value cannot be used.
        problem: String,
        /// The action for the cause.
        hint: Option<&'static str>,
    },
    /// The upstream is not one of the session's origins.
    #[error("route `{route}`: the session's token may not go to {upstream}")]
    ForeignUpstream {
        /// The route's name.
        route: String,
        /// The upstream.
        upstream: String,
    },
    /// The route forwards `Authorization`, and callers must send the local bearer in the same
    /// header.
    #[error("route `{0}` forwards `Authorization`, in which callers send the local bearer")]
    BearerPassed(String),
    /// The system has no unix sockets.
    #[error("there are no unix sockets on this system")]
    NoUnix,
    /// The proxy of the network cannot be used for a route.
    #[error("route `{route}`: {problem}")]
    Proxy {
        /// The route's name.
        route: String,
        /// Why the proxy cannot be used.
        problem: String,
        /// The action for the cause.
        hint: Option<&'static str>,
    },
    /// The environment names a proxy of the network that cannot be used for a route.
    #[error("route `{route}`: {problem}")]
    EnvironmentProxy {
        /// The route's name.
        route: String,
        /// Why the proxy cannot be used.
        problem: String,
        /// The action for the cause.
        hint: Option<&'static str>,
    },
    /// TLS cannot be set up.
    #[error("route `{route}`: TLS cannot be set up: {problem}")]
    Tls {
        /// The route's name.
        route: String,
        /// Why the value cannot be used.
        problem: String,
    },
}

impl BuildError {
    /// Returns the action for the cause, or `None` if the cause has no known action.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoListener => "add a loopback address such as 127.0.0.1:8080",
            Self::Twice(_) => "leave out one of the listeners",
            Self::Public(_) => {
                "listen on 127.0.0.1 or on a unix socket, or set `public` for the listener"
            }
            Self::NoBearer(_) => {
                "set `local_bearer_file` in `[proxy]`, or pass `--unsafe-no-bearer` if no browser \
                 reaches this address"
            }
            Self::AllowedOrigin { hint, .. } => hint,
            Self::PublicAdmin(_) => "give the admin listener an address at 127.0.0.1",
            Self::Ambiguous(..) => "give one of the routes another host or path prefix",
            Self::Name(_) => "rename one of the routes; metrics distinguish routes by name",
            Self::Prefix(_) => "write the prefix like /api",
            Self::ForeignUpstream { .. } => {
                "add the upstream to the origins of the session, or use another session"
            }
            Self::BearerPassed(_) => {
                "leave out the local bearer, or do not forward `Authorization`"
            }
            Self::NoUnix => "listen on 127.0.0.1",
            Self::Upstream { hint, .. }
            | Self::Proxy { hint, .. }
            | Self::EnvironmentProxy { hint, .. } => return *hint,
            Self::Tls { .. } => return None,
        })
    }

    /// Returns the name of the route whose configuration has the error, or `None` if none has it. If two routes
    /// have the error, the name is the second route's.
    pub fn route(&self) -> Option<&str> {
        match self {
            Self::Ambiguous(_, route)
            | Self::Name(route)
            | Self::Prefix(route)
            | Self::BearerPassed(route)
            | Self::Upstream { route, .. }
            | Self::ForeignUpstream { route, .. }
            | Self::Proxy { route, .. }
            | Self::Tls { route, .. } => Some(route),
            _ => None,
        }
    }
}

impl Config {
    /// Creates a configuration with these listeners and routes and the defaults for all other
    /// fields.
    pub fn new(listeners: Vec<Listener>, routes: Vec<Route>) -> Self {
        Self {
            listeners,
            routes,
            ..Self::default()
        }
    }

    /// Checks the configuration without opening a socket or file.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.listeners.is_empty() {
            return Err(BuildError::NoListener);
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            match &listener.listen {
                // TCP addresses are left to the system: port 0 means any free port, so two
                // listeners with port 0 do not collide.
                socket @ Listen::Unix { .. }
                    if self.listeners[..index]
                        .iter()
                        .any(|other| other.listen.is_at(socket)) =>
                {
                    return Err(BuildError::Twice(socket.clone()));
                }
                Listen::Tcp(address) if !listener.public && !is_loopback(address.ip()) => {
                    return Err(BuildError::Public(*address));
                }
                Listen::Unix { .. } if cfg!(not(unix)) => return Err(BuildError::NoUnix),
                _ => {}
            }
        }
        if let Some(admin) = self.admin.filter(|admin| !is_loopback(admin.ip())) {
            return Err(BuildError::PublicAdmin(admin));
        }
        self.allowed_origins()?;
        if let Some(name) = self.unmarked_name()
            && self.local_bearer.is_none()
            && !self.unsafe_no_bearer
        {
            return Err(BuildError::NoBearer(name));
        }
        for (index, route) in self.routes.iter().enumerate() {
            route.check(self.local_bearer.is_some())?;
            for other in &self.routes[..index] {
                if other.name == route.name {
                    return Err(BuildError::Name(route.name.clone()));
                }
                if other.bare_prefix() == route.bare_prefix() && other.host() == route.host() {
                    let names = (other.name.clone(), route.name.clone());
                    return Err(BuildError::Ambiguous(names.0, names.1));
                }
            }
        }
        Ok(())
    }

    /// Returns the parsed origins of pages that may use the proxy.
    pub(crate) fn allowed_origins(&self) -> Result<Vec<AllowedOrigin>, BuildError> {
        let parse = |text: &String| {
            AllowedOrigin::parse(text).map_err(|error| BuildError::AllowedOrigin {
                origin: text.escape_default().to_string(),
                problem: error.problem,
                hint: error.hint,
            })
        };
        self.allowed_origins.iter().map(parse).collect()
    }

    /// Returns an address or name of the proxy on which browsers do not mark the requests of web pages:
    /// they send `Sec-Fetch` headers only to loopback and to https.
    fn unmarked_name(&self) -> Option<String> {
        let tcp = self
            .listeners
            .iter()
            .filter_map(|listener| match listener.listen {
                Listen::Tcp(address) => Some(address),
                Listen::Unix { .. } => None,
            });
        let tcp: Vec<SocketAddr> = tcp.collect();
        if let Some(public) = tcp.iter().find(|address| !is_loopback(address.ip())) {
            return Some(public.to_string());
        }
        let routes = self.routes.iter().filter_map(|route| route.host.as_ref());
        let mut names = self.allowed_hosts.iter().chain(routes);
        let unmarked = names.find(|name| !is_loopback_host(name));
        unmarked.filter(|_| !tcp.is_empty()).cloned()
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
