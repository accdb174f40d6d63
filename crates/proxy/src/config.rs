//! What a proxy is built from.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use token_rotator::middleware::{RefusalRules, RotatorExt as _};
use token_rotator::{Origin, OriginError, Rotator, SecretString};

use crate::limits::Limits;
use crate::metrics::Recorder;
use crate::observe::Observer;

/// A whole configuration. [`Handle::start`](crate::Handle::start) and
/// [`Handle::reload`](crate::Handle::reload) check it before anything is changed.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// Where callers connect. At least one.
    pub listeners: Vec<Listener>,
    /// Where requests go.
    pub routes: Vec<Route>,
    /// How much and how long.
    pub limits: Limits,
    /// Names, without port, that `Host` may have on TCP beside those of this machine
    /// (`localhost`, `127.0.0.1`, `[::1]`), the listeners' own addresses and the routes' hosts.
    pub allowed_hosts: Vec<String>,
    /// What callers must show as `Authorization: Bearer`.
    pub local_bearer: Option<SecretString>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served, and at `/` a page that shows the
    /// sessions and the last storm; loopback only.
    pub admin: Option<SocketAddr>,
    /// What counts refreshes among the metrics and notes them for the page. Not changed by a
    /// reload.
    pub recorder: Recorder,
    /// How many threads serve; 0: one for each processor. Not changed by a reload.
    pub workers: usize,
    /// Who is told of every request. Not changed by a reload.
    pub observer: Option<Arc<dyn Observer>>,
}

/// One place where callers connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The place.
    pub listen: Listen,
    /// Whether the place may be reached from other machines. Without this an address that is not
    /// loopback is refused, for whoever reaches the proxy has the session's rights.
    pub public: bool,
}

/// An address or a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listen {
    /// TCP; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A unix socket, for peers with one of these ids; with both lists empty, for the proxy's own
    /// user. Its file is made with mode 0600, or 0666 where others are allowed. A reload may change
    /// the lists, and the mode with them; who is connected by then stays.
    Unix {
        /// The file.
        path: PathBuf,
        /// User ids.
        uids: Vec<u32>,
        /// Group ids.
        gids: Vec<u32>,
    },
}

impl Listen {
    /// Whether it is the same place, whoever may connect.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix { path, .. }, Self::Unix { path: other, .. }) => path == other,
            (place, other) => place == other,
        }
    }
}

impl fmt::Display for Listen {
    /// The address or the path.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix { path, .. } => path.display().fmt(formatter),
        }
    }
}

/// How an upstream is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Over TLS what it chooses (ALPN), in the clear HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, in the clear with prior knowledge.
    Http2,
}

/// Where some requests go, and with which session's token.
#[derive(Clone)]
#[non_exhaustive]
pub struct Route {
    /// Its name in metrics and events.
    pub name: String,
    /// The `Host` it is for, without port; `None`: any.
    pub host: Option<String>,
    /// The path it is for: `/api` matches `/api` and `/api/x`, not `/apix`. The longest wins.
    pub prefix: String,
    /// The upstream's origin: `https://api.example.com`.
    pub upstream: String,
    /// A unix socket to reach the upstream by.
    pub upstream_socket: Option<PathBuf>,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Certificates, DER, trusted beside those of the platform.
    pub extra_roots: Vec<Vec<u8>>,
    /// The session. The upstream must be among its origins.
    pub rotator: Rotator,
    /// The session's name on the page, by which [`Recorder::named`] told its events; `None`: that of
    /// the first route with the session.
    pub session: Option<String>,
    /// Whether a caller's own `Authorization` passes. Such a request gets no token and no replay.
    pub pass_authorization: bool,
    /// Whether the prefix is taken off the path.
    pub strip_prefix: bool,
    /// Bytes kept of a body for its replay; `None`: [`Limits::replay_bytes`].
    pub replay_bytes: Option<usize>,
    /// Which answers refuse the token. Default: those with the status 401.
    pub refusals: RefusalRules,
}

