//! What is typed or configured wrong.

use insta::assert_snapshot;
use token_rotator_testkit::Upstream;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken() {
    let user = User::signed_in().await;
    let upstream = Upstream::start(&user.issuer).await.expect("an upstream");
    let taken = upstream.url().trim_start_matches("http://");
    let came = user.run(&["proxy", "--upstream", upstream.url(), "--listen", taken]);
    assert_eq!(came.code, 1, "{came:?}");
    assert_snapshot!(told(&user, &came).replace(taken, "127.0.0.1:PORT"));
}
