//! `demo --web`: an endless run of requests through the proxy, shown on the proxy's page.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use token_rotator::{Event, Rotator, TokenSet};
use token_rotator_issuer::{Gate, Grant, Issuer, Upstream};
use token_rotator_proxy::{Config, Handle, Listen, Listener, Recorder, Route};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::arguments::{DemoOptions, IssuerProfile};
use crate::command_error::CommandError;
use crate::demo::servers::{setup_failed, start_servers, token_source};
use crate::issuer::wait_for_shutdown_signal;
use crate::output::{self, say};

/// The name of the session on the page.
const SESSION: &str = "demo";

/// Limit of callers. More would need more file descriptors than many systems allow.
const CALLERS_MAX: u32 = 1_000;

/// How long the issuer takes to answer. More requests gather during a longer delay.
const ISSUER_DELAY: Duration = Duration::from_millis(400);

/// How much sooner than announced the issuer refuses a token, like an issuer whose clock is ahead.
/// Requests are then refused, and do not only wait for a refresh.
const EARLY_REFUSAL: Duration = Duration::from_millis(500);

/// How long the API holds back its answers before the expiry, so that many requests in flight are
/// refused together.
const GATHER_TIME: Duration = Duration::from_millis(150);

/// How long requests may take to finish after Ctrl-C.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs until Ctrl-C or SIGTERM.
pub(crate) async fn run(options: &DemoOptions) -> Result<ExitCode, CommandError> {
    if options.requests > CALLERS_MAX {
        let requests = options.requests;
        return Err(CommandError::new("`--web` cannot run this many callers")
            .why(format!("it runs at most {CALLERS_MAX}, not {requests}"))
            .hint(format!("use `--requests {CALLERS_MAX}` or fewer")));
    }
    let profile = options.profile.unwrap_or(IssuerProfile::Strict);
    let lifetime = options.lifetime();
    let builder = Issuer::builder()
        .refresh_policy(profile.policy())
        .access_lifetime(lifetime)
        .answer_delay(ISSUER_DELAY);
    let (issuer, upstream) = start_servers(builder).await?;
    let issuer = Arc::new(issuer);
    let (lifetimes, tokens) = mpsc::unbounded_channel();
    let recorder = Recorder::default();
    let rotator = session(&issuer, &upstream, profile, &recorder, lifetimes)?;
    let handle = serve(options, &upstream, rotator, recorder)?;
    let (page, proxy) = addresses(&handle);
    let mut tasks = JoinSet::new();
    tasks.spawn(expire(
        Arc::clone(&issuer),
        upstream.gate(),
        lifetime,
        tokens,
    ));
    for number in 0..options.requests {
        tasks.spawn(call(proxy.clone(), client()?, number));
    }
    show(options, &page, &proxy)?;
    wait_for_shutdown_signal().await;
    tasks.shutdown().await;
    let ended = handle.drain(DRAIN).await;
    upstream.shutdown().await;
    issuer.shutdown().await;
    Ok(if ended {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds a session at the issuer without early refresh. Sends the lifetime of each new token to
/// `lifetimes`.
fn session(
    issuer: &Issuer,
    upstream: &Upstream,
    profile: IssuerProfile,
    recorder: &Recorder,
    lifetimes: mpsc::UnboundedSender<Option<Duration>>,
) -> Result<Rotator, CommandError> {
    let source = token_source(issuer)?;
    let grant: Grant = issuer.sign_in("newcomer");
    // The receiver is gone once the demo ends.
    let _ = lifetimes.send(Some(grant.expires_in));
    let recorder = recorder.named(SESSION);
    let rotator = Rotator::builder(source)
        .origin(upstream.url())
        .profile(profile.profile())
        .refresh_before(Duration::ZERO)
        .runtime(tokio::runtime::Handle::current())
        .on_event(move |event| {
            recorder.record(event);
            if let Event::Refreshed { lifetime, .. } = event {
                let _ = lifetimes.send(*lifetime);
            }
        })
        .build()
        .map_err(|error| setup_failed("rotator", error))?;
    let tokens = TokenSet::bearer(grant.access_token.as_str())
        .with_refresh_token(grant.refresh_token.as_str())
        .expires_in(grant.expires_in);
    rotator
        .sign_in(tokens)
        .map_err(|error| setup_failed("session", error))?;
    Ok(rotator)
}

/// Starts the proxy with its page.
fn serve(
    options: &DemoOptions,
    upstream: &Upstream,
    rotator: Rotator,
    recorder: Recorder,
) -> Result<Handle, CommandError> {
    let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let mut route = Route::new("api", upstream.url(), rotator);
    route.session = Some(SESSION.to_owned());
    let listener = Listener {
        listen: Listen::Tcp(loopback(0)),
        public: false,
    };
    let mut config = Config::new(vec![listener], vec![route]);
    config.admin = Some(loopback(options.port.unwrap_or(0)));
    config.recorder = recorder;
    Handle::start(&config).map_err(|error| {
        CommandError::new("the page could not be served")
            .because(error)
            .hint("choose another port with `--port`, or leave it out for a free one")
    })
}

/// Returns the URLs of the page and of the proxy.
fn addresses(handle: &Handle) -> (String, String) {
    let (Some(page), [Listen::Tcp(proxy)]) = (handle.admin(), &*handle.listening()) else {
        unreachable!("the configuration has the page and one TCP listener");
    };
    (format!("http://{page}/"), format!("http://{proxy}"))
}

/// Refuses each token a moment before it expires.
async fn expire(
    issuer: Arc<Issuer>,
    api: Gate,
    usual: Duration,
    mut tokens: mpsc::UnboundedReceiver<Option<Duration>>,
) {
    while let Some(lifetime) = tokens.recv().await {
        let lifetime = lifetime.unwrap_or(usual);
        let (ahead, gather) = (
            EARLY_REFUSAL.min(lifetime / 4),
            GATHER_TIME.min(lifetime / 4),
        );
        tokio::time::sleep(lifetime.saturating_sub(ahead + gather)).await;
        api.close();
        tokio::time::sleep(gather).await;
        issuer.expire_access_tokens();
        api.open();
    }
}

fn client() -> Result<reqwest::Client, CommandError> {
    let client = reqwest::Client::builder().no_proxy().build();
    client.map_err(|error| setup_failed("HTTP client", error))
}

/// One caller: sends a request, pauses for 0.5 to 1.5 s, and repeats.
async fn call(proxy: String, client: reqwest::Client, number: u32) {
    let url = format!("{proxy}/echo");
    let pause = Duration::from_millis(500 + u64::from(number) * 37 % 1_000);
    tokio::time::sleep(pause / 2).await;
    loop {
        if let Ok(answer) = client.get(&url).send().await {
            // The page shows the outcome; the caller only reads the body to its end.
            let _ = answer.bytes().await;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Prints the URLs to stdout.
fn show(options: &DemoOptions, page: &str, proxy: &str) -> Result<(), CommandError> {
    if options.json {
        return output::print_json(&json!({ "page": page, "proxy": proxy }));
    }
    output::print(&format!("page    {page}\nproxy   {proxy}\n"))?;
    say!(
        "{} callers ask the proxy for /echo; their token expires every {:?}.\n\
         Open the page to see one refresh serve all callers. Press Ctrl-C to stop.",
        options.requests,
        options.lifetime()
    );
    Ok(())
}
