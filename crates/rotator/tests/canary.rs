//! Tests rule 12: logs, events, errors, panics and `Debug` output contain no token and no part of a
//! token. A separate binary, because it installs a global log subscriber.

mod common;

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use token_rotator::middleware::Exchange;
use token_rotator::store::{Epoch, Record, Version};
use token_rotator::{ExposeSecret as _, NotReplayed, Profile, Refreshed, Rotator, SourceError};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use common::{
    Fixture, IssuerAction, ScriptedCoordinator, ScriptedStore, collect_outcomes, lock,
    run_ready_tasks, spawn_callers,
};

const CANARY: &str = "CANARY-7f3a";

/// The text of all recorded output.
static OUTPUT: LazyLock<Mutex<String>> = LazyLock::new(Mutex::default);

fn record<T: Debug>(value: &T) {
    writeln!(lock(&OUTPUT), "{value:?}\n{value:#?}").expect("a string");
}

/// Records every log message at every level from every crate.
struct LogRecorder;

impl Visit for LogRecorder {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        record(&format_args!("{field} = {value:?}"));
    }
}

impl Subscriber for LogRecorder {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        span.record(&mut LogRecorder);
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, values: &span::Record<'_>) {
        values.record(&mut LogRecorder);
    }

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        record(&event.metadata().target());
        event.record(&mut LogRecorder);
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

fn record_error(error: &(dyn std::error::Error + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        record(&error);
        record(&format_args!("{error}"));
        next = error.source();
    }
}

async fn call_and_record(rotator: &Rotator) {
    for outcome in collect_outcomes(spawn_callers(rotator, 3)).await {
        match &outcome {
            Ok(token) => {
                assert!(token.secret().expose_secret().starts_with(CANARY));
                record(token);
                record(token.header());
                record(token.secret());
                record(token.token_set());
            }
            Err(error) => record_error(error),
        }
        record(&outcome);
    }
    record(rotator);
    record(&Exchange::ready(rotator, Ok(())));
    record(&Exchange::begin(rotator, Err(NotReplayed::BodyOnce)).await);
}

/// Runs every kind of outcome with marked tokens and records events, logs at TRACE, errors with
/// their sources, panics and `Debug`. The record contains no marked token.
#[tokio::test(start_paused = true)]
async fn no_output_contains_a_token() {
    tracing::subscriber::set_global_default(LogRecorder).expect("no other subscriber");
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|panic| record(&format_args!("{panic}"))));

    let fixture = Fixture::new();
    fixture.issuer.prefix(CANARY);
    fixture.issuer.with_answer();
    let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
    let builder = fixture
        .builder()
        .store(store.clone())
        .coordinator(leases.clone())
        .profile(Profile::leeway(Duration::from_secs(5)).with_revocation_per_token())
        .on_event(record)
        .after_refresh(|refreshed: Arc<Refreshed>| async move {
            record(&refreshed);
            Err("no socket".to_owned())
        });
    record(&builder);
    let rotator = builder.build().expect("a rotator");
    rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    call_and_record(&rotator).await;

    let failures = [
        None,
        Some(IssuerAction::Fail(
            SourceError::transient("down").with_code("temporarily_unavailable"),
        )),
        Some(IssuerAction::Fail(
            SourceError::not_sent("no way").with_cause(std::fmt::Error),
        )),
        Some(IssuerAction::LoseAnswer),
        Some(IssuerAction::Hang),
        Some(IssuerAction::Panic),
        Some(IssuerAction::Answer(
            fixture.issuer.login().with_token_type("DPoP"),
        )),
        Some(IssuerAction::Answer(token_rotator::TokenSet::bearer(
            format!("{CANARY}\u{7}"),
        ))),
        Some(IssuerAction::Fail(
            SourceError::terminal("invalid_grant").with_reuse_detected(),
        )),
    ];
    for failure in failures {
        let login = fixture.issuer.login();
        record(&login);
        rotator.sign_in(login).expect("usable tokens");
        fixture.almost_expire().await;
        call_and_record(&rotator).await;
        fixture.expire().await;
        if let Some(failure) = failure {
            fixture.issuer.push_action(failure);
        }
        call_and_record(&rotator).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        call_and_record(&rotator).await;
    }
    let error = rotator
        .sign_in(fixture.issuer.login().with_token_type("mac"))
        .map(drop)
        .expect_err("not a bearer token");
    record_error(&error);

    // Every failure of store and coordinator.
    rotator
        .sign_in(fixture.issuer.login())
        .expect("usable tokens");
    run_ready_tasks().await;
    fixture.expire().await;
    store.fail_loads(1);
    call_and_record(&rotator).await;
    store.panic_loads(1);
    tokio::time::advance(Duration::from_secs(2)).await;
    call_and_record(&rotator).await;
    store.panic_saves(1);
    store.fail_saves(2);
    tokio::time::advance(Duration::from_secs(5)).await;
    call_and_record(&rotator).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    fixture.expire().await;
    let foreign_lease = leases.acquire_as_another_process().await;
    call_and_record(&rotator).await;
    drop(foreign_lease);
    record(&store.record().await);

    let second_process = fixture
        .builder()
        .store(store.clone())
        .coordinator(leases.clone())
        .on_event(record)
        .build()
        .expect("a rotator");
    tokio::time::advance(Duration::from_secs(5)).await;
    call_and_record(&rotator).await;
    call_and_record(&second_process).await;

    // Another process signs in and out, then this process does.
    let version = Version::new(Epoch::random(), 1_000);
    let bobs = Record::signed_in(version, Arc::new(fixture.issuer.login()));
    record(&bobs);
    store.put(bobs).await;
    fixture.expire().await;
    call_and_record(&rotator).await;
    call_and_record(&rotator).await;
    fixture.issuer.hold();
    let forced = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    run_ready_tasks().await;
    rotator.sign_out().await.expect("a tombstone");
    fixture.issuer.fail_revocation();
    fixture.issuer.release();
    record(&forced.await.expect("no panic"));
    call_and_record(&rotator).await;
    assert!(rotator.shutdown(Duration::from_secs(60)).await);

    std::panic::set_hook(quiet);
    let output = lock(&OUTPUT);
    for kind in [
        "SignedIn",
        "SignedOut",
        "Refreshed",
        "Adopted",
        "RefreshFailed",
        "Ended",
        "ReuseDetected",
        "PresentedAgain",
        "LateTokens",
        "Revoked",
        "SaveFailed",
        "SaveRecovered",
        "HookFailed",
        "as the test wants it",
        "TimedOut",
        "Unusable",
        "Busy",
        "token_rotator",
    ] {
        assert!(
            output.contains(kind),
            "the test should have produced {kind}"
        );
    }
    if let Some(at) = output.find(CANARY) {
        let line = output[..at].rfind('\n').map_or(0, |start| start + 1);
        panic!(
            "the output contains a token: {}",
            &output[line..(at + 80).min(output.len())]
        );
    }
}
