//! The decision as tables: what a browser or program sends, and whether the request passes.

use super::*;

const OWN: &str = "127.0.0.1:8080";
const LISTED: &str = "http://localhost:5173";

/// Checks a request with these headers, on a proxy at [`OWN`] that lists [`LISTED`].
fn checked(method: &str, host: &str, headers: &[(&str, &str)]) -> Result<bool, CrossSite> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a name");
        map.append(
            name,
            HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        );
    }
    let allowed = [AllowedOrigin::parse(LISTED).expect("an origin")];
    let host = HostName::parse(host).expect("a host");
    let method = method.parse().expect("a method");
    let checked = check(&method, &map, host, &allowed);
    checked.map(|()| AllowedOrigin::of(&map, &allowed).is_some())
}

fn origin(text: &str) -> Result<bool, CrossSite> {
    Err(CrossSite::Origin(text.to_owned()))
}

#[test]
fn programs_pass() {
    for headers in [
        // curl, Python requests, gRPC
        &[][..],
        // Node's fetch
        &[("sec-fetch-mode", "cors")],
        // Python's websocket-client
        &[
            ("origin", "http://127.0.0.1:8080"),
            ("upgrade", "websocket"),
        ],
        // An address typed into the browser.
        &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
        // A page of the proxy's own origin.
        &[
            ("origin", "http://127.0.0.1:8080"),
            ("sec-fetch-site", "same-origin"),
        ],
        &[
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-mode", "no-cors"),
        ],
        // A value that no browser sends today.
        &[("sec-fetch-site", "unknown")],
    ] {
        assert_eq!(checked("GET", OWN, headers), Ok(false), "{headers:?}");
    }
    // An extension of a browser sends `none` and its own origin.
    let extension = "chrome-extension://abcdefghijklmnop";
    let headers = [("origin", extension), ("sec-fetch-site", "none")];
    assert_eq!(checked("GET", OWN, &headers), origin(extension));
}

#[test]
fn a_listed_origin_passes_whatever_else_is_sent() {
    for (site, mode) in [
        ("cross-site", "cors"),
        ("same-site", "navigate"),
        ("none", "websocket"),
    ] {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let headers = [
                ("origin", LISTED),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
            ];
            assert_eq!(
                checked(method, OWN, &headers),
                Ok(true),
                "{method} {site} {mode}"
            );
        }
    }
    assert_eq!(
        checked("GET", OWN, &[("origin", "HTTP://LOCALHOST:5173")]),
        Ok(true)
    );
    // A page without `Origin` cannot be recognised.
    let image = [
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-mode", "no-cors"),
    ];
    assert_eq!(
        checked("GET", OWN, &image),
        Err(CrossSite::Site("same-site"))
    );
}

#[test]
fn another_origin_is_refused() {
    for foreign in [
        "null",
        "",
        "http://attacker.test",
        "https://attacker.test:8080",
        "http://127.0.0.1",
        "http://127.0.0.1:80",
        "http://127.0.0.1:8081",
        "http://127.0.0.1:08080x",
        "http://localhost:8080",
        "http://127.0.0.1:8080.attacker.test",
        "http://127.0.0.1:8080@attacker.test",
        "http://localhost:51730",
        "http://localhost",
        "http://localhost:5173/",
        "http://localhost:5173 http://attacker.test",
        "https://localhost:5173",
        "chrome-extension://127.0.0.1:8080",
        "file://",
        "127.0.0.1:8080",
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let headers = [("origin", foreign), ("sec-fetch-mode", "cors")];
            assert_eq!(checked(method, OWN, &headers), origin(foreign), "{method}");
        }
    }
}

#[test]
fn own_host_and_port_are_compared() {
    for (host, own, is_own) in [
        ("localhost:8080", "http://localhost:8080", true),
        ("LOCALHOST:8080", "http://localhost:8080", true),
        ("[::1]:8080", "http://[::1]:8080", true),
        ("[::1]:8080", "http://[::1]:8081", false),
        ("localhost", "http://localhost", true),
        ("localhost:80", "http://localhost", true),
        ("localhost", "http://localhost:80", true),
        // The page of another server on port 443 of this machine.
        ("localhost", "https://localhost", false),
        ("localhost:443", "https://localhost", true),
        // A TLS server stands before the proxy.
        ("proxy.internal", "https://proxy.internal", true),
        ("proxy.internal", "http://proxy.internal", true),
        ("proxy.internal", "https://proxy.internal:80", false),
        ("proxy.internal:80", "https://proxy.internal", false),
        ("localhost:", "http://localhost", true),
        ("localhost:99999", "http://localhost:99999", false),
    ] {
        let result = checked("GET", host, &[("origin", own)]);
        let expected = if is_own { Ok(false) } else { origin(own) };
        assert_eq!(result, expected, "{host} {own}");
    }
}

