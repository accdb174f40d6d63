//! The copy of a request's head, for a replay.

use bytes::{Buf, Bytes};
use http::uri::PathAndQuery;
use http::{Extensions, HeaderName, HeaderValue, Method, Request, Uri, Version};

/// A request's head as it was before the token was put on it, in one piece of memory.
///
/// Most requests are never sent again, so a copy has to be cheap: a clone of the header map
/// allocates twice for the map, and once for each value that was never cloned before.
///
/// `Debug` shows neither the target nor the headers.
pub struct PackedHead {
    method: Method,
    uri: Uri,
    version: Version,
    extensions: Extensions,
    headers: Packed,
}

/// For each header a number, its name and its value. The number holds the length of the value, that
/// of the name in 16 bits (its bound in the `http` crate), and whether the value is sensitive.
enum Packed {
    /// With spare capacity, which costs less than an exact length.
    Own(Vec<u8>),
    /// Shared with the request.
    Shared(Bytes),
}

/// The bytes of the number before name and value.
const PREFIX: usize = size_of::<u64>();
/// The capacity for a header whose length is not known yet. Few headers are longer.
const GUESS: usize = 64;

impl PackedHead {
    /// A copy of this request's head.
    pub fn new<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            extensions: request.extensions().clone(),
            headers: Packed::Own(pack(request, b"", request.headers().len() * GUESS)),
        }
    }

    /// A copy of this request's head, whose target is a path, without its extensions. The request
    /// moves into the memory of the copy.
    ///
    /// A server's buffer of 8 KiB is then free for the next request. A request that is held until
    /// its answer arrives would keep the buffer, and each request would allocate a new one.
    pub fn move_in<B>(request: &mut Request<B>) -> Self {
        let target = request.uri().path_and_query().cloned();
        let target = target.as_ref().map_or("/", PathAndQuery::as_str).as_bytes();
        let length = |(name, value): (&HeaderName, &HeaderValue)| {
            PREFIX + name.as_str().len() + value.as_bytes().len()
        };
        let length = target.len() + request.headers().iter().map(length).sum::<usize>();
        let mut headers = Bytes::from(pack(request, target, length));
        if let Ok(uri) = Uri::from_maybe_shared(headers.split_to(target.len())) {
            *request.uri_mut() = uri;
        }
        let mut packed = headers.clone();
        // The map yields its headers in the same order as before.
        for value in request.headers_mut().values_mut() {
            if let Some((_, own)) = unpack(&mut packed) {
                *value = own;
            }
        }
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            extensions: Extensions::new(),
            headers: Packed::Shared(headers),
        }
    }

    /// The request's method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The request's URI.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The request with this body. Returns `None` if a header was made unchecked and is invalid.
    pub fn request<B>(&self, body: B) -> Option<Request<B>> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.extensions_mut() = self.extensions.clone();
        let mut packed = match &self.headers {
            Packed::Own(packed) => Bytes::copy_from_slice(packed),
            Packed::Shared(packed) => packed.clone(),
        };
        while packed.has_remaining() {
            let (name, value) = unpack(&mut packed)?;
            let name = HeaderName::from_bytes(&name).ok()?;
            request.headers_mut().append(name, value);
        }
        Some(request)
    }
}

impl std::fmt::Debug for PackedHead {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PackedHead")
            .field("method", &self.method)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

fn pack<B>(request: &Request<B>, target: &[u8], capacity: usize) -> Vec<u8> {
    let mut packed = Vec::with_capacity(capacity);
    packed.extend_from_slice(target);
    for (name, value) in request.headers() {
        let (name, sensitive) = (name.as_str().as_bytes(), value.is_sensitive());
        let value = value.as_bytes();
        let lengths = (value.len() as u64) << 16 | name.len() as u64;
        packed.extend_from_slice(&(lengths << 1 | u64::from(sensitive)).to_ne_bytes());
        packed.extend_from_slice(name);
        packed.extend_from_slice(value);
    }
    packed
}

/// The next header; its name is not checked yet.
fn unpack(packed: &mut Bytes) -> Option<(Bytes, HeaderValue)> {
    let number = packed.get_u64_ne();
    let lengths = number >> 1;
    let name = packed.split_to((lengths & 0xffff) as usize);
    let value = packed.split_to((lengths >> 16) as usize);
    let mut value = HeaderValue::from_maybe_shared(value).ok()?;
    value.set_sensitive(number & 1 == 1);
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Mark(u8);

    fn fields<B>(request: &Request<B>) -> Vec<(HeaderName, HeaderValue, bool)> {
        let headers = request.headers().iter();
        headers
            .map(|(name, value)| (name.clone(), value.clone(), value.is_sensitive()))
            .collect()
    }

    fn request(uri: &str) -> Request<()> {
        let mut secret = HeaderValue::from_static("session=1");
        secret.set_sensitive(true);
        let two = HeaderValue::from_bytes(b"\xfftwo").expect("a value");
        let request = Request::put(uri)
            .version(Version::HTTP_2)
            .header("x-tag", "one")
            .header("cookie", secret)
            .header("x-tag", two)
            .header("empty", "")
            .extension(Mark(7));
        request.body(()).expect("a request")
    }

    #[test]
    fn the_request_comes_out_as_it_went_in() {
        let request = request("https://api.example.com/orders?page=2");
        let again = PackedHead::new(&request).request("copy").expect("valid");
        assert_eq!(fields(&again), fields(&request));
        assert_eq!(again.method(), request.method());
        assert_eq!(again.uri(), request.uri());
        assert_eq!(again.version(), request.version());
        assert_eq!(again.extensions().get(), Some(&Mark(7)));
        assert_eq!(*again.body(), "copy");
    }

    #[test]
    fn a_request_that_moves_in_stays_as_it_was() {
        for target in ["/a%20b/c?d=e&f", "*"] {
            let mut request = request(target);
            let before = (request.uri().clone(), fields(&request));
            let head = PackedHead::move_in(&mut request);
            assert_eq!((request.uri().clone(), fields(&request)), before);
            let again = head.request(()).expect("valid");
            assert_eq!((again.uri().clone(), fields(&again)), before);
            assert_eq!(again.method(), head.method());
        }
    }

    /// Property: `Debug` shows no header value, neither as text nor as the bytes of the copy (rule 12).
    #[test]
    fn debug_shows_no_value() {
        let mut request = request("/a");
        let (copy, moved) = (PackedHead::new(&request), PackedHead::move_in(&mut request));
        let bytes = format!("{:?}", b"session=1");
        let bytes = bytes.trim_matches(['[', ']']);
        for text in [format!("{copy:?}"), format!("{moved:?}")] {
            assert!(!text.contains("session=1"), "{text}");
            assert!(!text.contains(bytes), "{text}");
        }
    }

    #[test]
    fn no_headers_take_no_memory() {
        let head = PackedHead::new(&Request::new(()));
        assert!(matches!(&head.headers, Packed::Own(packed) if packed.capacity() == 0));
        let again = head.request(()).expect("valid headers");
        assert!(again.headers().is_empty());
    }
}
