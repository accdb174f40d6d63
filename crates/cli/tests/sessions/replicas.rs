//! Ten replicas of a service on one Redis server, two of them broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use token_rotator::keys::{DataKey, KeySource};
use token_rotator::store::RecordCodec;
use token_rotator::{FailureKind, Rotator, SessionKey, TokenError, TokenSet};
use token_rotator_oauth2::refresh_token;
use token_rotator_redis::RedisStore;
use token_rotator_reqwest::ReqwestTransport;
use token_rotator_testkit::{Issuer, RedisServer};

use crate::user::User;

/// The client of the replicas, and its secret.
const SERVICE: &str = "replicas";
const SERVICE_SECRET: &str = "the new secret";

const HEALTHY: usize = 8;
const EXPIRIES: u64 = 10;

/// Builds the replica on this host, with this network and secret.
fn replica(
    server: &RedisServer,
    host: &str,
    token_url: &str,
    (transport, secret): (ReqwestTransport, &str),
) -> Rotator {
    let key = DataKey::new(KeySource::Environment, [7; 32]);
    let store = RedisStore::builder().url(server.url());
    let store = store.codec(RecordCodec::sealed(key)).build();
    let source = refresh_token(token_url, SERVICE)
        .client_secret_basic(secret)
        .transport(transport)
        .build();
    Rotator::builder(source.expect("a source"))
        .session(SessionKey::new("default"))
        .store(store.expect("a store"))
        .host(host)
        .origin("http://127.0.0.1:1")
        .build()
        .expect("a rotator")
}

/// Asks for tokens until the counter of the issuer is reached. Returns the number of failed calls.
async fn ask(rotator: Rotator, done: Arc<AtomicUsize>) -> usize {
    let mut failed = 0;
    while done.load(Ordering::SeqCst) == 0 {
        match rotator.token().await {
            Ok(_) => {}
            Err(TokenError::Refresh(error)) if error.kind() != FailureKind::Terminal => failed += 1,
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    failed
}

/// One replica has no network, one has an old client secret. Over 10 expiries, no caller of the other
/// eight fails, and `status` names the broken hosts.
#[tokio::test(flavor = "multi_thread")]
async fn two_broken_replicas_harm_no_other() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    // The issuer signs users in to its first client.
    let issuer = Issuer::builder().client(SERVICE, Some(SERVICE_SECRET));
    let user = User::with(issuer).await;
    let url = user.issuer.token_url();
    let network = || ReqwestTransport::new().expect("a transport");
    // No proxy listens on this port.
    let no_proxy = reqwest::Proxy::all("http://127.0.0.1:1").expect("a URL");
    let no_network = ReqwestTransport::configured(|builder| builder.proxy(no_proxy));
    let no_network = no_network.expect("a transport");
    let broken = [
        replica(&server, "no-network", url, (no_network, SERVICE_SECRET)),
        replica(&server, "old-secret", url, (network(), "an old secret")),
    ];
    let healthy: Vec<_> = (0..HEALTHY)
        .map(|number| {
            let host = format!("replica-{number}");
            replica(&server, &host, url, (network(), SERVICE_SECRET))
        })
        .collect();
    user.issuer.set_access_lifetime(Duration::from_secs(1));
    let grant = user.issuer.sign_in("alice");
    let tokens = TokenSet::bearer(grant.access_token.as_str())
        .with_refresh_token(grant.refresh_token.as_str())
        .expires_in(grant.expires_in);
    let stored = healthy[0].sign_in(tokens).expect("usable");
    stored.await.expect("stored");

    let done = Arc::new(AtomicUsize::new(0));
    let callers = |rotators: &[Rotator]| -> Vec<_> {
        let each = rotators.iter().flat_map(|rotator| [rotator, rotator]);
        each.map(|rotator| tokio::spawn(ask(rotator.clone(), Arc::clone(&done))))
            .collect()
    };
    let (broken_callers, healthy_callers) = (callers(&broken), callers(&healthy));
    let before = user.issuer.counters().refreshes;
    while user.issuer.counters().refreshes < before + EXPIRIES {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    done.store(1, Ordering::SeqCst);
    for caller in healthy_callers {
        assert_eq!(caller.await.expect("no panic"), 0, "a failed caller");
    }
    for caller in broken_callers {
        caller.await.expect("no panic");
    }
    // Each broken replica gets its turn at least once.
    for rotator in &broken {
        rotator.refresh_now().await.expect_err("it is broken");
    }
    // A healthy replica refreshes once more: the failures of other hosts stay visible.
    healthy[1].refresh_now().await.expect("a token");
    assert_eq!(user.issuer.counters().reuses, 0);

    user.configure(&format!(
        "[sessions.default]\nclient_id = \"{SERVICE}\"\ntoken_endpoint = \"{url}\"\n"
    ));
    let status = |arguments: &[&str]| {
        let mut command = user.command(&["--store", &server.url(), "--key", "env:SESSIONS_KEY"]);
        command.args(arguments).env("SESSIONS_KEY", "07".repeat(32));
        let output = user.output_of(command);
        assert_eq!(output.code, 0, "{output:?}");
        output.stdout
    };
    let all: Value = serde_json::from_str(&status(&["status", "--json"])).expect("JSON");
    let failures = all[0]["shared_failures"].as_array().expect("a list");
    let of = |host: &str| {
        let found = failures.iter().find(|failure| failure["host"] == host);
        found.unwrap_or_else(|| panic!("{host}: {all}"))
    };
    assert_eq!(of("no-network")["kind"], "not_sent");
    assert_eq!(of("no-network")["concerns"], "host");
    assert_eq!(of("old-secret")["kind"], "misconfigured");
    assert_eq!(of("old-secret")["code"], "invalid_client");
    assert_eq!(failures.len(), 2, "{all}");
    let table = status(&["status"]);
    for host in ["no-network", "old-secret"] {
        let line = format!("failure: session `default`: host {host}, ");
        assert!(table.contains(&line), "{table}");
    }
}
