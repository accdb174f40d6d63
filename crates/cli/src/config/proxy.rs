//! The `[proxy]` table.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use token_rotator::middleware;
use toml::Spanned;

use crate::arguments::values::parse_address;

use super::values::{DurationText, OriginText, SessionName, text_value};

/// The `[proxy]` table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProxySettings {
    pub(crate) listen: Option<Vec<ListenText>>,
    pub(crate) public: bool,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) local_bearer_env: Option<String>,
    pub(crate) local_bearer_file: Option<PathBuf>,
    pub(crate) unsafe_no_bearer: bool,
    pub(crate) socket_uids: Vec<u32>,
    pub(crate) socket_gids: Vec<u32>,
    pub(crate) admin: Option<AdminText>,
    pub(crate) workers: Option<usize>,
    pub(crate) drain_timeout: Option<DurationText>,
    pub(crate) limits: LimitSettings,
    pub(crate) routes: Vec<Spanned<RouteSettings>>,
}

/// One of `[[proxy.routes]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteSettings {
    pub(crate) name: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) upstream: OriginText,
    pub(crate) upstream_socket: Option<PathBuf>,
    pub(crate) session: Option<SessionName>,
    #[serde(default)]
    pub(crate) protocol: ProtocolChoice,
    pub(crate) proxy: Option<CompanyProxy>,
    pub(crate) ca_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) pass_authorization: bool,
    #[serde(default)]
    pub(crate) strip_prefix: bool,
    pub(crate) replay_bytes: Option<usize>,
    pub(crate) status_codes: Option<Vec<StatusNumber>>,
    pub(crate) also_status_codes: Option<Vec<StatusNumber>>,
    pub(crate) refused_when_body: Option<BodySettings>,
    pub(crate) probe: Option<ProbePath>,
}

impl RouteSettings {
    /// Creates a route for all requests.
    pub(crate) fn to(upstream: OriginText, session: SessionName) -> Self {
        Self {
            name: None,
            host: None,
            prefix: None,
            upstream,
            upstream_socket: None,
            session: Some(session),
            protocol: ProtocolChoice::Auto,
            proxy: None,
            ca_file: None,
            pass_authorization: false,
            strip_prefix: false,
            replay_bytes: None,
            status_codes: None,
            also_status_codes: None,
            refused_when_body: None,
            probe: None,
        }
    }

    /// Returns the name of the route; without a name, its host and prefix.
    pub(crate) fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let host = self.host.as_deref().unwrap_or_default();
            let prefix = self.prefix.as_deref().unwrap_or("/");
            format!("{host}{prefix}")
        })
    }
}

/// A status code of an answer.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u16")]
pub(crate) struct StatusNumber(pub(crate) StatusCode);

impl TryFrom<u16> for StatusNumber {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        let status = StatusCode::from_u16(number);
        status
            .map(Self)
            .map_err(|_| format!("{number} is not a status; write one from 100 to 999"))
    }
}

/// The path of a probe.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ProbePath(pub(crate) middleware::ProbePath);

impl TryFrom<String> for ProbePath {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        let path: Result<middleware::ProbePath, _> = path.parse();
        path.map(Self).map_err(|error| {
            let hint = error.hint().unwrap_or_default();
            format!("{error}; {hint}")
        })
    }
}

/// `refused_when_body`: the bodies that refuse the token.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "BodyTable")]
pub(crate) struct BodySettings {
    pub(crate) content_type: String,
    pub(crate) wanted: BodyMatch,
    pub(crate) methods: Vec<Method>,
}

/// The condition on a body.
#[derive(Clone, Debug)]
pub(crate) enum BodyMatch {
    /// The body contains this text.
    Contains(String),
    /// The body is a JSON object with these fields.
    Json(Map<String, Value>),
}

/// `refused_when_body` as the file has it, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyTable {
    #[serde(default = "json_type")]
    content_type: String,
    contains: Option<String>,
    json: Option<Map<String, Value>>,
    #[serde(default)]
    methods: Vec<String>,
}

fn json_type() -> String {
    "application/json".to_owned()
}

impl TryFrom<BodyTable> for BodySettings {
    type Error = String;

    fn try_from(table: BodyTable) -> Result<Self, String> {
        let wanted = match (table.contains, table.json) {
            (Some(text), None) if !text.is_empty() => BodyMatch::Contains(text),
            (None, Some(fields)) if !fields.is_empty() => BodyMatch::Json(fields),
            _ => {
                return Err(
                    "write either `contains = \"text\"` or `json = { field = value }`".into(),
                );
            }
        };
        let method = |name: String| {
            let method = name.parse();
            method.map_err(|_| format!("`{name}` is not a method"))
        };
        Ok(Self {
            content_type: table.content_type,
            wanted,
            methods: table
                .methods
                .into_iter()
                .map(method)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl BodyMatch {
    pub(crate) fn matches(&self, body: &[u8]) -> bool {
        match self {
            Self::Contains(text) => {
                let mut windows = body.windows(text.len());
                windows.any(|window| window == text.as_bytes())
            }
            Self::Json(fields) => {
                let body: Value = serde_json::from_slice(body).unwrap_or_default();
                let mut fields = fields.iter();
                fields.all(|(name, value)| body.get(name) == Some(value))
            }
        }
    }
}

/// The HTTP version towards an upstream.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProtocolChoice {
    #[default]
    Auto,
    Http1,
    Http2,
}

/// `proxy` of a route: the HTTP proxy of the network, or `none`. Errors repeat no part of the text, which
/// may hold a password.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum CompanyProxy {
    None,
    Address(middleware::proxies::ProxyAddress),
}

impl TryFrom<String> for CompanyProxy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let address: Result<middleware::proxies::ProxyAddress, _> = text.parse();
        address.map(Self::Address).map_err(|error| {
            let hint = error.hint().unwrap_or_default();
            format!("{error}; {hint}; `none` is no proxy")
        })
    }
}

/// The `[proxy.limits]` table. A time limit may be `none`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitSettings {
    pub(crate) connections: Option<usize>,
    pub(crate) header_bytes: Option<usize>,
    pub(crate) header_timeout: Option<DurationText>,
    pub(crate) body_bytes: Option<u64>,
    pub(crate) body_idle: Option<TimeLimit>,
    pub(crate) connect_timeout: Option<DurationText>,
    pub(crate) answer_timeout: Option<TimeLimit>,
    pub(crate) answer_idle: Option<TimeLimit>,
    pub(crate) total_timeout: Option<TimeLimit>,
    pub(crate) replay_bytes: Option<usize>,
    pub(crate) replay_bytes_total: Option<usize>,
    pub(crate) idle_connections: Option<usize>,
    pub(crate) idle_timeout: Option<DurationText>,
    pub(crate) streams: Option<u32>,
    pub(crate) tunnel_idle: Option<TimeLimit>,
}

/// A duration, or `none` for no limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct TimeLimit(pub(crate) Option<DurationText>);

impl TryFrom<String> for TimeLimit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        text.parse()
            .map(|time| Self(Some(time)))
            .map_err(|error: String| format!("{error}, or `none`"))
    }
}

/// Where callers connect: `127.0.0.1:8080`, `[::1]:8080` or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum ListenText {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for ListenText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let address = parse_address(text);
        address.map(Self::Tcp).map_err(|_| {
            "write an address and a port such as 127.0.0.1:8080, or unix:/path".to_owned()
        })
    }
}

impl std::fmt::Display for ListenText {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

text_value!(ListenText);

/// The address of the admin listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct AdminText(pub(crate) SocketAddr);

impl TryFrom<String> for AdminText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_address(&text).map(Self)
    }
}
