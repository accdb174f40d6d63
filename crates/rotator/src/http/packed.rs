//! The copy of a request's head, for a replay.

use bytes::{Buf, Bytes};
use http::uri::PathAndQuery;
use http::{Extensions, HeaderName, HeaderValue, Method, Request, Uri, Version};

/// A copy of a request's head without the token, in one piece of memory.
///
/// Most requests are never sent again, so the copy is cheap. A clone of the header map would
/// allocate twice for the map, and once for each value without an earlier clone. A clone of the URI
/// would allocate too.
///
/// `Debug` shows neither the target nor the headers.
pub struct PackedHead {
    method: Method,
    version: Version,
    extensions: Extensions,
    /// The length of the target. The headers follow the target.
    target: usize,
    bytes: PackedBytes,
}

/// The target as text, then the headers. Each header is a number, its name and its value.
///
/// The number holds three fields, from high to low bits. The first is the length of the value. The
/// second is the length of the name: 16 bits, its bound in the `http` crate. The third is 1 bit:
/// whether the value is sensitive.
enum PackedBytes {
    /// Memory of this copy alone. Spare capacity costs less than measuring the exact length.
    Own(Vec<u8>),
    /// Memory that the URI and the header values of the request point into.
    Shared(Bytes),
}

/// The number of bytes before name and value.
const PREFIX: usize = size_of::<u64>();
/// The bytes reserved for the target. Few targets are longer.
const TARGET_CAPACITY: usize = 64;
/// The bytes reserved for each header. Few headers are longer.
const HEADER_CAPACITY: usize = 64;

impl PackedHead {
    /// Copies the head of this request.
    pub fn new<B>(request: &Request<B>) -> Self {
        let capacity = TARGET_CAPACITY + request.headers().len() * HEADER_CAPACITY;
        let mut packed = Vec::with_capacity(capacity);
        let uri = request.uri();
        if let Some(scheme) = uri.scheme_str() {
            packed.extend_from_slice(scheme.as_bytes());
            packed.extend_from_slice(b"://");
        }
        if let Some(authority) = uri.authority() {
            packed.extend_from_slice(authority.as_str().as_bytes());
        }
        if let Some(path) = uri.path_and_query() {
            packed.extend_from_slice(path.as_str().as_bytes());
        }
        let target = packed.len();
        pack(request, &mut packed);
        Self {
            method: request.method().clone(),
            version: request.version(),
            extensions: request.extensions().clone(),
            target,
            bytes: PackedBytes::Own(packed),
        }
    }

    /// Copies the head of this request without its extensions, and moves the request's URI and
    /// headers into the memory of the copy. The target of the request must be a path.
    ///
    /// The move frees the server's read buffer of 8 KiB for the next request. Otherwise a request
    /// that waits for its answer keeps the buffer, and the server allocates a new one each time.
    pub fn move_in<B>(request: &mut Request<B>) -> Self {
        let path = request.uri().path_and_query().cloned();
        let path = path.as_ref().map_or("/", PathAndQuery::as_str).as_bytes();
        let target = path.len();
        let length = |(name, value): (&HeaderName, &HeaderValue)| {
            PREFIX + name.as_str().len() + value.as_bytes().len()
        };
        let length = target + request.headers().iter().map(length).sum::<usize>();
        let mut packed = Vec::with_capacity(length);
        packed.extend_from_slice(path);
        pack(request, &mut packed);
        let bytes = Bytes::from(packed);
        let mut headers = bytes.clone();
        if let Ok(uri) = Uri::from_maybe_shared(headers.split_to(target)) {
            *request.uri_mut() = uri;
        }
        // `values_mut` yields the values in the order in which `pack` wrote them.
        for value in request.headers_mut().values_mut() {
            if let Some((_, packed_value)) = unpack(&mut headers) {
                *value = packed_value;
            }
        }
        Self {
            method: request.method().clone(),
            version: request.version(),
            extensions: Extensions::new(),
            target,
            bytes: PackedBytes::Shared(bytes),
        }
    }

    /// The method of the request.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The target of the request as text, as it stands in the request line.
    pub fn target(&self) -> &str {
        let bytes = match &self.bytes {
            PackedBytes::Own(bytes) => bytes.as_slice(),
            PackedBytes::Shared(bytes) => bytes,
        };
        let target = bytes.get(..self.target).unwrap_or_default();
        // It was copied from text.
        std::str::from_utf8(target).unwrap_or_default()
    }

    /// Builds the request again, with this body.
    ///
    /// Returns `None` if the URI or a header is invalid. The `http` crate has unchecked constructors
    /// for header values.
    pub fn request<B>(&self, body: B) -> Option<Request<B>> {
        let mut packed = match &self.bytes {
            PackedBytes::Own(bytes) => Bytes::copy_from_slice(bytes),
            PackedBytes::Shared(bytes) => bytes.clone(),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from_maybe_shared(packed.split_to(self.target)).ok()?;
        *request.version_mut() = self.version;
        *request.extensions_mut() = self.extensions.clone();
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

fn pack<B>(request: &Request<B>, packed: &mut Vec<u8>) {
    for (name, value) in request.headers() {
        let (name, sensitive) = (name.as_str().as_bytes(), value.is_sensitive());
        let value = value.as_bytes();
        let lengths = (value.len() as u64) << 16 | name.len() as u64;
        packed.extend_from_slice(&(lengths << 1 | u64::from(sensitive)).to_ne_bytes());
        packed.extend_from_slice(name);
        packed.extend_from_slice(value);
    }
}

/// Takes the next header from the bytes. The caller checks the name.
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
    fn a_packed_head_restores_the_request() {
        for target in [
            "https://api.example.com/orders?page=2",
            "https://api.example.com",
            "https://api.example.com?page=2",
            "http://user:password@[::1]:8080/a%20b//c?d#e",
            "ftp+x://host/",
            "api.example.com:443",
            "/orders?page=2",
            "//orders",
            "*",
        ] {
            let request = request(target);
            let packed = PackedHead::new(&request);
            let again = packed.request("copy").expect("valid");
            assert_eq!(fields(&again), fields(&request));
            assert_eq!(again.method(), request.method());
            assert_eq!(again.uri(), request.uri());
            assert_eq!(again.uri().to_string(), request.uri().to_string());
            assert_eq!(again.uri().scheme(), request.uri().scheme());
            assert_eq!(again.uri().authority(), request.uri().authority());
            assert_eq!(again.version(), request.version());
            assert_eq!(again.extensions().get(), Some(&Mark(7)));
            assert_eq!(*again.body(), "copy");
        }
    }

    #[test]
    fn move_in_leaves_the_request_unchanged() {
        for target in ["/a%20b/c?d=e&f", "*"] {
            let mut request = request(target);
            let before = (request.uri().clone(), fields(&request));
            let head = PackedHead::move_in(&mut request);
            assert_eq!(head.target(), target);
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
    fn a_short_head_is_packed_into_memory_that_does_not_grow() {
        let head = PackedHead::new(&Request::new(()));
        assert!(
            matches!(&head.bytes, PackedBytes::Own(bytes) if bytes.capacity() == TARGET_CAPACITY)
        );
        assert_eq!(head.target(), "/");
        let again = head.request(()).expect("a valid URI");
        assert!(again.headers().is_empty());
    }
}
