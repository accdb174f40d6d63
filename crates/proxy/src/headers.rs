//! Removes headers that must not be forwarded, and adds the proxy's own headers.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, PROXY_AUTHENTICATE, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Summary of a request's headers from one pass. Later steps skip lookups for headers that the
/// request does not have.
#[derive(Clone, Copy, Default)]
pub(crate) struct HeaderSummary {
    /// Size of the headers in bytes, names and values.
    pub(crate) bytes: usize,
    pub(crate) content_type: bool,
    pub(crate) transfer_encoding: bool,
    pub(crate) content_length: bool,
    pub(crate) te: bool,
    /// Whether the request has `Origin` or a `Sec-Fetch` header. Programs may send them too.
    pub(crate) may_be_from_page: bool,
    upgrade: bool,
    expect: bool,
    connection: bool,
    hop_by_hop: bool,
}

impl HeaderSummary {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut summary = Self::default();
        for (name, value) in headers {
            let text = name.as_str();
            summary.bytes += text.len() + value.as_bytes().len();
            match text.len() {
                2 if name == TE => summary.te = true,
                6 => {
                    summary.expect |= name == EXPECT;
                    summary.may_be_from_page |= name == ORIGIN;
                }
                7 => summary.upgrade |= name == UPGRADE,
                10 => summary.connection |= name == CONNECTION,
                12 => summary.content_type |= name == CONTENT_TYPE,
                14 => {
                    summary.content_length |= name == CONTENT_LENGTH;
                    summary.may_be_from_page |= text.starts_with("sec-fetch-");
                }
                17 => summary.transfer_encoding |= name == TRANSFER_ENCODING,
                _ => {}
            }
            summary.hop_by_hop |= is_hop_by_hop(name);
        }
        summary
    }
}

/// Removes the headers of a request that apply only to this connection.
pub(crate) fn strip_request(headers: &mut HeaderMap, summary: HeaderSummary) {
    if summary.connection || summary.hop_by_hop {
        strip_hop_by_hop(headers);
    }
    if summary.expect {
        headers.remove(EXPECT);
    }
}

/// Removes the headers that apply only to one connection (RFC 9110 section 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            // Read as bytes, so that a value that is not ASCII does not hide the other names.
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            // `keep-alive` is removed below in any case, and `close` is no header. Nearly all
            // messages have one of the two.
            .filter(|name| !name.eq_ignore_ascii_case(b"keep-alive"))
            .filter(|name| !name.eq_ignore_ascii_case(b"close"))
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .collect();
        headers.remove(CONNECTION);
        for name in named {
            // A caller must not remove the headers that frame the message or give its type.
            if name != HOST && name != CONTENT_LENGTH && name != CONTENT_TYPE {
                headers.remove(name);
            }
        }
    }
    let listed = headers.keys().filter(|name| is_hop_by_hop(name));
    // The list is nearly always empty, and an empty list allocates nothing.
    let listed: Vec<HeaderName> = listed.cloned().collect();
    for name in listed {
        headers.remove(name);
    }
}

