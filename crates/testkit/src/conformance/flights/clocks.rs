//! Wall clocks that jump.

use super::issuer::{Policy, access_token};
use super::scene::Scene;
use crate::conformance::{Ground, soon};

const HOUR: i64 = 3_600;

/// A wall clock that jumps between flights and within one decides about expiry and nothing else: no
/// refresh is sent twice, nothing hangs, and no lease or deadline goes by it.
pub async fn a_clock_that_jumps_refreshes_nothing_twice(ground: &impl Ground) {
    let scene = Scene::new(ground, Policy::Strict);
    scene.sign_in(scene.desk.login()).await;
    let (here, there) = (scene.replica().await, scene.replica().await);
    // Back: the token seems good for longer than it is, and is served.
    here.clock.jump(-2 * HOUR);
    assert_eq!(here.token().await.expect("a token"), access_token(0, 0));
    // Forward: it has expired, and is refreshed once. The next one is dated by the same clock.
    here.clock.jump(3 * HOUR);
    for _ in 0..2 {
        assert_eq!(here.token().await.expect("a token"), access_token(0, 1));
    }
    assert_eq!(scene.desk.requests(), 1);
    // Whoever goes by another clock adopts it all the same.
    there.clock.jump(HOUR);
    assert_eq!(there.token().await.expect("a token"), access_token(0, 1));
    // Within a flight, in both directions.
    for (jump, number) in [(2 * HOUR, 2), (-2 * HOUR, 3)] {
        scene.desk.hold_the_next();
        let requests = scene.desk.requests();
        let rotator = here.rotator.clone();
        let forced = tokio::spawn(async move { rotator.refresh_now().await });
        soon("a request", scene.desk.arrived(requests + 1)).await;
        here.clock.jump(jump);
        scene.desk.let_go();
        let forced = soon("an end", forced).await.expect("no panic");
        assert_eq!(
            super::scene::text(&forced.expect("a token")),
            access_token(0, number)
        );
        assert_eq!(
            here.token().await.expect("a token"),
            access_token(0, number)
        );
        assert_eq!(scene.desk.requests(), requests + 1);
    }
    assert_eq!(scene.desk.alarms(), 0);
}
