use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

fn origin(text: &str) -> Origin {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn uri(text: &str) -> Uri {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Property: every spelling of an origin has the serialisation of RFC 6454, which parses back.
#[test]
fn spellings_have_one_serialisation() {
    let cases = [
        ("https://api.example.com", "https://api.example.com"),
        ("https://api.example.com/", "https://api.example.com"),
        ("HTTPS://API.Example.COM:443/", "https://api.example.com"),
        ("https://api.example.com:", "https://api.example.com"),
        ("https://api.example.com:0443", "https://api.example.com"),
        ("https://api.example.com:80", "https://api.example.com:80"),
        (
            "https://api.example.com:65535",
            "https://api.example.com:65535",
        ),
        ("https://api.example.com.", "https://api.example.com."),
        (
            "https://xn--bcher-kva.example",
            "https://xn--bcher-kva.example",
        ),
        ("https://my_service", "https://my_service"),
        ("https://app.localhost", "https://app.localhost"),
        ("https://192.0.2.1", "https://192.0.2.1"),
        ("https://1.2.3.4.example", "https://1.2.3.4.example"),
        (
            "https://[2001:DB8:0:0:0:0:0:1]:8443",
            "https://[2001:db8::1]:8443",
        ),
        ("https://[::1]", "https://[::1]"),
        ("http://localhost", "http://localhost"),
        ("http://LocalHost:80", "http://localhost"),
        ("http://localhost:443", "http://localhost:443"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://127.255.255.254", "http://127.255.255.254"),
        ("http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080"),
    ];
    for (text, serialised) in cases {
        assert_eq!(origin(text).to_string(), serialised, "{text}");
        assert_eq!(origin(serialised), origin(text), "{text}");
        assert_eq!(
            format!("{:?}", origin(text)),
            format!("Origin({serialised})")
        );
    }
    let longest = format!("https://{}a", "a.".repeat(126));
    assert_eq!(origin(&longest).to_string(), longest);
    assert_eq!(origin(&(longest.clone() + ".")).to_string(), longest + ".");
    let origin = origin("http://[::1]:81");
    assert_eq!(
        (
            origin.scheme(),
            origin.host().to_string().as_str(),
            origin.port()
        ),
        ("http", "[::1]", 81)
    );
}

/// Property: each text that is not an origin for tokens is refused with the error for its fault.
#[test]
fn each_fault_has_its_error() {
    use OriginError::{Blank, Empty, Host, NoHost, NoScheme, NonAscii, Port, Scheme, UserInfo};
    let path = |origin: &str| OriginError::Path {
        origin: origin.into(),
    };
    let clear = |host: &str| OriginError::Clear { host: host.into() };
    let long = format!("https://{}", "a.".repeat(126) + "aa");
    let label = format!("https://{}.example", "a".repeat(64));
    let cases = [
        ("", Empty),
        (" https://api.example.com", Blank),
        ("https://api.example.com\n", Blank),
        ("https://api.example.com\0", Blank),
        ("api.example.com", NoScheme),
        ("localhost:8080", NoScheme),
        ("//api.example.com", NoScheme),
        ("/api", NoScheme),
        ("https:/api.example.com", NoScheme),
        ("ftp://api.example.com", Scheme),
        ("wss://api.example.com", Scheme),
        ("://api.example.com", Scheme),
        ("https://", NoHost),
        ("https:///path", NoHost),
        ("https://:443", NoHost),
        ("https://user@api.example.com", UserInfo),
        ("https://user:password@api.example.com", UserInfo),
        ("https://@api.example.com", UserInfo),
        ("https://api.example.com@evil.com", UserInfo),
        ("https://b\u{fc}cher.example", NonAscii),
        ("https://api.ex\u{430}mple.com", NonAscii),
        ("https://api.example.com\\evil.com", Host),
        ("https://*.example.com", Host),
        ("https://api%2eexample.com", Host),
        ("https://.example.com", Host),
        ("https://api..example.com", Host),
        ("https://api.example.com..", Host),
        ("https://.", Host),
        (&long, Host),
        (&label, Host),
        ("https://127.1", Host),
        ("https://2130706433", Host),
        ("https://0x7f.1", Host),
        ("https://0x7F000001", Host),
        ("https://0x", Host),
        ("https://127.0.0.01", Host),
        ("https://127.0.0.1.", Host),
        ("https://256.0.0.1", Host),
        ("https://[::1", Host),
        ("https://[]", Host),
        ("https://[fe80::1%25eth0]", Host),
        ("https://[127.0.0.1]", Host),
        ("https://2001:db8::1", Port),
        ("https://[::1]443", Port),
        ("https://api.example.com:0", Port),
        ("https://api.example.com:65536", Port),
        ("https://api.example.com:+443", Port),
        ("https://api.example.com:https", Port),
        ("https://api.example.com:443:443", Port),
        (
            "https://api.example.com/v1",
            path("https://api.example.com"),
        ),
        ("https://api.example.com//", path("https://api.example.com")),
        (
            "https://Api.example.com:8443?a=b",
            path("https://api.example.com:8443"),
        ),
        ("http://[::1]#a", path("http://[::1]")),
        ("http://api.example.com", clear("api.example.com")),
        ("http://api.example.com/v1", clear("api.example.com")),
        ("http://192.168.0.1", clear("192.168.0.1")),
        ("http://128.0.0.1", clear("128.0.0.1")),
        ("http://0.0.0.0", clear("0.0.0.0")),
        ("http://app.localhost", clear("app.localhost")),
        ("http://localhost.", clear("localhost.")),
        ("http://localhost.evil.com", clear("localhost.evil.com")),
        ("http://127.0.0.1.evil.com", clear("127.0.0.1.evil.com")),
        ("http://[::]", clear("[::]")),
        ("http://[::ffff:127.0.0.1]", clear("[::ffff:127.0.0.1]")),
    ];
    for (text, error) in cases {
        assert_eq!(Origin::try_from(text), Err(error), "{text}");
    }
}

/// Property: no message repeats a token or password that was given instead of an origin (rule 12).
#[test]
fn messages_repeat_no_secret() {
    let cases = [
        "canary",
        "eyJhbGciOiJub25lIn0.canary.c2ln",
        "Bearer canary",
        "canary://api.example.com",
        "https://canary@api.example.com",
        "https://user:canary@api.example.com",
        "https://user:canary",
        "https://api.example.com?token=canary",
        "https://api.example.com/canary#canary",
    ];
    for text in cases {
        let error = Origin::try_from(text).expect_err(text);
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{text}: {error}"
        );
    }
}

/// Property: the origin that an error suggests can be parsed.
#[test]
fn suggested_origins_parse() {
    for text in [
        "https://api.example.com/v1",
        "http://[::1]:80/?a",
        "https://A.example:1#a",
    ] {
        let Err(OriginError::Path { origin }) = Origin::try_from(text) else {
            panic!("{text}")
        };
        assert!(origin.parse::<Origin>().is_ok(), "{origin}");
    }
}

/// Property: a token for an origin may go to every URI of that origin, and to no URI that only
/// looks like it.
#[test]
fn allows_its_own_origin_and_no_look_alike() {
    let origins: Origins = [
        "https://api.example.com",
        "https://[2001:db8::1]",
        "http://localhost:8080",
    ]
    .map(origin)
    .into_iter()
    .collect();
    let allowed = [
        "https://api.example.com",
        "https://api.example.com/",
        "https://api.example.com/a/b?c=https://evil.com/#d",
        "https://api.example.com?a@evil.com",
        "https://api.example.com/@evil.com",
        "HTTPS://API.EXAMPLE.COM:443/a",
        "https://api.example.com:/a",
        "https://api.example.com:0443/",
        "https://[2001:DB8:0:0::1]:443/",
        "http://localhost:8080/a",
    ];
    for text in allowed {
        assert!(origins.allows(&uri(text)), "{text}");
        assert!(
            origins
                .iter()
                .any(|own| Some(own) == Origin::of(&uri(text)).as_ref()),
            "{text}"
        );
    }
    let refused = [
        "https://api.example.com.evil.com/",
        "https://api.example.com@evil.com/",
        "https://api.example.com:443@evil.com/",
        "https://evil.com/api.example.com",
        "https://evil.com/https://api.example.com/",
        "https://evil.com?https://api.example.com/",
        "https://user@api.example.com/",
        "https://user:password@api.example.com/",
        "https://xapi.example.com/",
        "https://x.api.example.com/",
        "https://example.com/",
        "https://api.example.co/",
        "https://api.example.comm/",
        "https://api.example.com./",
        "https://api-example.com/",
        "https://api.example.com:80/",
        "https://api.example.com:8443/",
        "https://api.example.com:4430/",
        "https://api.example.com:65979/",
        "http://api.example.com/",
        "http://api.example.com:443/",
        "ws://api.example.com/",
        "wss://api.example.com/",
        "httpss://api.example.com/",
        "ws://localhost:8080/",
        "wss://localhost:8080/",
        "https://[2001:db8::2]/",
        "http://[2001:db8::1]/",
        "http://[2001:db8::1]:443/",
        "http://localhost/",
        "https://localhost:8080/",
        "http://localhost.:8080/",
        "http://127.0.0.1:8080/",
        "http://app.localhost:8080/",
        "http://localhost:18080/",
        "/a",
        "*",
        "api.example.com",
        "api.example.com:443",
    ];
    for text in refused {
        assert!(!origins.allows(&uri(text)), "{text}");
    }
    assert!(!Origins::new().allows(&uri("https://api.example.com")));
}

/// Property: a URI to which no token may go has no origin.
#[test]
fn of_is_none_for_a_uri_without_protection() {
    for text in [
        "http://api.example.com/",
        "http://app.localhost/",
        "https://user@api.example.com/",
        "https://api.example.com:65536/",
        "https://api.example.com:0/",
        "https://127.1/",
        "ftp://api.example.com/",
        "ws://localhost/",
        "api.example.com:443",
        "/a",
        "*",
    ] {
        assert_eq!(Origin::of(&uri(text)), None, "{text}");
    }
    assert_eq!(
        Origin::of(&uri("http://127.0.0.1:81/a?b")),
        Some(origin("http://127.0.0.1:81"))
    );
}

/// Property: the list holds each origin once, in the order in which they were added.
#[test]
fn origins_are_a_set_in_order() {
    let mut origins = Origins::new();
    assert!(origins.is_empty());
    for text in [
        "https://b.example",
        "https://a.example",
        "https://B.example:443/",
    ] {
        origins.push(origin(text));
    }
    let all: Vec<_> = (&origins).into_iter().map(ToString::to_string).collect();
    assert_eq!(all, ["https://b.example", "https://a.example"]);
    assert_eq!(origins.len(), 2);
    assert!(!origins.is_empty());
}

/// Hosts that look alike. Hosts with the same number in the first column are the same host.
const HOSTS: &[(u8, &str)] = &[
    (0, "a.example"),
    (0, "A.eXample"),
    (1, "a.example."),
    (2, "b.a.example"),
    (3, "a.example.b"),
    (4, "aa.example"),
    (5, "a-example"),
    (6, "example"),
    (7, "localhost"),
    (7, "LOCALHOST"),
    (8, "127.0.0.1"),
    (9, "127.0.0.2"),
    (10, "[::1]"),
    (10, "[0:0::0:1]"),
    (11, "[::2]"),
    (12, "[::ffff:127.0.0.1]"),
];

/// The scheme, host and port of an origin, and a text of it.
fn origin_with_text() -> impl Strategy<Value = ((bool, u8, u16), String)> {
    (
        any::<bool>(),
        select(HOSTS),
        select(vec![80, 443, 4430, 44]),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(https, (same, host), port, upper, bare)| {
            let scheme = if https { "https" } else { "http" };
            let scheme = if upper {
                scheme.to_uppercase()
            } else {
                scheme.into()
            };
            let port_text = if bare && port == default_port(https) {
                String::new()
            } else {
                format!(":{port}")
            };
            ((https, same, port), format!("{scheme}://{host}{port_text}"))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Property: an origin allows a URI if and only if scheme, host and port are the same. No origin
    /// has the scheme `http` and a host beyond loopback.
    #[test]
    fn allows_exactly_itself((own, text) in origin_with_text(), (other, target) in origin_with_text(), path in "(/[a-z@:.?#]{0,12})?") {
        let target = uri(&format!("{target}{path}"));
        let safe = |(https, host, _): (bool, u8, u16)| https || matches!(host, 7..=10);
        match text.parse::<Origin>() {
            Ok(origin) => {
                prop_assert!(safe(own));
                let origins: Origins = [origin.clone()].into_iter().collect();
                prop_assert_eq!(origins.allows(&target), own == other, "{} to {}", text, target);
                prop_assert_eq!(Origin::of(&target) == Some(origin), own == other);
            }
            Err(error) => prop_assert!(!safe(own), "{}: {}", text, error),
        }
        prop_assert_eq!(Origin::of(&target).is_some(), safe(other));
    }

    /// Property: the token may go to a tampered URL only if `Uri` reads the scheme, host and port of
    /// the origin from it. HTTP clients connect to the host that `Uri` reads.
    #[test]
    fn a_tampered_url_gets_no_token(at in any::<Index>(), insert in "[a-z0-9@:./?#%\\[\\]+-]{0,6}", cut in 0_usize..4) {
        let origins: Origins = [origin("https://api.example.com")].into_iter().collect();
        let mut text = "https://api.example.com:443/path".to_owned();
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &insert);
        let Ok(uri) = text.parse::<Uri>() else { return Ok(()) };
        if origins.allows(&uri) {
            prop_assert_eq!(uri.scheme_str(), Some("https"));
            prop_assert!(uri.host().expect("a host").eq_ignore_ascii_case("api.example.com"));
            prop_assert_eq!(uri.port_u16().unwrap_or(443), 443);
            prop_assert_eq!(Origin::of(&uri), Some(origin("https://api.example.com")));
        }
    }

    /// Property: no text makes the parser panic. Every origin that it accepts is the same after a
    /// round trip through its serialisation and through `Uri`.
    #[test]
    fn accepts_only_what_round_trips(text in prop_oneof!["\\PC{0,40}", "https?://[a-z0-9.:@\\[\\]/-]{0,20}", "https://[0-9a-fx.]{1,12}"]) {
        let Ok(origin) = text.parse::<Origin>() else { return Ok(()) };
        prop_assert_eq!(origin.to_string().parse::<Origin>(), Ok(origin.clone()));
        prop_assert_eq!(Origin::of(&uri(&origin.to_string())), Some(origin.clone()));
        prop_assert_eq!(Origin::of(&uri(&text)), Some(origin));
    }
}

#[test]
fn hosts_of_this_machine_go_through_no_proxy() {
    for host in [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "api.localhost",
        "a.b.LocalHost.",
        "127.0.0.1",
        "127.255.255.254",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        "[::ffff:7f01:2]",
    ] {
        assert!(is_loopback_host(host), "{host}");
    }
    for host in [
        "",
        ".",
        "notlocalhost",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "128.0.0.1",
        "0.0.0.0",
        "::2",
        "::ffff:128.0.0.1",
        "example.com",
    ] {
        assert!(!is_loopback_host(host), "{host}");
    }
}
