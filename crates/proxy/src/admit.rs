//! Checks whether a request may be forwarded, and finds its route.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Version};
use subtle::ConstantTimeEq;
use token_rotator::ExposeSecret;

use crate::cors::Cors;
use crate::cross_site;
use crate::headers::{self, HeaderSummary};
use crate::problem::Problem;
use crate::routes::{RouteTable, RouteTarget};

/// A request that may be forwarded, or a preflight that the proxy answers.
pub(crate) enum Admitted<'a> {
    To(&'a Arc<RouteTarget>),
    Preflight,
}

/// The host of a request or an origin.
#[derive(Clone, Copy)]
pub(crate) struct HostName<'a> {
    /// The name or address; an IPv6 address is in brackets.
    pub(crate) name: &'a str,
    /// The digits of the port; empty if there is no port.
    port: &'a str,
}

impl RouteTable {
    /// Returns the route of a request that may be forwarded, or the problem to answer with. `cors` is
    /// set to what the answer gets in either case.
    pub(crate) fn admit<B>(
        &self,
        request: &Request<B>,
        summary: HeaderSummary,
        unix: bool,
        cors: &mut Cors,
    ) -> Result<Admitted<'_>, Problem> {
        let headers = request.headers();
        // Browsers cannot reach a unix socket.
        if !unix && !self.allowed_origins.is_empty() {
            *cors = Cors::of(headers, &self.allowed_origins);
        }
        if summary.bytes > self.limits.header_bytes {
            return Err(Problem::HEADERS);
        }
        if !is_forwarded(request.method()) {
            return Err(Problem::METHOD);
        }
        // hyper decodes only `chunked`; the upstream would miss any other coding.
        let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if summary.transfer_encoding && !headers.get_all(TRANSFER_ENCODING).iter().all(is_chunked) {
            return Err(Problem::CODING);
        }
        let host = host(request)?;
        if !unix && !self.allows_host(host.name) {
            return Err(Problem::HOST);
        }
        if !unix && summary.may_be_from_page {
            let allowed = &self.allowed_origins;
            cross_site::check(request.method(), headers, host, allowed)
                .map_err(|refused| refused.problem())?;
            // A preflight cannot carry the local bearer.
            if cors.answers_preflight(request) {
                return Ok(Admitted::Preflight);
            }
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
        let target = self.find(host.name, path).ok_or(Problem::NO_ROUTE)?;
        let length = summary
            .content_length
            .then(|| headers.get(CONTENT_LENGTH))
            .flatten()
            .and_then(|length| length.to_str().ok()?.parse().ok());
        match (self.limits.body_bytes, length) {
            (Some(most), Some(length)) if most < length => Err(Problem::TOO_LARGE),
            _ => Ok(Admitted::To(target)),
        }
    }
}

/// Whether the method may reach an upstream. TRACE and its older form TRACK would show the token to the
/// caller. Some servers compare methods without case.
fn is_forwarded(method: &Method) -> bool {
    const REFUSED: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];
    match *method {
        Method::GET | Method::POST => true,
        _ => !REFUSED
            .iter()
            .any(|refused| method.as_str().eq_ignore_ascii_case(refused)),
    }
}

/// Returns the request's host (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
pub(crate) fn host<B>(request: &Request<B>) -> Result<HostName<'_>, Problem> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(host), None) => Some(
            host.to_str()
                .map_err(|_| Problem::bad_request("`Host` is not readable"))?,
        ),
        (None, _) => None,
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("The request has two `Host` headers"));
        }
    };
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let named = match (authority, field) {
        (Some(authority), Some(field))
            if request.version() == Version::HTTP_2 && !authority.eq_ignore_ascii_case(field) =>
        {
            return Err(Problem::bad_request("`Host` and `:authority` differ"));
        }
        // An absolute target overrides `Host` (RFC 9112 section 3.2.2).
        (Some(authority), _) => authority,
        (None, Some(field)) => field,
        (None, None) => return Err(Problem::bad_request("`Host` is missing")),
    };
    HostName::parse(named).ok_or(Problem::bad_request("`Host` is not a host and a port"))
}

impl<'a> HostName<'a> {
    /// Parses `host[:port]`. Returns `None` if the text is something else.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let colon = text
            .rfind(':')
            .filter(|&colon| !text[colon..].contains(']'));
        let (name, port) = match colon {
            Some(colon) => (&text[..colon], &text[colon + 1..]),
            None => (text, ""),
        };
        let is_one_name = !name.contains(':') || (name.starts_with('[') && name.ends_with(']'));
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
        let is_host = !name.is_empty()
            && is_one_name
            && is_port
            && !name.contains(['@', ',', ' ', '/', '\\']);
        is_host.then_some(Self { name, port })
    }

    /// Returns the port, or `default` if there is none. Returns `None` for a number above 65535.
    pub(crate) fn port_or(self, default: u16) -> Option<u16> {
        if self.port.is_empty() {
            return Some(default);
        }
        self.port.parse().ok()
    }
}

/// Whether the path has `.` or `..` as a segment, so that an upstream might resolve it to another
/// path. Segments count plain, encoded, between encoded slashes and before a parameter (`..;x`).
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
