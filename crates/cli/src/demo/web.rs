//! `demo --web`: the storm again and again, on the proxy's page.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use token_rotator::{Event, Rotator, TokenSet};
use token_rotator_issuer::{Gate, Grant, Issuer, Upstream};
use token_rotator_oauth2::refresh_token;
use token_rotator_proxy::{Config, Handle, Listen, Listener, Recorder, Route};
use token_rotator_reqwest::ReqwestTransport;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::arguments::{DemoOptions, IssuerProfile};
use crate::command_error::CommandError;
use crate::demo::world::{impossible, started};
use crate::issuer::until_told;
use crate::output::{self, say};

/// The session's name on the page.
const SESSION: &str = "demo";

/// More callers than this would want more descriptors than many a system gives.
const CALLERS: u32 = 1_000;

/// How far the issuer is away. The storm that gathers meanwhile grows with it.
const AWAY: Duration = Duration::from_millis(400);

/// How much sooner than announced the issuer refuses a token, as one whose clock runs ahead does:
/// so that requests are refused, and do not merely wait.
const AHEAD: Duration = Duration::from_millis(500);

/// How long the API takes requests in before that without answering any, so that many of them meet
/// the refusal together, each on its way already.
const GATHER: Duration = Duration::from_millis(150);

/// How long requests may take to end after Ctrl-C.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs until the program is interrupted or told to end.
pub(crate) async fn run(options: &DemoOptions) -> Result<ExitCode, CommandError> {
    if options.requests > CALLERS {
        let asked = options.requests;
        return Err(CommandError::new("there would be too many callers")
            .why(format!("`--web` has {CALLERS} at the most, not {asked}"))
            .hint(format!("give it `--requests {CALLERS}` or fewer")));
    }
    let profile = options.profile.unwrap_or(IssuerProfile::Strict);
    let lifetime = options.lifetime();
    let builder = Issuer::builder()
        .refresh_policy(profile.policy())
        .access_lifetime(lifetime)
        .answer_delay(AWAY);
    let (issuer, upstream) = started(builder).await?;
    let issuer = Arc::new(issuer);
    let (brought, tokens) = mpsc::unbounded_channel();
    let recorder = Recorder::default();
    let rotator = session(&issuer, &upstream, profile, &recorder, brought)?;
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
    until_told().await;
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

/// A session at the issuer that nothing refreshes before its token has expired.
fn session(
    issuer: &Issuer,
    upstream: &Upstream,
    profile: IssuerProfile,
    recorder: &Recorder,
    brought: mpsc::UnboundedSender<Option<Duration>>,
) -> Result<Rotator, CommandError> {
    // A proxy that the environment names does not lead to loopback.
    let transport = ReqwestTransport::configured(reqwest::ClientBuilder::no_proxy);
    let transport = transport.map_err(|error| impossible("transport", error))?;
    let source = refresh_token(issuer.token_url(), "demo")
        .transport(transport)
        .build()
        .map_err(|error| impossible("token source", error))?;
    let grant: Grant = issuer.sign_in("newcomer");
    // Nobody receives any more when the demo ends.
    let _ = brought.send(Some(grant.expires_in));
    let recorder = recorder.named(SESSION);
    let rotator = Rotator::builder(source)
        .origin(upstream.url())
        .profile(profile.profile())
        .refresh_before(Duration::ZERO)
        .runtime(tokio::runtime::Handle::current())
        .on_event(move |event| {
            recorder.record(event);
            if let Event::Refreshed { lifetime, .. } = event {
                let _ = brought.send(*lifetime);
            }
        })
        .build()
        .map_err(|error| impossible("rotator", error))?;
    let tokens = TokenSet::bearer(grant.access_token.as_str())
        .with_refresh_token(grant.refresh_token.as_str())
        .expires_in(grant.expires_in);
    rotator
        .sign_in(tokens)
        .map_err(|error| impossible("session", error))?;
    Ok(rotator)
}

/// The proxy, with its page.
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

/// Where the page is, and the proxy.
fn addresses(handle: &Handle) -> (String, String) {
    let (Some(page), [Listen::Tcp(proxy)]) = (handle.admin(), &*handle.listening()) else {
        unreachable!("both are in its configuration");
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
        let (ahead, gather) = (AHEAD.min(lifetime / 4), GATHER.min(lifetime / 4));
        tokio::time::sleep(lifetime.saturating_sub(ahead + gather)).await;
        api.close();
        tokio::time::sleep(gather).await;
        issuer.expire_access_tokens();
        api.open();
    }
}

fn client() -> Result<reqwest::Client, CommandError> {
    let client = reqwest::Client::builder().no_proxy().build();
    client.map_err(|error| impossible("HTTP client", error))
}

/// One caller of many: asks, looks away for a second or so, asks again.
async fn call(proxy: String, client: reqwest::Client, number: u32) {
    let url = format!("{proxy}/echo");
    let pause = Duration::from_millis(500 + u64::from(number) * 37 % 1_000);
    tokio::time::sleep(pause / 2).await;
    loop {
        if let Ok(answer) = client.get(&url).send().await {
            // What it says is the page's business.
            let _ = answer.bytes().await;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Where to look, on stdout.
fn show(options: &DemoOptions, page: &str, proxy: &str) -> Result<(), CommandError> {
    if options.json {
        return output::print_json(&json!({ "page": page, "proxy": proxy }));
    }
    output::print(&format!("page    {page}\nproxy   {proxy}\n"))?;
    say!(
        "{} callers ask the proxy for /echo; their token expires every {:?}.\n\
         Open the page to see one refresh serve them all. Ctrl-C ends it.",
        options.requests,
        options.lifetime()
    );
    Ok(())
}
