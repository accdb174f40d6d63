//! The origins to which a token may be sent, exact in scheme, host and port.
//!
//! An [`Origin`] protects the token on its way: it is `https`, or `http` to this machine.
//! [`Origins`] decides for every request, and again for every redirect, whether the token may be
//! sent.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::slice;
use std::str::FromStr;

use http::Uri;
use http::uri::Scheme;

/// A scheme, host and port to which a token may be sent (RFC 6454 section 4).
///
/// Parsed from texts such as `https://api.example.com` or `http://127.0.0.1:8080`:
///
/// - The scheme is `https`. It may be `http` if the host is this machine: `127.0.0.0/8`, `[::1]` or
///   `localhost`.
/// - Names *under* `localhost` do not count as this machine. RFC 6761 section 6.3 reserves them for
///   loopback, but many resolvers still ask the network. A foreign host could answer and get the
///   token in the clear.
/// - The host is a name, an IPv4 address of four decimal numbers or an IPv6 address in brackets.
///   International names are written in punycode.
/// - Names are compared without regard to case, and IPv6 addresses by value. A name with a dot at
///   its end differs from the name without the dot.
/// - The default port is the port of the scheme: 443 or 80.
/// - A `/` at the end is accepted. A path, a query or a user name is an [`OriginError`].
///
/// `Display` gives the ASCII serialisation of RFC 6454 section 6.2, which parses back.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    https: bool,
    host: Host,
    port: u16,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Host {
    /// A name in lower case, or an IPv4 address, which has only one accepted spelling.
    Name(String),
    V6(Ipv6Addr),
}

/// Why a text is not an [`Origin`]. [`hint`](Self::hint) says what to write instead.
///
/// The messages repeat only scheme, host and port of the text. The rest may be a token or a password
/// that the user gave by mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// The text is empty.
    #[error("the origin is empty")]
    Empty,
    /// The text contains a blank, a line break or a control character.
    #[error("the origin contains a blank or a line break")]
    Blank,
    /// The text has no `://`.
    #[error("the origin has no scheme")]
    NoScheme,
    /// The scheme is neither `https` nor `http`.
    #[error("the scheme of the origin is not supported")]
    Scheme,
    /// The text has no host between `://` and the port or path.
    #[error("the origin has no host")]
    NoHost,
    /// The text contains a user name or password.
    #[error("the origin contains a user name (`...@`)")]
    UserInfo,
    /// The host is not ASCII.
    #[error("the host of the origin is not ASCII")]
    NonAscii,
    /// The host is neither a name nor an address.
    #[error("the host of the origin is neither a name nor an address")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the port of the origin is not a number from 1 to 65535")]
    Port,
    /// The text has a path, a query or a fragment.
    #[error("the origin goes on after its host and port, `{origin}`")]
    Path {
        /// The origin in the text, without path, query and fragment.
        origin: String,
    },
    /// The scheme is `http` and the host is not this machine.
    #[error("`http://` would send the token to `{host}` in the clear")]
    Clear {
        /// The host.
        host: String,
    },
}

impl OriginError {
    /// The action for this cause: what to write instead. Never returns `None`.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Empty => "give an origin such as `https://api.example.com`",
            Self::Blank => "remove the blank or the line break",
            Self::NoScheme => "write `https://` before the host, as in `https://api.example.com`",
            Self::Scheme => "a token goes to `https://`, or to `http://` on this machine",
            Self::NoHost => "write the host after the scheme, as in `https://api.example.com`",
            Self::UserInfo => "remove the user name; an origin is scheme, host and port",
            Self::NonAscii => {
                "write international names in punycode, as in `https://xn--bcher-kva.example`"
            }
            Self::Host => {
                "names are letters, digits, `-`, `_` and single dots; IPv4 is four decimal \
                 numbers; IPv6 stands in brackets without a zone, as in `https://[2001:db8::1]`"
            }
            Self::Port => {
                "correct the port, or leave it out for the default; IPv6 addresses stand in brackets"
            }
            Self::Path { .. } => {
                "give scheme, host and port alone; the token then goes to every path there"
            }
            Self::Clear { .. } => {
                "use `https://`, or for a server on this machine `http://localhost`, \
                 `http://127.0.0.1` or `http://[::1]`"
            }
        })
    }
}

impl Origin {
    /// The origin of a request's URI. Returns [`None`] if no token may go there:
    ///
    /// - The URI is relative, or only an authority.
    /// - The scheme is neither `https` nor `http`, or is `http` to a host that is not this machine.
    /// - The port is not a number from 1 to 65535.
    /// - The URI contains a user name, so the request has its own credentials.
    pub fn of(uri: &Uri) -> Option<Self> {
        UncheckedOrigin::of(uri)?.check().ok()
    }

    /// The scheme: `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The host in lower case. An IPv6 address is in brackets.
    pub fn host(&self) -> impl fmt::Display + '_ {
        &self.host
    }

    /// The port. It is the default port of the scheme if the text had none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the URI spells this origin in lower case and without a port. Most URIs do, and need
    /// no parsing of their authority.
    #[inline]
    fn is_plain_spelling(&self, uri: &Uri) -> bool {
        let (Host::Name(name), Some(authority)) = (&self.host, uri.authority()) else {
            return false;
        };
        self.port == default_port(self.https)
            && authority.as_str() == name
            && uri.scheme().is_some_and(|scheme| {
                *scheme
                    == if self.https {
                        Scheme::HTTPS
                    } else {
                        Scheme::HTTP
                    }
            })
    }

    fn is(&self, target: &UncheckedOrigin<'_>) -> bool {
        let host = match (&self.host, &target.host) {
            (Host::Name(own), HostText::Name(other)) => own.eq_ignore_ascii_case(other),
            (Host::V6(own), HostText::V6(other)) => own == other,
            _ => false,
        };
        host && self.https == target.https && self.port == target.port
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text.is_empty() {
            return Err(OriginError::Empty);
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(OriginError::Blank);
        }
        let (scheme, rest) = text.split_once("://").ok_or(OriginError::NoScheme)?;
        let https = scheme.eq_ignore_ascii_case("https");
        if !https && !scheme.eq_ignore_ascii_case("http") {
            return Err(OriginError::Scheme);
        }
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let origin = UncheckedOrigin::read(https, authority)?.check()?;
        if !matches!(tail, "" | "/") {
            return Err(OriginError::Path {
                origin: origin.to_string(),
            });
        }
        Ok(origin)
    }
}

