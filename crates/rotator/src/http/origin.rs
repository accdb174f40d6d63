//! Where a token may go: its own origins, exact in scheme, host and port.
//!
//! An [`Origin`] is always one that a token is safe to travel to: `https`, or `http` to the machine
//! itself. [`Origins`] answers for every request, and for every hop of a redirect again, whether the
//! token goes along.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::slice;
use std::str::FromStr;

use http::Uri;
use http::uri::Scheme;

/// A scheme, host and port that a token may be sent to (RFC 6454 section 4).
///
/// It is read from text such as `https://api.example.com` or `http://127.0.0.1:8080`:
///
/// - The scheme is `https`; or `http` where the host is the machine itself, which is `127.0.0.0/8`,
///   `[::1]` or `localhost`. Names *under* `localhost` are not: RFC 6761 section 6.3 reserves them for
///   loopback, but many resolvers still ask the network about them, and whoever answers there would
///   get the token in the clear.
/// - The host is a name, an IPv4 address of four decimal numbers or an IPv6 address in brackets. Names
///   compare without regard to case, IPv6 addresses by value. A name with a dot at its end is
///   another host than the one without. International names are written in punycode.
/// - A port that is not given is the scheme's own: 443 or 80.
/// - A `/` at the end is accepted; a path, a query or a user name is an [`OriginError`].
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
    /// A name in lower case, or an IPv4 address, of which there is only one spelling.
    Name(String),
    V6(Ipv6Addr),
}

/// Why a text is no [`Origin`]. [`hint`](Self::hint) says what to write instead.
///
/// The messages repeat no part of the text but a host, for tokens and passwords get mixed up with URLs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// There is nothing.
    #[error("the origin is empty")]
    Empty,
    /// There is a blank, a line break or a control character in it.
    #[error("the origin contains a blank or a line break")]
    Blank,
    /// There is no `://`.
    #[error("the origin has no scheme")]
    NoScheme,
    /// The scheme is neither `https` nor `http`.
    #[error("the scheme of the origin is not supported")]
    Scheme,
    /// There is nothing between `://` and the port or path.
    #[error("the origin has no host")]
    NoHost,
    /// There is a user name or password.
    #[error("the origin contains a user name (`...@`)")]
    UserInfo,
    /// The host is not ASCII.
    #[error("the host of the origin is not ASCII")]
    NonAscii,
    /// The host is neither a name nor an address.
    #[error("the host of the origin is neither a name nor an address")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("the port of the origin is not a number from 1 to 65535")]
    Port,
    /// There is a path, a query or a fragment behind the port.
    #[error("the origin goes on after its host and port, `{origin}`")]
    Path {
        /// The text without what is too much.
        origin: String,
    },
    /// `http` to a host that is not this machine.
    #[error("`http://` would send the token to `{host}` in the clear")]
    Clear {
        /// The host.
        host: String,
    },
}

impl OriginError {
    /// What to write instead. Every cause has a hint.
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
    /// The origin of a request's URI.
    ///
    /// [`None`] if no token may go there: the URI is relative or an authority alone, its scheme is
    /// another or `http` beyond this machine, its port is no port, or it contains a user name, for
    /// such a request has credentials of its own.
    pub fn of(uri: &Uri) -> Option<Self> {
        Place::of(uri)?.check().ok()
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The host in lower case; an IPv6 address in brackets.
    pub fn host(&self) -> impl fmt::Display + '_ {
        &self.host
    }

    /// The port, the scheme's own if none was given.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the URI spells this origin in lower case and without a port. Most URIs do, and then
    /// the authority need not be taken apart.
    #[inline]
    fn is_spelt(&self, uri: &Uri) -> bool {
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

    fn is(&self, place: &Place<'_>) -> bool {
        let host = match (&self.host, &place.host) {
            (Host::Name(own), HostText::Name(other)) => own.eq_ignore_ascii_case(other),
            (Host::V6(own), HostText::V6(other)) => own == other,
            _ => false,
        };
        host && self.https == place.https && self.port == place.port
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
        let origin = Place::read(https, authority)?.check()?;
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

/// The origins that one session's token may go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Origin>);

impl Origins {
    /// None yet: a token goes nowhere.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds an origin, once.
    pub fn push(&mut self, origin: Origin) {
        if !self.0.contains(&origin) {
            self.0.push(origin);
        }
    }

    /// Whether the token may go along with a request to this URI.
    ///
    /// True only if scheme, host and port are those of one of these origins. Never true for a URI
    /// that has no [`Origin::of`] its own. Does not allocate.
    pub fn allows(&self, uri: &Uri) -> bool {
        self.0.iter().any(|origin| origin.is_spelt(uri))
            || Place::of(uri).is_some_and(|place| self.0.iter().any(|origin| origin.is(&place)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, in the order they were added.
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

/// An origin as it is written, taken apart but not yet checked.
struct Place<'a> {
    https: bool,
    host: HostText<'a>,
    port: u16,
}

enum HostText<'a> {
    Name(&'a str),
    V6(Ipv6Addr),
}

impl<'a> Place<'a> {
    fn of(uri: &'a Uri) -> Option<Self> {
        let scheme = uri.scheme()?;
        let https = *scheme == Scheme::HTTPS;
        if !https && *scheme != Scheme::HTTP {
            return None;
        }
        Self::read(https, uri.authority()?.as_str()).ok()
    }

    /// Takes `host[:port]` apart. `Uri::port` would not do: it reads a port that is no number as none.
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
                // `parse` would take a sign.
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|&port| port != 0)
                .ok_or(OriginError::Port)?,
        };
        Ok(Self { https, host, port })
    }

    /// The origin, if the host can be one and a token is safe on the way there.
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

/// RFC 1123 section 2.1 and the underscores that container networks use.
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
    // Some resolvers read `127.1`, `2130706433` and `0x7f.1` as addresses; which host that is must
    // not depend on the resolver.
    let last = relative
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if number && name.parse::<Ipv4Addr>().is_err() {
        return Err(OriginError::Host);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
