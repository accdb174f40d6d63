//! A request's head, kept in case the request is sent once more.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};

/// The copy of a head: in memory of its own, for a clone of the headers would hold the buffer of
/// 8 KiB that they were read into for as long as the answer is waited for.
pub(crate) struct Head {
    pub(crate) method: Method,
    /// The target, and behind it the values, one after the other.
    text: Vec<u8>,
    target: usize,
    /// The names, and how long the value of each is.
    fields: Vec<(HeaderName, usize)>,
}

impl Head {
    /// Of a request whose target is a path, as it is once it is made ready to be sent.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let target = request.uri().path_and_query();
        let target = target.map_or("/", PathAndQuery::as_str).as_bytes();
        let headers = request.headers();
        let length: usize = headers.values().map(HeaderValue::len).sum();
        let mut text = Vec::with_capacity(target.len() + length);
        text.extend_from_slice(target);
        let mut fields = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            text.extend_from_slice(value.as_bytes());
            fields.push((name.clone(), value.len()));
        }
        Self {
            method: request.method().clone(),
            text,
            target: target.len(),
            fields,
        }
    }

    /// The request anew, with this body.
    pub(crate) fn request<B>(&self, body: B) -> Request<B> {
        let (target, mut values) = self.text.split_at(self.target);
        let mut headers = HeaderMap::with_capacity(self.fields.len() + 1);
        for (name, length) in &self.fields {
            let (value, rest) = values.split_at(*length);
            values = rest;
            // What was a value is one still.
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(name.clone(), value);
            }
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        // And what was a target is one.
        *request.uri_mut() = Uri::try_from(target).unwrap_or_default();
        *request.headers_mut() = headers;
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_as_it_was() {
        let mut request = Request::new(());
        *request.method_mut() = Method::PATCH;
        *request.uri_mut() = "/a%20b/c?d=e&f".parse().expect("a target");
        for (name, value) in [
            ("host", &b"api.example.com"[..]),
            ("x-twice", b"one"),
            ("x-empty", b""),
            ("x-twice", b"two"),
            ("x-latin", b"\xe4\xf6"),
        ] {
            let value = HeaderValue::from_bytes(value).expect("a value");
            request.headers_mut().append(name, value);
        }
        let again = Head::of(&request).request(());
        assert_eq!(again.method(), request.method());
        assert_eq!(again.uri(), request.uri());
        assert_eq!(again.headers(), request.headers());
    }

    #[test]
    fn so_does_the_target_of_a_whole_server() {
        let mut request = Request::new(());
        *request.method_mut() = Method::OPTIONS;
        *request.uri_mut() = Uri::from_static("*");
        assert_eq!(Head::of(&request).request(()).uri(), "*");
    }
}
