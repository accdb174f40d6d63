//! Errors of issuers that do not answer, or lack what a sign-in needs.

use insta::assert_snapshot;
use serde_json::json;

use crate::metadata;
use crate::user::{CLIENT, User};

#[tokio::test(flavor = "multi_thread")]
async fn issuer_is_gone() {
    let user = User::expired().await;
    user.issuer.shutdown().await;
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 4
    error: there is no token for session `default`
      because the access token could not be refreshed: the issuer was not reached
      because error sending request
      because client error (Connect)
      because tcp connect error
      because Connection refused (os error 111)
    hint: the issuer cannot be reached or is busy; try again in a moment, or run `token-rotator doctor --session default`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_is_gone_before_its_endpoints_are_known() {
    let user = User::new().await;
    user.issuer
        .set_access_lifetime(std::time::Duration::from_secs(1));
    crate::browser::sign_in(&user, &[]).await;
    user.until_expired().await;
    user.issuer.shutdown().await;
    let output = user.run(&["token"]);
    assert_snapshot!(output.report(), @"
    exit code 4
    error: there is no token for session `default`
      because the access token could not be refreshed: the issuer's endpoints could not be discovered: the issuer's metadata could not be fetched from http://ISSUER/.well-known/oauth-authorization-server: the issuer was not reached: error sending request: client error (Connect): tcp connect error: Connection refused (os error 111)
    hint: check `--issuer` and the network, or try again in a moment
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_is_not_there() {
    let user = User::new().await;
    user.issuer.shutdown().await;
    let output = user.run(&[
        "login",
        "--client-id",
        CLIENT,
        "--issuer",
        user.issuer.url(),
    ]);
    assert_snapshot!(output.report(), @"
    exit code 4
    error: the issuer's endpoints could not be discovered
      because the issuer's metadata could not be fetched from http://ISSUER/.well-known/oauth-authorization-server
      because the issuer was not reached
      because error sending request
      because client error (Connect)
      because tcp connect error
      because Connection refused (os error 111)
    hint: check `--issuer` and the network, or try again in a moment
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_does_not_answer() {
    let user = User::new().await;
    // It accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("its address"));
    let mut output = user.run(&["login", "--client-id", CLIENT, "--issuer", &url]);
    output.stderr = output.stderr.replace(&url, "http://SILENT");
    assert_snapshot!(output.report(), @"
    exit code 4
    error: the issuer's endpoints could not be discovered
      because http://SILENT did not answer within 5s
    hint: check `--issuer`, the network and proxies, or try again in a moment
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_has_another_name() {
    let user = User::new().await;
    let nearly = format!("{}/", user.issuer.url());
    let output = user.run(&["login", "--client-id", CLIENT, "--issuer", &nearly]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the issuer's endpoints could not be discovered
      because the document at http://ISSUER/.well-known/oauth-authorization-server names the issuer `http://ISSUER`, and not `http://ISSUER/`
    hint: if you trust that issuer, write its name exactly as it does: `--issuer`, or `issuer` in the configuration
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_has_no_metadata() {
    let user = User::new().await;
    let elsewhere = format!("{}/realms/none", user.issuer.url());
    let output = user.run(&["login", "--client-id", CLIENT, "--issuer", &elsewhere]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the issuer's endpoints could not be discovered
      because the issuer has no metadata at http://ISSUER/.well-known/oauth-authorization-server/realms/none (HTTP 404) or http://ISSUER/realms/none/.well-known/openid-configuration (HTTP 404)
    hint: check `--issuer`; `--token-endpoint` and the other endpoint flags replace the discovery
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_is_unavailable() {
    let user = User::new().await;
    let issuer = metadata::serve_unavailable();
    let mut output = user.run(&["login", "--client-id", CLIENT, "--issuer", &issuer]);
    output.stderr = output.stderr.replace(&issuer, "http://OTHER");
    assert_snapshot!(output.report(), @"
    exit code 4
    error: the issuer's endpoints could not be discovered
      because the issuer has no metadata at http://OTHER/.well-known/oauth-authorization-server (HTTP 503) or http://OTHER/.well-known/openid-configuration (HTTP 503)
    hint: the issuer cannot answer now; try again in a moment
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_names_an_http_endpoint() {
    let user = User::new().await;
    let issuer = metadata::serve(&json!({"token_endpoint": "http://issuer.example/token"}));
    let mut output = user.run(&["login", "--client-id", CLIENT, "--issuer", &issuer]);
    output.stderr = output.stderr.replace(&issuer, "http://OTHER");
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the issuer's token endpoint cannot be used
      because the document at http://OTHER/.well-known/oauth-authorization-server cannot be used: the token endpoint cannot be used: `http://` would send the token to `issuer.example` in the clear
    hint: let the issuer correct its document, or give the endpoint: `--token-endpoint`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_device_sign_in_at_this_issuer() {
    let user = User::new().await;
    let issuer = metadata::serve(&json!({}));
    let output = user.run(&[
        "login",
        "--grant",
        "device",
        "--client-id",
        CLIENT,
        "--issuer",
        &issuer,
    ]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the sign-in request cannot be made
      because its metadata names no device authorization endpoint
    hint: choose another way with `--grant`, or give the device authorization endpoint: `--device-authorization-endpoint`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pkce_at_this_issuer() {
    let user = User::new().await;
    let issuer = metadata::serve(&json!({"code_challenge_methods_supported": ["plain"]}));
    let output = user.run(&["login", "--client-id", CLIENT, "--issuer", &issuer]);
    assert_snapshot!(output.report(), @"
    exit code 1
    error: the sign-in request cannot be made
      because the issuer does not offer PKCE with `S256` (RFC 7636), so a stolen code could be exchanged for tokens
    hint: enable PKCE with `S256` at the issuer
    ");
}
