//! Answers to pages of allowed origins (CORS, Fetch standard section 3.2).
//!
//! The proxy answers preflights itself, without the token and without the upstream. It replaces the
//! CORS headers of an upstream's answer, which concern the upstream's own origin.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, VARY,
};
use http::{Method, Request, Response, StatusCode};

use crate::body::AnswerBody;

/// Requests of pages on this machine's network (Private Network Access).
static REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
static ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// An origin whose pages may use the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AllowedOrigin(HeaderValue);

/// The action for most texts that are not an origin.
const WRITE: &str = "write scheme, host and port, as in \"http://localhost:5173\"";

/// Why a text is not an origin of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnOrigin {
    pub(crate) problem: &'static str,
    pub(crate) hint: &'static str,
}

impl AllowedOrigin {
    /// Parses `http://localhost:5173`. A `/` at the end and the default port are removed, because
    /// browsers do not send them (RFC 6454 section 6.2).
    pub(crate) fn parse(text: &str) -> Result<Self, NotAnOrigin> {
        let refused = |problem, hint| Err(NotAnOrigin { problem, hint });
        if text == "*" {
            return refused("every origin would be allowed", "list each origin");
        }
        if text.eq_ignore_ascii_case("null") {
            let hint = "serve the page from an address, and list that origin";
            return refused(
                "every file and every sandboxed page has the origin `null`",
                hint,
            );
        }
        let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let Some((scheme, authority)) = text.split_once("://") else {
            return refused("it has no scheme", WRITE);
        };
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !is_scheme || authority.is_empty() {
            return refused("it is not an origin", WRITE);
        }
        if authority.contains('@') {
            return refused("it contains a user name", WRITE);
        }
        if authority.contains('*') {
            return refused("it contains a pattern", "list each origin");
        }
        if !authority.is_ascii() {
            let hint = "write international names in punycode";
            return refused("its host is not ASCII", hint);
        }
        if authority.contains(|c: char| "/?#\\,".contains(c) || c.is_whitespace() || c.is_control())
        {
            return refused("it goes on after its host and port", WRITE);
        }
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        let bare = authority.strip_suffix(default_port).unwrap_or(authority);
        let origin = HeaderValue::from_str(&format!("{scheme}://{bare}"));
        match origin {
            Ok(origin) => Ok(Self(origin)),
            Err(_) => refused("it is not an origin", WRITE),
        }
    }

    /// Returns the allowed origin that is the only `Origin` of a request.
    pub(crate) fn of<'a>(headers: &HeaderMap, allowed: &'a [Self]) -> Option<&'a Self> {
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (Some(origin), None) => allowed.iter().find(|allowed| allowed.is(origin)),
            _ => None,
        }
    }

    /// Whether `Origin` has this value. Browsers send lower case.
    fn is(&self, origin: &HeaderValue) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(origin.as_bytes())
    }
}

/// What an answer gets so that the right pages can read it.
pub(crate) enum Cors {
    /// No origin is allowed, or the caller is not on TCP.
    Off,
    /// Origins are allowed, and no page of one sent this request. Caches must not give its answer to
    /// such a page.
    Unlisted,
    /// A page of this origin sent the request.
    Listed(Box<HeaderValue>),
}

impl Cors {
    /// Returns what the answer to a request with these headers gets. At least one origin is allowed.
    pub(crate) fn of(headers: &HeaderMap, allowed: &[AllowedOrigin]) -> Self {
        match AllowedOrigin::of(headers, allowed) {
            Some(origin) => Self::Listed(Box::new(origin.0.clone())),
            None => Self::Unlisted,
        }
    }

    /// Whether the request is a preflight of a page of an allowed origin.
    pub(crate) fn answers_preflight<B>(&self, request: &Request<B>) -> bool {
        matches!(self, Self::Listed(_))
            && request.method() == Method::OPTIONS
            && request
                .headers()
                .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Adds the CORS headers to an answer.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        if matches!(self, Self::Off) {
            return;
        }
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Self::Listed(origin) = self else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::clone(origin));
        let yes = HeaderValue::from_static("true");
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        if let Some(exposed) = exposed(headers) {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }
}

/// Returns the names of all headers of an answer, so that the page can read them. `*` would not count
/// in an answer to a request with credentials.
fn exposed(headers: &HeaderMap) -> Option<HeaderValue> {
    let names = headers.keys().map(HeaderName::as_str);
    let names: Vec<&str> = names
        .filter(|name| !name.starts_with("access-control-") && *name != "set-cookie")
        .collect();
    HeaderValue::from_str(&names.join(", ")).ok()
}

/// Returns the answer to a preflight: what the page asks for is allowed for ten minutes.
pub(crate) fn preflight_answer(request: &HeaderMap) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::Empty);
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    for (asked, granted) in [
        (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
        (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
    ] {
        if let Some(value) = request.get(&asked) {
            headers.insert(granted, value.clone());
        }
        headers.append(VARY, HeaderValue::from(asked));
    }
    if request.contains_key(&REQUEST_PRIVATE_NETWORK) {
        headers.insert(&ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowed_origin_is_what_a_browser_sends() {
        for (text, sent) in [
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://localhost:5173/", "http://localhost:5173"),
            ("HTTP://Localhost:80", "http://localhost"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("https://app.example.com:80", "https://app.example.com:80"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
            ("tauri://localhost", "tauri://localhost"),
        ] {
            let origin = AllowedOrigin::parse(text).expect(text);
            assert!(
                origin.is(&HeaderValue::from_static(sent)),
                "{text}: {origin:?}"
            );
        }
        for text in [
            "*",
            "null",
            "",
            "localhost:5173",
            "http://",
            "http://*.example.com",
            "http://localhost:*",
            "http://user@localhost",
            "http://localhost/app",
            "http://localhost:5173//",
            "http://localhost?x",
            "http://local host",
            "http://b\u{fc}cher.example",
            "://localhost",
            "http://a,http://b",
        ] {
            assert!(AllowedOrigin::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_headers_of_the_upstream_are_replaced() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        headers.insert("x-page", HeaderValue::from_static("2"));
        let origin = AllowedOrigin::parse("http://localhost:5173").expect("an origin");
        Cors::Listed(Box::new(origin.0)).apply(&mut headers);
        let values = |name: &str| -> Vec<_> { headers.get_all(name).iter().collect() };
        assert_eq!(
            values("access-control-allow-origin"),
            ["http://localhost:5173"]
        );
        assert_eq!(values("access-control-expose-headers"), ["vary, x-page"]);
        assert_eq!(values("vary"), ["Accept", "Origin"]);
        let mut headers = HeaderMap::new();
        Cors::Unlisted.apply(&mut headers);
        assert_eq!(headers.len(), 1);
        let mut headers = HeaderMap::new();
        Cors::Off.apply(&mut headers);
        assert!(headers.is_empty());
    }
}
