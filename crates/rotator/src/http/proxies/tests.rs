use super::*;

const PROXY: &str = "http://proxy.example.com:3128";

fn proxies(variables: &[(&str, &str)]) -> Proxies {
    Proxies::from_variables(|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

/// Returns the proxy for an https host, as text.
fn proxy_for(variables: &[(&str, &str)], https: bool, host: &str) -> Option<String> {
    let proxies = proxies(variables);
    let proxy = proxies.proxy_for(https, host, if https { 443 } else { 80 });
    proxy.expect("valid variables").map(ToString::to_string)
}

#[test]
fn each_scheme_has_its_variables() {
    let (one, two) = ("http://one:1", "http://two:2");
    for (variables, http, https) in [
        (vec![], None, None),
        (vec![("http_proxy", one)], Some(one), None),
        (vec![("HTTP_PROXY", one)], Some(one), None),
        (vec![("https_proxy", one)], None, Some(one)),
        (vec![("HTTPS_PROXY", one)], None, Some(one)),
        (vec![("ALL_PROXY", one)], Some(one), Some(one)),
        (
            vec![("all_proxy", one), ("HTTPS_PROXY", two)],
            Some(one),
            Some(two),
        ),
        (
            vec![("http_proxy", one), ("HTTP_PROXY", two)],
            Some(one),
            None,
        ),
        (
            vec![("https_proxy", ""), ("HTTPS_PROXY", two)],
            None,
            Some(two),
        ),
        (vec![("https_proxy", " ")], None, None),
        // A CGI server sets HTTP_PROXY from the header `Proxy` of a caller.
        (
            vec![("HTTP_PROXY", one), ("REQUEST_METHOD", "GET")],
            None,
            None,
        ),
        (
            vec![("http_proxy", one), ("REQUEST_METHOD", "GET")],
            Some(one),
            None,
        ),
    ] {
        let found = |https| proxy_for(&variables, https, "api.example.com");
        assert_eq!(found(false).as_deref(), http, "{variables:?}");
        assert_eq!(found(true).as_deref(), https, "{variables:?}");
    }
}

#[test]
fn this_machine_is_reached_without_a_proxy() {
    let variables = [
        ("HTTP_PROXY", PROXY),
        ("HTTPS_PROXY", PROXY),
        ("ALL_PROXY", PROXY),
    ];
    for host in [
        "localhost",
        "LocalHost.",
        "a.localhost",
        "127.9.9.9",
        "[::1]",
        "::ffff:127.0.0.1",
    ] {
        for https in [false, true] {
            assert_eq!(proxy_for(&variables, https, host), None, "{host}");
        }
    }
    assert_eq!(
        proxy_for(&variables, false, "10.0.0.1").as_deref(),
        Some(PROXY)
    );
}

#[test]
fn no_proxy_is_read_as_curl_reads_it() {
    for (list, host, port, direct) in [
        ("example.com", "example.com", 443, true),
        ("example.com", "www.example.com", 443, true),
        ("example.com", "EXAMPLE.com.", 443, true),
        ("example.com", "notexample.com", 443, false),
        ("example.com", "example.com.org", 443, false),
        ("Example.COM", "example.com", 443, true),
        (".example.com", "www.example.com", 443, true),
        (".example.com", "example.com", 443, true),
        ("*.example.com", "www.example.com", 443, true),
        ("example.com.", "example.com", 443, true),
        ("a.test, example.com", "example.com", 443, true),
        ("a.test example.com", "example.com", 443, true),
        (" ,, example.com ,", "example.com", 443, true),
        ("*", "example.com", 443, true),
        ("", "example.com", 443, false),
        (",", "example.com", 443, false),
        ("example.com:8443", "example.com", 8443, true),
        ("example.com:8443", "www.example.com", 8443, true),
        ("example.com:8443", "example.com", 443, false),
        ("10.1.2.3", "10.1.2.3", 443, true),
        ("10.1.2.3:80", "10.1.2.3", 443, false),
        ("10.1.2.3:443", "10.1.2.3", 443, true),
        ("10.0.0.0/8", "10.255.0.1", 443, true),
        ("10.0.0.0/8", "11.0.0.1", 443, false),
        ("10.0.0.0/8", "10.0.0.1.example.com", 443, false),
        ("10.1.2.3/32", "10.1.2.3", 443, true),
        ("0.0.0.0/0", "10.1.2.3", 443, true),
        ("0.0.0.0/0", "example.com", 443, false),
        ("10.0.0.0/33", "10.0.0.1", 443, false),
        ("10.0.0.0/x", "10.0.0.1", 443, false),
        ("2001:db8::/32", "[2001:db8::1]", 443, true),
        ("2001:db8::/32", "2001:db9::1", 443, false),
        ("2001:db8::1", "[2001:DB8::1]", 443, true),
        ("[2001:db8::1]", "2001:db8::1", 443, true),
        ("[2001:db8::1]:443", "2001:db8::1", 443, true),
        ("[2001:db8::1]:80", "2001:db8::1", 443, false),
        ("10.0.0.0/8", "::ffff:10.0.0.1", 443, true),
        ("::ffff:10.0.0.0/104", "10.0.0.1", 443, true),
        // A suffix of an address is no domain of it.
        ("2.3", "10.1.2.3", 443, false),
    ] {
        let variables = [("https_proxy", PROXY), ("NO_PROXY", list)];
        let proxies = proxies(&variables);
        let proxy = proxies
            .proxy_for(true, host, port)
            .expect("valid variables");
        assert_eq!(proxy.is_none(), direct, "{list:?} {host}:{port}");
    }
}

#[test]
fn an_address_is_parsed() {
    for (text, shown, authorization) in [
        ("http://proxy:3128", "http://proxy:3128", None),
        ("proxy:3128", "http://proxy:3128", None),
        ("HTTP://Proxy:3128/", "http://proxy:3128", None),
        ("http://proxy", "http://proxy:80", None),
        ("https://proxy", "https://proxy:443", None),
        ("socks5h://proxy", "socks5h://proxy:1080", None),
        ("http://[::1]:3128", "http://[::1]:3128", None),
        // RFC 7617 section 2
        (
            "http://Aladdin:open%20sesame@proxy:1",
            "http://proxy:1",
            Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ),
        (
            "http://a:b%40c%3a@proxy:1",
            "http://proxy:1",
            Some("Basic YTpiQGM6"),
        ),
        (
            "http://a:100%@proxy:1",
            "http://proxy:1",
            Some("Basic YToxMDAl"),
        ),
        ("http://a@proxy:1", "http://proxy:1", Some("Basic YTo=")),
        (
            "http://a:b@c:@proxy:1",
            "http://proxy:1",
            Some("Basic YTpiQGM6"),
        ),
        ("a:b:c@proxy:1", "http://proxy:1", Some("Basic YTpiOmM=")),
    ] {
        let address: ProxyAddress = text.parse().expect(text);
        assert_eq!(address.to_string(), shown);
        let value = address.authorization();
        assert!(value.as_ref().is_none_or(HeaderValue::is_sensitive));
        assert_eq!(
            value.as_ref().map(|value| value.to_str().expect("text")),
            authorization
        );
    }
}

/// Property: no message and no `Debug` shows a password.
#[test]
fn an_invalid_address_shows_nothing_of_itself() {
    for text in [
        "",
        "ftp://user:hunter2@proxy:1",
        "http://user:hunter2@",
        "http://user:hunter2@proxy:0",
        "http://user:hunter2@proxy:99999",
        "http://user:hunter2@proxy:port",
        "http://user:hun/ter2@proxy:1",
        "http://user:hunter2@proxy:1/path",
        "http://user: hunter2@proxy:1",
        "http://user:hunter2@::1:80",
        "http://hunter2:secret",
    ] {
        let error = text.parse::<ProxyAddress>().expect_err(text);
        let shown = format!("{error} {error:?} {:?}", error.hint());
        assert!(
            !shown.contains("hunter2") && !shown.contains("ter2"),
            "{shown}"
        );
    }
    let variables = [("HTTPS_PROXY", "ftp://user:hunter2@proxy:1")];
    let proxies = proxies(&variables);
    assert!(!format!("{proxies:?}").contains("hunter2"));
    let error = proxies
        .proxy_for(true, "api.example.com", 443)
        .expect_err("no proxy");
    assert!(error.to_string().starts_with("HTTPS_PROXY: "), "{error}");
    assert_eq!(proxies.proxy_for(true, "localhost", 443), Ok(None));
    let address: ProxyAddress = "http://user:hunter2@proxy:1".parse().expect("an address");
    assert!(!format!("{address} {address:?}").contains("hunter2"));
    assert_eq!(
        address.url_with_credentials(),
        "http://user:hunter2@proxy:1"
    );
    let address: ProxyAddress = "http://user:a@b@proxy:1".parse().expect("an address");
    assert_eq!(address.url_with_credentials(), "http://user:a%40b@proxy:1");
}
