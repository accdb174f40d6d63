//! Redirects: the next request after a redirect (RFC 9110 section 15.4; Fetch, "HTTP-redirect
//! fetch").

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};
use http::{HeaderName, Method, StatusCode};
use reqwest::{Request, Response};
use url::Url;

/// The component that follows redirects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Redirects {
    /// This crate follows `limit` redirects at most.
    FollowedHere { limit: usize },
    /// The caller's reqwest client follows redirects.
    FollowedByClient,
}

/// The target of a redirect.
pub(crate) struct Hop {
    url: Url,
    method: Method,
    /// Whether the next request has the body, which then must be repeatable.
    pub(crate) with_body: bool,
    /// Whether the redirect leads to another scheme, host or port.
    is_cross_origin: bool,
}

impl Hop {
    /// Returns the redirect of an answer, or `None` if there is none or if it cannot be followed.
    pub(crate) fn of(response: &Response, method: &Method) -> Option<Self> {
        let status = response.status();
        let becomes_get = match status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *method == Method::POST,
            StatusCode::SEE_OTHER => *method != Method::GET && *method != Method::HEAD,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return None,
        };
        let from = response.url();
        let location = response.headers().get(LOCATION)?;
        let mut url = from
            .join(std::str::from_utf8(location.as_bytes()).ok()?)
            .ok()?;
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        if url.fragment().is_none() {
            url.set_fragment(from.fragment());
        }
        Some(Self {
            is_cross_origin: url.origin() != from.origin(),
            url,
            method: if becomes_get {
                Method::GET
            } else {
                method.clone()
            },
            with_body: !becomes_get,
        })
    }

    /// Whether the redirect leads from `https` to `http`.
    pub(crate) fn downgrades(&self, from: &Url) -> bool {
        from.scheme() == "https" && self.url.scheme() == "http"
    }

    /// Changes the request to the next request. Credentials of the caller do not go to another
    /// origin.
    pub(crate) fn redirect(self, request: &mut Request, token_header: &HeaderName) {
        *request.url_mut() = self.url;
        *request.method_mut() = self.method;
        let headers = request.headers_mut();
        if self.is_cross_origin {
            for name in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, HOST] {
                headers.remove(name);
            }
            headers.remove("cookie2");
            headers.remove(token_header);
        }
        if !self.with_body {
            for name in [
                CONTENT_ENCODING,
                CONTENT_LANGUAGE,
                CONTENT_LENGTH,
                CONTENT_LOCATION,
                CONTENT_TYPE,
                TRANSFER_ENCODING,
            ] {
                headers.remove(name);
            }
            *request.body_mut() = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::ResponseBuilderExt as _;

    use super::*;

    fn hop(from: &str, status: u16, location: Option<&str>) -> Option<Hop> {
        let from: Url = from.parse().expect("a URL");
        let mut answer = http::Response::builder().status(status).url(from);
        if let Some(location) = location {
            answer = answer.header(LOCATION, location);
        }
        let answer = answer.body("").expect("an answer");
        Hop::of(&answer.into(), &Method::GET)
    }

    /// Property: a redirect without a readable http or https URL is not followed.
    #[test]
    fn a_redirect_without_a_web_address_is_not_followed() {
        for (status, location) in [
            (302, None),
            (302, Some("https://[x")),
            (302, Some("ftp://h/")),
            (302, Some("javascript:alert(1)")),
            (300, Some("/x")),
            (304, Some("/x")),
            (200, Some("/x")),
        ] {
            assert!(
                hop("https://h/", status, location).is_none(),
                "{status} {location:?}"
            );
        }
    }

    /// Property: another scheme, host or port is another origin. `https` to `http` is a downgrade.
    #[test]
    fn a_redirect_to_another_origin_is_detected() {
        for (from, location, crosses, downgrades) in [
            ("https://h/a#part", "/b", false, false),
            ("https://h/a", "https://H:443/b", false, false),
            ("https://h/a", "//h/b", false, false),
            ("https://h/a", "https://g/b", true, false),
            ("https://h/a", "https://h:8443/b", true, false),
            ("https://h/a", "https://sub.h/b", true, false),
            ("https://h:8443/a", "http://h:8443/b", true, true),
            ("http://h/a", "https://h/b", true, false),
        ] {
            let hop = hop(from, 302, Some(location)).expect("a hop");
            let from: Url = from.parse().expect("a URL");
            assert_eq!(
                (hop.is_cross_origin, hop.downgrades(&from)),
                (crosses, downgrades),
                "{location}"
            );
            assert_eq!(hop.url.fragment(), from.fragment());
        }
    }
}
