//! The routes in force, their sessions and their upstreams.

use std::sync::Arc;

use http::uri::InvalidUri;
use http::{HeaderValue, Uri};
use token_rotator::middleware::RefusalRules;
use token_rotator::middleware::proxies::{Proxies, ProxyAddress};
use token_rotator::{Origin, Rotator, SecretString};

use crate::config::{BuildError, Config, Listen};
use crate::cors::AllowedOrigin;
use crate::limits::Limits;
use crate::log_limit::LogLimit;
use crate::metrics::{Metrics, RouteStats};
use crate::route::Route;
use crate::upstream::{Pool, UpstreamConnector};

/// The configuration in force.
pub(crate) struct RouteTable {
    routes: Vec<Arc<RouteTarget>>,
    sessions: Vec<NamedSession>,
    pub(crate) limits: Limits,
    hosts: Vec<String>,
    pub(crate) allowed_origins: Vec<AllowedOrigin>,
    pub(crate) local_bearer: Option<SecretString>,
}

/// A session of one or more routes.
pub(crate) struct NamedSession {
    pub(crate) name: Arc<str>,
    pub(crate) rotator: Rotator,
    /// Names of the session's routes.
    pub(crate) routes: Vec<String>,
}

/// A route in force, with its connections.
pub(crate) struct RouteTarget {
    pub(crate) name: String,
    /// Name of the route's session.
    pub(crate) session: Arc<str>,
    host: Option<String>,
    prefix: String,
    strip_prefix: bool,
    pub(crate) pass_authorization: bool,
    pub(crate) replay_bytes: usize,
    pub(crate) refusals: RefusalRules,
    pub(crate) rotator: Rotator,
    pub(crate) authority: HeaderValue,
    /// Origin of the upstream, such as `https://api.example.com:443`. HTTP/2 needs absolute URIs.
    pub(crate) base: Uri,
    pub(crate) connector: UpstreamConnector,
    /// One pool for each worker.
    pub(crate) pools: Vec<Arc<Pool>>,
    pub(crate) stats: Arc<RouteStats>,
    pub(crate) log: RouteLog,
}

/// The lines of a route that requests can repeat.
pub(crate) struct RouteLog {
    pub(crate) no_token: LogLimit,
    pub(crate) handed_back: LogLimit,
    pub(crate) no_connection: LogLimit,
}

impl RouteLog {
    const fn new() -> Self {
        Self {
            no_token: LogLimit::new("no token for a request"),
            handed_back: LogLimit::new("the caller gets the refusal"),
            no_connection: LogLimit::new("no connection to the upstream"),
        }
    }

    /// Logs how many lines were left out.
    pub(crate) fn summarise(&self, route: &str) {
        for limit in [&self.no_token, &self.handed_back, &self.no_connection] {
            limit.summarise(Some(route));
        }
    }
}

impl RouteTable {
    pub(crate) fn new(
        config: &Config,
        workers: usize,
        metrics: &Metrics,
    ) -> Result<Self, BuildError> {
        config.check()?;
        let environment = Proxies::from_env();
        let mut routes = Vec::new();
        let mut sessions = Vec::new();
        let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "[::1]"]
            .map(str::to_owned)
            .into();
        hosts.extend(
            config
                .allowed_hosts
                .iter()
                .map(|host| host.to_ascii_lowercase()),
        );
        for listener in &config.listeners {
            if let Listen::Tcp(address) = listener.listen {
                hosts.push(match address.ip() {
                    std::net::IpAddr::V4(address) => address.to_string(),
                    std::net::IpAddr::V6(address) => format!("[{address}]"),
                });
            }
        }
        for route in &config.routes {
            hosts.extend(route.host());
            let session = NamedSession::add_route(&mut sessions, route);
            let origin = route.origin()?;
            let proxy = route.company_proxy(&origin, &environment)?;
            let target =
                RouteTarget::new(route, session, config, (&origin, proxy), workers, metrics)?;
            routes.push(Arc::new(target));
        }
        // A request takes the first match: routes with a host first, then the longest prefix.
        routes.sort_by_key(|route| (route.host.is_none(), std::cmp::Reverse(route.prefix.len())));
        Ok(Self {
            routes,
            sessions,
            limits: config.limits.clone(),
            hosts,
            allowed_origins: config.allowed_origins()?,
            local_bearer: config.local_bearer.clone(),
        })
    }

    /// Whether `host`, without port, is an allowed host.
    pub(crate) fn allows_host(&self, host: &str) -> bool {
        self.hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(host))
    }

    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&Arc<RouteTarget>> {
        self.routes.iter().find(|route| route.matches(host, path))
    }

    pub(crate) fn targets(&self) -> &[Arc<RouteTarget>] {
        &self.routes
    }

    /// Returns the sessions in the order of their first routes.
    pub(crate) fn sessions(&self) -> &[NamedSession] {
        &self.sessions
    }
}

