//! Rule 12: no token, nor part of one, in logs, events, errors, panics or `Debug` output. A binary
//! of its own, for it listens to everything.

mod common;

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use token_rotator::middleware::Exchange;
use token_rotator::store::{Epoch, Record, Version};
use token_rotator::{ExposeSecret as _, NotReplayed, Profile, Refreshed, Rotator, SourceError};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use common::{Act, ScriptedCoordinator, ScriptedStore, World, callers, let_run, lock, outcomes};

const CANARY: &str = "CANARY-7f3a";

/// Everything that was ever said, by anybody.
static SAID: LazyLock<Mutex<String>> = LazyLock::new(Mutex::default);

fn say<T: Debug>(thing: &T) {
    writeln!(lock(&SAID), "{thing:?}\n{thing:#?}").expect("a string");
}

/// Everything that is logged, at every level, by every crate.
struct Everything;

impl Visit for Everything {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        say(&format_args!("{field} = {value:?}"));
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        span.record(&mut Everything);
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Everything);
    }

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        say(&event.metadata().target());
        event.record(&mut Everything);
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

fn say_error(error: &(dyn std::error::Error + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        say(&error);
        say(&format_args!("{error}"));
        next = error.source();
    }
}

async fn ask(rotator: &Rotator) {
    for outcome in outcomes(callers(rotator, 3)).await {
        match &outcome {
            Ok(token) => {
                assert!(token.secret().expose_secret().starts_with(CANARY));
                say(token);
                say(token.header());
                say(token.secret());
                say(token.token_set());
            }
            Err(error) => say_error(error),
        }
        say(&outcome);
    }
    say(rotator);
    say(&Exchange::ready(rotator, Ok(())));
    say(&Exchange::begin(rotator, Err(NotReplayed::BodyOnce)).await);
}

/// Every kind of outcome there is, with canaries for tokens, and everything said meanwhile by
/// events, logs at TRACE, errors with their sources, panics and `Debug`: no canary in it.
#[tokio::test(start_paused = true)]
async fn no_token_is_ever_said() {
    tracing::subscriber::set_global_default(Everything).expect("nobody else listens");
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|panic| say(&format_args!("{panic}"))));

    let world = World::new();
    world.issuer.prefix(CANARY);
    world.issuer.with_answer();
    let (store, leases) = (ScriptedStore::new(), ScriptedCoordinator::new());
    let builder = world
        .builder()
        .store(store.clone())
        .coordinator(leases.clone())
        .profile(Profile::leeway(Duration::from_secs(5)).with_revocation_per_token())
        .on_event(say)
        .after_refresh(|refreshed: Arc<Refreshed>| async move {
            say(&refreshed);
            Err("no socket".to_owned())
        });
    say(&builder);
    let rotator = builder.build().expect("a rotator");
    rotator
        .sign_in(world.issuer.login())
        .expect("usable tokens");
    ask(&rotator).await;

    let failures = [
        None,
        Some(Act::Fail(
            SourceError::transient("down").with_code("temporarily_unavailable"),
        )),
        Some(Act::Fail(
            SourceError::not_sent("no way").with_cause(std::fmt::Error),
        )),
        Some(Act::LoseAnswer),
        Some(Act::Hang),
        Some(Act::Panic),
        Some(Act::Answer(world.issuer.login().with_token_type("DPoP"))),
        Some(Act::Answer(token_rotator::TokenSet::bearer(format!(
            "{CANARY}\u{7}"
        )))),
        Some(Act::Fail(
            SourceError::terminal("invalid_grant").with_reuse_detected(),
        )),
    ];
    for failure in failures {
        let login = world.issuer.login();
        say(&login);
        rotator.sign_in(login).expect("usable tokens");
        world.almost_expire().await;
        ask(&rotator).await;
        world.expire().await;
        if let Some(failure) = failure {
            world.issuer.next(failure);
        }
        ask(&rotator).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        ask(&rotator).await;
    }
    let error = rotator
        .sign_in(world.issuer.login().with_token_type("mac"))
        .map(drop)
        .expect_err("not a bearer token");
    say_error(&error);

    // Store and coordinator in all their moods.
    rotator
        .sign_in(world.issuer.login())
        .expect("usable tokens");
    let_run().await;
    world.expire().await;
    store.fail_loads(1);
    ask(&rotator).await;
    store.panic_loads(1);
    tokio::time::advance(Duration::from_secs(2)).await;
    ask(&rotator).await;
    store.panic_saves(1);
    store.fail_saves(2);
    tokio::time::advance(Duration::from_secs(5)).await;
    ask(&rotator).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.expire().await;
    let others = leases.busy().await;
    ask(&rotator).await;
    drop(others);
    say(&store.record().await);

    let neighbour = world
        .builder()
        .store(store.clone())
        .coordinator(leases.clone())
        .on_event(say)
        .build()
        .expect("a rotator");
    tokio::time::advance(Duration::from_secs(5)).await;
    ask(&rotator).await;
    ask(&neighbour).await;

    // Somebody else signs in, and out; then it is done here.
    let version = Version::new(Epoch::random(), 1_000);
    let bobs = Record::signed_in(version, Arc::new(world.issuer.login()));
    say(&bobs);
    store.put(bobs).await;
    world.expire().await;
    ask(&rotator).await;
    ask(&rotator).await;
    world.issuer.hold();
    let forced = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    let_run().await;
    rotator.sign_out().await.expect("a tombstone");
    world.issuer.fail_revocation();
    world.issuer.let_go();
    say(&forced.await.expect("no panic"));
    ask(&rotator).await;
    assert!(rotator.shutdown(Duration::from_secs(60)).await);

    std::panic::set_hook(quiet);
    let said = lock(&SAID);
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
        assert!(said.contains(kind), "the run should have come by {kind}");
    }
    if let Some(at) = said.find(CANARY) {
        let line = said[..at].rfind('\n').map_or(0, |start| start + 1);
        panic!(
            "a token was said: {}",
            &said[line..(at + 80).min(said.len())]
        );
    }
}
