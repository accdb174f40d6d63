//! Tests which options the builder refuses, and its messages.

mod common;

use std::time::Duration;

use common::{ClientFixture, SessionAnswer, TestResult, echo, exposed_text};
use token_rotator::{Refreshed, SessionKey, TokenSource};
use token_rotator_reqwest::{
    AccessToken, BuildError, Client, ClientBuilder, Error, HttpService, ParseError, Profile,
    RefreshCall, RequestBuilder, ReqwestTransport, Rotator, SendOnly, SessionHandle, SourceError,
    TokenSet, Unset, UrlError, WithParser, WithRotator, WithSource,
};

/// Property: public types can be built on one thread and used on another.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<ClientBuilder<Unset>>();
    is_send_and_sync::<ClientBuilder<WithParser<SessionAnswer>>>();
    is_send_and_sync::<ClientBuilder<WithSource>>();
    is_send_and_sync::<ClientBuilder<WithRotator>>();
    is_send_and_sync::<Client>();
    is_send_and_sync::<Client<SendOnly>>();
    is_send_and_sync::<SessionHandle>();
    is_send_and_sync::<RefreshCall<SessionAnswer>>();
    is_send_and_sync::<ReqwestTransport>();
    is_send_and_sync::<AccessToken>();
    is_send_and_sync::<ParseError>();
    is_send_and_sync::<BuildError>();
    is_send_and_sync::<Error>();
    is_send_and_sync::<UrlError>();
    is_send_and_sync::<RequestBuilder>();
    is_send_and_sync::<HttpService>();
};

const BASE: &str = "https://api.example.com";

fn builder_without_source() -> ClientBuilder<Unset> {
    Client::builder()
}

fn builder_with_parser() -> ClientBuilder<WithParser<SessionAnswer>> {
    builder_without_source().on_refresh_success(|data: &SessionAnswer| &data.access_token)
}

fn rotator() -> Rotator {
    let source = |_last| std::future::ready(Ok::<_, SourceError>(TokenSet::bearer("token")));
    Rotator::builder(source)
        .origin(BASE)
        .build()
        .expect("a rotator")
}

fn assert_build_error(built: Result<Client, BuildError>, message: &str) {
    let error = built.expect_err(message);
    let shown = match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    };
    assert_eq!(shown, message);
}

#[test]
fn unusable_addresses_are_refused() {
    assert_build_error(
        builder_with_parser().build(),
        "no base URL: call `base_url`, or give `refresh_endpoint` a whole URL and declare its origin with `origin`",
    );
    assert_build_error(
        builder_with_parser()
            .refresh_with(|_call| async { Err(SourceError::transient("no")) })
            .build(),
        "no origin that the token may go to: call `base_url` or `origin`",
    );
    assert_build_error(
        builder_with_parser().base_url("api.example.com").build(),
        "`base_url` cannot be read: relative URL without a base",
    );
    assert_build_error(
        builder_with_parser()
            .base_url("https://api.example.com?a=1")
            .build(),
        "`base_url` has a query or fragment (`?` or `#`): give scheme, host and path only",
    );
    assert_build_error(
        builder_with_parser()
            .base_url("http://api.example.com")
            .build(),
        "`base_url` cannot be used: `http://` would send the token to `api.example.com` in the clear; use `https://`, \
         or for a server on this machine `http://localhost`, `http://127.0.0.1` or `http://[::1]`",
    );
    assert_build_error(
        builder_with_parser()
            .base_url("https://me:CANARY@api.example.com")
            .build(),
        "`base_url` cannot be used: the origin contains a user name (`...@`); remove the user name; an origin is scheme, host and port",
    );
    assert_build_error(
        builder_with_parser()
            .base_url(BASE)
            .origin("https://b.example.com/path")
            .build(),
        "`origin` cannot be used: the origin goes on after its host and port, `https://b.example.com`; give scheme, host \
         and port alone; the token then goes to every path there",
    );
    assert_build_error(
        builder_with_parser()
            .base_url(BASE)
            .refresh_endpoint("https://other.example.com/refresh")
            .build(),
        "the origin of `refresh_endpoint` is not declared: call `origin` with it, or give a path below `base_url`",
    );
    assert_build_error(
        builder_with_parser()
            .base_url(BASE)
            .refresh_endpoint("https://[x/refresh")
            .build(),
        "`refresh_endpoint` cannot be read: the URL cannot be read: invalid IPv6 address",
    );
}

