//! Wall clocks that jump.

use super::scripted_issuer::{ReusePolicy, access_token};
use super::shared_session::{SharedSession, access_token_text};
use crate::conformance::{StoreFixture, within_ten_seconds};

const HOUR: i64 = 3_600;

/// The wall clock jumps between flights and within one. It affects only the expiry of tokens: no refresh is sent twice,
/// and no lease, deadline or wait depends on it.
pub async fn a_wall_clock_jump_causes_no_second_refresh(fixture: &impl StoreFixture) {
    let session = SharedSession::new(fixture, ReusePolicy::Strict);
    session.sign_in(session.issuer.login()).await;
    let (first, second) = (session.replica().await, session.replica().await);
    // Back: the token seems valid for longer than it is, and the replica serves it.
    first.clock.jump(-2 * HOUR);
    assert_eq!(first.token().await.expect("a token"), access_token(0, 0));
    // Forward: the token has expired, and the replica refreshes once. The jumped clock also dates the next token.
    first.clock.jump(3 * HOUR);
    for _ in 0..2 {
        assert_eq!(first.token().await.expect("a token"), access_token(0, 1));
    }
    assert_eq!(session.issuer.requests(), 1);
    // A replica with another clock adopts the token.
    second.clock.jump(HOUR);
    assert_eq!(second.token().await.expect("a token"), access_token(0, 1));
    // Jumps within a flight, in both directions.
    for (jump, number) in [(2 * HOUR, 2), (-2 * HOUR, 3)] {
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
