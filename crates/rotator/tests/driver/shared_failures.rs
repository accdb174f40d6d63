//! Tests failures that processes share through the record (rule 15).

use std::sync::Arc;
use std::time::Duration;

use token_rotator::store::{Fingerprint, LocalCoordinator, SharedFailure};
use token_rotator::{
    Event, FailureKind, RefreshError, Refreshed, Rotator, SessionKey, SourceError, TokenError,
    TokenSet, TokenSource,
};

use crate::common::store::next_record;
use crate::common::{
    Fixture, Issuer, IssuerAction, ScriptedStore, collect_outcomes, secret, spawn_callers,
};

/// An issuer whose clients have different secrets. The client with the old secret is refused.
struct Configured {
    issuer: Issuer,
    secret: &'static str,
}

impl TokenSource for Configured {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        if self.secret == "old" {
            return Err(SourceError::misconfigured("401").with_code("invalid_client"));
        }
        self.issuer.refresh(last).await
    }

    fn fingerprint(&self, _session: &SessionKey) -> Option<Fingerprint> {
        Some(Fingerprint::of(["token"], Some(&self.secret.into())))
    }
}

/// Rotators that share a store and a coordinator, as processes do. Signed in, with an expired token.
struct Processes {
    fixture: Fixture,
    store: ScriptedStore,
    leases: LocalCoordinator,
    all: Vec<Rotator>,
}

impl Processes {
    async fn new(count: usize) -> Self {
        let mut processes = Self {
            fixture: Fixture::new(),
            store: ScriptedStore::new(),
            leases: LocalCoordinator::new(),
            all: Vec::new(),
        };
        processes.store.report_writes();
        for _ in 0..count {
            let rotator = processes.on_host("here");
            processes.all.push(rotator);
        }
        let login = processes.fixture.issuer.login();
        let stored = processes.all[0].sign_in(login).expect("usable");
        stored.await.expect("stored");
        processes
    }

    fn on_host(&self, host: &str) -> Rotator {
        self.on_host_with(host, self.fixture.issuer.clone())
    }

    fn on_host_with(&self, host: &str, source: impl TokenSource) -> Rotator {
        let builder = Rotator::builder(source)
            .clock(self.fixture.clock.clone())
            .on_event(self.fixture.events.listener())
            .origin("https://api.example.com");
        let builder = builder
            .store(self.store.clone())
            .coordinator(self.leases.clone())
            .host(host);
        builder.build().expect("a rotator")
    }

    fn fail_next(&self, error: SourceError) {
        self.fixture.issuer.push_action(IssuerAction::Fail(error));
    }

    fn calls(&self) -> usize {
        self.fixture.issuer.refresh_calls()
    }
}