#[test]
fn contradicting_settings_are_refused() {
    let mine = || {
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client")
    };
    let api = || builder_with_parser().base_url(BASE);
    assert_build_error(
        api()
            .client(mine())
            .configure(reqwest::ClientBuilder::no_proxy)
            .build(),
        "a client of your own and `configure`: drop `configure` and set it on your client, or drop `client`",
    );
    assert_build_error(
        api().client_without_redirects(mine()).cookies(true).build(),
        "a client of your own and `cookies`: drop `cookies` and set it on your client, or drop `client_without_redirects`",
    );
    assert_build_error(
        api()
            .client(mine())
            .cookie_provider(std::sync::Arc::new(token_rotator_reqwest::Jar::default()))
            .build(),
        "a client of your own and `cookie_provider`: drop `cookie_provider` and set it on your client, or drop `client`",
    );
    assert_build_error(
        api().client(mine()).max_redirects(3).build(),
        "a client of your own and `max_redirects`: drop `max_redirects` and set it on your client, or drop `client`",
    );
    assert_build_error(
        api()
            .client(mine())
            .client_without_redirects(mine())
            .build(),
        "two clients: drop `client` or `client_without_redirects`",
    );
    assert_build_error(
        api().client(mine()).token_header("x-auth-token").build(),
        "`client` follows redirects by itself and would carry the header `x-auth-token` to any origin: give your \
         client's settings to `configure` instead, or build it with `redirect::Policy::none()` and give it to \
         `client_without_redirects`",
    );
    assert_build_error(
        api()
            .client(mine())
            .default_header("x-api-key", "key")
            .build(),
        "`client` follows redirects by itself and would carry the header `x-api-key` to any origin: give your \
         client's settings to `configure` instead, or build it with `redirect::Policy::none()` and give it to \
         `client_without_redirects`",
    );
    assert_build_error(
        api().token_header("not a name").build(),
        "`token_header` was given a header name that cannot be used",
    );
    assert_build_error(
        api().default_header("x-ok", "line\nbreak").build(),
        "`default_header` was given a header value that cannot be used",
    );
    let error = api().wait_timeout(Duration::ZERO).build();
    let error = error.expect_err("no time at all");
    assert_eq!(
        (error.to_string().as_str(), error.hint()),
        (
            "wait_timeout of 0ns leaves no time",
            Some("set it above zero")
        )
    );
    assert!(
        api()
            .client_without_redirects(mine())
            .token_header("x-auth-token")
            .build()
            .is_ok()
    );
    assert!(
        api()
            .client_without_redirects(mine())
            .max_redirects(3)
            .build()
            .is_ok()
    );
    assert!(api().client(mine()).build().is_ok());
}

#[test]
fn settings_of_a_given_rotator_are_refused() {
    let given = || builder_without_source().base_url(BASE).rotator(rotator());
    let refused = [
        (
            "refresh_endpoint",
            given().refresh_endpoint("/refresh").build(),
        ),
        (
            "refresh_client",
            given().refresh_client(reqwest::Client::new()).build(),
        ),
        (
            "clock",
            given().clock(common::ManualClock::default()).build(),
        ),
        ("origin", given().origin("https://b.example.com").build()),
        ("token_header", given().token_header("x-auth-token").build()),
        ("profile", given().profile(Profile::strict()).build()),
        (
            "refresh_before",
            given().refresh_before(Duration::from_secs(1)).build(),
        ),
        (
            "wait_timeout",
            given().wait_timeout(Duration::from_secs(1)).build(),
        ),
        ("on_event", given().on_event(|_event| {}).build()),
        (
            "on_refresh_failed",
            given().on_refresh_failed(|_error| {}).build(),
        ),
    ];
    for (setting, built) in refused {
        let message = format!(
            "a rotator of your own and `{setting}`: drop `{setting}` and set it on the rotator's builder"
        );
        assert_build_error(built, &message);
    }
    assert_build_error(
        builder_without_source()
            .base_url("https://b.example.com")
            .rotator(rotator())
            .build(),
        "the rotator's token does not go to the origin of `base_url`: call `origin` with it on the rotator's builder",
    );
    assert!(builder_without_source().rotator(rotator()).build().is_ok());
}

/// Property: a given rotator is the session; the client only sends.
#[tokio::test]
async fn a_rotator_can_be_given() -> TestResult {
    let fixture = ClientFixture::new().await;
    let first = fixture.issuer.sign_in("alice").access_token;
    let source =
        move |_last| std::future::ready(Ok::<_, SourceError>(TokenSet::bearer(first.clone())));
    let rotator = Rotator::builder(source)
        .origin(fixture.upstream.url())
        .build()?;
    let api = fixture.builder().rotator(rotator.clone()).build()?;
    // This rotator sends no request without a token, so it calls the source first.
    assert_eq!(
        echo(api.get("/echo").send().await?).await["subject"],
        "alice"
    );
    assert_eq!(fixture.upstream.counters().refused, 0);
    let bob = fixture.issuer.sign_in("bob").access_token;
    rotator.sign_in(TokenSet::bearer(bob.as_str()))?.await?;
    assert_eq!(echo(api.get("/echo").send().await?).await["subject"], "bob");
    assert_eq!(exposed_text(api.access_token()), Some(bob));
    rotator.sign_out().await?;
    let error = api.get("/echo").send().await.unwrap_err();
    assert!(
        matches!(error, Error::Token(token_rotator::TokenError::SignedOut)),
        "{error}"
    );
    Ok(())
}

