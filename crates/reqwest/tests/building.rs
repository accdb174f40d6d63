//! What the builder refuses, and what it says.

mod common;

use std::time::Duration;

use common::{Session, Tested, World, echo, exposed};
use token_rotator::{Refreshed, SessionKey, TokenSource};
use token_rotator_reqwest::{
    BringsRotator, BuildError, Client, ClientBuilder, Error, Fresh, HttpService, ParseError,
    Profile, Reads, RefreshCall, RequestBuilder, ReqwestTransport, Rotator, SendOnly,
    SessionHandle, SourceError, Sourced, TokenSet, Unset, UrlError,
};

/// Property: public types can be built on one thread and used on another.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<ClientBuilder<Unset>>();
    is_send_and_sync::<ClientBuilder<Reads<Session>>>();
    is_send_and_sync::<ClientBuilder<Sourced>>();
    is_send_and_sync::<ClientBuilder<BringsRotator>>();
    is_send_and_sync::<Client>();
    is_send_and_sync::<Client<SendOnly>>();
    is_send_and_sync::<SessionHandle>();
    is_send_and_sync::<RefreshCall<Session>>();
    is_send_and_sync::<ReqwestTransport>();
    is_send_and_sync::<Fresh>();
    is_send_and_sync::<ParseError>();
    is_send_and_sync::<BuildError>();
    is_send_and_sync::<Error>();
    is_send_and_sync::<UrlError>();
    is_send_and_sync::<RequestBuilder>();
    is_send_and_sync::<HttpService>();
};

const BASE: &str = "https://api.example.com";

fn bare() -> ClientBuilder<Unset> {
    Client::builder()
}

fn reading() -> ClientBuilder<Reads<Session>> {
    bare().on_refresh_success(|data: &Session| &data.access_token)
}

fn rotator() -> Rotator {
    let source = |_last| std::future::ready(Ok::<_, SourceError>(TokenSet::bearer("token")));
    Rotator::builder(source)
        .origin(BASE)
        .build()
        .expect("a rotator")
}

fn says(built: Result<Client, BuildError>, message: &str) {
    let error = built.expect_err(message).to_string();
    assert_eq!(error, message);
}

#[test]
fn addresses_that_cannot_be_used() {
    says(
        reading().build(),
        "no base URL: call `base_url`, or give `refresh_endpoint` a whole URL and declare its origin with `origin`",
    );
    says(
        reading()
            .refresh_with(|_call| async { Err(SourceError::transient("no")) })
            .build(),
        "no origin that the token may go to: call `base_url` or `origin`",
    );
    says(
        reading().base_url("api.example.com").build(),
        "`base_url` cannot be read: relative URL without a base",
    );
    says(
        reading().base_url("https://api.example.com?a=1").build(),
        "`base_url` has a query or fragment (`?` or `#`): give scheme, host and path only",
    );
    says(
        reading().base_url("http://api.example.com").build(),
        "`base_url` cannot be used: `http://` would send the token to `api.example.com` in the clear: use `https://`, \
         or for a server on this machine `http://localhost`, `http://127.0.0.1` or `http://[::1]`",
    );
    says(
        reading()
            .base_url("https://me:CANARY@api.example.com")
            .build(),
        "`base_url` cannot be used: the origin contains a user name (`...@`): remove it, an origin is scheme, host and port",
    );
    says(
        reading()
            .base_url(BASE)
            .origin("https://b.example.com/path")
            .build(),
        "`origin` cannot be used: the origin goes on after host and port: give `https://b.example.com`, the token then \
         goes to every path there",
    );
    says(
        reading()
            .base_url(BASE)
            .refresh_endpoint("https://other.example.com/refresh")
            .build(),
        "`refresh_endpoint` lies at an origin that is not declared: call `origin` with it, or give a path below `base_url`",
    );
    says(
        reading()
            .base_url(BASE)
            .refresh_endpoint("https://[x/refresh")
            .build(),
        "`refresh_endpoint` cannot be read: the URL cannot be read: invalid IPv6 address",
    );
}

