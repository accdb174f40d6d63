//! The headers for the upstream: none that belong to the caller's connection, no credentials of the caller, no invented
//! field. A second pass changes nothing.
#![no_main]
#![allow(dead_code)]

mod door;

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, VIA};
use libfuzzer_sys::fuzz_target;

use door::{Input, Knock, TOKEN_HEADER};

/// A caller cannot remove these by `Connection`.
const NEEDED: [&str; 3] = ["host", "content-length", "content-type"];

fuzz_target!(|input: Input| {
    let Some(knock) = Knock::of(&input) else {
        return;
    };
    let came = knock.request.headers();
    let Ok(admitted) = knock.door().admit(&knock.request, knock.unix) else {
        return;
    };
    let Some(outgoing) = admitted.outgoing else {
        return;
    };
    let goes = outgoing.headers();

    let token = if admitted.route == "prefix" {
        TOKEN_HEADER
    } else {
        "authorization"
    };
    let authority = if admitted.route == "prefix" {
        "127.0.0.1:2"
    } else {
        "127.0.0.1:1"
    };
    let hosts: Vec<_> = goes.get_all(HOST).iter().collect();
    assert_eq!(hosts, [authority]);
    let named: Vec<HeaderName> = came
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for (name, value) in goes {
        let plain = name.as_str().replace('_', "-");
        let hop = [
            "connection",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
            "proxy-authenticate",
            "expect",
        ];
        assert!(!hop.contains(&name.as_str()), "{name} goes on");
        let credential = [
            token,
            "authorization",
            "proxy-authorization",
            "x-authorization",
            "x-forwarded-authorization",
            "x-original-authorization",
        ];
        assert!(!credential.contains(&plain.as_str()), "{name} goes on");
        let made = [HOST, VIA, TE].contains(name);
        let taken_out = named.contains(name) && !NEEDED.contains(&name.as_str());
        assert!(made || !taken_out, "{name} was for the connection alone");
        assert!(
            made || came.get_all(name).iter().any(|known| known == value),
            "{name} was made up"
        );
    }
    if let Some(te) = goes.get(TE) {
        assert_eq!(te, "trailers");
        assert!(came.contains_key(TE), "it was not asked for");
    }
    let last = goes.get_all(VIA).iter().next_back();
    assert_eq!(last.expect("who forwarded it"), "1.1 token-rotator");

    // A second pass, with a host and a path of the same route.
    if knock.bearer {
        return;
    }
    let mut again = outgoing.clone();
    again.headers_mut().insert(
        HOST,
        HeaderValue::from_static(match admitted.route.as_str() {
            "host" => "api.internal",
            _ => "localhost",
        }),
    );
    *again.uri_mut() = match admitted.route.as_str() {
        "prefix" => http::Uri::from_static("/v1/"),
        _ => http::Uri::from_static("/"),
    };
    let Ok(twice) = knock.door().admit(&again, false) else {
        // The longer `Host` and `Via` may exceed the limit.
        return;
    };
    let twice = twice.outgoing.expect("it can be rewritten");
    let rest = |headers: &HeaderMap| {
        let mut headers = headers.clone();
        // `TE` applies to one connection.
        headers.remove(VIA);
        headers
    };
    assert_eq!(rest(twice.headers()), rest(goes));
});