/// Leaves one `Content-Length`. Equal lengths count as one (RFC 9110 section 8.6). Returns false if the
/// lengths differ or are no numbers: the answer's end is unknown.
pub(crate) fn unify_length(headers: &mut HeaderMap) -> bool {
    let mut lengths = headers
        .get_all(CONTENT_LENGTH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|length| {
            let length = length.trim_ascii();
            let is_number = length.iter().all(u8::is_ascii_digit);
            std::str::from_utf8(length)
                .ok()
                .filter(|_| is_number)?
                .parse::<u64>()
                .ok()
        });
    let Some(first) = lengths.next() else {
        return true;
    };
    let mut others = 0;
    let agree = lengths
        .inspect(|_| others += 1)
        .all(|length| length == first);
    let Some(length) = first.filter(|_| agree) else {
        return false;
    };
    if others > 0 {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    true
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    let name = name.as_str();
    match name.len() {
        2 => name == TE,
        7 => name == UPGRADE,
        10 => *name == KEEP_ALIVE,
        14 => *name == HTTP2_SETTINGS,
        16 => *name == PROXY_CONNECTION,
        17 => name == TRANSFER_ENCODING,
        18 => name == PROXY_AUTHENTICATE,
        _ => false,
    }
}

/// Removes a caller's own credentials, and headers that an upstream might read as credentials.
/// Servers that pass headers on as variables treat `_` and `-` as equal.
pub(crate) fn strip_credentials(headers: &mut HeaderMap, token: &HeaderName) {
    let listed = headers.keys().filter(|name| is_credential(name, token));
    let listed: Vec<HeaderName> = listed.cloned().collect();
    for name in listed {
        headers.remove(name);
    }
}

fn is_credential(name: &HeaderName, token: &HeaderName) -> bool {
    const KNOWN: [&str; 5] = [
        "authorization",
        "proxy-authorization",
        "x-authorization",
        "x-forwarded-authorization",
        "x-original-authorization",
    ];
    let matches = |known: &str| {
        name.as_str().len() == known.len()
            && std::iter::zip(name.as_str().bytes(), known.bytes())
                .all(|(byte, known)| byte == known || (byte == b'_' && known == b'-'))
    };
    matches(token.as_str()) || KNOWN.into_iter().any(matches)
}

/// Removes fields that trailers must not contain (RFC 9110 section 6.5.1). If `token` names the
/// token's field, the function removes credentials too.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap, token: Option<&HeaderName>) {
    strip_hop_by_hop(trailers);
    for name in [HOST, CONTENT_LENGTH, CONTENT_TYPE] {
        trailers.remove(name);
    }
    if let Some(token) = token {
        strip_credentials(trailers, token);
    }
}

/// Adds the headers for the upstream: `Host`, `Via` and, if wanted, `TE: trailers`.
pub(crate) fn add_own(headers: &mut HeaderMap, authority: &HeaderValue, trailers: bool) {
    headers.insert(HOST, authority.clone());
    headers.append(VIA, HeaderValue::from_static("1.1 token-rotator"));
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether the caller accepts trailers.
pub(crate) fn wants_trailers(headers: &HeaderMap, summary: HeaderSummary) -> bool {
    let te = summary.te.then(|| headers.get(TE)).flatten();
    te.is_some_and(|te| {
        te.to_str().is_ok_and(|te| {
            te.split(',')
                .any(|part| part.trim().eq_ignore_ascii_case("trailers"))
        })
    })
}

/// Whether the message belongs to a gRPC call.
pub(crate) fn is_grpc(headers: &HeaderMap, summary: HeaderSummary) -> bool {
    let kind = summary.content_type.then(|| headers.get(CONTENT_TYPE));
    kind.flatten()
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whether an answer is an event stream, which may pause for any time.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| {
        let kind = kind.as_bytes().get(..17);
        kind.is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

/// Returns the protocol of a permitted upgrade, or `None`. The header must name one protocol, and
/// not HTTP/2, whose requests would bypass the proxy's checks.
pub(crate) fn upgrade(headers: &HeaderMap, summary: HeaderSummary) -> Option<HeaderValue> {
    if !summary.upgrade {
        return None;
    }
    let protocol = headers.get(UPGRADE)?;
    let connection = headers.get_all(CONNECTION).iter().any(|value| {
        value.to_str().is_ok_and(|value| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case("upgrade"))
        })
    });
    let name = protocol.to_str().ok()?.trim();
    let is_permitted =
        connection && !name.contains(',') && !name.to_ascii_lowercase().starts_with("h2");
    is_permitted.then(|| protocol.clone())
}

/// Returns the bytes after the scheme `Bearer`, which is compared without case (RFC 9110 section
/// 11.1).
pub(crate) fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)
}