#[test]
fn settings_that_contradict_each_other() {
    let mine = || {
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client")
    };
    let api = || reading().base_url(BASE);
    says(
        api()
            .client(mine())
            .configure(reqwest::ClientBuilder::no_proxy)
            .build(),
        "a client of your own and `configure`: drop `configure` and set it on your client, or drop `client`",
    );
    says(
        api().client_without_redirects(mine()).cookies(true).build(),
        "a client of your own and `cookies`: drop `cookies` and set it on your client, or drop `client_without_redirects`",
    );
    says(
        api()
            .client(mine())
            .cookie_provider(std::sync::Arc::new(reqwest::cookie::Jar::default()))
            .build(),
        "a client of your own and `cookie_provider`: drop `cookie_provider` and set it on your client, or drop `client`",
    );
    says(
        api().client(mine()).max_redirects(3).build(),
        "a client of your own and `max_redirects`: drop `max_redirects` and set it on your client, or drop `client`",
    );
    says(
        api()
            .client(mine())
            .client_without_redirects(mine())
            .build(),
        "two clients: drop `client` or `client_without_redirects`",
    );
    says(
        api().client(mine()).token_header("x-auth-token").build(),
        "`client` follows redirects by itself and would carry the header `x-auth-token` to any origin: give your \
         client's settings to `configure` instead, or build it with `redirect::Policy::none()` and give it to \
         `client_without_redirects`",
    );
    says(
        api()
            .client(mine())
            .default_header("x-api-key", "key")
            .build(),
        "`client` follows redirects by itself and would carry the header `x-api-key` to any origin: give your \
         client's settings to `configure` instead, or build it with `redirect::Policy::none()` and give it to \
         `client_without_redirects`",
    );
    says(
        api().token_header("not a name").build(),
        "`token_header` was given a header name that cannot be used",
    );
    says(
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
fn settings_of_a_rotator_that_was_brought() {
    let given = || bare().base_url(BASE).rotator(rotator());
    let refused = [
        (
            "refresh_endpoint",
            given().refresh_endpoint("/refresh").build(),
        ),
        (
            "refresh_client",
            given().refresh_client(reqwest::Client::new()).build(),
        ),
        ("clock", given().clock(common::Hands::default()).build()),
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
        says(built, &message);
    }
    says(
        bare()
            .base_url("https://b.example.com")
            .rotator(rotator())
            .build(),
        "the rotator's token does not go to the origin of `base_url`: call `origin` with it on the rotator's builder",
    );
    assert!(bare().rotator(rotator()).build().is_ok());
}

/// Property: a rotator of one's own is the session; the client only sends.
#[tokio::test]
async fn a_rotator_can_be_brought() -> Tested {
    let world = World::new().await;
    let first = world.issuer.sign_in("alice").access_token;
    let source =
        move |_last| std::future::ready(Ok::<_, SourceError>(TokenSet::bearer(first.clone())));
    let rotator = Rotator::builder(source)
        .origin(world.upstream.url())
        .build()?;
    let api = world.builder().rotator(rotator.clone()).build()?;
    // This one lets no request go out without a token: the source is asked first.
    assert_eq!(
        echo(api.get("/echo").send().await?).await["subject"],
        "alice"
    );
    assert_eq!(world.upstream.counters().refused, 0);
    let bob = world.issuer.sign_in("bob").access_token;
    rotator.sign_in(TokenSet::bearer(bob.as_str()))?.await?;
    assert_eq!(echo(api.get("/echo").send().await?).await["subject"], "bob");
    assert_eq!(exposed(api.access_token()), Some(bob));
    rotator.sign_out().await?;
    let error = api.get("/echo").send().await.unwrap_err();
    assert!(
        matches!(error, Error::Token(token_rotator::TokenError::SignedOut)),
        "{error}"
    );
    Ok(())
}

/// Property: a token source of one's own may be given in place of an endpoint, and its hooks see
/// the token set.
#[tokio::test]
async fn a_token_source_can_be_given() -> Tested {
    let world = World::new().await;
    let heard = common::Heard::new();
    let told = heard.clone();
    let token = world.issuer.sign_in("alice").access_token;
    let source = move |last: Option<std::sync::Arc<TokenSet>>| {
        let tokens = TokenSet::bearer(token.as_str()).with_scope("read");
        std::future::ready(Ok::<_, SourceError>(if last.is_none() {
            tokens
        } else {
            tokens.with_scope("again")
        }))
    };
    let api = world
        .builder()
        .token_source(source)
        .on_after_refresh(move |tokens| told.say(format!("scope: {:?}", tokens.scope())))
        .build()?;
    assert_eq!(
        echo(api.get("/echo").send().await?).await["subject"],
        "alice"
    );
    assert_eq!(heard.lines(), ["scope: Some(\"read\")"]);
    Ok(())
}

/// Property: every method of a token source of one's own is called, `refresh_session` included.
#[tokio::test]
async fn a_token_source_learns_the_session() -> Tested {
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
    let world = World::new().await;
    let heard = common::Heard::new();
    let listener = heard.clone();
    let token = world.issuer.sign_in("alice").access_token;
    let api = world
        .builder()
        .token_source(ByName(token))
        .on_after_refresh(move |tokens| listener.say(format!("scope: {:?}", tokens.scope())))
        .build()?;
    assert_eq!(
        echo(api.get("/echo").send().await?).await["subject"],
        "alice"
    );
    assert_eq!(heard.lines(), ["scope: Some(\"default\")"]);
    Ok(())
}

/// Property: the split client sends and reads; the handle signs in and out; both are one session.
#[tokio::test]
async fn a_split_client_is_one_session() -> Tested {
    let world = World::new().await;
    let (api, session): (Client<SendOnly>, SessionHandle) = world.reading().build_split()?;
    let grant = world.issuer.sign_in("alice");
    session.set_access_token((grant.access_token.clone(), Duration::from_secs(60)))?;
    assert_eq!(
        exposed(api.access_token()),
        Some(grant.access_token.clone())
    );
    assert_eq!(exposed(session.access_token()), Some(grant.access_token));
    assert_eq!(
        echo(api.clone().get("/echo").send().await?).await["subject"],
        "alice"
    );
    session.clear();
    assert!(api.access_token().is_none());
    assert!(session.shutdown(Duration::from_secs(1)).await);

    let whole = world.reading().build()?;
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
        let built = reading().base_url(BASE).probe(path).build();
        let error = built.expect_err(path);
        assert!(matches!(
            error,
            BuildError::Rotator(token_rotator::BuildError::Probe)
        ));
        assert!(error.hint().is_some_and(|hint| hint.contains("/-/whoami")));
    }
    let built = reading().base_url(BASE).probe("/-/whoami?full=1").build();
    assert!(built.is_ok());
}

/// Property: relative URLs need a base; a client without one sends to declared origins.
#[tokio::test]
async fn a_client_may_have_no_base() -> Tested {
    let world = World::new().await;
    let api = bare()
        .origin(world.upstream.url())
        .refresh_endpoint(format!("{}/api/auth/refresh", world.upstream.url()))
        .bearer_field("accessToken")
        .build()?;
    api.set_access_token(world.issuer.sign_in("alice").access_token)?;
    let url = format!("{}/echo", world.upstream.url());
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
