//! Addresses of servers, parsed strictly: no part of a password counts as a host.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::FromStr;

/// The address of a server: `scheme://user:password@host:port/path?name=value`.
///
/// Special characters of user name and password are percent-encoded (RFC 3986). An address in which
/// a password could be taken for a host, or a host for a password, is an error. `Debug` shows no
/// part after the scheme.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerAddress {
    scheme: String,
    hosts: Vec<String>,
    parameters: Vec<(String, String)>,
    /// The text before the query.
    start: String,
}

/// Why an address cannot be read. The message shows no part of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The text does not begin with a scheme and `://`.
    #[error("the address has no scheme")]
    Scheme,
    /// A character is not allowed where it stands. A special character of a password was perhaps not
    /// encoded.
    #[error("a special character in it is not percent-encoded")]
    Character,
    /// The host is not a name or an IP address.
    #[error("its host or port cannot be read")]
    Host,
}

impl AddressError {
    /// Returns the action for this cause.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Scheme => "write it as scheme://user:password@host:port/database",
            Self::Character | Self::Host => {
                "percent-encode special characters of the user name and the password: `@` as %40, \
                 `/` as %2F, `#` as %23, `?` as %3F, `%` as %25, `:` as %3A"
            }
        }
    }
}

impl ServerAddress {
    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The hosts, from the address and from the parameters `host` and `hostaddr`. Names, addresses
    /// without brackets, or paths of sockets.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The hosts on other machines: neither loopback nor sockets.
    pub fn other_machines(&self) -> impl Iterator<Item = &str> {
        let hosts = self.hosts.iter().map(String::as_str);
        hosts.filter(|host| !is_local(host))
    }

    /// The value of the last parameter of this name, decoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut found = self.parameters.iter().rev();
        let (_, value) = found.find(|(key, _)| key == name)?;
        Some(value)
    }

    /// The address with this value of a parameter, in place of all others of the same name.
    pub fn with_parameter(&self, name: &str, value: &str) -> String {
        let others = self.parameters.iter().filter(|(key, _)| key != name);
        let pairs = others
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .chain([(name, value)]);
        let mut text = self.start.clone();
        for (index, (key, value)) in pairs.enumerate() {
            text.push(if index == 0 { '?' } else { '&' });
            text.push_str(&encode(key));
            text.push('=');
            text.push_str(&encode(value));
        }
        text
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        use AddressError::{Character, Host, Scheme};

        let (scheme, rest) = text.split_once("://").ok_or(Scheme)?;
        let is_scheme = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
        if scheme.is_empty() || !scheme.chars().all(is_scheme) {
            return Err(Scheme);
        }
        let is_plain = |letter: char| letter.is_ascii_graphic() && !"#\\\"<>".contains(letter);
        if !rest.chars().all(is_plain) || !is_encoded(rest) {
            return Err(Character);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at(end);
        // An `@` here shows that a `/` or `?` of the password was not encoded.
        if path_and_query.contains(['@', '[', ']']) || authority.matches('@').count() > 1 {
            return Err(Character);
        }
        let (user, hosts) = authority.split_once('@').unwrap_or(("", authority));
        if user.contains(['[', ']', ',']) {
            return Err(Character);
        }
        let mut parsed = Vec::new();
        for host in hosts.split(',').filter(|_| !hosts.is_empty()) {
            parsed.push(host_of(host).ok_or(Host)?);
        }
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        if query.contains('?') {
            return Err(Character);
        }
        let mut parameters = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or(Character)?;
            parameters.push((
                decode(key).ok_or(Character)?,
                decode(value).ok_or(Character)?,
            ));
        }
        for (key, value) in &parameters {
            if key == "host" || key == "hostaddr" {
                parsed.extend(value.split(',').map(str::to_owned));
            }
        }
        if parsed.iter().any(|host| !is_host(host)) {
            return Err(Host);
        }
        let has_path = path.len() > 1 && scheme.ends_with("unix");
        if parsed.is_empty() && !has_path {
            return Err(Host);
        }
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            hosts: parsed,
            parameters,
            start: format!("{scheme}://{authority}{path}"),
        })
    }
}

impl std::fmt::Debug for ServerAddress {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ServerAddress({}://...)", self.scheme)
    }
}

/// Reads `host`, `host:port` or `[IPv6]:port`.
fn host_of(text: &str) -> Option<String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        let port = match port {
            "" => None,
            port => Some(port.strip_prefix(':')?),
        };
        (host.to_owned(), port)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        (decode(host)?, port)
    };
    if let Some(port) = port.filter(|port| !port.is_empty()) {
        let is_number = port.bytes().all(|digit| digit.is_ascii_digit());
        port.parse::<u16>().ok().filter(|_| is_number)?;
    }
    Some(host)
}

