//! Errors of `proxy` and `reload`: wrong arguments and configurations.

use std::process::Stdio;

use insta::assert_snapshot;
use token_rotator_testkit::Upstream;

use crate::sidecar::Sidecar;
use crate::user::User;

const ROUTE: &str = "[[proxy.routes]]\nupstream = \"https://api.example.com\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn no_route() {
    let user = User::signed_in().await;
    user.configure("");
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: there is no route
      because ~/.config/token-rotator/config.toml has no [[proxy.routes]], and `--upstream` is not given
    hint: try `token-rotator proxy --upstream https://api.example.com`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_such_session() {
    let user = User::signed_in().await;
    user.configure(ROUTE);
    let output = user.run(&["proxy", "-s", "wrok"]);
    assert_snapshot!(output.report(), @"
    exit code 3
    error: there is no session `wrok`
      because the known sessions are: default
    hint: sign in with `token-rotator login --session wrok --issuer URL --client-id ID`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn public_address() {
    let user = User::signed_in().await;
    user.configure("");
    let output = user.run(&[
        "proxy",
        "--upstream",
        "https://api.example.com",
        "--listen",
        "0.0.0.0:0",
    ]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the proxy cannot be set up
      because other machines can reach 0.0.0.0:0, and every caller has the session's rights
    hint: listen on 127.0.0.1 or on a unix socket, or set `public` for the listener
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn public_admin() {
    let user = User::signed_in().await;
    user.configure(ROUTE);
    let output = user.run(&["proxy", "--admin", "0.0.0.0:0"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the proxy cannot be set up
      because the admin listener's address 0.0.0.0:0 is not loopback
    hint: give the admin listener an address at 127.0.0.1
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn same_requests() {
    let user = User::signed_in().await;
    user.configure(&format!("{ROUTE}\n{ROUTE}name = \"again\"\n"));
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 4 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.routes`: the routes `/` and `again` match the same requests
    hint: give one of the routes another host or path prefix
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_upstream() {
    let user = User::signed_in().await;
    user.configure(&format!(
        "[sessions.default]\norigins = [\"https://other.example.com\"]\n\n{ROUTE}"
    ));
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 4 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.routes`: route `/`: the session's token may not go to https://api.example.com
    hint: add the upstream to the origins of the session, or use another session
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_prefix() {
    let user = User::signed_in().await;
    user.configure(&format!("{ROUTE}prefix = \"api\"\n"));
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 1 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.routes`: route `api`: the path prefix must begin with `/` and have no `?` or dot segments
    hint: write the prefix like /api
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_key() {
    let user = User::signed_in().await;
    user.configure(&format!("{ROUTE}prefx = \"/api\"\n"));
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 3 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.routes[0].prefx`: unknown field `prefx`, expected one of `name`, `host`, `prefix`, `upstream`, `upstream_socket`, `session`, `protocol`, `proxy`, `ca_file`, `pass_authorization`, `strip_prefix`, `replay_bytes`, `status_codes`, `also_status_codes`, `refused_when_body`, `probe`
    hint: correct the line; docs/program.md has all keys
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_upstream() {
    let user = User::signed_in().await;
    user.configure("[[proxy.routes]]\nupstream = \"http://api.example.com\"\n");
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 2 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.routes[0].upstream`: `http://` would send the token to `api.example.com` in the clear; use `https://`, or for a server on this machine `http://localhost`, `http://127.0.0.1` or `http://[::1]`
    hint: correct the line; docs/program.md has all keys
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_limit() {
    let user = User::signed_in().await;
    user.configure(&format!(
        "[proxy.limits]\ntotal_timeout = \"soon\"\n{ROUTE}"
    ));
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 2 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.limits.total_timeout`: write it as 500ms, 2s or 5m, or `none`
    hint: correct the line; docs/program.md has all keys
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_listen() {
    let user = User::signed_in().await;
    user.configure(&format!("[proxy]\nlisten = [\"8080\"]\n{ROUTE}"));
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 2 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.listen[0]`: write an address and a port such as 127.0.0.1:8080, or unix:/path
    hint: correct the line; docs/program.md has all keys
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_local_bearer() {
    let user = User::signed_in().await;
    user.configure(&format!("[proxy]\nlocal_bearer_env = \"NOT_SET\"\n{ROUTE}"));
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the local bearer token is missing
      because the environment variable NOT_SET is not set
    hint: set it, or remove `local_bearer_env` and `local_bearer_file` from `[proxy]`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_certificates() {
    let user = User::signed_in().await;
    let empty = user.home().join("empty.pem");
    std::fs::write(&empty, "").expect("a file");
    user.configure(&format!("{ROUTE}ca_file = \"{}\"\n", empty.display()));
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the certificates in ~/empty.pem cannot be used
      because it has no certificate
    hint: name a file of PEM certificates with `ca_file` (`--ca-file`)
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn bearer_and_passed_authorization() {
    let user = User::signed_in().await;
    user.configure(&format!(
        "[proxy]\nlocal_bearer_file = \"/etc/hostname\"\n{ROUTE}pass_authorization = true\n"
    ));
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 3 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.routes`: route `/` forwards `Authorization`, in which callers send the local bearer
    hint: leave out the local bearer, or do not forward `Authorization`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn local_bearer_is_not_there() {
    let user = User::signed_in().await;
    user.configure(&format!(
        "[proxy]\nlocal_bearer_file = \"/nowhere\"\n{ROUTE}"
    ));
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the local bearer token is missing
      because /nowhere: No such file or directory (os error 2)
    hint: set it, or remove `local_bearer_env` and `local_bearer_file` from `[proxy]`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn local_bearer_is_empty() {
    let user = User::signed_in().await;
    let empty = user.home().join("empty");
    std::fs::write(&empty, "").expect("a file");
    user.configure(&format!(
        "[proxy]\nlocal_bearer_file = \"{}\"\n{ROUTE}",
        empty.display()
    ));
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the local bearer token is missing
      because the file or variable that is named is empty
    hint: set it, or remove `local_bearer_env` and `local_bearer_file` from `[proxy]`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_admin() {
    let user = User::signed_in().await;
    user.configure(&format!("[proxy]\nadmin = \"9090\"\n{ROUTE}"));
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 2 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.admin`: write an address and a port such as 127.0.0.1:9090
    hint: correct the line; docs/program.md has all keys
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn same_names() {
    let user = User::signed_in().await;
    user.configure(&format!(
        "{ROUTE}name = \"a\"\n\n{ROUTE}name = \"a\"\nprefix = \"/a\"\n"
    ));
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 5 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.routes`: two routes are named `a`
    hint: rename one of the routes; metrics distinguish routes by name
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_upstream() {
    let user = User::signed_in().await;
    user.configure("[[proxy.routes]]\nprefix = \"/\"\n");
    let output = user.run(&["proxy"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: line 1 of ~/.config/token-rotator/config.toml cannot be used
      because `proxy.routes[0]`: missing field `upstream`
    hint: correct the line; docs/program.md has all keys
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_such_directory() {
    let user = User::signed_in().await;
    user.configure(ROUTE);
    let output = user.run(&["proxy", "--listen", "unix:/nowhere/proxy.sock"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the proxy cannot be set up
      because /nowhere/proxy.sock cannot be listened on: No such file or directory (os error 2)
    hint: create the directory of the socket
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_proxies_on_one_port() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let first = Sidecar::start(&user, &upstream);
    let address = first.url.trim_start_matches("http://");
    let flags = ["proxy", "--upstream", upstream.url(), "--listen", address];
    let output = user.run(&flags);
    assert_snapshot!(output.report().replace(address, "127.0.0.1:PORT"), @"
    exit code 1
    error: the proxy cannot be set up
      because 127.0.0.1:PORT cannot be listened on: Address already in use (os error 98)
    hint: end the program that listens there, or choose another address
    ");
}

/// The proxy does not run if it cannot print its addresses.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_cannot_be_printed() {
    let user = User::signed_in().await;
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let mut command = user.command(&["proxy", "--upstream", "https://api.example.com"]);
    command.args(["--listen", "127.0.0.1:0"]);
    let output = command
        .stdout(full.expect("a device"))
        .stderr(Stdio::piped())
        .output();
    let output = user.capture(output.expect("it runs"));
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the output cannot be written to stdout
      because No space left on device (os error 28)
    hint: check the file or device that stdout leads to, then run the command again
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_the_way() {
    let user = User::signed_in().await;
    user.configure(ROUTE);
    let output = user.run(&["proxy", "--store", "/dev/null/sessions"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the store cannot be opened
      because cannot make /dev/null/sessions: Not a directory (os error 20)
    hint: a part of the path is a file; choose another directory
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_to_reload() {
    let user = User::signed_in().await;
    let output = user.run(&["reload"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: no proxy runs with this configuration
      because none is registered for ~/.config/token-rotator/config.toml
    hint: start one with `token-rotator proxy`; reload another user's proxy with SIGHUP
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_cannot_be_listed() {
    let user = User::signed_in().await;
    let proxies = user.home().join(".local/state/token-rotator/proxies");
    std::fs::write(proxies, "").expect("a file");
    let output = user.run(&["reload"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the running proxies cannot be listed
      because Not a directory (os error 20)
    hint: check who owns ~/.local/state/token-rotator/proxies; SIGHUP reloads a proxy without it
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let taken = upstream.url().trim_start_matches("http://");
    let output = user.run(&["proxy", "--upstream", upstream.url(), "--listen", taken]);
    assert_snapshot!(output.report().replace(taken, "127.0.0.1:PORT"), @"
    exit code 1
    error: the proxy cannot be set up
      because 127.0.0.1:PORT cannot be listened on: Address already in use (os error 98)
    hint: end the program that listens there, or choose another address
    ");
}

/// Property: an address on which browsers do not mark the requests of pages needs a bearer, or a flag.
#[tokio::test(flavor = "multi_thread")]
async fn no_bearer_for_a_name_that_pages_reach() {
    let user = User::signed_in().await;
    user.configure(ROUTE);
    let output = user.run(&["proxy", "--listen", "0.0.0.0:0", "--public"]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the proxy cannot be set up
      because callers of 0.0.0.0:0 need a local bearer: browsers do not mark the requests that web pages send there
    hint: set `local_bearer_file` in `[proxy]`, or pass `--unsafe-no-bearer` if no browser reaches this address
    ");
    let output = user.run(&[
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--allow-host",
        "proxy.internal",
    ]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the proxy cannot be set up
      because callers of proxy.internal need a local bearer: browsers do not mark the requests that web pages send there
    hint: set `local_bearer_file` in `[proxy]`, or pass `--unsafe-no-bearer` if no browser reaches this address
    ");
    let output = user.run(&[
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--allow-origin",
        "localhost:5173",
    ]);
    assert_snapshot!(output.report(), @r#"
    exit code 1
    error: the proxy cannot be set up
      because the allowed origin `localhost:5173` cannot be used: it has no scheme
    hint: write scheme, host and port, as in "http://localhost:5173"
    "#);
    for flags in [
        ["--public", "--listen", "0.0.0.0:0"],
        ["--allow-host", "proxy.internal", "--log=info"],
    ] {
        let proxy = Sidecar::start_with(&user, &[&flags[..], &["--unsafe-no-bearer"]].concat());
        assert_eq!(proxy.end().0, Some(0));
    }
}
