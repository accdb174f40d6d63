//! The configuration of the proxy, merged from the configuration file and the flags.

use std::ops::Range;
use std::time::Duration;

use token_rotator::middleware::{BodyRule, RefusalRules};
use token_rotator::{ExposeSecret as _, SecretString};
use token_rotator_proxy::{
    Config as ProxyConfig, Limits, Listen, Listener, Protocol, Route, UpstreamProxy,
};
use toml::Spanned;

use super::sessions::{ProxySessions, RequiredSessions};
use crate::arguments::ProxyOptions;
use crate::certificates;
use crate::command_error::CommandError;
use crate::config::{
    CompanyProxy, LimitSettings, ListenText, ProgramConfig, ProtocolChoice, ProxySettings,
    RouteSettings, SessionName,
};
use crate::secret_file::read_secret;
use crate::session::Context;

/// How long requests may take to finish without `--drain-timeout`.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The merged settings of the proxy.
pub(super) struct ProxyPlan {
    settings: ProxySettings,
    listen: Vec<ListenText>,
    public: bool,
    routes: Vec<(RouteSettings, SessionName, Option<Range<usize>>)>,
    local_bearer: Option<SecretString>,
    admin: Option<std::net::SocketAddr>,
    workers: usize,
    pub(super) drain_timeout: Duration,
}

impl ProxyPlan {
    /// Merges the file and the flags. A flag overrides the file.
    pub(super) fn of(config: &ProgramConfig, options: &ProxyOptions) -> Result<Self, CommandError> {
        let mut settings = config.proxy().clone();
        settings
            .allowed_hosts
            .extend(options.allowed_hosts.iter().cloned());
        settings
            .allowed_origins
            .extend(options.allowed_origins.iter().cloned());
        settings.unsafe_no_bearer |= options.unsafe_no_bearer;
        let listen = options.listen.clone().or_else(|| settings.listen.clone());
        let listen = match listen {
            Some(listen) => listen,
            None => vec![ListenText::Tcp(([127, 0, 0, 1], 8080).into())],
        };
        let routes = match &options.upstream {
            Some(upstream) => {
                let route = RouteSettings::to(upstream.clone(), options.session.clone());
                vec![(route, options.session.clone(), None)]
            }
            None => settings
                .routes
                .iter()
                .map(|route| with_session(route, &options.session))
                .collect(),
        };
        if routes.is_empty() {
            let file = config.paths.config_file.display();
            return Err(CommandError::new("there is no route")
                .why(format!(
                    "{file} has no [[proxy.routes]], and `--upstream` is not given"
                ))
                .hint("try `token-rotator proxy --upstream https://api.example.com`"));
        }
        Ok(Self {
            listen,
            public: options.public || settings.public,
            routes,
            local_bearer: local_bearer(&settings)?,
            admin: options.admin.or(settings.admin.map(|admin| admin.0)),
            workers: options.workers.or(settings.workers).unwrap_or(0),
            drain_timeout: options
                .drain_timeout
                .or(settings.drain_timeout.as_ref().map(|time| time.duration))
                .unwrap_or(DRAIN_TIMEOUT),
            settings,
        })
    }

    /// Returns the bytes of this route in the file. Returns `None` for the route of `--upstream`.
    pub(super) fn span(&self, name: &str) -> Option<Range<usize>> {
        let route = self
            .routes
            .iter()
            .rfind(|(route, ..)| route.name() == name)?;
        route.2.clone()
    }

    /// Returns the configuration of the proxy, and opens the rotators of its sessions.
    pub(super) async fn config(
        &self,
        context: &Context,
        sessions: &mut ProxySessions,
    ) -> Result<ProxyConfig, CommandError> {
        let mut needed = RequiredSessions::default();
        for (route, session, _) in &self.routes {
            needed.add(session, &route.upstream);
        }
        sessions.open(context, &needed).await?;
        let mut routes = Vec::new();
        for (settings, session, _) in &self.routes {
            let rotator = sessions.rotator(session);
            let mut route = Route::new(settings.name(), settings.upstream.to_string(), rotator);
            route.session = Some(session.to_string());
            route.host.clone_from(&settings.host);
            if let Some(prefix) = &settings.prefix {
                route.prefix.clone_from(prefix);
            }
            route.upstream_socket.clone_from(&settings.upstream_socket);
            route.protocol = match settings.protocol {
                ProtocolChoice::Auto => Protocol::Auto,
                ProtocolChoice::Http1 => Protocol::Http1,
                ProtocolChoice::Http2 => Protocol::Http2,
            };
            route.proxy = match &settings.proxy {
                None => UpstreamProxy::Environment,
                Some(CompanyProxy::None) => UpstreamProxy::Direct,
                Some(CompanyProxy::Address(address)) => UpstreamProxy::Address(address.clone()),
            };
            if let Some(file) = &settings.ca_file {
                route.extra_roots = certificates::read(file)?;
            }
            route.pass_authorization = settings.pass_authorization;
            route.strip_prefix = settings.strip_prefix;
            route.replay_bytes = settings.replay_bytes;
            route.refusals = refusals(settings);
            routes.push(route);
        }
        let listeners = self.listen.iter().map(|listen| self.listener(listen));
        let mut config = ProxyConfig::new(listeners.collect(), routes);
        config.limits = limits(&self.settings.limits);
        config
            .allowed_hosts
            .clone_from(&self.settings.allowed_hosts);
        config
            .allowed_origins
            .clone_from(&self.settings.allowed_origins);
        config.local_bearer.clone_from(&self.local_bearer);
        config.unsafe_no_bearer = self.settings.unsafe_no_bearer;
        config.admin = self.admin;
        config.workers = self.workers;
        config.recorder = sessions.recorder.clone();
        Ok(config)
    }