/// Whether the text is a host name, an IP address or the path of a socket.
///
/// For authors of stores whose server has other forms of addresses.
pub fn is_host(host: &str) -> bool {
    let is_letter =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    is_socket(host)
        || host.parse::<IpAddr>().is_ok()
        || (!host.is_empty() && host.len() <= 253 && host.chars().all(is_letter))
}

fn is_socket(host: &str) -> bool {
    host.starts_with('/')
}

/// Whether the host is this machine: a socket, or a loopback address or name (RFC 6761).
fn is_local(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let is_loopback = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback(),
        Ok(IpAddr::V6(address)) => {
            let mapped = address.to_ipv4_mapped();
            address.is_loopback() || mapped.is_some_and(|address| address.is_loopback())
        }
        Err(_) => name == "localhost",
    };
    is_loopback || is_socket(host)
}

/// Whether each `%` is followed by two hexadecimal digits.
fn is_encoded(text: &str) -> bool {
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    let signs = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    signs
        .into_iter()
        .all(|(index, _)| digit(bytes.get(index + 1)) && digit(bytes.get(index + 2)))
}

fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ServerAddress, AddressError> {
        text.parse()
    }

    /// The tail of a `PostgreSQL` password with `@` was shown, kept in history and looked up by DNS:
    /// each special character of a password has to be encoded.
    #[test]
    fn a_password_with_special_characters_is_no_host() {
        for password in [
            "pa@ss", "pa/ss", "pa#ss", "pa?ss", "pa%ss", "pa%4", "pa ss", "pa\\ss", "pa[ss",
            "pa]ss", "p@ss@", "@", "%", "/", "pa\nss", "pä", "pa/5432", "5432/x", "5432?x=y",
            "5432#x",
        ] {
            for scheme in ["postgres", "postgresql", "redis", "rediss"] {
                let text = format!("{scheme}://me:{password}@db.example/app");
                let error = parse(&text).expect_err(&text);
                let shown = format!("{error} {error:?} {}", error.hint());
                assert!(!shown.contains("db.example"), "{shown}");
            }
        }
        // A password that ends like an address with a port.
        assert!(parse("postgres://me:1234/x@db.example/app").is_err());
        let encoded = "postgres://me:p%40s%2Fs%23%25%3F%3A@db.example:5433/app";
        let address = parse(encoded).expect("encoded");
        assert_eq!(address.hosts(), ["db.example"]);
        assert_eq!(format!("{address:?}"), "ServerAddress(postgres://...)");
    }

    #[test]
    fn hosts_are_read() {
        for (text, hosts, others) in [
            ("redis://127.0.0.1/0", vec!["127.0.0.1"], 0),
            ("redis://:secret@localhost:6379", vec!["localhost"], 0),
            ("rediss://[::1]:7", vec!["::1"], 0),
            ("redis://[::ffff:127.0.0.1]", vec!["::ffff:127.0.0.1"], 0),
            ("redis://[2001:db8::1]:7/1", vec!["2001:db8::1"], 1),
            ("redis+unix:///run/redis.sock?db=1", vec![], 0),
            ("postgres://a:1,b:2/app", vec!["a", "b"], 2),
            (
                "postgres://%2Frun%2Fpostgresql/app",
                vec!["/run/postgresql"],
                0,
            ),
            (
                "postgres:///app?host=/run/postgresql",
                vec!["/run/postgresql"],
                0,
            ),
            (
                "postgres://127.0.0.1/app?hostaddr=10.0.0.1",
                vec!["127.0.0.1", "10.0.0.1"],
                1,
            ),
            (
                "postgres://localhost.evil.example/app",
                vec!["localhost.evil.example"],
                1,
            ),
        ] {
            let address = parse(text).expect(text);
            assert_eq!(address.hosts(), hosts, "{text}");
            assert_eq!(address.other_machines().count(), others, "{text}");
        }
        for text in [
            "postgres://",
            "redis:///0",
            "redis://:6379",
            "redis://host:port",
            "redis://host:99999",
            "redis://host:+1",
            "redis://[::1",
            "redis://[host]",
            "postgres://a b/app",
            "://x",
            "redis",
            "host=db password=secret",
            "postgres:///app?host=a%20b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_parameter_is_replaced() {
        let address =
            parse("postgres://db/app?sslmode=verify-full&options=-c%20a%3Db").expect("an address");
        assert_eq!(address.parameter("sslmode"), Some("verify-full"));
        assert_eq!(address.parameter("options"), Some("-c a=b"));
        assert_eq!(
            address.with_parameter("sslmode", "require"),
            "postgres://db/app?options=-c%20a%3Db&sslmode=require"
        );
    }
}
