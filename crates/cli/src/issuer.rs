//! `token-rotator issuer`: the issuer and API of `token-rotator-issuer` as a program.

use std::process::ExitCode;

use serde_json::json;
use token_rotator_issuer::{Issuer, RefreshPolicy, StartError, TokenFormat, Upstream};

use crate::arguments::IssuerOptions;
use crate::command_error::{CommandError, port_hint};
use crate::output::{self, say};

/// The client that is there without being named.
const DEMO: &str = "demo";

/// Runs both until the program is interrupted or told to end.
pub(crate) async fn run(options: IssuerOptions) -> Result<ExitCode, CommandError> {
    let policy = options.policy().unwrap_or_else(|mistake| mistake.exit());
    let issuer = start(&options, policy)
        .await
        .map_err(|error| failed("issuer", "--port", &error))?;
    for rule in &options.fault {
        issuer.faults().push(rule.clone());
    }
    let upstream = Upstream::builder(&issuer)
        .port(options.upstream_port)
        .start()
        .await
        .map_err(|error| failed("API", "--upstream-port", &error))?;
    let endpoints = [
        ("issuer", issuer.url().to_owned()),
        ("authorization", issuer.authorize_url().to_owned()),
        (
            "device_authorization",
            issuer.device_authorization_url().to_owned(),
        ),
        ("token", issuer.token_url().to_owned()),
        ("revocation", issuer.revoke_url().to_owned()),
        ("introspection", issuer.introspect_url().to_owned()),
        ("login", format!("{}/login", upstream.url())),
        (
            "cookie_refresh",
            format!("{}/api/auth/refresh", upstream.url()),
        ),
        ("upstream", upstream.url().to_owned()),
        ("echo", format!("{}/echo", upstream.url())),
        ("counters", format!("{}/__counters", upstream.url())),
    ];
    if options.json {
        let object: serde_json::Map<_, _> = endpoints
            .into_iter()
            .map(|(name, url)| (name.to_owned(), json!(url)))
            .collect();
        output::print_json(&object)?;
    } else {
        for (name, url) in endpoints {
            output::print(&format!("{name:<20} {url}\n"))?;
        }
        say!("");
        say!("Client `demo` needs no secret. Sign in with any password but `wrong`:");
        say!(
            "  curl -c jar -H 'content-type: application/json' -d '{{\"user\":\"alice\",\"password\":\"a\"}}' {}/login",
            upstream.url()
        );
        say!("Ctrl-C ends it.");
    }
    until_told().await;
    let counters = issuer.counters();
    upstream.shutdown().await;
    issuer.shutdown().await;
    if !options.json {
        say!(
            "{} refreshes, {} reuse alarms, {} grants revoked by them, {} ended by their clients",
            counters.refreshes,
            counters.reuses,
            counters.revocations,
            counters.ended_by_client
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn start(options: &IssuerOptions, policy: RefreshPolicy) -> Result<Issuer, StartError> {
    let format = if options.opaque {
        TokenFormat::Opaque
    } else {
        TokenFormat::Jwt
    };
    let mut builder = Issuer::builder()
        .port(options.port)
        .refresh_policy(policy)
        .access_lifetime(options.lifetime)
        .announce_lifetime(!options.no_expires_in)
        .token_format(format)
        .clock_skew(options.skew)
        .answer_delay(options.delay);
    let clients = options
        .client
        .iter()
        .map(|client| match client.split_once(':') {
            Some((id, secret)) => (id, Some(secret)),
            None => (client.as_str(), None),
        });
    // The first one owns what the login issues.
    if clients.clone().all(|(id, _)| id != DEMO) {
        builder = builder.client(DEMO, None);
    }
    for (id, secret) in clients {
        builder = builder.client(id, secret);
    }
    builder.start().await
}

fn failed(what: &str, flag: &str, error: &StartError) -> CommandError {
    CommandError::new(format!("the {what} could not be started"))
        .because(error)
        .hint(format!(
            "choose another port with `{flag}`, or leave it out for a free one"
        ))
        .hint_of(match error {
            StartError::Listen { source, .. } => port_hint(source),
            StartError::SecretPrefix | StartError::Realm => Some("correct it, or leave it out"),
            _ => None,
        })
}

/// Ends with Ctrl-C, or with SIGTERM where there is such a thing.
pub(crate) async fn until_told() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without a handler the signal ends the program the ordinary way.
    let _ = tokio::signal::ctrl_c().await;
}
