//! What is typed or configured wrong.

use std::process::Stdio;

use insta::assert_snapshot;
use token_rotator_testkit::Upstream;

use crate::sidecar::Sidecar;
use crate::user::{Came, User};

fn told(user: &User, came: &Came) -> String {
    let said = came.said.replace(&user.home().display().to_string(), "~");
    format!("exit code {}\n{}{said}", came.code, came.out)
}

macro_rules! mistake {
    ($name:ident, $code:literal, $config:expr, $($flag:expr),*) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let user = User::signed_in().await;
            user.configure($config);
            let came = user.run(&["proxy" $(, $flag)*]);
            assert_eq!(came.code, $code, "{came:?}");
            assert_snapshot!(stringify!($name), told(&user, &came));
        }
    };
}

const ROUTE: &str = "[[proxy.routes]]\nupstream = \"https://api.example.com\"\n";

mistake!(no_route, 1, "",);
mistake!(no_such_session, 3, ROUTE, "-s", "wrok");
mistake!(
    public_address,
    1,
    "",
    "--upstream",
    "https://api.example.com",
    "--listen",
    "0.0.0.0:0"
);
mistake!(public_admin, 1, ROUTE, "--admin", "0.0.0.0:0");
mistake!(
    same_requests,
    1,
    &format!("{ROUTE}\n{ROUTE}name = \"again\"\n"),
);
mistake!(
    foreign_upstream,
    1,
    &format!("[sessions.default]\norigins = [\"https://other.example.com\"]\n\n{ROUTE}"),
);
mistake!(bad_prefix, 1, &format!("{ROUTE}prefix = \"api\"\n"),);
mistake!(unknown_key, 1, &format!("{ROUTE}prefx = \"/api\"\n"),);
mistake!(
    clear_upstream,
    1,
    "[[proxy.routes]]\nupstream = \"http://api.example.com\"\n",
);
mistake!(
    bad_limit,
    1,
    &format!("[proxy.limits]\ntotal_timeout = \"soon\"\n{ROUTE}"),
);
mistake!(
    bad_listen,
    1,
    &format!("[proxy]\nlisten = [\"8080\"]\n{ROUTE}"),
);
mistake!(
    no_local_bearer,
    1,
    &format!("[proxy]\nlocal_bearer_env = \"NOT_SET\"\n{ROUTE}"),
);
mistake!(
    no_certificates,
    1,
    &format!("{ROUTE}ca_file = \"/dev/null\"\n"),
);
mistake!(
    bearer_and_passed_authorization,
    1,
    &format!("[proxy]\nlocal_bearer_file = \"/etc/hostname\"\n{ROUTE}pass_authorization = true\n"),
);

mistake!(
    local_bearer_is_not_there,
    1,
    &format!("[proxy]\nlocal_bearer_file = \"/nowhere\"\n{ROUTE}"),
);
mistake!(
    local_bearer_is_empty,
    1,
    &format!("[proxy]\nlocal_bearer_file = \"/dev/null\"\n{ROUTE}"),
);
mistake!(bad_admin, 1, &format!("[proxy]\nadmin = \"9090\"\n{ROUTE}"),);
mistake!(
    same_names,
    1,
    &format!("{ROUTE}name = \"a\"\n\n{ROUTE}name = \"a\"\nprefix = \"/a\"\n"),
);
mistake!(no_upstream, 1, "[[proxy.routes]]\nprefix = \"/\"\n",);
mistake!(
    no_such_directory,
    1,
    ROUTE,
    "--listen",
    "unix:/nowhere/proxy.sock"
);

#[tokio::test(flavor = "multi_thread")]
async fn two_proxies_on_one_port() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let first = Sidecar::start(&user, &upstream);
    let address = first.url.trim_start_matches("http://");
    let flags = ["proxy", "--upstream", upstream.url(), "--listen", address];
    let came = user.run(&flags);
    assert_eq!(came.code, 1, "{came:?}");
    assert_snapshot!(told(&user, &came).replace(address, "127.0.0.1:PORT"));
}

/// Nobody is told where it listens.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_the_addresses() {
    let user = User::signed_in().await;
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let mut command = user.command(&["proxy", "--upstream", "https://api.example.com"]);
    command.args(["--listen", "127.0.0.1:0"]);
    let output = command
        .stdout(full.expect("a device"))
        .stderr(Stdio::piped())
        .output();
    let came = user.came(output.expect("it runs"));
    assert_eq!(came.code, 1, "{came:?}");
    assert_snapshot!(told(&user, &came));
}

mistake!(
    a_store_in_the_way,
    1,
    ROUTE,
    "--store",
    "/dev/null/sessions"
);

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_to_reload() {
    let user = User::signed_in().await;
    let came = user.run(&["reload"]);
    assert_eq!(came.code, 1, "{came:?}");
    assert_snapshot!(told(&user, &came));
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_cannot_be_seen() {
    let user = User::signed_in().await;
    let proxies = user.home().join(".local/state/token-rotator/proxies");
    std::fs::write(proxies, "").expect("a file");
    let came = user.run(&["reload"]);
    assert_eq!(came.code, 1, "{came:?}");
    assert_snapshot!(told(&user, &came));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let taken = upstream.url().trim_start_matches("http://");
    let came = user.run(&["proxy", "--upstream", upstream.url(), "--listen", taken]);
    assert_eq!(came.code, 1, "{came:?}");
    assert_snapshot!(told(&user, &came).replace(taken, "127.0.0.1:PORT"));
}
