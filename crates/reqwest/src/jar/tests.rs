use std::time::Duration;

use super::*;

fn url(text: &str) -> Url {
    text.parse().expect("a URL")
}

/// Returns the `Cookie` header of a request to `to`, after an answer of `from` has set these cookies.
fn sent(set: &[&str], from: &str, to: &str) -> String {
    let jar = Jar::default();
    for cookie in set {
        jar.add_cookie_str(cookie, &url(from));
    }
    let header = jar.cookies(&url(to));
    header.map_or(String::new(), |header| {
        header.to_str().expect("text").to_owned()
    })
}

/// Property: a cookie goes to its own origin, to the hosts of its domain, and to no other server
/// (RFC 6265 sections 5.1.3, 5.3 and 5.4; rule 11).
#[test]
fn a_cookie_goes_to_its_own_servers() {
    for (set, from, to, goes) in [
        ("a=1", "https://h.test/", "https://h.test/", true),
        ("a=1", "https://h.test/", "https://H.test:443/", true),
        ("a=1", "https://h.test/", "https://h.test:8443/", false),
        ("a=1", "https://h.test/", "http://h.test/", false),
        ("a=1", "https://h.test/", "http://h.test:443/", false),
        ("a=1", "http://h.test/", "https://h.test/", false),
        ("a=1", "https://h.test/", "https://x.h.test/", false),
        ("a=1", "https://x.h.test/", "https://h.test/", false),
        ("a=1", "http://127.0.0.1:1/", "http://127.0.0.1:2/", false),
        ("a=1", "http://127.0.0.1:1/", "http://localhost:1/", false),
        (
            "a=1; Domain=h.test",
            "https://h.test/",
            "https://x.h.test/",
            true,
        ),
        (
            "a=1; Domain=.H.Test",
            "https://y.h.test/",
            "https://x.h.test/",
            true,
        ),
        (
            "a=1; Domain=h.test",
            "https://y.h.test/",
            "https://h.test:8443/",
            true,
        ),
        (
            "a=1; Domain=h.test",
            "https://y.h.test/",
            "https://xh.test/",
            false,
        ),
        (
            "a=1; Domain=h.test",
            "https://h.test/",
            "http://x.h.test/",
            false,
        ),
        (
            "a=1; Domain=x.h.test",
            "https://h.test/",
            "https://x.h.test/",
            false,
        ),
        (
            "a=1; Domain=g.test",
            "https://h.test/",
            "https://g.test/",
            false,
        ),
        (
            "a=1; Domain=g.test",
            "https://h.test/",
            "https://h.test/",
            false,
        ),
        (
            "a=1; Domain=test",
            "https://h.test/",
            "https://h.test/",
            false,
        ),
        (
            "a=1; Domain=test",
            "https://h.test/",
            "https://g.test/",
            false,
        ),
        ("a=1; Domain=", "https://h.test/", "https://h.test/", true),
        (
            "a=1; Domain=",
            "https://h.test/",
            "https://x.h.test/",
            false,
        ),
        (
            "a=1; Domain=localhost",
            "http://localhost/",
            "http://localhost/",
            true,
        ),
        (
            "a=1; Domain=localhost",
            "http://localhost/",
            "http://localhost:1/",
            false,
        ),
        (
            "a=1; Domain=127.0.0.1",
            "http://127.0.0.1/",
            "http://127.0.0.1/",
            true,
        ),
        (
            "a=1; Domain=0.0.1",
            "http://127.0.0.1/",
            "http://127.0.0.1/",
            false,
        ),
        ("a=1", "ftp://h.test/", "ftp://h.test/", false),
    ] {
        assert_eq!(
            !sent(&[set], from, to).is_empty(),
            goes,
            "{set} {from} {to}"
        );
    }
}

/// Property: a cookie goes to its path and below (RFC 6265 section 5.1.4).
#[test]
fn a_cookie_goes_to_its_path() {
    for (set, from, to, goes) in [
        ("a=1; Path=/api", "/login", "/api", true),
        ("a=1; Path=/api", "/login", "/api/x", true),
        ("a=1; Path=/api/", "/login", "/api/x", true),
        ("a=1; Path=/api/", "/login", "/api", false),
        ("a=1; Path=/api", "/login", "/apix", false),
        ("a=1; Path=/api", "/api", "/", false),
        ("a=1", "/auth/login", "/auth/refresh", true),
        ("a=1", "/auth/login", "/auth", true),
        ("a=1", "/auth/login", "/other", false),
        ("a=1", "/login", "/anything", true),
        ("a=1; Path=relative", "/auth/login", "/auth/x", true),
        ("a=1; Path=/x; Path=", "/auth/login", "/auth/x", true),
    ] {
        let host = |path: &str| format!("https://h.test{path}");
        let sent = sent(&[set], &host(from), &host(to));
        assert_eq!(!sent.is_empty(), goes, "{set} {from} {to}");
    }
}

