//! What is kept of a request in case it has to be sent again.

use bytes::{Buf, BufMut, Bytes};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

/// A request as it came, before the token was put on it.
///
/// Most are never sent again, so keeping one has to be cheap: a clone of its headers would allocate
/// twice for the map, and once for each value that was never cloned before.
pub(crate) struct Kept<B> {
    method: Method,
    uri: Uri,
    version: Version,
    headers: PackedHeaders,
    extensions: Extensions,
    body: B,
}

impl<B> Kept<B> {
    pub(crate) fn new(request: &Request<B>, body: B) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: PackedHeaders::pack(request.headers()),
            extensions: request.extensions().clone(),
            body,
        }
    }

    /// The request. `None` if one of its headers was made unchecked and is none.
    pub(crate) fn into_request(self) -> Option<Request<B>> {
        let headers = self.headers.unpack()?;
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = headers;
        *request.extensions_mut() = self.extensions;
        Some(request)
    }
}

/// Headers in one piece of memory: of each the lengths of name and value, whether it is sensitive,
/// name and value.
struct PackedHeaders(Vec<u8>);

/// What stands before name and value.
const PREFIX: usize = 2 * size_of::<u64>() + 1;

impl PackedHeaders {
    fn pack(headers: &HeaderMap) -> Self {
        let length = |(name, value): (&HeaderName, &HeaderValue)| {
            PREFIX + name.as_str().len() + value.as_bytes().len()
        };
        let mut packed = Vec::with_capacity(headers.iter().map(length).sum());
        for (name, value) in headers {
            let (name, sensitive) = (name.as_str().as_bytes(), value.is_sensitive());
            let value = value.as_bytes();
            packed.put_u64(name.len() as u64);
            packed.put_u64(value.len() as u64);
            packed.put_u8(u8::from(sensitive));
            packed.put_slice(name);
            packed.put_slice(value);
        }
        Self(packed)
    }

    fn unpack(self) -> Option<HeaderMap> {
        let mut packed = Bytes::from(self.0);
        let mut headers = HeaderMap::new();
        while packed.has_remaining() {
            let [name, value] = [packed.get_u64() as usize, packed.get_u64() as usize];
            let sensitive = packed.get_u8() != 0;
            let name = HeaderName::from_bytes(&packed.split_to(name)).ok()?;
            let mut value = HeaderValue::from_maybe_shared(packed.split_to(value)).ok()?;
            value.set_sensitive(sensitive);
            headers.append(name, value);
        }
        Some(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Mark(u8);

    #[test]
    fn the_request_comes_out_as_it_went_in() {
        let mut secret = HeaderValue::from_static("session=1");
        secret.set_sensitive(true);
        let request = Request::put("https://api.example.com/orders?page=2")
            .version(Version::HTTP_2)
            .header("x-tag", "one")
            .header("cookie", secret)
            .header(
                "x-tag",
                HeaderValue::from_bytes(b"\xfftwo").expect("a value"),
            )
            .header("empty", "")
            .extension(Mark(7))
            .body("body")
            .expect("a request");
        let kept = Kept::new(&request, "copy");
        let again = kept.into_request().expect("valid headers");
        let fields = |request: &Request<&str>| -> Vec<(HeaderName, HeaderValue, bool)> {
            let headers = request.headers().iter();
            headers
                .map(|(name, value)| (name.clone(), value.clone(), value.is_sensitive()))
                .collect()
        };
        assert_eq!(fields(&again), fields(&request));
        assert_eq!(again.method(), request.method());
        assert_eq!(again.uri(), request.uri());
        assert_eq!(again.version(), request.version());
        assert_eq!(again.extensions().get(), Some(&Mark(7)));
        assert_eq!(*again.body(), "copy");
    }

    #[test]
    fn no_headers_take_no_memory() {
        let kept = Kept::new(&Request::new(()), ());
        assert_eq!(kept.headers.0.capacity(), 0);
        let again = kept.into_request().expect("valid headers");
        assert!(again.headers().is_empty());
    }
}
