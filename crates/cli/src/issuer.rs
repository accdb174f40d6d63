//! `token-rotator issuer`: runs the issuer and the API of the crate `token-rotator-issuer`.

use std::process::ExitCode;

use serde_json::json;
use token_rotator_issuer::{Issuer, RefreshPolicy, StartError, TokenFormat, Upstream};

use crate::arguments::IssuerOptions;
use crate::command_error::{CommandError, port_hint};
use crate::output::{self, say};

/// The public client that exists even if `--client` does not name it.
const DEMO_CLIENT: &str = "demo";

/// Runs the issuer and the API until Ctrl-C or SIGTERM.
pub(crate) async fn run(options: IssuerOptions) -> Result<ExitCode, CommandError> {
    let policy = options.policy().unwrap_or_else(|error| error.exit());
    let issuer = start(&options, policy)
        .await
        .map_err(|error| start_failed("issuer", "--port", &error))?;
    for rule in &options.fault {
        issuer.faults().push(rule.clone());
    }
    let upstream = Upstream::builder(&issuer)
        .port(options.upstream_port)
        .start()
        .await
        .map_err(|error| start_failed("API", "--upstream-port", &error))?;
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
        say!("Press Ctrl-C to stop.");
    }
    wait_for_shutdown_signal().await;
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
    // The first client owns the tokens of the cookie login.
    if clients.clone().all(|(id, _)| id != DEMO_CLIENT) {
        builder = builder.client(DEMO_CLIENT, None);
    }
    for (id, secret) in clients {
        builder = builder.client(id, secret);
    }
    builder.start().await
}

fn start_failed(what: &str, flag: &str, error: &StartError) -> CommandError {
    CommandError::new(format!("the {what} could not be started"))
        .because(error)
        .hint(format!(
            "choose another port with `{flag}`, or leave it out for a free one"
        ))
        .hint_of(match error {
            StartError::Listen { source, .. } => port_hint(source),
            _ => None,
        })
}

/// Waits for Ctrl-C, and on Unix for SIGTERM too.
pub(crate) async fn wait_for_shutdown_signal() {
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
    // If no handler can be installed, the signal ends the process by itself.
    let _ = tokio::signal::ctrl_c().await;
}
