use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::error::SourceError;

fn at(ms: u64) -> StoreTime {
    StoreTime::by_wall(SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
}

const NOW: u64 = 1_800_000_000_000;

fn observer<'a>(host: &'a str, policy: &'a Policy, now: u64) -> Observer<'a> {
    Observer {
        host,
        fingerprint: None,
        now: at(now),
        spans_hosts: false,
        policy,
    }
}

fn failure(kind: FailureKind, wait: Duration, asked: bool, at_ms: u64) -> SharedFailure {
    let mut failure = SharedFailure::new(kind, "down", "here", at(at_ms));
    failure.wait = wait;
    failure.asked_by_issuer = asked;
    failure
}

fn unexplained(endpoint: RefusingEndpoint) -> RefreshError {
    RefreshError::Source(SourceError::transient("401").with_no_reason(endpoint))
}

proptest! {
    /// Property: a failure holds for the rest of its wait by the store's clock, never for more than
    /// 60 s, or 5 min with `Retry-After`. A failure in the future has no effect.
    #[test]
    fn a_failure_holds_for_a_bounded_time(
        wait in 0_u64..400_000_000_000,
        asked in any::<bool>(),
        failed in NOW - 500_000..NOW + 100_000_000,
        spans_hosts in any::<bool>(),
        own in any::<bool>(),
    ) {
        let policy = Policy::required();
        let mut observer = observer(if own { "here" } else { "there" }, &policy, NOW);
        observer.spans_hosts = spans_hosts;
        let failure = failure(FailureKind::Transient, Duration::from_millis(wait), asked, failed);
        let left = observer.left(&failure).unwrap_or_default();
        let most = if asked { 300_000 } else { 60_000 };
        prop_assert!(left <= Duration::from_millis(most));
        if failed > NOW {
            prop_assert_eq!(left, Duration::ZERO);
        } else {
            let age = NOW - failed;
            let plain = Duration::from_millis(wait.min(most).saturating_sub(age));
            if spans_hosts && own {
                prop_assert!(left >= plain);
            } else {
                prop_assert_eq!(left, plain);
            }
        }
    }

    /// Property: only refusals at least 10 s apart after the expiry count, any other answer ends the
    /// row, and three in a row refuse the session.
    #[test]
    fn three_refusals_in_a_row_refuse_the_session(
        steps in proptest::collection::vec((0_u8..4, any::<bool>(), 0_u64..30_000), 1..40),
    ) {
        let policy = Policy::required();
        let (mut now, mut refusals) = (NOW, None);
        let (mut count, mut last, mut refused) = (0_u32, None::<u64>, false);
        for (answer, expired, passed) in steps {
            now += passed;
            let observer = observer("here", &policy, now);
            let error = match answer {
                0 => RefreshError::Source(SourceError::transient("503")),
                1 => RefreshError::Source(SourceError::not_sent("no route")),
                _ => unexplained(RefusingEndpoint::Token),
            };
            refusals = observer.refusals_after(refusals.as_ref(), &error, expired);
            match answer {
                _ if refused => {}
                0 => (count, last) = (0, None),
                1 => {}
                _ if expired && last.is_none_or(|last| now - last >= 10_000) => {
                    count += 1;
                    last = Some(now);
                    refused = count == 3;
                }
                _ => {}
            }
            prop_assert_eq!(refusals.as_ref().map_or(0, |it: &UnexplainedRefusals| it.count).min(3), count.min(3));
            prop_assert_eq!(refusals.as_ref().is_some_and(|it| it.is_refused), refused);
        }
    }
}

/// Property: a failure before the first byte concerns its host, a misconfigured one its fingerprint
/// (without one: its host), an answered one every process.
#[test]
fn a_failure_concerns_its_scope() {
    let policy = Policy::required();
    let wait = Duration::from_secs(30);
    let (one, two) = (
        Fingerprint::of(["one"], None),
        Fingerprint::of(["two"], None),
    );
    let cases = [
        (FailureKind::NotSent, None, [true, false, true, false]),
        (
            FailureKind::Misconfigured,
            Some(one),
            [true, true, false, false],
        ),
        (FailureKind::Misconfigured, None, [false; 4]),
        (FailureKind::Transient, Some(one), [true; 4]),
        (FailureKind::Uncertain, None, [true; 4]),
        (FailureKind::Terminal, None, [false; 4]),
    ];
    for (kind, fingerprint, expected) in cases {
        let mut failure = failure(kind, wait, false, NOW - 1_000);
        failure.fingerprint = fingerprint;
        let readers = [("here", one), ("there", one), ("here", two), ("there", two)];
        let holds = readers.map(|(host, fingerprint)| {
            let mut observer = observer(host, &policy, NOW);
            observer.fingerprint = Some(fingerprint);
            observer.left(&failure) == Some(Duration::from_secs(29))
        });
        assert_eq!(holds, expected, "{kind:?} {fingerprint:?}");
    }
}

/// Property: the host that failed last starts one cool-down later than the other hosts.
#[test]
fn the_host_that_failed_last_starts_later() {
    let policy = Policy::required();
    let wait = Duration::from_secs(8);
    for (asked, later) in [(false, 8_000), (true, 500)] {
        let failure = failure(FailureKind::Uncertain, wait, asked, NOW);
        let left = |host| {
            let mut observer = observer(host, &policy, NOW);
            observer.spans_hosts = true;
            observer.left(&failure).expect("it holds")
        };
        assert_eq!(left("there"), wait);
        assert_eq!(left("here"), wait + Duration::from_millis(later));
    }
    // A failure of this host alone does not hold the other hosts back, so this host waits no longer.
    let local = failure(FailureKind::NotSent, wait, false, NOW);
    let mut observer = observer("here", &policy, NOW);
    observer.spans_hosts = true;
    assert_eq!(observer.left(&local), Some(wait));
}

/// Property: force overrides a cool-down, a refusal without a reason and refused content, and not
/// `Retry-After`.
#[test]
fn force_overrides_all_but_retry_after() {
    let policy = Policy::required();
    let observer = observer("here", &policy, NOW);
    let details = |asked| RecordDetails {
        failures: vec![failure(
            FailureKind::Transient,
            Duration::from_secs(30),
            asked,
            NOW,
        )],
        ..RecordDetails::default()
    };
    assert!(observer.obstacle(&details(false), false).is_some());
    assert!(observer.obstacle(&details(false), true).is_none());
    let held = observer.obstacle(&details(true), true).expect("it holds");
    assert_eq!(held.retry_after(), Some(Duration::from_secs(30)));

    let mut refusals = UnexplainedRefusals::new(3, at(NOW - 60_000), "401");
    refusals.is_refused = true;
    let refused = RecordDetails {
        unexplained: Some(refusals),
        ..details(false)
    };
    let error = observer.obstacle(&refused, false).expect("refused");
    let RefreshError::RefusedWithoutReason { left, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(left, Duration::from_secs(240));
    assert!(error.needs_sign_in() && observer.obstacle(&refused, true).is_none());

    let content = RecordDetails {
        refused_content: Some(RefusedContent::new("token type mac", None)),
        ..RecordDetails::default()
    };
    let error = observer.obstacle(&content, false).expect("refused");
    assert_eq!(error.kind(), FailureKind::Misconfigured);
    assert!(observer.obstacle(&content, true).is_none());
    let mut other = observer;
    other.fingerprint = Some(Fingerprint::of(["changed"], None));
    assert!(other.obstacle(&content, false).is_none());
}

/// Property: a cookie endpoint needs two refusals, and a refused session is tried again after 5
/// minutes, whatever fails then.
#[test]
fn a_refused_session_is_tried_every_five_minutes() {
    let policy = Policy::required();
    let mut refusals = None;
    for second in [0, 10] {
        let observer = observer("here", &policy, NOW + second * 1_000);
        let error = unexplained(RefusingEndpoint::Cookie);
        refusals = observer.refusals_after(refusals.as_ref(), &error, true);
    }
    let first = refusals.clone().expect("refusals");
    assert!(first.is_refused);
    let later = observer("here", &policy, NOW + 400_000);
    assert_eq!(later.refused_for(&first), None);
    let down = RefreshError::Source(SourceError::transient("503"));
    let second = later
        .refusals_after(Some(&first), &down, true)
        .expect("refusals");
    assert!(second.is_refused);
    assert_eq!(later.refused_for(&second), Some(REFUSED_INTERVAL));
}

/// Property: the cool-down grows with failures in a row of one kind, `Retry-After` wins, and an end
/// or a failure of this process alone is not shared.
#[test]
fn the_written_failure_has_the_next_cool_down() {
    let policy = Policy::required();
    let observer = observer("here", &policy, NOW);
    let down = RefreshError::Source(SourceError::transient("503").with_code("busy"));
    let mut details = RecordDetails::default();
    for seconds in [500, 1_000, 2_000] {
        let failure = observer.failure(&details, &down, 1_000).expect("shared");
        assert_eq!(failure.wait, Duration::from_millis(seconds));
        assert_eq!(failure.code.as_deref(), Some("busy"));
        details.push_failure(failure);
    }
    assert_eq!(details.failures.len(), 1);
    let asked = SourceError::transient("429").with_retry_after(Duration::from_secs(120));
    let asked = observer.failure(&details, &RefreshError::Source(asked), 800);
    let asked = asked.expect("shared");
    assert!(asked.asked_by_issuer);
    assert_eq!(asked.wait, Duration::from_secs(120));
    for error in [
        RefreshError::Source(SourceError::terminal("over")),
        RefreshError::SessionChanged,
        RefreshError::InDoubt { wait: None },
        RefreshError::AnotherSubject,
    ] {
        assert_eq!(observer.failure(&details, &error, 1_000), None, "{error}");
    }
}
