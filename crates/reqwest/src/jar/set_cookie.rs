//! The `Set-Cookie` header (RFC 6265 section 5.2).

use std::time::{Duration, SystemTime};

use super::date;

/// The longest name and value together; a longer cookie is ignored (RFC 6265bis section 5.6).
const PAIR_MAX: usize = 4096;

/// The longest value of an attribute; a longer attribute is ignored (RFC 6265bis section 5.6).
const ATTRIBUTE_MAX: usize = 1024;

/// The longest life of a cookie: 400 days (RFC 6265bis section 5.5).
const LIFETIME_MAX: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The parsed header.
pub(super) struct SetCookie<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    /// In lower case, without a leading dot.
    pub(super) domain: Option<String>,
    /// Begins with `/`. `None` if the header has no such path.
    pub(super) path: Option<String>,
    pub(super) secure: bool,
    pub(super) lifetime: LifetimeAttributes,
}

/// The attributes `Max-Age` and `Expires`. `Max-Age` wins (RFC 6265 section 5.3, step 3).
#[derive(Default)]
pub(super) struct LifetimeAttributes {
    max_age: Option<CookieLifetime>,
    expires: Option<SystemTime>,
}

/// The lifetime of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CookieLifetime {
    /// The cookie lasts as long as the jar.
    Session,
    /// The cookie lasts for this time.
    For(Duration),
    /// The cookie has expired: the header deletes it.
    Expired,
}

impl LifetimeAttributes {
    pub(super) fn resolve(self, now: SystemTime) -> CookieLifetime {
        let expires = |at: SystemTime| match at.duration_since(now) {
            Ok(left) if !left.is_zero() => CookieLifetime::For(left.min(LIFETIME_MAX)),
            _ => CookieLifetime::Expired,
        };
        self.max_age
            .or_else(|| self.expires.map(expires))
            .unwrap_or(CookieLifetime::Session)
    }
}

impl<'a> SetCookie<'a> {
    /// Parses a header. Returns `None` if the header sets no cookie.
    pub(super) fn parse(header: &'a [u8]) -> Option<Self> {
        let mut parts = header.split(|&byte| byte == b';');
        let pair = parts.next().unwrap_or_default();
        let at = pair.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (trim(&pair[..at]), trim(&pair[at + 1..]));
        if name.is_empty() || name.len() + value.len() > PAIR_MAX || has_control(pair) {
            return None;
        }
        let mut cookie = Self {
            name,
            value,
            domain: None,
            path: None,
            secure: false,
            lifetime: LifetimeAttributes::default(),
        };
        for attribute in parts {
            let (name, value) = match attribute.iter().position(|&byte| byte == b'=') {
                Some(at) => (&attribute[..at], &attribute[at + 1..]),
                None => (attribute, &[][..]),
            };
            let value = trim(value);
            if value.len() > ATTRIBUTE_MAX {
                continue;
            }
            // An attribute that is not UTF-8 is ignored, like an unknown attribute.
            if let Ok(value) = std::str::from_utf8(value) {
                cookie.apply(trim(name), value);
            }
        }
        Some(cookie)
    }

    /// Applies one attribute. The last attribute of a name wins (RFC 6265 section 5.3).
    fn apply(&mut self, name: &[u8], value: &str) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("expires") {
            self.lifetime.expires = date::parse(value).or(self.lifetime.expires);
        } else if is("max-age") {
            self.lifetime.max_age = max_age(value).or(self.lifetime.max_age);
        } else if is("domain") {
            let domain = value.strip_prefix('.').unwrap_or(value);
            // RFC 6265 section 5.2.3: an empty domain is ignored.
            if !domain.is_empty() {
                self.domain = Some(domain.to_ascii_lowercase());
            }
        } else if is("path") {
            self.path = value.starts_with('/').then(|| value.to_owned());
        } else if is("secure") {
            self.secure = true;
        }
    }

    /// Compares without case, as browsers do.
    pub(super) fn has_prefix(&self, prefix: &[u8]) -> bool {
        let start = self.name.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    }
}

/// Parses the value of `Max-Age` (RFC 6265 section 5.2.2). Returns `None` if the RFC ignores the attribute.
fn max_age(value: &str) -> Option<CookieLifetime> {
    let (negative, digits) = match value.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A number over `u64::MAX` becomes the longest time.
    let seconds = Duration::from_secs(digits.parse().unwrap_or(u64::MAX));
    if negative || seconds.is_zero() {
        return Some(CookieLifetime::Expired);
    }
    Some(CookieLifetime::For(seconds.min(LIFETIME_MAX)))
}

/// Removes spaces and tabs at both ends (RFC 6265 section 5.2).
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Returns whether the text has a control character other than a tab (RFC 6265bis section 5.6, step 1).
fn has_control(text: &[u8]) -> bool {
    text.iter()
        .any(|&byte| byte.is_ascii_control() && byte != b'\t')
}
