//! The admission of requests: one allowed host, a path with one reading only, no coding but
//! `chunked`, headers within their limit, and the local bearer if the proxy has one.
#![no_main]
#![allow(dead_code)]

mod door;

use http::header::{AUTHORIZATION, HOST, TRANSFER_ENCODING};
use http::Version;
use libfuzzer_sys::fuzz_target;

use door::{HOSTS, Input, Knock, LOCAL_BEARER, PREFIX, has_dots};

fuzz_target!(|input: Input| {
    let Some(knock) = Knock::of(&input) else {
        return;
    };
    let request = &knock.request;
    let headers = request.headers();
    let admitted = match knock.door().admit(request, knock.unix) {
        Ok(admitted) => admitted,
        Err((problem, status)) => {
            assert!(!problem.is_empty() && (400..600).contains(&status.as_u16()));
            return;
        }
    };

    let mut fields = headers.get_all(HOST).iter();
    let field = fields
        .next()
        .map(|host| host.to_str().expect("a readable host"));
    assert!(fields.next().is_none(), "two hosts: {request:?}");
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let host = authority.or(field).expect("a host");
    if let (Version::HTTP_2, Some(authority), Some(field)) = (request.version(), authority, field) {
        assert!(
            authority.eq_ignore_ascii_case(field),
            "two hosts: {request:?}"
        );
    }
    assert!(!host.contains('@'), "{host}");
    let name = match host.split_once(']') {
        Some((address, _)) => format!("{address}]"),
        None => host.split(':').next().unwrap_or_default().to_owned(),
    };
    let is = |allowed: &str| allowed.eq_ignore_ascii_case(&name);
    assert!(knock.unix || HOSTS.into_iter().any(is), "{name} was let in");

    let path = request.uri().path();
    assert!(path.starts_with('/'), "{path}");
    assert!(!has_dots(path), "{path} may be read as another");
    let under_prefix = path == PREFIX || path.starts_with("/v1/");
    let route = match admitted.route.as_str() {
        "host" => is("api.internal"),
        "prefix" => under_prefix && !is("api.internal"),
        _ => !under_prefix && !is("api.internal"),
    };
    assert!(route, "{} for {host} and {path}", admitted.route);

    let method = request.method().as_str();
    for refused in ["CONNECT", "TRACE", "TRACK"] {
        assert!(!method.eq_ignore_ascii_case(refused), "{method}");
    }
    for coding in headers.get_all(TRANSFER_ENCODING) {
        assert!(
            coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
            "{coding:?}"
        );
    }
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    assert!(size <= 512, "{size} bytes of headers");
    if knock.bearer {
        let shown = headers.get(AUTHORIZATION).expect("credentials").as_bytes();
        let (scheme, token) = shown.split_at(7);
        assert!(scheme.eq_ignore_ascii_case(b"bearer "), "{shown:?}");
        assert_eq!(token, LOCAL_BEARER.as_bytes());
    }
});
