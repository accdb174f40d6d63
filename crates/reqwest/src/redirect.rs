//! Redirects: where a request goes next, and with what (RFC 9110 section 15.4; Fetch, "HTTP-redirect
//! fetch").

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};
use http::{HeaderName, Method, StatusCode};
use reqwest::{Request, Response};
use url::Url;

/// Who follows redirects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Redirects {
    /// This crate, at most so many.
    Ours { limit: usize },
    /// The client that was brought.
    Theirs,
}

/// Where an answer sends its request.
pub(crate) struct Hop {
    url: Url,
    method: Method,
    /// Whether the body goes along. Then it has to be one that can be sent again.
    pub(crate) with_body: bool,
    /// Whether it leads to another scheme, host or port.
    crosses: bool,
}

impl Hop {
    /// `None` where the answer is no redirect, or one that cannot be followed.
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
            crosses: url.origin() != from.origin(),
            url,
            method: if becomes_get {
                Method::GET
            } else {
                method.clone()
            },
            with_body: !becomes_get,
        })
    }

    /// Whether it leads from `https` to `http`.
    pub(crate) fn downgrades(&self, from: &Url) -> bool {
        from.scheme() == "https" && self.url.scheme() == "http"
    }

    /// Turns the request into the one that follows. What its caller gave it for one origin does not
    /// reach another.
    pub(crate) fn redirect(self, request: &mut Request, token_header: &HeaderName) {
        *request.url_mut() = self.url;
        *request.method_mut() = self.method;
        let headers = request.headers_mut();
        if self.crosses {
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
