//! A request's head, kept in case the request is sent once more.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};

/// The copy of a head, in memory of its own.
pub(crate) struct Head {
    pub(crate) method: Method,
    /// The target, and behind it the values, one after the other.
    text: Bytes,
    target: usize,
    fields: Vec<Field>,
}

/// A field, but for the text of its value.
struct Field {
    name: HeaderName,
    length: usize,
    /// Whether no hop may keep it in a table (RFC 7541 section 7.1.3).
    sensitive: bool,
}

impl Head {
    /// Of a request whose target is a path, as it is once it is made ready to be sent.
    ///
    /// The request moves into the same memory. The buffer of 8 KiB that it was read into is free
    /// then for the next one; held until the answer is there, it would be allocated anew each time.
    pub(crate) fn of<B>(request: &mut Request<B>) -> Self {
        let target = request.uri().path_and_query();
        let target = target.map_or("/", PathAndQuery::as_str).as_bytes();
        let headers = request.headers();
        let length: usize = headers.values().map(HeaderValue::len).sum();
        let mut text = Vec::with_capacity(target.len() + length);
        text.extend_from_slice(target);
        for value in headers.values() {
            text.extend_from_slice(value.as_bytes());
        }
        let target = target.len();
        let text = Bytes::from(text);
        let mut fields = Vec::with_capacity(headers.len());
        let mut at = target;
        for (name, value) in request.headers_mut() {
            let field = Field {
                name: name.clone(),
                length: value.len(),
                sensitive: value.is_sensitive(),
            };
            // What was a value is one still.
            if let Some(own) = field.value(text.slice(at..at + field.length)) {
                *value = own;
            }
            at += field.length;
            fields.push(field);
        }
        // And what was a target is one.
        if let Ok(own) = Uri::from_maybe_shared(text.slice(..target)) {
            *request.uri_mut() = own;
        }
        Self {
            method: request.method().clone(),
            text,
            target,
            fields,
        }
    }

    /// The request anew, with this body.
    pub(crate) fn request<B>(&self, body: B) -> Request<B> {
        let mut values = self.text.clone();
        let target = values.split_to(self.target);
        let mut headers = HeaderMap::with_capacity(self.fields.len() + 1);
        for field in &self.fields {
            if let Some(value) = field.value(values.split_to(field.length)) {
                headers.append(field.name.clone(), value);
            }
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from_maybe_shared(target).unwrap_or_default();
        *request.headers_mut() = headers;
        request
    }
}

impl Field {
    fn value(&self, text: Bytes) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_maybe_shared(text).ok()?;
        value.set_sensitive(self.sensitive);
        Some(value)
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
            let mut value = HeaderValue::from_bytes(value).expect("a value");
            value.set_sensitive(name == "x-latin");
            request.headers_mut().append(name, value);
        }
        let before = (request.uri().clone(), request.headers().clone());
        let head = Head::of(&mut request);
        assert_eq!((request.uri().clone(), request.headers().clone()), before);
        let again = head.request(());
        assert_eq!(again.method(), request.method());
        assert_eq!(again.uri(), request.uri());
        assert_eq!(again.headers(), request.headers());
        let sensitive = |request: &Request<()>| request.headers()["x-latin"].is_sensitive();
        assert!(sensitive(&request) && sensitive(&again));
    }

    #[test]
    fn so_does_the_target_of_a_whole_server() {
        let mut request = Request::new(());
        *request.method_mut() = Method::OPTIONS;
        *request.uri_mut() = Uri::from_static("*");
        assert_eq!(Head::of(&mut request).request(()).uri(), "*");
    }
}
