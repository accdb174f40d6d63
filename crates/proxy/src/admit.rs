//! Which requests are forwarded at all, and by which route.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Version};
use subtle::ConstantTimeEq;
use token_rotator::ExposeSecret;

use crate::headers::{self, Seen};
use crate::problem::Problem;
use crate::routes::{Table, Target};

impl Table {
    /// The route, if the request may take one.
    pub(crate) fn admit<B>(
        &self,
        request: &Request<B>,
        seen: Seen,
        unix: bool,
    ) -> Result<&Arc<Target>, Problem> {
        let headers = request.headers();
        if seen.bytes > self.limits.header_bytes {
            return Err(Problem::HEADERS);
        }
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(Problem::METHOD);
        }
        // A coding that is taken off here would be missing there.
        let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if seen.transfer_encoding && !headers.get_all(TRANSFER_ENCODING).iter().all(is_chunked) {
            return Err(Problem::CODING);
        }
        let host = host(request)?;
        if !unix && !self.allows_host(host) {
            return Err(Problem::HOST);
        }
        let path = request.uri().path();
        let whole_server = path == "*" && request.method() == Method::OPTIONS;
        if !path.starts_with('/') && !whole_server || has_dot_segment(path) {
            return Err(Problem::bad_request(
                "The path has `.` or `..` as a segment, or does not begin with `/`",
            ));
        }
        if let Some(bearer) = &self.local_bearer {
            let shown = headers.get(http::header::AUTHORIZATION);
            let shown = shown.and_then(|value| headers::bearer(value));
            let wanted = bearer.expose_secret().as_bytes();
            if !shown.is_some_and(|shown| bool::from(shown.ct_eq(wanted))) {
                return Err(Problem::LOCAL_BEARER);
            }
        }
        let target = self.find(host, path).ok_or(Problem::NO_ROUTE)?;
        let length = seen
            .content_length
            .then(|| headers.get(CONTENT_LENGTH))
            .flatten()
            .and_then(|length| length.to_str().ok()?.parse().ok());
        match (self.limits.body_bytes, length) {
            (Some(most), Some(length)) if most < length => Err(Problem::TOO_LARGE),
            _ => Ok(target),
        }
    }
}

/// The host that a request is for, without port (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
pub(crate) fn host<B>(request: &Request<B>) -> Result<&str, Problem> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(host), None) => Some(
            host.to_str()
                .map_err(|_| Problem::bad_request("`Host` is not readable"))?,
        ),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(Problem::bad_request("`Host` is there twice")),
    };
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let named = match (authority, field) {
        (Some(authority), Some(field))
            if request.version() == Version::HTTP_2 && !authority.eq_ignore_ascii_case(field) =>
        {
            return Err(Problem::bad_request("`Host` and `:authority` differ"));
        }
        // An absolute target counts, not the field (RFC 9112 section 3.2.2).
        (Some(authority), _) => authority,
        (None, Some(field)) => field,
        (None, None) => return Err(Problem::bad_request("`Host` is missing")),
    };
    let colon = named
        .rfind(':')
        .filter(|&colon| !named[colon..].contains(']'));
    let (name, port) = match colon {
        Some(colon) => (&named[..colon], &named[colon + 1..]),
        None => (named, ""),
    };
    let one_name = !name.contains(':') || (name.starts_with('[') && name.ends_with(']'));
    let a_port = port.bytes().all(|byte| byte.is_ascii_digit());
    if name.is_empty() || !one_name || !a_port || name.contains(['@', ',', ' ', '/', '\\']) {
        return Err(Problem::bad_request("`Host` is not a host and a port"));
    }
    Ok(name)
}

/// Whether an upstream might read the path as another one: with `.` or `..` as a segment, plain,
/// encoded, between encoded slashes or before a parameter (`..;x`).
fn has_dot_segment(path: &str) -> bool {
    if !path.contains("/.") && !path.contains('%') && !path.contains('\\') {
        return false;
    }
    let plain = path.to_ascii_lowercase();
    let plain = plain.replace("%2e", ".").replace("%2f", "/");
    let plain = plain.replace("%5c", "/").replace('\\', "/");
    let plain = plain.replace("%3b", ";");
    plain
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or_default())
        .any(|segment| segment == "." || segment == "..")
}
