//! Sign-in at the certified issuer, through its pages, with a client that stores cookies.

use std::time::Duration;

use reqwest::{Client, Response};
use token_rotator_testkit::CertifiedIssuer;

use crate::login::Login;
use crate::user::User;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_from_the_pages_to_the_logout() {
    let Some(issuer) = CertifiedIssuer::start(Duration::from_secs(60)).await else {
        return;
    };
    let user = User::new().await;
    let mut command = user.command(&["login", "--no-browser", "--prompt", "consent"]);
    command.args(["--issuer", issuer.issuer_url()]);
    command.args(["--client-id", CertifiedIssuer::PUBLIC_CLIENT]);
    command.args(["--scope", "openid offline_access read"]);
    let mut login = Login::spawn(command);
    let page = browse(&login.address()).await;
    assert!(page.contains("<h1>Signed in</h1>"), "{page}");
    let output = login.finish(&user);
    assert_eq!(output.code, 0, "{output:?}");

    let api = Client::builder().no_proxy().build().expect("a client");
    let served = async |token: &str| {
        let request = api.get(format!("{}/echo", issuer.upstream_url()));
        let answer = request.bearer_auth(token).send().await.expect("an answer");
        answer.status().as_u16()
    };
    let first = user.token();
    assert_eq!(served(&first).await, 200);
    assert_eq!(user.run(&["token", "--refresh"]).code, 0);
    let second = user.token();
    assert_ne!(first, second);
    assert_eq!(served(&second).await, 200);
    let output = user.run(&["logout"]);
    assert!(
        output.stderr.contains("revoked at the issuer"),
        "{output:?}"
    );
    assert_eq!(served(&second).await, 401);
    let stats = issuer.stats().await;
    assert_eq!((stats.refreshes, stats.reuses), (1, 0));
}

/// Opens the address and submits the form of each page. Returns the last page.
async fn browse(address: &str) -> String {
    let builder = Client::builder().no_proxy().cookie_store(true);
    let browser = builder.build().expect("a client");
    let mut answer = browser.get(address).send().await.expect("a page");
    // A sign-in has fewer pages.
    for _ in 0..10 {
        let (next, page) = form(answer, &browser).await;
        let Some(next) = next else {
            return page;
        };
        answer = next.send().await.expect("a page");
    }
    panic!("too many pages");
}

/// Returns the request of the page's form, filled in, and the page. Returns `None` without a form.
async fn form(answer: Response, browser: &Client) -> (Option<reqwest::RequestBuilder>, String) {
    let at = answer.url().clone();
    let page = answer.text().await.expect("its text");
    let Some(form) = page.split("<form").nth(1) else {
        return (None, page);
    };
    let form = form.split("</form>").next().unwrap_or_default();
    let action = attribute(form, "action").expect("an action");
    let inputs = form.split("<input").skip(1).filter_map(|input| {
        let input = input.split('>').next()?;
        let value = attribute(input, "value").unwrap_or_else(|| "alice".to_owned());
        Some((attribute(input, "name")?, value))
    });
    let fields: Vec<_> = inputs.collect();
    let target = at.join(&action).expect("an address");
    (Some(browser.post(target).form(&fields)), page)
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    Some(rest.split('"').next()?.to_owned())
}