/// Property: a token source may replace an endpoint, and its hooks receive the token set.
#[tokio::test]
async fn a_token_source_can_be_given() -> TestResult {
    let fixture = ClientFixture::new().await;
    let log = common::EventLog::new();
    let listener = log.clone();
    let token = fixture.issuer.sign_in("alice").access_token;
    let source = move |last: Option<std::sync::Arc<TokenSet>>| {
        let tokens = TokenSet::bearer(token.as_str()).with_scope("read");
        std::future::ready(Ok::<_, SourceError>(if last.is_none() {
            tokens
        } else {
            tokens.with_scope("again")
        }))
    };
    let api = fixture
        .builder()
        .token_source(source)
        .on_after_refresh(move |tokens| listener.push(format!("scope: {:?}", tokens.scope())))
        .build()?;
    assert_eq!(
        echo(api.get("/echo").send().await?).await["subject"],
        "alice"
    );
    assert_eq!(log.lines(), ["scope: Some(\"read\")"]);
    Ok(())
}

/// Property: the client calls every method of a given token source, `refresh_session` included.
#[tokio::test]
async fn a_token_source_receives_the_session() -> TestResult {
    struct ByName(String);
    impl TokenSource for ByName {
        async fn refresh(
            &self,
            _last: Option<std::sync::Arc<TokenSet>>,
        ) -> Result<Refreshed, SourceError> {
            Err(SourceError::misconfigured("the session is missing"))
        }

        async fn refresh_session(
            &self,
            session: &SessionKey,
            _last: Option<std::sync::Arc<TokenSet>>,
        ) -> Result<Refreshed, SourceError> {
            let tokens = TokenSet::bearer(self.0.as_str());
            Ok(tokens.with_scope(session.as_str()).into())
        }
    }
    let fixture = ClientFixture::new().await;
    let log = common::EventLog::new();
    let listener = log.clone();
    let token = fixture.issuer.sign_in("alice").access_token;
    let api = fixture
        .builder()
        .token_source(ByName(token))
        .on_after_refresh(move |tokens| listener.push(format!("scope: {:?}", tokens.scope())))
        .build()?;
    assert_eq!(
        echo(api.get("/echo").send().await?).await["subject"],
        "alice"
    );
    assert_eq!(log.lines(), ["scope: Some(\"default\")"]);
    Ok(())
}

/// Property: the split client sends and reads, the handle signs in and out, and both share one
/// session.
#[tokio::test]
async fn a_split_client_is_one_session() -> TestResult {
    let fixture = ClientFixture::new().await;
    let (api, session): (Client<SendOnly>, SessionHandle) =
        fixture.builder_with_parser().build_split()?;
    let grant = fixture.issuer.sign_in("alice");
    session.set_access_token((grant.access_token.clone(), Duration::from_secs(60)))?;
    assert_eq!(
        exposed_text(api.access_token()),
        Some(grant.access_token.clone())
    );
    assert_eq!(
        exposed_text(session.access_token()),
        Some(grant.access_token)
    );
    assert_eq!(
        echo(api.clone().get("/echo").send().await?).await["subject"],
        "alice"
    );
    session.clear();
    assert!(api.access_token().is_none());
    assert!(session.shutdown(Duration::from_secs(1)).await);

    let whole = fixture.builder_with_parser().build()?;
    let part = whole.send_only();
    whole.set_access_token("token")?;
    assert!(part.access_token().is_some());
    assert!(whole.set_access_token("not\na token").is_err());
    assert!(whole.set_access_token(None::<String>).is_err());
    assert!(part.access_token().is_some());
    Ok(())
}

/// Property: a probe carries the token, so it never leads to another origin.
#[test]
fn a_probe_that_is_no_path_is_refused_with_a_hint() {
    for path in ["whoami", "//other.example/", "/\\other.example", "/../x"] {
        let built = builder_with_parser().base_url(BASE).probe(path).build();
        let error = built.expect_err(path);
        assert!(matches!(
            error,
            BuildError::Rotator(token_rotator::BuildError::Probe)
        ));
        assert!(error.hint().is_some_and(|hint| hint.contains("/-/whoami")));
    }
    let built = builder_with_parser()
        .base_url(BASE)
        .probe("/-/whoami?full=1")
        .build();
    assert!(built.is_ok());
}

/// Property: a relative URL needs a base; a client without a base sends to declared origins.
#[tokio::test]
async fn a_client_may_have_no_base() -> TestResult {
    let fixture = ClientFixture::new().await;
    let api = builder_without_source()
        .origin(fixture.upstream.url())
        .refresh_endpoint(format!("{}/api/auth/refresh", fixture.upstream.url()))
        .bearer_field("accessToken")
        .build()?;
    api.set_access_token(fixture.issuer.sign_in("alice").access_token)?;
    let url = format!("{}/echo", fixture.upstream.url());
    assert_eq!(echo(api.get(&url).send().await?).await["subject"], "alice");
    let request = api.get(&url).build()?;
    assert_eq!(echo(api.execute(request).await?).await["subject"], "alice");
    assert!(matches!(api.get("/echo").send().await, Err(Error::Url(_))));
    assert!(matches!(api.get("https://[x").build(), Err(Error::Url(_))));
    assert!(matches!(
        api.get(&url).header("bad name", "x").send().await,
        Err(Error::Builder(_))
    ));
    assert!(matches!(
        api.get("ftp://h/").send().await,
        Err(Error::Request(_))
    ));
    Ok(())
}
