//! Tests sign-ins at the certified issuer, with a cookie client that walks through its pages.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::sockets;
use token_rotator::{ExposeSecret, TokenSet, TokenSource};
use token_rotator_oauth2::{
    DeviceError, IssuerMetadata, authorization_code, device, refresh_token,
};
use token_rotator_testkit::CertifiedIssuer;

const CALLBACK: &str = "http://127.0.0.1:49152/callback";
const CLIENT: &str = CertifiedIssuer::PUBLIC_CLIENT;

async fn start() -> Option<(CertifiedIssuer, IssuerMetadata)> {
    let issuer = CertifiedIssuer::start(Duration::from_secs(60)).await?;
    let metadata = IssuerMetadata::discover(issuer.issuer_url(), &sockets()).await;
    Some((issuer, metadata.unwrap()))
}

/// A user with a browser.
struct User(reqwest::Client);

impl User {
    fn new() -> Self {
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .cookie_store(true);
        Self(builder.build().unwrap())
    }

    /// Opens the address and submits every form, with a name and the only button. Stops at the
    /// redirect URI or at a page without a form, and returns the address or the page.
    async fn browse(&self, url: &str) -> String {
        let mut url = reqwest::Url::parse(url).unwrap();
        let mut request = self.0.get(url.clone());
        // A sign-in has fewer pages than this.
        for _ in 0..20 {
            let answer = request.send().await.unwrap();
            if answer.status().is_redirection() {
                let to = answer.headers()["location"].to_str().unwrap();
                if to.starts_with(CALLBACK) {
                    return to.to_owned();
                }
                url = url.join(to).unwrap();
                request = self.0.get(url.clone());
                continue;
            }
            let status = answer.status();
            let page = answer.text().await.unwrap();
            assert!(status.is_success(), "{url}: {status} {page}");
            let Some(form) = page.split("<form").nth(1) else {
                return page;
            };
            let form = form.split("</form>").next().unwrap();
            url = url.join(&attribute(form, "action").unwrap()).unwrap();
            request = self.0.post(url.clone()).form(&filled_in(form));
        }
        panic!("too many pages at {url}");
    }
}

/// Returns every field of a form, with `alice` in each empty field.
fn filled_in(form: &str) -> Vec<(String, String)> {
    let inputs = form.split("<input").skip(1);
    let filled = inputs.map(|input| {
        let input = input.split('>').next().unwrap();
        let value = attribute(input, "value").unwrap_or_else(|| "alice".to_owned());
        (attribute(input, "name").unwrap(), value)
    });
    filled.collect()
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    Some(rest.split('"').next()?.to_owned())
}

/// Checks that the tokens are accepted by an API, and can be refreshed and revoked at the
/// discovered endpoints.
async fn assert_usable(issuer: &CertifiedIssuer, metadata: &IssuerMetadata, tokens: TokenSet) {
    let echo = format!("{}/echo", issuer.upstream_url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let served = async |tokens: &TokenSet| {
        let token = tokens.access_token().expose_secret();
        let answer = client.get(&echo).bearer_auth(token).send().await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(served(&tokens).await, 200);
    let token = metadata.token_endpoint().unwrap().to_string();
    let revocation = metadata.revocation_endpoint().unwrap().to_string();
    let builder = refresh_token(token, CLIENT).revocation_url(revocation);
    let source = builder.transport(sockets()).build().unwrap();
    let next = source.refresh(Some(Arc::new(tokens))).await.unwrap().tokens;
    assert_eq!(served(&next).await, 200);
    source.revoke(Arc::new(next.clone())).await.unwrap();
    assert_eq!(served(&next).await, 401);
    let stats = issuer.stats().await;
    assert_eq!((stats.refreshes, stats.reuses), (1, 0));
}

#[tokio::test]
async fn a_browser_signs_in_with_a_code() {
    let Some((issuer, metadata)) = start().await else {
        return;
    };
    assert!(metadata.authorization_response_iss_parameter_supported());
    let grant = authorization_code(&metadata, CLIENT, CALLBACK)
        .scope("openid offline_access read")
        .param("prompt", "consent")
        .transport(sockets())
        .build()
        .unwrap();
    let request = grant.begin().unwrap();
    let redirect = User::new().browse(request.url()).await;
    let code = request.redirected(&redirect).unwrap();
    let tokens = code.exchange().await.unwrap();
    assert!(tokens.id_token().is_some());
    assert_usable(&issuer, &metadata, tokens).await;
}

#[tokio::test]
async fn a_second_use_of_a_code_revokes_its_tokens() {
    let Some((issuer, metadata)) = start().await else {
        return;
    };
    let grant = authorization_code(&metadata, CLIENT, CALLBACK).scope("openid read");
    let grant = grant.transport(sockets()).build().unwrap();
    let request = grant.begin().unwrap();
    let redirect = User::new().browse(request.url()).await;
    let first = request.redirected(&redirect).unwrap().exchange().await;
    assert!(first.is_ok(), "{first:?}");
    let second = request.redirected(&redirect).unwrap().exchange().await;
    assert!(second.unwrap_err().to_string().contains("invalid_grant"));
    assert_eq!(issuer.stats().await.grants_revoked, 1);
}

#[tokio::test]
async fn a_device_signs_in_after_the_user_enters_the_code() {
    let Some((issuer, metadata)) = start().await else {
        return;
    };
    let grant = device(&metadata, CLIENT).scope("openid offline_access read");
    let grant = grant.transport(sockets()).build().unwrap();
    let authorization = grant.begin().await.unwrap();
    let complete = authorization
        .verification_uri_complete()
        .unwrap()
        .to_owned();
    let user = User::new();
    let pauses = std::sync::atomic::AtomicU32::new(0);
    // This issuer allows polls at any interval; the user enters the code in the second wait.
    let tokens = authorization.tokens(async |_wait| {
        if pauses.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1 {
            let page = user.browse(&complete).await;
            assert!(page.contains("Sign-in Success"), "{page}");
        }
    });
    let tokens = tokens.await.unwrap();
    assert!(tokens.id_token().is_some());
    assert_eq!(pauses.into_inner(), 2);
    assert_usable(&issuer, &metadata, tokens).await;
}

#[tokio::test]
async fn a_device_code_works_once() {
    let Some((_issuer, metadata)) = start().await else {
        return;
    };
    let grant = device(&metadata, CLIENT).scope("openid");
    let grant = grant.transport(sockets()).build().unwrap();
    let mut authorization = grant.begin().await.unwrap();
    let complete = authorization
        .verification_uri_complete()
        .unwrap()
        .to_owned();
    User::new().browse(&complete).await;
    authorization.poll().await.unwrap();
    let again = authorization.poll().await.unwrap_err();
    assert!(matches!(again, DeviceError::Refused(_)), "{again:?}");
}
