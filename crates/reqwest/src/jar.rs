//! The trait of cookie stores, and the jar in memory that a client has by default.
//!
//! `set_cookie` parses the header, and `date` parses its dates.
//!
//! The jar follows RFC 6265, with the limits of its section 6.1 and the name prefixes of RFC
//! 6265bis section 4.1.3. Two rules are stricter, because a refresh cookie is a token:
//!
//! - A cookie without `Domain` goes only to the scheme, host and port that set it. RFC 6265 section 8.5
//!   lets every port of the host read it.
//! - A cookie that was set over `https` is never sent over `http`, with or without `Secure`.
//!
//! The jar writes nothing to any log.

mod date;
mod set_cookie;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use token_rotator_oauth2::SecretBytes;
use url::{Host, Url};

use set_cookie::{Lifetime, SetCookie};

/// Cookies that one host may keep: the least that RFC 6265 section 6.1 asks for.
const PER_HOST_MAX: usize = 50;

/// Cookies in one jar. RFC 6265 section 6.1 asks browsers for 3000; a client has few hosts.
const TOTAL_MAX: usize = 300;

/// Stores the cookies of a client.
///
/// Implement it to share cookies between clients or to keep them longer than the process lives.
/// Neither method may log a cookie's value.
pub trait CookieStore: Send + Sync {
    /// Stores the cookies of these `Set-Cookie` headers, which an answer from `url` had.
    fn set_cookies(&self, headers: &mut dyn Iterator<Item = &HeaderValue>, url: &Url);

    /// Returns the `Cookie` header for a request to `url`, or `None` if no cookie goes there.
    fn cookies(&self, url: &Url) -> Option<HeaderValue>;
}

/// Keeps cookies in memory. Every client has its own jar, unless the builder got a
/// [`cookie_provider`](crate::ClientBuilder::cookie_provider).
///
/// A cookie without `Domain` goes only to the origin that set it. A cookie with `Domain` also goes
/// to the hosts below that domain. The domain must contain a dot, because the jar has no list of
/// public suffixes. The jar keeps at most 300 cookies, and 50 of one host.
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
pub struct Jar(Mutex<Vec<Stored>>);

/// A cookie of the jar (RFC 6265 section 5.3).
struct Stored {
    name: Vec<u8>,
    value: SecretBytes,
    scope: Scope,
    path: String,
    secure: bool,
    /// Time of expiry, or `None` if the cookie lasts as long as the jar.
    expires: Option<Instant>,
}

/// The servers that get a cookie.
#[derive(PartialEq, Eq)]
enum Scope {
    /// The origin that set the cookie.
    Origin {
        https: bool,
        host: String,
        port: Option<u16>,
    },
    /// This domain and all hosts below it; only over `https` if the cookie was set over `https`.
    Domain { https: bool, domain: String },
}

impl Jar {
    /// Stores a cookie as if an answer from `url` had set it. `cookie` is written as in a
    /// `Set-Cookie` header.
    pub fn add_cookie_str(&self, cookie: &str, url: &Url) {
        self.set(cookie.as_bytes(), url);
    }