impl TryFrom<&str> for Origin {
    type Error = OriginError;

    fn try_from(text: &str) -> Result<Self, OriginError> {
        text.parse()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.host)?;
        if self.port == default_port(self.https) {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// The origins to which the token of a session may be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Origin>);

impl Origins {
    /// An empty list: the token may go nowhere.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds an origin, unless the list has it.
    pub fn push(&mut self, origin: Origin) {
        if !self.0.contains(&origin) {
            self.0.push(origin);
        }
    }

    /// Whether a request to this URI may carry the token.
    ///
    /// Returns true only if scheme, host and port are those of an origin in the list. Returns false
    /// for a URI for which [`Origin::of`] returns `None`. Does not allocate.
    pub fn allows(&self, uri: &Uri) -> bool {
        self.0.iter().any(|origin| origin.is_plain_spelling(uri))
            || UncheckedOrigin::of(uri)
                .is_some_and(|target| self.0.iter().any(|origin| origin.is(&target)))
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of origins.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The origins in the order in which they were added.
    pub fn iter(&self) -> slice::Iter<'_, Origin> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Origins {
    type Item = &'a Origin;
    type IntoIter = slice::Iter<'a, Origin>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Extend<Origin> for Origins {
    fn extend<I: IntoIterator<Item = Origin>>(&mut self, origins: I) {
        for origin in origins {
            self.push(origin);
        }
    }
}

impl FromIterator<Origin> for Origins {
    fn from_iter<I: IntoIterator<Item = Origin>>(origins: I) -> Self {
        let mut all = Self::new();
        all.extend(origins);
        all
    }
}

/// The scheme, host and port of a text, parsed but not yet checked.
struct UncheckedOrigin<'a> {
    https: bool,
    host: HostText<'a>,
    port: u16,
}

enum HostText<'a> {
    Name(&'a str),
    V6(Ipv6Addr),
}

impl<'a> UncheckedOrigin<'a> {
    fn of(uri: &'a Uri) -> Option<Self> {
        let scheme = uri.scheme()?;
        let https = *scheme == Scheme::HTTPS;
        if !https && *scheme != Scheme::HTTP {
            return None;
        }
        Self::read(https, uri.authority()?.as_str()).ok()
    }

    /// Parses `host[:port]`. Does not use `Uri::port`, which returns `None` for a port that is not a
    /// number.
    fn read(https: bool, authority: &'a str) -> Result<Self, OriginError> {
        if authority.contains('@') {
            return Err(OriginError::UserInfo);
        }
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            let (address, port) = rest.split_once(']').ok_or(OriginError::Host)?;
            let address = address.parse().map_err(|_| OriginError::Host)?;
            (HostText::V6(address), port)
        } else {
            let (name, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            if name.is_empty() {
                return Err(OriginError::NoHost);
            }
            (HostText::Name(name), port)
        };
        let port = match port {
            // RFC 3986 section 3.2.3: the port may be empty.
            "" | ":" => default_port(https),
            _ => port
                .strip_prefix(':')
                // `parse` alone would accept a sign.
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|&port| port != 0)
                .ok_or(OriginError::Port)?,
        };
        Ok(Self { https, host, port })
    }

    /// Checks that the host is valid, and that the token is protected on its way to it.
    fn check(self) -> Result<Origin, OriginError> {
        let host = match self.host {
            HostText::Name(name) => {
                check_name(name)?;
                Host::Name(name.to_ascii_lowercase())
            }
            HostText::V6(address) => Host::V6(address),
        };
        if !self.https && !is_loopback(&host) {
            return Err(OriginError::Clear {
                host: host.to_string(),
            });
        }
        Ok(Origin {
            https: self.https,
            host,
            port: self.port,
        })
    }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Name(name) => {
            name == "localhost"
                || name
                    .parse()
                    .is_ok_and(|address: Ipv4Addr| address.is_loopback())
        }
        Host::V6(address) => address.is_loopback(),
    }
}

/// Whether a host is this machine, so that a request to it goes through no proxy: `localhost` and names
/// under it, `127.0.0.0/8`, `::1` and `::ffff:127.0.0.0/104`. An IPv6 address may be in brackets.
///
/// This is wider than the hosts of an [`Origin`] with `http`: a name under `localhost` may leave the
/// machine by DNS, but must not go to a proxy.
pub fn is_loopback_host(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

/// Checks a host name by RFC 1123 section 2.1. Accepts underscores too, which container networks
/// use.
fn check_name(name: &str) -> Result<(), OriginError> {
    if !name.is_ascii() {
        return Err(OriginError::NonAscii);
    }
    let relative = name.strip_suffix('.').unwrap_or(name);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(legal);
    if relative.len() > 253 || !relative.split('.').all(label) {
        return Err(OriginError::Host);
    }
    // Some resolvers read `127.1`, `2130706433` and `0x7f.1` as addresses. The host of an origin must
    // not depend on the resolver.
    let last = relative
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_number && name.parse::<Ipv4Addr>().is_err() {
        return Err(OriginError::Host);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