/// Property: `Secure` and the name prefixes apply (RFC 6265bis section 4.1.3).
#[test]
fn a_secure_cookie_needs_a_secure_origin() {
    for (set, origin, kept) in [
        ("a=1; Secure", "https://h.test/", true),
        ("a=1; Secure", "http://h.test/", false),
        ("a=1; Secure", "http://127.0.0.1/", true),
        ("a=1; Secure", "http://[::1]/", true),
        ("a=1; secure", "http://localhost/", true),
        ("__Secure-a=1", "https://h.test/", false),
        ("__Secure-a=1; Secure", "https://h.test/", true),
        ("__Host-a=1; Secure; Path=/", "https://h.test/x/y", true),
        ("__host-a=1; Secure", "https://h.test/", false),
        ("__Host-a=1; Path=/", "https://h.test/", false),
        ("__Host-a=1; Secure; Path=/x", "https://h.test/x", false),
        (
            "__Host-a=1; Secure; Path=/; Domain=h.test",
            "https://h.test/",
            false,
        ),
    ] {
        assert_eq!(
            !sent(&[set], origin, origin).is_empty(),
            kept,
            "{set} {origin}"
        );
    }
    let domain = ["a=1; Secure; Domain=h.test"];
    assert_eq!(sent(&domain, "https://h.test/", "http://x.h.test/"), "");
}

/// Property: `Max-Age` wins over `Expires`. A lifetime in the past deletes the cookie. An unreadable
/// lifetime is ignored (RFC 6265 sections 5.2.1, 5.2.2 and 5.3).
#[test]
fn a_cookie_expires() {
    for (set, kept) in [
        ("a=2; Max-Age=60", true),
        ("a=2; Max-Age=99999999999999999999999", true),
        ("a=2; Max-Age=0", false),
        ("a=2; Max-Age=-1", false),
        ("a=2; Max-Age=x", true),
        ("a=2; Max-Age=", true),
        ("a=2; Max-Age=+5", true),
        ("a=2; Expires=Thu, 01 Jan 1970 00:00:00 GMT", false),
        ("a=2; Expires=Thu, 01-Jan-1970 00:00:00 GMT", false),
        ("a=2; expires=Fri, 31 Dec 9999 23:59:59 GMT", true),
        ("a=2; Expires=yesterday", true),
        (
            "a=2; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            true,
        ),
        (
            "a=2; Max-Age=0; Expires=Fri, 31 Dec 9999 23:59:59 GMT",
            false,
        ),
    ] {
        let sent = sent(&["a=1", set], "https://h.test/", "https://h.test/");
        assert_eq!(sent, if kept { "a=2" } else { "" }, "{set}");
    }
    let (cookie, lifetime) =
        StoredCookie::from_header(b"a=1; Max-Age=5", &url("https://h.test/")).expect("a cookie");
    assert_eq!(lifetime, CookieLifetime::For(Duration::from_secs(5)));
    assert!(!cookie.is_expired(Instant::now()));
    assert!(cookie.is_expired(Instant::now() + Duration::from_secs(5)));
}

/// Property: a date is parsed in every form of RFC 6265 section 5.1.1.
#[test]
fn a_date_is_parsed_in_every_form() {
    let seconds = |text| {
        let at: SystemTime = date::parse(text)?;
        Some(match at.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).expect("a year of four digits"),
            Err(before) => -i64::try_from(before.duration().as_secs()).expect("since 1601"),
        })
    };
    for (text, expected) in [
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
        ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
        ("6 nov 1994 8:49:37", Some(784_111_777)),
        ("Thu, 29 Feb 2024 12:00:00 GMT", Some(1_709_208_000)),
        ("Wed, 21-Oct-2026 07:28:00 GMT", Some(1_792_567_680)),
        ("1 Jan 69 00:00:00", Some(3_124_224_000)),
        ("1 Jan 70 00:00:00", Some(0)),
        ("31 Dec 1969 23:59:59", Some(-1)),
        ("1 Jan 1601 00:00:00", Some(-11_644_473_600)),
        ("1 Jan 1600 00:00:00", None),
        ("29 Feb 2023 00:00:00", None),
        ("31 Apr 2024 00:00:00", None),
        ("0 Jan 2024 00:00:00", None),
        ("1 Jan 2024 24:00:00", None),
        ("1 Jan 2024 00:60:00", None),
        ("1 Jan 2024", None),
        ("Jan 2024 00:00:00", None),
        (
            "\u{e9}\u{e9}\u{e9} 1 Jan 2024 00:00:00",
            Some(1_704_067_200),
        ),
        ("", None),
    ] {
        assert_eq!(seconds(text), expected, "{text}");
    }
}