fn shared(outcome: Result<token_rotator::Token, TokenError>) -> (SharedFailure, Duration) {
    match outcome {
        Err(TokenError::Refresh(RefreshError::Shared { failure, left })) => (*failure, left),
        outcome => panic!("a shared failure, not {outcome:?}"),
    }
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

/// 30 processes at once, and the issuer answers 503 with `Retry-After: 120`: one request, and every
/// process gets that failure and its time. After the time, one request refreshes for all.
#[tokio::test(start_paused = true)]
async fn an_answered_failure_holds_for_every_process() {
    let processes = Processes::new(30).await;
    processes.fixture.expire().await;
    let error = SourceError::transient("the issuer answered 503");
    processes.fail_next(error.with_retry_after(Duration::from_secs(120)));
    let calls = |rotators: &[Rotator]| {
        let calls = rotators
            .iter()
            .flat_map(|rotator| spawn_callers(rotator, 2));
        calls.collect::<Vec<_>>()
    };
    let outcomes = collect_outcomes(calls(&processes.all)).await;
    assert_eq!(processes.calls(), 1);
    for outcome in outcomes {
        let Err(TokenError::Refresh(error)) = outcome else {
            panic!("a failure, not {outcome:?}");
        };
        assert_eq!(error.kind(), FailureKind::Transient);
        assert_eq!(
            error.retry_after(),
            Some(Duration::from_secs(120)),
            "{error}"
        );
    }
    // A process that starts later reads the failure and the time that is left.
    pass(100).await;
    let late = processes.on_host("elsewhere");
    let (failure, left) = shared(late.token().await);
    assert_eq!((failure.host.as_str(), failure.in_a_row), ("here", 1));
    assert_eq!(left, Duration::from_secs(20));
    // Only a sign-in overrides `Retry-After`.
    shared(late.refresh_now().await);
    assert_eq!(processes.calls(), 1);
    pass(21).await;
    let outcomes = collect_outcomes(calls(&processes.all)).await;
    for outcome in outcomes {
        assert_eq!(secret(&outcome.expect("a token")), "access-2");
    }
    assert_eq!(processes.calls(), 2);
    let record = processes.store.record().await.expect("a record");
    assert_eq!(record.failures(), []);
}

/// A session that never had a token shares the failure of its first refresh too. The source still gets
/// no token set, and a session that was signed out stays so.
#[tokio::test(start_paused = true)]
async fn the_failure_of_the_first_refresh_holds_for_every_process() {
    let fixture = Fixture::new();
    fixture.issuer.without_grant();
    let (store, leases) = (ScriptedStore::new(), LocalCoordinator::new());
    let build = || {
        let builder = fixture.builder().store(store.clone());
        let built = builder.coordinator(leases.clone()).build();
        built.expect("a rotator")
    };
    let busy = || SourceError::transient("503").with_retry_after(Duration::from_secs(120));
    fixture.issuer.push_action(IssuerAction::Fail(busy()));
    build().token().await.expect_err("busy");
    for _ in 0..5 {
        shared(build().token().await);
    }
    assert_eq!(fixture.issuer.refresh_calls(), 1);
    pass(121).await;
    fixture.issuer.push_action(IssuerAction::Fail(busy()));
    build().token().await.expect_err("busy");
    shared(build().token().await);
    pass(121).await;
    let rotator = build();
    rotator.token().await.expect("a token");
    assert_eq!(fixture.issuer.refresh_calls(), 3);

    rotator.sign_out().await.expect("stored");
    fixture.issuer.push_action(IssuerAction::Fail(busy()));
    let _ = rotator.refresh_now().await;
    assert!(store.record().await.expect("a record").is_signed_out());
}

/// Without `Retry-After`, processes that ask all the time send at most one request more than
/// cool-downs passed, and the cool-downs double across processes.
#[tokio::test(start_paused = true)]
async fn cool_downs_double_across_processes() {
    let processes = Processes::new(10).await;
    processes.fixture.expire().await;
    for _ in 0..100 {
        processes.fail_next(SourceError::transient("down"));
    }
    for step in 0..300 {
        // A new process at every step knows nothing but the record.
        let rotator = processes.on_host("here");
        let failed = rotator.token().await.expect_err("down");
        assert!(matches!(failed, TokenError::Refresh(_)), "{failed:?}");
        let asks = &processes.all[step % processes.all.len()];
        asks.token().await.expect_err("down");
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    // 0.5 + 1 + 2 + 4 + 8 + 16 s with 20 % of jitter end after 25 to 38 s.
    let calls = processes.calls();
    assert!((5..=7).contains(&calls), "{calls} requests in 30 s");
}

/// A usable token is served during any failure, and a flight before the expiry only reports it.
#[tokio::test(start_paused = true)]
async fn a_usable_token_is_served_during_a_failure() {
    let processes = Processes::new(2).await;
    processes.fixture.almost_expire().await;
    processes.fail_next(SourceError::transient("down").with_retry_after(Duration::from_secs(120)));
    processes.all[0].refresh_now().await.expect_err("down");
    for rotator in [&processes.all[1], &processes.on_host("elsewhere")] {
        assert_eq!(secret(&rotator.token().await.expect("a token")), "access-1");
    }
    assert_eq!(processes.calls(), 1);
}

/// A failure before the first byte holds for the processes of its host, and not for other hosts.
#[tokio::test(start_paused = true)]
async fn a_local_failure_holds_for_its_host() {
    let processes = Processes::new(1).await;
    processes.fixture.expire().await;
    processes.fail_next(SourceError::not_sent("no route"));
    processes.all[0].token().await.expect_err("no route");
    let (failure, _) = shared(processes.on_host("here").token().await);
    assert_eq!(failure.kind, FailureKind::NotSent);
    let other = processes.on_host("there").token().await;
    assert_eq!(secret(&other.expect("a token")), "access-2");
    // The record still shows which host is broken.
    let record = processes.store.record().await.expect("a record");
    let hosts: Vec<_> = record.failures().iter().map(|one| &*one.host).collect();
    assert_eq!(hosts, ["here"]);
}

/// A misconfigured failure holds for processes with the same configuration fingerprint, on any host.
#[tokio::test(start_paused = true)]
async fn a_misconfigured_failure_holds_for_its_configuration() {
    let processes = Processes::new(1).await;
    processes.fixture.expire().await;
    let issuer = || processes.fixture.issuer.clone();
    let with = |secret| Configured {
        issuer: issuer(),
        secret,
    };
    let old = processes.on_host_with("here", with("old"));
    old.token().await.expect_err("invalid_client");
    let (failure, _) = shared(processes.on_host_with("there", with("old")).token().await);
    assert_eq!(failure.code.as_deref(), Some("invalid_client"));
    let new = processes.on_host_with("here", with("new")).token().await;
    assert_eq!(secret(&new.expect("a token")), "access-2");
}

/// A failure that lies an hour in the future has no effect. One that claims a wait of a year holds for
/// 60 s, or 5 minutes with `Retry-After`.
#[tokio::test(start_paused = true)]
async fn a_failure_of_the_future_or_of_a_year_has_no_effect() {
    let year = Duration::from_secs(365 * 86_400);
    for (ahead, asked, holds) in [(3_600, true, 0), (0, false, 60), (0, true, 300)] {
        let processes = Processes::new(1).await;
        processes.fixture.expire().await;
        let found = processes.store.record().await.expect("a record");
        let at = found.now().expect("a time");
        let at = at.after(Duration::from_secs(ahead));
        let mut failure = SharedFailure::new(FailureKind::Transient, "down", "there", at);
        failure.wait = year;
        failure.asked_by_issuer = asked;
        let next = next_record(Some(&found), None, None).version();
        let failed = found.with_version(next).with_failure(failure);
        processes.store.put(failed).await;
        let rotator = processes.on_host("here");
        if holds > 0 {
            let (_, left) = shared(rotator.token().await);
            assert_eq!(left, Duration::from_secs(holds));
            pass(holds + 1).await;
        }
        assert_eq!(secret(&rotator.token().await.expect("a token")), "access-2");
    }
}

/// The host that failed last starts the next refresh one cool-down later than the other hosts may.
#[tokio::test(start_paused = true)]
async fn the_host_that_failed_last_lets_other_hosts_try_first() {
    let processes = Processes::new(1).await;
    processes.store.span_hosts();
    processes.fixture.expire().await;
    let failed = SourceError::transient("502 of a broken gateway");
    processes.fail_next(failed);
    processes.all[0].token().await.expect_err("down");
    tokio::time::advance(Duration::from_millis(601)).await;
    shared(processes.on_host("here").token().await);
    assert_eq!(processes.calls(), 1);
    let other = processes.on_host("there").token().await;
    assert_eq!(secret(&other.expect("a token")), "access-2");
}

/// `refresh_now` overrides a shared cool-down, and a sign-in overrides `Retry-After`.
#[tokio::test(start_paused = true)]
async fn force_and_sign_in_override_a_cool_down() {
    let processes = Processes::new(2).await;
    processes.fixture.expire().await;
    processes.fail_next(SourceError::transient("down"));
    processes.all[0].token().await.expect_err("down");
    let other = processes.on_host("here");
    shared(other.token().await);
    assert_eq!(
        secret(&other.refresh_now().await.expect("a token")),
        "access-2"
    );
    processes.fixture.expire().await;
    processes.fail_next(SourceError::transient("down").with_retry_after(Duration::from_secs(200)));
    other.token().await.expect_err("down");
    let login = processes.fixture.issuer.login();
    other.sign_in(login).expect("usable").await.expect("stored");
    processes.fixture.expire().await;
    let calls = processes.calls();
    other.token().await.expect("a token");
    assert_eq!(processes.calls(), calls + 1);
}

/// A failure is written only over the tokens that its flight began with.
#[tokio::test(start_paused = true)]
async fn a_failure_does_not_replace_newer_tokens() {
    let processes = Processes::new(1).await;
    processes.fixture.expire().await;
    processes.fixture.issuer.hold();
    processes.fail_next(SourceError::transient("down"));
    let call = spawn_callers(&processes.all[0], 1);
    processes.fixture.issuer.wait_for_calls(1).await;
    let newer = TokenSet::bearer("newer")
        .with_refresh_token("newer")
        .expires_in(Duration::from_secs(300));
    let found = processes.store.record().await;
    let newer = next_record(found.as_ref(), None, Some(newer));
    processes.store.put(newer).await;
    processes.fixture.issuer.release();
    collect_outcomes(call).await;
    let record = processes.store.record().await.expect("a record");
    assert_eq!(record.failures(), []);
    assert_eq!(
        processes.store.access_token().await.as_deref(),
        Some("newer")
    );
}

/// An honoured failure is an event, with the time that no refresh starts.
#[tokio::test(start_paused = true)]
async fn a_shared_failure_is_an_event() {
    let processes = Processes::new(2).await;
    processes.fixture.expire().await;
    processes.fail_next(SourceError::transient("down"));
    for rotator in &processes.all {
        rotator.token().await.expect_err("down");
    }
    let is_shared = |event: &Event| {
        matches!(
            event,
            Event::RefreshFailed {
                error: RefreshError::Shared { .. },
                ..
            }
        )
    };
    assert_eq!(processes.fixture.events.count(is_shared), 1);
}
