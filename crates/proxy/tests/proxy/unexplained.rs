//! Tests refusals without a reason: the answer says that a user has to sign in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use token_rotator::{Clock, SystemClock};
use token_rotator_testkit::Fault;

use crate::fixture::{ProxyFixture, problem};

/// The system's clock, which a test can advance.
#[derive(Clone, Default)]
struct AdvancedClock(Arc<AtomicU64>);

impl AdvancedClock {
    fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    fn offset(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

impl Clock for AdvancedClock {
    fn wall(&self) -> SystemTime {
        SystemTime::now() + self.offset()
    }

    fn steady(&self) -> Duration {
        SystemClock.steady() + self.offset()
    }
}

/// Within three attempts after the expiry the answer has the type `session-refused`. A gateway that
/// recovers signs no user out: a forced refresh, or the next one after 5 minutes, heals the session.
#[tokio::test]
async fn codes_without_a_name() {
    let answers = [
        (
            400,
            r#"{"error":"Bad Request","message":"Invalid refresh token"}"#,
        ),
        (400, r#"{"error":400,"message":"Bad Request"}"#),
        (400, r#"{"error":{"code":400,"message":"SOMETHING_NEW"}}"#),
        // Laravel.
        (419, "<html><body>Page Expired</body></html>"),
        (401, "<html><body>Unauthorized</body></html>"),
        (403, "<html><body>Request blocked</body></html>"),
    ];
    for (heals_itself, (status, body)) in [true, false].into_iter().cycle().zip(answers) {
        let clock = AdvancedClock::default();
        let fixture = ProxyFixture::with_clock(clock.clone()).await;
        let body = body.to_owned();
        let fault = Fault::Body { status, body };
        fixture.issuer.faults().push(fault.clone().always());
        clock.advance(3_600);
        for attempt in 1..=3 {
            let answer = fixture.get("/echo").await;
            assert_eq!(answer.status(), 503);
            let expected = if attempt == 3 {
                "session-refused"
            } else {
                "no-token"
            };
            assert_eq!(problem(answer).await, expected, "{attempt}: {fault:?}");
            assert_eq!(fixture.issuer.counters().token_requests, attempt);
            clock.advance(11);
        }
        // Every request gets the error at once, and the issuer gets no request.
        assert_eq!(problem(fixture.get("/echo").await).await, "session-refused");
        assert_eq!(fixture.issuer.counters().token_requests, 3);
        fixture.issuer.faults().clear();
        if heals_itself {
            clock.advance(301);
        } else {
            fixture.rotator.refresh_now().await.expect("a token");
        }
        assert_eq!(fixture.echo().await["generation"], 2);
        assert!(!fixture.rotator.has_ended());
    }
}