impl Route {
    /// A route for every path of every host.
    pub fn new(name: impl Into<String>, upstream: impl Into<String>, rotator: Rotator) -> Self {
        Self {
            name: name.into(),
            host: None,
            prefix: "/".to_owned(),
            upstream: upstream.into(),
            upstream_socket: None,
            protocol: Protocol::Auto,
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

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Nobody could connect.
    #[error("there is no listener")]
    NoListener,
    /// One socket is listed twice, and who may connect to it is not plain.
    #[error("two listeners are at {0}")]
    Twice(Listen),
    /// An address can be reached from other machines.
    #[error(
        "{0} can be reached from other machines, and whoever reaches it has the session's rights"
    )]
    Public(SocketAddr),
    /// The administration's address can be reached from other machines.
    #[error("the admin listener's address {0} is not loopback")]
    PublicAdmin(SocketAddr),
    /// Two routes are for the same requests.
    #[error("the routes `{0}` and `{1}` match the same requests")]
    Ambiguous(String, String),
    /// Two routes have one name.
    #[error("two routes are named `{0}`")]
    Name(String),
    /// A prefix is none.
    #[error("route `{0}`: the path prefix must begin with `/` and have no `?` or dot segments")]
    Prefix(String),
    /// An upstream is none.
    #[error("route `{route}`: {problem}")]
    Upstream {
        /// The route's name.
        route: String,
        /// What is wrong.
        problem: String,
        /// What to write instead.
        hint: Option<&'static str>,
    },
    /// The session's token may not go to the upstream.
    #[error("route `{route}`: the session's token may not go to {upstream}")]
    ForeignUpstream {
        /// The route's name.
        route: String,
        /// The upstream.
        upstream: String,
    },
    /// The caller's header cannot be both the proxy's and the upstream's.
    #[error("route `{0}` passes `Authorization` on, which is where callers show the local bearer")]
    BearerPassed(String),
    /// Unix sockets are not to be had here.
    #[error("there are no unix sockets on this system")]
    NoUnix,
    /// TLS cannot be set up.
    #[error("route `{route}`: TLS cannot be set up: {problem}")]
    Tls {
        /// The route's name.
        route: String,
        /// What is wrong.
        problem: String,
    },
}

impl BuildError {
    /// What to do about it. Returns `None` if the message says all that is known.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoListener => "add a loopback address such as 127.0.0.1:8080",
            Self::Twice(_) => "leave out one of them",
            Self::Public(_) => "listen on 127.0.0.1 or on a unix socket, or say that it is public",
            Self::PublicAdmin(_) => "give it 127.0.0.1",
            Self::Ambiguous(..) => "give one of them another host or path prefix",
            Self::Name(_) => "names tell routes apart in metrics; rename one",
            Self::Prefix(_) => "write it like /api",
            Self::ForeignUpstream { .. } => {
                "add it to the origins of the session, or use another session"
            }
            Self::BearerPassed(_) => "leave out one of the two",
            Self::NoUnix => "listen on 127.0.0.1",
            Self::Upstream { hint, .. } => return *hint,
            Self::Tls { .. } => return None,
        })
    }

    /// The route that it is about, if it is about one; of two, the second.
    pub fn route(&self) -> Option<&str> {
        match self {
            Self::Ambiguous(_, route)
            | Self::Name(route)
            | Self::Prefix(route)
            | Self::BearerPassed(route)
            | Self::Upstream { route, .. }
            | Self::ForeignUpstream { route, .. }
            | Self::Tls { route, .. } => Some(route),
            _ => None,
        }
    }
}

impl Config {
    /// These listeners and routes, with the defaults for all else.
    pub fn new(listeners: Vec<Listener>, routes: Vec<Route>) -> Self {
        Self {
            listeners,
            routes,
            ..Self::default()
        }
    }

    /// What can be checked without opening anything.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.listeners.is_empty() {
            return Err(BuildError::NoListener);
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            match &listener.listen {
                // Of TCP the system says so, where port 0 is not a place but any.
                place @ Listen::Unix { .. }
                    if self.listeners[..index]
                        .iter()
                        .any(|other| other.listen.is_at(place)) =>
                {
                    return Err(BuildError::Twice(place.clone()));
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
}

impl Route {
    fn check(&self, local_bearer: bool) -> Result<(), BuildError> {
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
        let origin: Origin =
            self.upstream
                .parse()
                .map_err(|error: OriginError| BuildError::Upstream {
                    route: self.name.clone(),
                    problem: error.to_string(),
                    hint: error.hint(),
                })?;
        if !self.rotator.origins().iter().any(|known| *known == origin) {
            return Err(BuildError::ForeignUpstream {
                route: self.name.clone(),
                upstream: origin.to_string(),
            });
        }
        Ok(())
    }

    /// The prefix without the slash at its end: empty for every path.
    pub(crate) fn bare_prefix(&self) -> &str {
        self.prefix.trim_end_matches('/')
    }

    pub(crate) fn host(&self) -> Option<String> {
        self.host.as_ref().map(|host| host.to_ascii_lowercase())
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
