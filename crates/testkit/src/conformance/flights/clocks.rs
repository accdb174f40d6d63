//! Wall clocks that jump.

use super::scripted_issuer::{LIFETIME, ReusePolicy, access_token};
use super::shared_session::{SharedSession, access_token_text};
use crate::conformance::{StoreFixture, within_ten_seconds};

const HOUR: i64 = 3_600;

/// The wall clock jumps between flights and within one. No expiry, lease, deadline or wait depends on it (rule 19), so no
/// refresh is sent twice.
pub async fn a_wall_clock_jump_causes_no_second_refresh(fixture: &impl StoreFixture) {
    let session = SharedSession::new(fixture, ReusePolicy::Strict);
    session.sign_in(session.issuer.login()).await;
    let (first, second) = (session.replica().await, session.replica().await);
    assert_eq!(first.token().await.expect("a token"), access_token(0, 0));
    for jump in [-5 * HOUR, 10 * HOUR, -5 * HOUR] {
        first.clock.jump(jump);
        assert_eq!(first.token().await.expect("a token"), access_token(0, 0));
    }
    assert_eq!(session.issuer.requests(), 0);
    // A replica with another clock adopts the token.
    second.clock.jump(HOUR);
    assert_eq!(second.token().await.expect("a token"), access_token(0, 0));
    assert_eq!(session.issuer.requests(), 0);
    // Jumps within a flight, in both directions.
    for (jump, number) in [(2 * HOUR, 1), (-2 * HOUR, 2)] {
        session.issuer.hold_next_response();
        let requests = session.issuer.requests();
        let refreshed = first.spawn_refresh();
        within_ten_seconds("a request", session.issuer.wait_for_requests(requests + 1)).await;
        first.clock.jump(jump);
        session.issuer.release_response();
        let refreshed = within_ten_seconds("the call", refreshed)
            .await
            .expect("no panic");
        assert_eq!(
            access_token_text(&refreshed.expect("a token")),
            access_token(0, number)
        );
        assert_eq!(
            first.token().await.expect("a token"),
            access_token(0, number)
        );
        assert_eq!(session.issuer.requests(), requests + 1);
    }
    assert_eq!(session.issuer.reuses_detected(), 0);
}

/// Two replicas whose wall clocks are an hour apart share the session over five expiries. The store measures the age of
/// each token, so each expiry causes one refresh, and the other replica adopts its token.
pub async fn replicas_an_hour_apart_refresh_once_an_expiry(fixture: &impl StoreFixture) {
    for apart in [HOUR, -HOUR] {
        let session = SharedSession::new(fixture, ReusePolicy::Strict);
        let (first, second) = (session.replica().await, session.replica().await);
        first.clock.jump(apart);
        first.sign_in(session.issuer.login()).await;
        for expiry in 0..5 {
            for replica in [&first, &second] {
                assert_eq!(
                    replica.token().await.expect("a token"),
                    access_token(0, expiry)
                );
            }
            assert_eq!(session.issuer.requests(), expiry, "{apart}");
            for replica in [&first, &second] {
                replica.clock.pass(LIFETIME);
            }
            let (first, second) = (first.spawn_token_call(), second.spawn_token_call());
            for call in [first, second] {
                let token = within_ten_seconds("a call", call).await.expect("no panic");
                assert_eq!(token.expect("a token"), access_token(0, expiry + 1));
            }
        }
        assert_eq!(session.issuer.requests(), 5, "{apart}");
        assert_eq!(session.issuer.reuses_detected(), 0, "{apart}");
    }
}