    fn listener(&self, listen: &ListenText) -> Listener {
        let listen = match listen {
            ListenText::Tcp(address) => Listen::Tcp(*address),
            ListenText::Unix(path) => Listen::Unix {
                path: path.clone(),
                uids: self.settings.socket_uids.clone(),
                gids: self.settings.socket_gids.clone(),
            },
        };
        Listener {
            listen,
            public: self.public,
        }
    }
}

fn with_session(
    route: &Spanned<RouteSettings>,
    default_session: &SessionName,
) -> (RouteSettings, SessionName, Option<Range<usize>>) {
    let settings = route.get_ref().clone();
    let session = settings.session.clone();
    let session = session.unwrap_or_else(|| default_session.clone());
    (settings, session, Some(route.span()))
}

fn local_bearer(settings: &ProxySettings) -> Result<Option<SecretString>, CommandError> {
    let missing = |why: String| {
        CommandError::new("the local bearer token is missing")
            .why(why)
            .hint("set it, or remove `local_bearer_env` and `local_bearer_file` from `[proxy]`")
    };
    let text = match (&settings.local_bearer_file, &settings.local_bearer_env) {
        (Some(path), _) => read_secret(path)
            .map(|secret| secret.expose_secret().to_owned())
            .map_err(|error| {
                let missing = missing(format!("{}: {error}", path.display()));
                match error.hint() {
                    Some(hint) => missing.hint(hint),
                    None => missing,
                }
            })?,
        (None, Some(name)) => std::env::var(name)
            .map_err(|_| missing(format!("the environment variable {name} is not set")))?,
        (None, None) => return Ok(None),
    };
    // Editors and shells end a file with a line break.
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(missing(
            "the file or variable that is named is empty".to_owned(),
        ));
    }
    Ok(Some(SecretString::from(text.to_owned())))
}

/// Returns the rules by which an answer refuses the token.
fn refusals(settings: &RouteSettings) -> RefusalRules {
    let mut rules = RefusalRules::new();
    if let Some(only) = &settings.status_codes {
        rules = rules.status_codes(only.iter().map(|status| status.0));
    }
    if let Some(also) = &settings.also_status_codes {
        rules = rules.also_status_codes(also.iter().map(|status| status.0));
    }
    if let Some(body) = &settings.refused_when_body {
        let wanted = body.wanted.clone();
        let rule = BodyRule::new(body.content_type.as_str(), move |_, body| {
            wanted.matches(body)
        });
        rules = rules.refused_when_body(rule.also_methods(body.methods.iter().cloned()));
    }
    if let Some(path) = &settings.probe {
        rules = rules.probe(path.0.clone());
    }
    rules
}

fn limits(settings: &LimitSettings) -> Limits {
    let mut limits = Limits::default();
    let set = |field: &mut usize, value: Option<usize>| *field = value.unwrap_or(*field);
    set(&mut limits.connections, settings.connections);
    set(&mut limits.header_bytes, settings.header_bytes);
    set(&mut limits.replay_bytes, settings.replay_bytes);
    set(&mut limits.replay_bytes_total, settings.replay_bytes_total);
    set(&mut limits.idle_connections, settings.idle_connections);
    for (field, value) in [
        (&mut limits.header_timeout, &settings.header_timeout),
        (&mut limits.connect_timeout, &settings.connect_timeout),
        (&mut limits.idle_timeout, &settings.idle_timeout),
    ] {
        if let Some(time) = value {
            *field = time.duration;
        }
    }
    for (field, value) in [
        (&mut limits.body_idle, &settings.body_idle),
        (&mut limits.answer_timeout, &settings.answer_timeout),
        (&mut limits.answer_idle, &settings.answer_idle),
        (&mut limits.total_timeout, &settings.total_timeout),
        (&mut limits.tunnel_idle, &settings.tunnel_idle),
    ] {
        if let Some(limit) = value {
            *field = limit.0.as_ref().map(|time| time.duration);
        }
    }
    limits.body_bytes = settings.body_bytes.or(limits.body_bytes);
    limits.streams = settings.streams.unwrap_or(limits.streams);
    limits
}

#[cfg(test)]
mod tests;