#[test]
fn a_development_server_in_between_passes() {
    // Vite with `changeOrigin: true`: the origin of the page, and the proxy's own host.
    for method in ["GET", "POST", "PUT", "DELETE"] {
        for page in ["http://localhost:3000", "null"] {
            let headers = [
                ("origin", page),
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-mode", "cors"),
            ];
            assert_eq!(checked(method, OWN, &headers), Ok(false), "{method} {page}");
        }
    }
    // A form of such a page still opens an address.
    let form = [
        ("origin", "http://localhost:3000"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "navigate"),
    ];
    assert_eq!(checked("POST", OWN, &form), Err(CrossSite::Navigation));
    // A second value makes the header ambiguous.
    for sites in [
        ["same-origin", "cross-site"],
        ["same-origin", "same-origin"],
    ] {
        let headers = [
            ("origin", "http://attacker.test"),
            ("sec-fetch-site", sites[0]),
            ("sec-fetch-site", sites[1]),
        ];
        assert_eq!(
            checked("GET", OWN, &headers),
            origin("http://attacker.test")
        );
    }
    let both = [
        ("origin", "http://attacker.test"),
        ("sec-fetch-site", "same-origin, cross-site"),
    ];
    assert_eq!(checked("GET", OWN, &both), origin("http://attacker.test"));
}

#[test]
fn a_foreign_site_without_an_origin_is_refused() {
    for site in ["cross-site", "same-site"] {
        for (method, mode) in [
            ("GET", "no-cors"),
            ("POST", "no-cors"),
            ("GET", "navigate"),
            ("GET", "cors"),
        ] {
            let headers = [("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            assert_eq!(
                checked(method, OWN, &headers),
                Err(CrossSite::Site(site)),
                "{method} {mode}"
            );
        }
    }
    let own_too = [
        ("origin", "http://127.0.0.1:8080"),
        ("sec-fetch-site", "cross-site"),
    ];
    assert_eq!(
        checked("GET", OWN, &own_too),
        Err(CrossSite::Site("cross-site"))
    );
    let both = [("sec-fetch-site", "none, Cross-Site")];
    assert_eq!(
        checked("GET", OWN, &both),
        Err(CrossSite::Site("cross-site"))
    );
}

#[test]
fn only_the_user_navigates() {
    for (method, site, passes) in [
        ("GET", "none", true),
        ("HEAD", "none", false),
        ("POST", "none", false),
        ("GET", "same-origin", false),
        ("POST", "same-origin", false),
        ("GET", "", false),
    ] {
        let headers = [("sec-fetch-site", site), ("sec-fetch-mode", "navigate")];
        let expected = if passes {
            Ok(false)
        } else {
            Err(CrossSite::Navigation)
        };
        assert_eq!(checked(method, OWN, &headers), expected, "{method} {site}");
    }
    assert_eq!(
        checked("GET", OWN, &[("sec-fetch-mode", "navigate")]),
        Err(CrossSite::Navigation)
    );
}

#[test]
fn two_origins_are_refused() {
    for pair in [
        [LISTED, "http://attacker.test"],
        [LISTED, LISTED],
        ["http://127.0.0.1:8080"; 2],
    ] {
        let headers = [("origin", pair[0]), ("origin", pair[1])];
        assert_eq!(checked("GET", OWN, &headers), origin(pair[0]));
    }
}

/// Property: a page cannot put control characters, or text of any length, into an answer or a log.
#[test]
fn an_origin_is_escaped_and_cut() {
    let long = format!("http://{}.test", "a".repeat(5_000));
    let Err(CrossSite::Origin(text)) = checked("GET", OWN, &[("origin", &long)]) else {
        panic!("passed");
    };
    assert_eq!(text.len(), SHOWN_BYTES + 3);
    let Err(CrossSite::Origin(text)) = checked("GET", OWN, &[("origin", "http://\u{9b}31m\t\"`x")])
    else {
        panic!("passed");
    };
    assert_eq!(text, "http://\\xc2\\x9b31m\\t\\\"`x");
}
