//! The cookie store of a client: the trait [`CookieStore`] and its in-memory default, the [`Jar`].
//!
//! The jar follows RFC 6265, with the limits of its section 6.1 and the name prefixes of RFC
//! 6265bis section 4.1.3. Two rules are stricter, because a refresh cookie is a token:
//!
//! - A cookie without `Domain` goes only to the scheme, host and port that set it. RFC 6265 section 8.5
//!   lets every port of the host read it.
//! - A cookie received over `https` is never sent over `http`, with or without `Secure`.
//!
//! The jar logs nothing. `jar/set_cookie.rs` parses a `Set-Cookie` header, `jar/date.rs` the date in it.
//!
//! Both parsers are in this crate for two reasons. The crates `httpdate` and `cookie` parse a few fixed forms of
//! a date, not the grammar of RFC 6265 section 5.1.1; `cookie` also takes an empty `Max-Age` for the longest time.
//! And `cookie` would add `time` with its own dependencies, which no build of this crate contains.

mod date;
mod set_cookie;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use http::HeaderValue;
use token_rotator_oauth2::SecretBytes;
use url::{Host, Url};

use set_cookie::{CookieLifetime, SetCookie};

/// The most cookies of one host: the minimum that RFC 6265 section 6.1 asks for.
const PER_HOST_MAX: usize = 50;

/// The most cookies of one jar. RFC 6265 section 6.1 asks browsers for 3000, but a client has few hosts.
const TOTAL_MAX: usize = 300;

/// Stores the cookies of a client.
///
/// Implement this trait to share cookies between clients, or to keep cookies after the process ends.
/// An implementation must not log the value of a cookie.
pub trait CookieStore: Send + Sync {
    /// Stores the cookies of these `Set-Cookie` headers of an answer from `url`.
    fn set_cookies(&self, headers: &mut dyn Iterator<Item = &HeaderValue>, url: &Url);

    /// Returns the `Cookie` header for a request to `url`, or `None` if no cookie matches the URL.
    fn cookies(&self, url: &Url) -> Option<HeaderValue>;
}

/// Keeps cookies in memory. Every client has a jar, unless the builder sets a
/// [`cookie_provider`](crate::ClientBuilder::cookie_provider).
///
/// A cookie without `Domain` goes only to the origin that set it. A cookie with `Domain` also goes to the
/// hosts below that domain. The domain must contain a dot, because the jar has no list of public suffixes.
/// The jar keeps at most 300 cookies, and at most 50 of one host.
///
/// ```
/// use token_rotator_reqwest::{CookieStore as _, Jar};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let jar = Jar::default();
/// let api = "https://api.example.com/".parse()?;
/// jar.add_cookie_str("session=1; Path=/; Secure; HttpOnly", &api);
/// assert_eq!(jar.cookies(&api).unwrap(), "session=1");
/// assert!(jar.cookies(&"https://example.com/".parse()?).is_none());
/// # Ok(()) }
/// # example().unwrap();
/// ```
#[derive(Default)]
pub struct Jar(Mutex<Vec<StoredCookie>>);

/// A cookie of the jar (RFC 6265 section 5.3).
struct StoredCookie {
    name: Vec<u8>,
    value: SecretBytes,
    scope: CookieScope,
    path: String,
    secure: bool,
    /// `None` if the cookie lasts as long as the jar.
    expires: Option<Instant>,
}

/// The servers that receive a cookie.
#[derive(PartialEq, Eq)]
enum CookieScope {
    /// The origin that set the cookie.
    Origin {
        https: bool,
        host: String,
        port: Option<u16>,
    },
    /// This domain and all hosts below it, only over `https` if the cookie was received over `https`.
    Domain { https: bool, domain: String },
}

impl Jar {
    /// Stores a cookie as if an answer from `url` had set it. `cookie` has the form of a `Set-Cookie` header.
    pub fn add_cookie_str(&self, cookie: &str, url: &Url) {
        self.set(cookie.as_bytes(), url);
    }

