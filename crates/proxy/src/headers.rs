//! What of a message's headers goes on, and what does not.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What one look at a request's headers shows: most requests have little of it, and what is not
/// there need not be looked for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    /// How many bytes the headers are, names and values.
    pub(crate) bytes: usize,
    pub(crate) content_type: bool,
    pub(crate) transfer_encoding: bool,
    pub(crate) content_length: bool,
    pub(crate) te: bool,
    upgrade: bool,
    expect: bool,
    connection: bool,
    hop_by_hop: bool,
}

impl Seen {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, value) in headers {
            let text = name.as_str();
            seen.bytes += text.len() + value.as_bytes().len();
            match text.len() {
                2 if name == TE => seen.te = true,
                6 => seen.expect |= name == EXPECT,
                7 => seen.upgrade |= name == UPGRADE,
                10 => seen.connection |= name == CONNECTION,
                12 => seen.content_type |= name == CONTENT_TYPE,
                14 => seen.content_length |= name == CONTENT_LENGTH,
                17 => seen.transfer_encoding |= name == TRANSFER_ENCODING,
                _ => {}
            }
            seen.hop_by_hop |= is_hop_by_hop(name);
        }
        seen
    }
}

/// Takes out of a request what is for this connection alone, and says what goes instead.
pub(crate) fn strip_request(headers: &mut HeaderMap, seen: Seen) {
    if seen.connection || seen.hop_by_hop {
        strip_hop_by_hop(headers);
    }
    if seen.expect {
        headers.remove(EXPECT);
    }
}

/// Takes out what is for this connection alone (RFC 9110 section 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            // Not as text: what is no ASCII must not hide the names beside it.
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            // What nearly all messages say names nothing but what goes anyway.
            .filter(|name| !name.eq_ignore_ascii_case(b"keep-alive"))
            .filter(|name| !name.eq_ignore_ascii_case(b"close"))
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .collect();
        headers.remove(CONNECTION);
        for name in named {
            // A caller must not have the headers taken out that the message is understood by.
            if name != HOST && name != CONTENT_LENGTH && name != CONTENT_TYPE {
                headers.remove(name);
            }
        }
    }
    let listed = headers.keys().filter(|name| is_hop_by_hop(name));
    // Nearly always there are none, and nothing is allocated.
    let listed: Vec<HeaderName> = listed.cloned().collect();
    for name in listed {
        headers.remove(name);
    }
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

/// Takes out a caller's own credentials, and what an upstream might take for them: servers that
/// hand headers on as variables read `_` and `-` as one.
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
    let same = |known: &str| {
        name.as_str().len() == known.len()
            && std::iter::zip(name.as_str().bytes(), known.bytes())
                .all(|(one, other)| one == other || (one == b'_' && other == b'-'))
    };
    same(token.as_str()) || KNOWN.into_iter().any(same)
}

/// What an upstream gets in place of what was taken out.
pub(crate) fn prepare(headers: &mut HeaderMap, authority: &HeaderValue, trailers: bool) {
    headers.insert(HOST, authority.clone());
    headers.append(VIA, HeaderValue::from_static("1.1 token-rotator"));
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether the caller reads trailers.
pub(crate) fn wants_trailers(headers: &HeaderMap, seen: Seen) -> bool {
    let te = seen.te.then(|| headers.get(TE)).flatten();
    te.is_some_and(|te| {
        te.to_str().is_ok_and(|te| {
            te.split(',')
                .any(|part| part.trim().eq_ignore_ascii_case("trailers"))
        })
    })
}

/// Whether the message is one of gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap, seen: Seen) -> bool {
    let kind = seen.content_type.then(|| headers.get(CONTENT_TYPE));
    kind.flatten()
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The protocol that a caller asks to go on with, if it may: one token, and not HTTP/2, which
/// would carry requests past this proxy's eyes.
pub(crate) fn upgrade(headers: &HeaderMap, seen: Seen) -> Option<HeaderValue> {
    if !seen.upgrade {
        return None;
    }
    let asked = headers.get(UPGRADE)?;
    let connection = headers.get_all(CONNECTION).iter().any(|value| {
        value.to_str().is_ok_and(|value| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case("upgrade"))
        })
    });
    let name = asked.to_str().ok()?.trim();
    let fits = connection && !name.contains(',') && !name.to_ascii_lowercase().starts_with("h2");
    fits.then(|| asked.clone())
}

/// What is behind `Bearer`, in whatever case (RFC 9110 section 11.1).
pub(crate) fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)
}
