//! Tests refusals without a reason: `on_refresh_failed` runs once, and no session ends.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use common::{ClientFixture, TestResult, login};
use token_rotator_reqwest::{Clock, RefreshError, TokenError};
use token_rotator_testkit::Fault;

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
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default() + self.offset()
    }
}

/// Property: a cookie endpoint that answers with a web page tells the user after two attempts. The hook
/// runs once, the cookie is kept, and the first success clears the state.
#[tokio::test]
async fn a_page_of_a_gateway_runs_the_hook_once() -> TestResult {
    let fixture = ClientFixture::new().await;
    let clock = AdvancedClock::default();
    let (hooks, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (hook_count, refused_count) = (hooks.clone(), refused.clone());
    let api = fixture
        .builder_with_parser()
        .clock(clock.clone())
        .on_refresh_failed(move |error: &RefreshError| {
            hook_count.fetch_add(1, Ordering::SeqCst);
            if matches!(error, RefreshError::RefusedWithoutReason { .. }) {
                refused_count.fetch_add(1, Ordering::SeqCst);
            }
        })
        .build()?;
    login(&api, "alice").await;
    fixture.issuer.expire_access_tokens();
    let body = "<html><body>Unauthorized</body></html>".to_owned();
    let fault = Fault::Body { status: 401, body };
    fixture.issuer.faults().push(fault.always());
    for attempt in 1..=5 {
        // The caller gets the error, or the upstream's 401 with the error.
        let error = match api.get("/echo").send().await {
            Err(error) => error.to_string(),
            Ok(answer) => {
                assert_eq!(answer.status(), 401);
                let error = answer.extensions().get::<TokenError>();
                error.expect("the error").to_string()
            }
        };
        let told = error.contains("gives no reason");
        assert_eq!(told, attempt >= 2, "{attempt}: {error}");
        assert_eq!(hooks.load(Ordering::SeqCst), usize::from(attempt >= 2));
        assert_eq!(fixture.refresh_requests(), attempt.min(2));
        clock.advance(11);
    }
    assert_eq!(refused.load(Ordering::SeqCst), 1);
    fixture.issuer.faults().clear();
    clock.advance(301);
    assert_eq!(api.get("/echo").send().await?.status(), 200);
    assert_eq!(fixture.refresh_requests(), 3);
    assert_eq!(hooks.load(Ordering::SeqCst), 1);
    Ok(())
}