/// Property: a replaced cookie keeps its position. Longer paths come first, then older cookies (RFC 6265
/// sections 5.3 and 5.4).
#[test]
fn cookies_have_an_order() {
    let set = [
        "a=1; Path=/",
        "b=1; Path=/",
        "c=1; Path=/x",
        "a=2; Path=/",
        "d=; Path=/",
    ];
    assert_eq!(
        sent(&set, "https://h.test/x/y", "https://h.test/x/y"),
        "c=1; a=2; b=1; d="
    );
    for set in [["a=1", "a=2; Domain=h.test"], ["a=1; Domain=h.test", "a=2"]] {
        assert_eq!(sent(&set, "https://h.test/", "https://h.test/"), "a=2");
    }
    let moved = ["r=1; Path=/x", "r=; Path=/x; Max-Age=0", "r=2; Path=/"];
    assert_eq!(
        sent(&moved, "https://h.test/x/y", "https://h.test/x/y"),
        "r=2"
    );
}

/// Property: a cookie without `Domain` is replaced by its own origin alone. A sibling host, or another
/// port, that sets a cookie for the domain leaves it as it is.
#[test]
fn another_origin_replaces_no_cookie() {
    for other in ["https://x.h.test/", "https://h.test:8443/"] {
        let jar = Jar::default();
        let own = url("https://h.test/");
        jar.add_cookie_str("r=own", &own);
        jar.add_cookie_str("r=foreign; Domain=h.test", &url(other));
        let header = jar.cookies(&own).expect("cookies");
        assert!(
            header.to_str().expect("text").starts_with("r=own"),
            "{other}"
        );
        jar.add_cookie_str("r=; Domain=h.test; Max-Age=0", &url(other));
        assert_eq!(jar.cookies(&own).expect("a cookie"), "r=own", "{other}");
    }
}

/// Property: a header that sets no cookie is ignored. A jar, a cookie and an attribute have a maximum size
/// (RFC 6265 sections 5.2 and 6.1).
#[test]
fn a_jar_is_bounded() {
    let host = "https://h.test/";
    for set in ["", ";", "a", "=1", " =1", "a\u{7}=1", "a=\u{0}"] {
        assert_eq!(sent(&[set], host, host), "", "{set:?}");
    }
    assert_eq!(sent(&["\t a = 1 2 \t;x=y"], host, host), "a=1 2");
    assert_eq!(sent(&["a=b=c"], host, host), "a=b=c");
    let fits = format!("a={}", "1".repeat(4095));
    assert_eq!(sent(&[&fits], host, host), fits);
    assert_eq!(sent(&[&format!("{fits}1")], host, host), "");
    let long = format!("a=1; Path=/{}", "x".repeat(1024));
    assert_eq!(sent(&[&long], host, host), "a=1");

    let jar = Jar::default();
    for number in 0..1000 {
        let at = url(&format!("https://h{}.test/", number % 10));
        jar.add_cookie_str(&format!("c{number}=1"), &at);
    }
    assert_eq!(jar.lock().len(), TOTAL_MAX);
    for number in 0..100 {
        jar.add_cookie_str(&format!("d{number}=1"), &url(host));
    }
    let header = jar.cookies(&url(host)).expect("cookies");
    let header = header.to_str().expect("text");
    assert_eq!(header.split("; ").count(), PER_HOST_MAX);
    assert!(
        header.ends_with("d99=1") && !header.contains("d49="),
        "{header}"
    );
}

/// Property: `Debug` of the jar and of its header shows no value (rule 12).
#[test]
fn debug_shows_no_cookie_value() {
    let jar = Jar::default();
    jar.add_cookie_str("a=CANARY", &url("https://h.test/"));
    let header = jar.cookies(&url("https://h.test/"));
    let shown = format!("{jar:?} {header:?}");
    assert!(
        shown.contains("cookies: 1") && !shown.contains("CANARY"),
        "{shown}"
    );
}
