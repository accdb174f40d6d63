//! The HTTP proxies of the environment, and the hosts that are reached without one.
//!
//! The variables are those of curl: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in lower
//! or upper case. Lower case wins. An empty variable counts as unset. `HTTP_PROXY` is ignored if
//! `REQUEST_METHOD` is set, because a CGI server sets `HTTP_PROXY` from a caller's header.

mod direct;

use std::fmt;
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::HeaderValue;

use self::direct::DirectHosts;
use super::origin::is_loopback_host;

/// The proxies for requests, by scheme, and the hosts that need none.
///
/// Hosts of this machine ([`is_loopback_host`]) never go through a proxy.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Variable>,
    https: Option<Variable>,
    direct: DirectHosts,
}

/// A variable and the proxy that it names.
#[derive(Clone, Debug)]
struct Variable {
    name: &'static str,
    proxy: Result<ProxyAddress, ProxyError>,
}

impl Proxies {
    /// Reads the environment of the process.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// Reads the variables with a function that returns the value of a name.
    pub fn from_variables(read: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &'static str| {
            let value = read(name)?;
            (!value.trim().is_empty()).then(|| (name, value.trim().to_owned()))
        };
        let variable = |names: [&'static str; 2]| {
            let (name, value) = names.into_iter().find_map(read)?;
            let proxy = value.parse();
            Some(Variable { name, proxy })
        };
        let is_cgi = read("REQUEST_METHOD").is_some();
        let upper = if is_cgi { "http_proxy" } else { "HTTP_PROXY" };
        let all = variable(["all_proxy", "ALL_PROXY"]);
        let no_proxy = ["no_proxy", "NO_PROXY"].into_iter().find_map(read);
        Self {
            http: variable(["http_proxy", upper]).or_else(|| all.clone()),
            https: variable(["https_proxy", "HTTPS_PROXY"]).or(all),
            direct: no_proxy
                .map_or_else(DirectHosts::default, |(_, list)| DirectHosts::parse(&list)),
        }
    }

    /// Whether no request goes through a proxy.
    pub fn is_empty(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }

    /// Returns the proxy for a host and port, or `None` if the host is reached without one. An IPv6
    /// address may be in brackets.
    ///
    /// *Errors*: the variable that applies does not name a proxy.
    pub fn proxy_for(
        &self,
        https: bool,
        host: &str,
        port: u16,
    ) -> Result<Option<&ProxyAddress>, ProxyError> {
        let variable = if https { &self.https } else { &self.http };
        let Some(variable) = variable else {
            return Ok(None);
        };
        if is_loopback_host(host) || self.direct.contains(host, port) {
            return Ok(None);
        }
        match &variable.proxy {
            Ok(proxy) => Ok(Some(proxy)),
            Err(error) => Err(ProxyError {
                variable: Some(variable.name),
                ..error.clone()
            }),
        }
    }
}

/// The address of a proxy, and the credentials for it: `http://user:password@proxy.example.com:3128`.
///
/// Without a scheme it is `http://`. The default port is that of the scheme; 1080 for SOCKS. `Display`
/// and `Debug` leave the credentials out.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyAddress {
    scheme: String,
    host: String,
    port: u16,
    /// User name and password, percent-encoded as in the text.
    credentials: Option<(String, String)>,
}

/// Why a text is not the address of a proxy. The message repeats no part of the text, which may hold a
/// password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", self.prefix())]
#[non_exhaustive]
pub struct ProxyError {
    /// The environment variable, if the text is from the environment.
    pub variable: Option<&'static str>,
    problem: &'static str,
}

impl ProxyError {
    const fn new(problem: &'static str) -> Self {
        Self {
            variable: None,
            problem,
        }
    }

    fn prefix(&self) -> String {
        self.variable
            .map(|name| format!("{name}: "))
            .unwrap_or_default()
    }

    /// The action for the cause. Never returns `None`.
    pub fn hint(&self) -> Option<&'static str> {
        Some(
            "write the proxy like `http://proxy.example.com:3128`, with `user:password@` before the host if it wants them; encode `@`, `:` and `/` in them as `%40`, `%3A` and `%2F`",
        )
    }
}

impl ProxyAddress {
    /// The scheme in lower case, such as `http` or `socks5`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The host. An IPv6 address is without brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the value of `Proxy-Authorization` (RFC 7617), or `None` without credentials.
    pub fn authorization(&self) -> Option<HeaderValue> {
        let (user, password) = self.credentials.as_ref()?;
        let mut plain = decode(user);
        plain.push(b':');
        plain.extend(decode(password));
        let value = format!("Basic {}", BASE64_STANDARD.encode(plain));
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Returns the URL with the credentials, for a client that wants them there. Do not show it.
    pub fn url_with_credentials(&self) -> String {
        let credentials = match &self.credentials {
            Some((user, password)) => format!("{user}:{password}@").replace('@', "%40"),
            None => String::new(),
        };
        // Only the last `@` separates the credentials from the host.
        let credentials = credentials
            .strip_suffix("%40")
            .map(|credentials| format!("{credentials}@"))
            .unwrap_or_default();
        format!("{}://{credentials}{}:{}", self.scheme, self.host, self.port)
    }
}

impl FromStr for ProxyAddress {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let refused = |problem| Err(ProxyError::new(problem));
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return refused("the proxy's address contains a blank or a control character");
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            "socks4" | "socks4a" | "socks5" | "socks5h" => 1080,
            _ => return refused("the scheme of the proxy's address is not supported"),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, rest),
        };
        // A `/`, `?` or `#` that is not encoded would end the authority of a URL.
        if authority.contains(['/', '?', '#', '\\'])
            || credentials.is_some_and(|text| text.contains(['/', '?', '#']))
        {
            return refused("the proxy's address goes on after its host and port");
        }
        let colon = authority
            .rfind(':')
            .filter(|&at| !authority[at..].contains(']'));
        let (host, port) = match colon {
            Some(at) => (&authority[..at], &authority[at + 1..]),
            None => (authority, ""),
        };
        let is_v6 = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || !host.is_ascii() || (host.contains(':') && !is_v6) {
            return refused("the proxy's address has no valid host");
        }
        let port = match port {
            "" => Some(default_port),
            port if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok(),
            _ => None,
        };
        let Some(port) = port.filter(|&port| port != 0) else {
            return refused("the port of the proxy's address is not a number from 1 to 65535");
        };
        let credentials = credentials.map(|text| {
            let (user, password) = text.split_once(':').unwrap_or((text, ""));
            (user.to_owned(), password.to_owned())
        });
        Ok(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
            credentials,
        })
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

impl fmt::Debug for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyAddress({self})")
    }
}

/// Decodes `%40`. A `%` without two hexadecimal digits stands for itself.
fn decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        let hex = rest
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = hex
            .filter(|hex| *first == b'%' && hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        bytes = if byte.is_some() { &rest[2..] } else { rest };
    }
    decoded
}

#[cfg(test)]
mod tests;
