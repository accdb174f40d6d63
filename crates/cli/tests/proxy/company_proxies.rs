//! Tests `HTTPS_PROXY`, `NO_PROXY` and the key `proxy` of a route.

use token_rotator_testkit::{HttpProxy, Upstream};

use crate::sidecar::{self, Sidecar};
use crate::user::User;

/// `me:hunter2`
const CREDENTIALS: &str = "Basic bWU6aHVudGVyMg==";
const UPSTREAM: &str = "https://api.example.test";

/// Returns the tunnels that the proxy of the network was asked for, the problem that the caller got, and
/// the log. The proxy wants credentials that nothing in these tests has, so a tunnel is a refusal.
async fn through(variables: &[(&str, &str)], route: &str) -> (usize, String, String) {
    let network = HttpProxy::start(Some("Basic other"))
        .await
        .expect("a proxy");
    let user = User::signed_in().await;
    let fill =
        |text: &str| text.replace("PROXY", &format!("http://me:hunter2@{}", network.address()));
    let table = format!(
        "[[proxy.routes]]\nupstream = \"{UPSTREAM}\"\n{}\n",
        fill(route)
    );
    user.configure(&table);
    let mut command = user.command(&["proxy", "--listen", "127.0.0.1:0", "--json"]);
    for (name, value) in variables {
        command.env(name, fill(value));
    }
    let proxy = Sidecar::spawn(command);
    let answer = sidecar::client()
        .get(&proxy.url)
        .send()
        .await
        .expect("an answer");
    let answer: serde_json::Value = answer.json().await.expect("JSON");
    let name = answer["type"].as_str().expect("a type").rsplit(':').next();
    let name = name.expect("a name").to_owned();
    let (_, log) = proxy.end();
    assert!(!log.contains("hunter2") && !log.contains("bWU6"), "{log}");
    let record = network.record();
    for request in &record {
        assert_eq!(request.line, "CONNECT api.example.test:443");
        assert_eq!(request.authorization.as_deref(), Some(CREDENTIALS));
    }
    (record.len(), name, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_names_the_proxy_of_an_upstream() {
    for (variables, route, is_used) in [
        (&[("HTTPS_PROXY", "PROXY")][..], "", true),
        (
            &[
                ("https_proxy", "PROXY"),
                ("HTTPS_PROXY", "http://127.0.0.1:1"),
            ],
            "",
            true,
        ),
        (&[("ALL_PROXY", "PROXY")], "", true),
        (&[], "proxy = \"PROXY\"", true),
        (
            &[("HTTPS_PROXY", "PROXY"), ("NO_PROXY", "*")],
            "proxy = \"PROXY\"",
            true,
        ),
        (&[("HTTP_PROXY", "PROXY")], "", false),
        (
            &[("HTTPS_PROXY", "PROXY"), ("NO_PROXY", ".example.test")],
            "",
            false,
        ),
        (
            &[
                ("HTTPS_PROXY", "PROXY"),
                ("no_proxy", "api.example.test:443"),
            ],
            "",
            false,
        ),
        (&[("HTTPS_PROXY", "PROXY")], "proxy = \"none\"", false),
    ] {
        let (tunnels, problem, log) = through(variables, route).await;
        // The name does not exist, so without a proxy the upstream cannot be reached.
        let expected = if is_used {
            "proxy-credentials"
        } else {
            "upstream"
        };
        assert_eq!(problem, expected, "{variables:?} {route}");
        assert_eq!(tunnels > 0, is_used, "{variables:?} {route}");
        if is_used {
            let line = log
                .lines()
                .find(|line| line.contains("does not accept the credentials for it"));
            assert!(
                line.is_some_and(|line| line.contains("`proxy` of the route")),
                "{log}"
            );
        }
    }
}

/// Property: no upstream of this machine goes through a proxy of the environment.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_of_this_machine_needs_no_proxy() {
    let network = HttpProxy::start(None).await.expect("a proxy");
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let arguments = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--json",
        "--upstream",
        upstream.url(),
    ];
    let mut command = user.command(&arguments);
    let url = format!("http://{}", network.address());
    for name in ["http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, &url);
    }
    let proxy = Sidecar::spawn(command);
    // The proxy refreshes the session, and then sends the request.
    user.issuer.expire_access_tokens();
    let answer = sidecar::client()
        .get(format!("{}/echo", proxy.url))
        .send()
        .await;
    assert_eq!(answer.expect("an answer").status(), 200);
    assert!(network.record().is_empty(), "{:?}", network.record());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_proxy_is_an_error_without_its_password() {
    let user = User::signed_in().await;
    for proxy in [
        "ftp://me:hunter2@proxy:1",
        "http://me:hunter2@proxy:0",
        "socks5://me:hunter2@proxy:1",
    ] {
        user.configure(&format!(
            "[[proxy.routes]]\nupstream = \"{UPSTREAM}\"\nproxy = \"{proxy}\"\n"
        ));
        let output = user.run(&["proxy", "--listen", "127.0.0.1:0"]);
        assert_eq!(output.code, 1, "{output:?}");
        assert!(!output.report().contains("hunter2"), "{output:?}");
        assert!(output.stderr.contains("hint: "), "{output:?}");
        if proxy.starts_with("ftp") {
            insta::assert_snapshot!(output.report(), @"
            exit code 1
            error: line 3 of ~/.config/token-rotator/config.toml cannot be used
              because `proxy.routes[0].proxy`: the scheme of the proxy's address is not supported; write the proxy like `http://proxy.example.com:3128`, with `user:password@` before the host if it wants them; encode `@`, `:` and `/` in them as `%40`, `%3A` and `%2F`; `none` is no proxy
            hint: correct the line; docs/program.md has all keys
            ");
        }
    }
    user.configure(&format!("[[proxy.routes]]\nupstream = \"{UPSTREAM}\"\n"));
    let mut command = user.command(&["proxy", "--listen", "127.0.0.1:0"]);
    command.env("HTTPS_PROXY", "http://me:hunter2@proxy:port");
    let output = user.output_of(command);
    insta::assert_snapshot!(output.report(), @"
    exit code 1
    error: the proxy cannot be set up
      because route `/`: HTTPS_PROXY: the port of the proxy's address is not a number from 1 to 65535
    hint: write the proxy like `http://proxy.example.com:3128`, with `user:password@` before the host if it wants them; encode `@`, `:` and `/` in them as `%40`, `%3A` and `%2F`
    ");
    let mut command = user.command(&["proxy", "--listen", "127.0.0.1:0"]);
    command.env("ALL_PROXY", "socks5://me:hunter2@proxy:1080");
    let output = user.output_of(command);
    insta::assert_snapshot!(output.report(), @"
    exit code 1
    error: the proxy cannot be set up
      because route `/`: the environment names a proxy: a proxy with the scheme `socks5` is not supported
    hint: set `HTTPS_PROXY` to an `http://` proxy, add the upstream to `NO_PROXY`, or set `proxy` of the route
    ");
}