impl NamedSession {
    /// Adds the route to its session, or adds the session. Returns the session's name.
    fn add_route(sessions: &mut Vec<Self>, route: &Route) -> Arc<str> {
        let is_same = |session: &&mut Self| session.rotator.is_same(&route.rotator);
        if let Some(session) = sessions.iter_mut().find(is_same) {
            session.routes.push(route.name.clone());
            return Arc::clone(&session.name);
        }
        let name = route.session.as_ref().unwrap_or(&route.name);
        let name: Arc<str> = Arc::from(name.as_str());
        sessions.push(Self {
            name: Arc::clone(&name),
            rotator: route.rotator.clone(),
            routes: vec![route.name.clone()],
        });
        name
    }
}

impl RouteTarget {
    fn new(
        route: &Route,
        session: Arc<str>,
        config: &Config,
        (origin, proxy): (&Origin, Option<&ProxyAddress>),
        workers: usize,
        metrics: &Metrics,
    ) -> Result<Self, BuildError> {
        let unusable = |error: &dyn std::error::Error| BuildError::Upstream {
            route: route.name.clone(),
            problem: error.to_string(),
            hint: None,
        };
        let base: Uri = origin
            .to_string()
            .parse()
            .map_err(|error: InvalidUri| unusable(&error))?;
        let authority = base.authority().map_or("", |authority| authority.as_str());
        let authority = HeaderValue::from_str(authority).map_err(|error| unusable(&error))?;
        let limits = &config.limits;
        let connector =
            UpstreamConnector::new(route, origin, proxy).map_err(|problem| BuildError::Tls {
                route: route.name.clone(),
                problem,
            })?;
        let http2 = connector.speaks_http2();
        let pool = |_| {
            Arc::new(Pool::new(
                http2,
                limits.idle_connections,
                limits.idle_timeout,
            ))
        };
        Ok(Self {
            name: route.name.clone(),
            session,
            host: route.host(),
            prefix: route.bare_prefix().to_owned(),
            strip_prefix: route.strip_prefix,
            pass_authorization: route.pass_authorization,
            replay_bytes: route.replay_bytes.unwrap_or(limits.replay_bytes),
            refusals: route.refusals.clone(),
            rotator: route.rotator.clone(),
            authority,
            connector,
            base,
            pools: (0..workers).map(pool).collect(),
            stats: metrics.route(&route.name),
            log: RouteLog::new(),
        })
    }

    fn matches(&self, host: &str, path: &str) -> bool {
        self.host
            .as_ref()
            .is_none_or(|name| name.eq_ignore_ascii_case(host))
            && match path.strip_prefix(self.prefix.as_str()) {
                // `OPTIONS *` concerns the whole server, so only a route for every path matches.
                Some("*") => self.prefix.is_empty(),
                Some(rest) => rest.is_empty() || rest.starts_with('/'),
                None => false,
            }
    }

    /// Returns path and query without the prefix, or `None` if they stay unchanged.
    pub(crate) fn stripped(&self, uri: &Uri) -> Option<String> {
        if !self.strip_prefix || self.prefix.is_empty() {
            return None;
        }
        let rest = uri.path_and_query()?.as_str().get(self.prefix.len()..)?;
        Some(if rest.starts_with('/') {
            rest.to_owned()
        } else {
            format!("/{rest}")
        })
    }
}
