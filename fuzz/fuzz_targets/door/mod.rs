//! Makes heads of requests from bytes, for two proxies.

use std::sync::LazyLock;

use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use token_rotator::{Rotator, SecretString, SourceError, TokenSet};
use token_rotator_proxy::fuzzing::ActiveConfig;
use token_rotator_proxy::{Config, Listen, Listener, Route};

/// The local bearer of the second proxy.
pub const LOCAL_BEARER: &str = "sesame";
/// The header of the token in the second route.
pub const TOKEN_HEADER: &str = "x-upstream-token";
/// The prefix that the second route removes.
pub const PREFIX: &str = "/v1";
/// The allowed hosts.
pub const HOSTS: [&str; 5] = [
    "localhost",
    "127.0.0.1",
    "[::1]",
    "proxy.internal",
    "api.internal",
];

static DOORS: LazyLock<[ActiveConfig; 2]> = LazyLock::new(|| {
    [None, Some(LOCAL_BEARER)].map(|bearer| {
        let source = |_| async { Ok::<_, SourceError>(TokenSet::bearer("token")) };
        let upstreams = ["http://127.0.0.1:1", "http://127.0.0.1:2"];
        let [plain, custom] = [None, Some(TOKEN_HEADER)].map(|header| {
            let builder = Rotator::builder(source)
                .origin(upstreams[0])
                .origin(upstreams[1]);
            let builder = match header {
                Some(name) => builder.token_header(HeaderName::from_static(name)),
                None => builder,
            };
            builder.build().expect("a rotator")
        });
        let mut of_host = Route::new("host", upstreams[0], plain.clone());
        of_host.host = Some("api.internal".to_owned());
        let mut prefix = Route::new("prefix", upstreams[1], custom);
        PREFIX.clone_into(&mut prefix.prefix);
        prefix.strip_prefix = true;
        let listener = Listener {
            listen: Listen::Tcp(([127, 0, 0, 1], 0).into()),
            public: false,
        };
        let routes = vec![of_host, prefix, Route::new("rest", upstreams[0], plain)];
        let mut config = Config::new(vec![listener], routes);
        config.allowed_hosts = vec!["proxy.internal".to_owned()];
        config.local_bearer = bearer.map(|bearer| SecretString::from(bearer.to_owned()));
        config.unsafe_no_bearer = true;
        config.limits.header_bytes = 512;
        ActiveConfig::new(&config).expect("a configuration that fits")
    })
});

/// The input of a fuzz target: choices, the target, and header lines by number or name.
pub type Input = (u8, Vec<u8>, Vec<(u8, Vec<u8>, Vec<u8>)>);

/// A head and its proxy.
pub struct Knock {
    pub request: Request<()>,
    pub unix: bool,
    pub bearer: bool,
}

impl Knock {
    /// Returns `None` if HTTP has no such head.
    pub fn of((choices, target, lines): &Input) -> Option<Self> {
        // Fields with a meaning for the proxy are frequent.
        const NAMES: [&str; 20] = [
            "host",
            "transfer-encoding",
            "connection",
            "te",
            "upgrade",
            "keep-alive",
            "proxy-connection",
            "proxy-authenticate",
            "http2-settings",
            "authorization",
            "proxy-authorization",
            "x_authorization",
            "x-forwarded-authorization",
            "x-original_authorization",
            "x-upstream_token",
            TOKEN_HEADER,
            "content-length",
            "content-type",
            "via",
            "expect",
        ];
        // A value of one byte selects one of these.
        const VALUES: [&str; 14] = [
            "localhost",
            "127.0.0.1:8080",
            "[::1]",
            "proxy.internal",
            "api.internal",
            "chunked",
            "trailers",
            "Bearer sesame",
            "close",
            "x-secret, keep-alive",
            "upgrade",
            "websocket",
            "via, te, host",
            "100-continue",
        ];
        let mut request = Request::new(());
        *request.uri_mut() = Uri::try_from(spelled(target)).ok()?;
        *request.method_mut() = match choices & 7 {
            0 => Method::CONNECT,
            1 => Method::TRACE,
            2 => Method::OPTIONS,
            3 => Method::POST,
            _ => Method::GET,
        };
        if choices & 8 != 0 {
            *request.version_mut() = Version::HTTP_2;
        }
        for (number, name, value) in lines.iter().take(16) {
            let name = match NAMES.get(usize::from(*number)) {
                Some(name) => HeaderName::from_static(name),
                None => HeaderName::from_bytes(name).ok()?,
            };
            let known = match value[..] {
                [number] => VALUES.get(usize::from(number)),
                _ => None,
            };
            let value = match known {
                Some(value) => HeaderValue::from_static(value),
                None => HeaderValue::from_bytes(value).ok()?,
            };
            request.headers_mut().append(name, value);
        }
        Some(Self {
            request,
            unix: choices & 16 != 0,
            bearer: choices & 32 != 0,
        })
    }

    pub fn door(&self) -> &'static ActiveConfig {
        &DOORS[usize::from(self.bearer)]
    }
}

/// Makes a target from pieces that parsers misread. Bytes that no target may hold select a piece.
fn spelled(bytes: &[u8]) -> Vec<u8> {
    const PIECES: [&str; 16] = [
        "/",
        ".",
        "..",
        "%2e",
        "%2E",
        "%2f",
        "%5c",
        "\\",
        ";",
        "%3b",
        "%3B",
        "?",
        "//",
        "%25",
        "/v1",
        "http://localhost",
    ];
    let piece = |byte: &u8| match PIECES.get(usize::from(*byte)) {
        Some(piece) => piece.as_bytes().to_vec(),
        None => vec![*byte],
    };
    bytes.iter().flat_map(piece).collect()
}

/// Returns true if a server may read the path as another one after it decodes every `%`.
pub fn has_dots(path: &str) -> bool {
    let mut bytes = path.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digits = [ahead.next(), ahead.next()].map(|digit| char::from(digit?).to_digit(16));
        match (byte, digits) {
            (b'%', [Some(high), Some(low)]) => {
                plain.push((high * 16 + low) as u8);
                bytes = ahead;
            }
            _ => plain.push(byte),
        }
    }
    plain
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .map(|segment| {
            segment
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default()
        })
        .any(|segment| segment == b"." || segment == b"..")
}