    fn set(&self, header: &[u8], url: &Url) {
        let Some((cookie, lifetime)) = Stored::of(header, url) else {
            return;
        };
        let now = Instant::now();
        let mut cookies = self.lock();
        cookies.retain(|cookie| !cookie.is_expired(now));
        // RFC 6265 section 5.3, step 11: a replaced cookie keeps its position in the order.
        let same = cookies
            .iter()
            .position(|known| known.is_replaced_by(&cookie));
        match (same, lifetime) {
            (Some(at), Lifetime::Over) => drop(cookies.remove(at)),
            (None, Lifetime::Over) => {}
            (Some(at), _) => cookies[at] = cookie,
            (None, _) => {
                evict(&mut cookies, &cookie);
                cookies.push(cookie);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Stored>> {
        // A panic cannot leave the list half changed, so poisoning is ignored.
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
        let fitting = cookies
            .iter()
            .filter(|cookie| !cookie.is_expired(now) && cookie.goes_to(url));
        let mut fitting: Vec<_> = fitting.collect();
        // RFC 6265 section 5.4, step 2: longer paths first, then the older cookie. The sort is
        // stable.
        fitting.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let mut text = Vec::new();
        for cookie in fitting {
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

/// Makes room for a new cookie: removes the oldest cookie of the same server, then the oldest of
/// all (RFC 6265 section 5.3).
fn evict(cookies: &mut Vec<Stored>, new: &Stored) {
    let same_host = |cookie: &Stored| cookie.scope.name() == new.scope.name();
    if cookies.iter().filter(|cookie| same_host(cookie)).count() >= PER_HOST_MAX
        && let Some(oldest) = cookies.iter().position(same_host)
    {
        cookies.remove(oldest);
    }
    if cookies.len() >= TOTAL_MAX {
        cookies.remove(0);
    }
}

impl Stored {
    /// Returns the cookie that this header sets (RFC 6265 section 5.3), or `None` if the header
    /// must be ignored.
    fn of(header: &[u8], url: &Url) -> Option<(Self, Lifetime)> {
        let set = SetCookie::parse(header)?;
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let secure_origin = https || is_loopback(url);
        // RFC 6265bis section 5.5, step 9: only a secure origin may set a `Secure` cookie.
        if set.secure && !secure_origin {
            return None;
        }
        // RFC 6265bis section 4.1.3.
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
                Scope::Domain { https, domain }
            }
            // A host name with a dot may share its cookies with the hosts below it.
            Some(domain) if domain.contains('.') && matches!(url.host(), Some(Host::Domain(_))) => {
                Scope::Domain { https, domain }
            }
            _ => Scope::Origin {
                https,
                host,
                port: url.port_or_known_default(),
            },
        };
        let lifetime = set.lifetime.of(SystemTime::now());
        let expires = match lifetime {
            Lifetime::For(rest) => Instant::now().checked_add(rest),
            Lifetime::Over | Lifetime::Session => None,
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

    fn is_replaced_by(&self, new: &Self) -> bool {
        self.name == new.name && self.path == new.path && self.scope.is_replaced_by(&new.scope)
    }

    /// RFC 6265 section 5.4, step 1.
    fn goes_to(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else {
            return false;
        };
        let is_https = url.scheme() == "https";
        let in_scope = match &self.scope {
            Scope::Origin {
                https,
                host: cookie_host,
                port,
            } => *https == is_https && cookie_host == host && *port == url.port_or_known_default(),
            Scope::Domain { https, domain } => {
                (is_https || !https) && (domain == host || is_below(host, domain))
            }
        };
        in_scope
            && path_matches(url.path(), &self.path)
            && (!self.secure || is_https || is_loopback(url))
    }
}

impl Scope {
    /// RFC 6265 section 5.3, step 11: a cookie with `Domain` and one without replace each other if
    /// the domain is the host. A cookie that was set over `https` is not replaced over `http`.
    fn is_replaced_by(&self, new: &Self) -> bool {
        match (self, new) {
            (
                Self::Origin { https, host, .. },
                Self::Domain {
                    https: other,
                    domain,
                },
            )
            | (
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

/// RFC 6265 section 5.1.3, without the equality. `host` is a name, not an address.
fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// RFC 6265 section 5.1.4.
fn path_matches(path: &str, cookie: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

/// The path of a cookie that names none (RFC 6265 section 5.1.4).
fn default_path(url: &Url) -> &str {
    match url.path().rfind('/') {
        Some(0) | None => "/",
        Some(end) => &url.path()[..end],
    }
}

/// Whether the host is this machine. Data sent to it over `http` does not leave the machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The longest lifetime of a cookie: 400 days (RFC 6265bis section 5.5).
const LIFETIME_MAX: Duration = Duration::from_secs(400 * 24 * 60 * 60);

impl fmt::Debug for Jar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Jar")
            .field("cookies", &self.lock().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