    fn set(&self, header: &[u8], url: &Url) {
        let Some((cookie, lifetime)) = StoredCookie::from_header(header, url) else {
            return;
        };
        let now = Instant::now();
        let mut cookies = self.lock();
        cookies.retain(|cookie| !cookie.is_expired(now));
        // RFC 6265 section 5.3, step 11: a replaced cookie keeps its position in the order.
        let replaced = cookies
            .iter()
            .position(|known| known.is_replaced_by(&cookie, url));
        match (replaced, lifetime) {
            (Some(at), CookieLifetime::Expired) => drop(cookies.remove(at)),
            (None, CookieLifetime::Expired) => {}
            (Some(at), _) => cookies[at] = cookie,
            (None, _) => {
                evict(&mut cookies, &cookie);
                cookies.push(cookie);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<StoredCookie>> {
        // The list is complete even after a panic, because each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CookieStore for Jar {
    fn set_cookies(&self, headers: &mut dyn Iterator<Item = &HeaderValue>, url: &Url) {
        for header in headers {
            self.set(header.as_bytes(), url);
        }
    }

    fn cookies(&self, url: &Url) -> Option<HeaderValue> {
        let now = Instant::now();
        let cookies = self.lock();
        let matching = cookies
            .iter()
            .filter(|cookie| !cookie.is_expired(now) && cookie.matches(url));
        let mut matching: Vec<_> = matching.collect();
        // RFC 6265 section 5.4, step 2: longer paths first, then the older cookie. The sort is stable.
        matching.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let mut text = Vec::new();
        for cookie in matching {
            if !text.is_empty() {
                text.extend_from_slice(b"; ");
            }
            text.extend_from_slice(&cookie.name);
            text.push(b'=');
            text.extend_from_slice(cookie.value.expose());
        }
        if text.is_empty() {
            return None;
        }
        let mut header = HeaderValue::from_bytes(&text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

/// Makes room for a new cookie. Removes the oldest cookie of the same host, then the oldest of the jar
/// (RFC 6265 section 5.3).
fn evict(cookies: &mut Vec<StoredCookie>, new: &StoredCookie) {
    let same_host = |cookie: &StoredCookie| cookie.scope.name() == new.scope.name();
    if cookies.iter().filter(|cookie| same_host(cookie)).count() >= PER_HOST_MAX
        && let Some(oldest) = cookies.iter().position(same_host)
    {
        cookies.remove(oldest);
    }
    if cookies.len() >= TOTAL_MAX {
        cookies.remove(0);
    }
}

impl StoredCookie {
    /// Reads the cookie that this header sets (RFC 6265 section 5.3). Returns `None` if the RFC ignores it.
    fn from_header(header: &[u8], url: &Url) -> Option<(Self, CookieLifetime)> {
        let set = SetCookie::parse(header)?;
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let secure_origin = https || is_loopback(url);
        // RFC 6265bis section 5.5, step 9: a server without TLS sets no `Secure` cookie, because an attacker
        // on the network can answer for it.
        if set.secure && !secure_origin {
            return None;
        }
        // The rules of the name prefixes, RFC 6265bis section 4.1.3.
        let host_prefix = set.has_prefix(b"__Host-");
        if (host_prefix || set.has_prefix(b"__Secure-")) && !set.secure {
            return None;
        }
        if host_prefix && (set.domain.is_some() || set.path.as_deref() != Some("/")) {
            return None;
        }
        let host = url.host_str()?.to_owned();
        let scope = match set.domain {
            Some(domain) if domain != host => {
                let is_name = matches!(url.host(), Some(Host::Domain(_)));
                if !(is_name && domain.contains('.') && is_below(&host, &domain)) {
                    return None;
                }
                CookieScope::Domain { https, domain }
            }
            // A domain that equals the host covers the hosts below it, unless the host is an address or a
            // name without a dot.
            Some(domain) if domain.contains('.') && matches!(url.host(), Some(Host::Domain(_))) => {
                CookieScope::Domain { https, domain }
            }
            _ => CookieScope::Origin {
                https,
                host,
                port: url.port_or_known_default(),
            },
        };
        let lifetime = set.lifetime.resolve(SystemTime::now());
        let expires = match lifetime {
            CookieLifetime::For(rest) => Instant::now().checked_add(rest),
            CookieLifetime::Expired | CookieLifetime::Session => None,
        };
        let cookie = Self {
            name: set.name.to_vec(),
            value: SecretBytes::from(set.value.to_vec()),
            scope,
            path: set.path.unwrap_or_else(|| default_path(url).to_owned()),
            secure: set.secure,
            expires,
        };
        Some((cookie, lifetime))
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn is_replaced_by(&self, new: &Self, url: &Url) -> bool {
        self.name == new.name && self.path == new.path && self.scope.is_replaced_by(&new.scope, url)
    }

    /// Returns whether a request to `url` carries the cookie (RFC 6265 section 5.4, step 1).
    fn matches(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else {
            return false;
        };
        let is_https = url.scheme() == "https";
        let in_scope = match &self.scope {
            CookieScope::Origin {
                https,
                host: setting_host,
                port,
            } => *https == is_https && setting_host == host && *port == url.port_or_known_default(),
            CookieScope::Domain { https, domain } => {
                (is_https || !https) && (domain == host || is_below(host, domain))
            }
        };
        in_scope
            && path_matches(url.path(), &self.path)
            && (!self.secure || is_https || is_loopback(url))
    }
}

impl CookieScope {
    /// RFC 6265 section 5.3, step 11: a cookie with `Domain` and a cookie without `Domain` replace each
    /// other if the domain is the host. An answer over `http` replaces no cookie received over `https`.
    ///
    /// A cookie without `Domain` belongs to one origin. So a cookie with `Domain` replaces it only if
    /// the answer from `url` came from that origin, not from another host or port of the domain.
    fn is_replaced_by(&self, new: &Self, url: &Url) -> bool {
        match (self, new) {
            (Self::Origin { https, host, port }, Self::Domain { domain, .. }) => {
                *https == (url.scheme() == "https")
                    && url.host_str() == Some(host)
                    && url.port_or_known_default() == *port
                    && host == domain
            }
            (
                Self::Domain {
                    https: other,
                    domain,
                },
                Self::Origin { https, host, .. },
            ) => https == other && host == domain,
            _ => self == new,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Origin { host, .. } => host,
            Self::Domain { domain, .. } => domain,
        }
    }
}

/// Returns whether `host` is a name below `domain` (RFC 6265 section 5.1.3). `host` must not be an address.
fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// Returns whether a request path matches the path of a cookie (RFC 6265 section 5.1.4).
fn path_matches(path: &str, cookie: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

/// The path of a cookie whose header has no `Path` (RFC 6265 section 5.1.4).
fn default_path(url: &Url) -> &str {
    match url.path().rfind('/') {
        Some(0) | None => "/",
        Some(end) => &url.path()[..end],
    }
}

/// Returns whether the host is this machine. A request to it over `http` does not leave the machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl fmt::Debug for Jar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Jar")
            .field("cookies", &self.lock().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
