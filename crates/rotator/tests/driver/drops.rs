//! Whoever goes away disturbs nobody (rule 2), for any callers and any moments.

use std::time::Duration;

use proptest::prelude::*;

use crate::common::{Act, World, let_run, secret};

/// When a caller goes away.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    Never,
    /// Before its first poll.
    Unstarted,
    /// While the refresh is in the air.
    InTheAir,
    /// After so many milliseconds of a refresh that takes a hundred.
    After(u64),
}

fn leaves() -> impl Strategy<Value = Leaves> {
    prop_oneof![
        Just(Leaves::Never),
        Just(Leaves::Unstarted),
        Just(Leaves::InTheAir),
        (0_u64..120).prop_map(Leaves::After),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any callers leave at any time, the one that started the refresh among them: there is one
    /// refresh at most, whoever stays is served by it, and it lands with nobody waiting.
    #[test]
    fn any_subset_of_callers_may_leave(plan in prop::collection::vec(leaves(), 1..20)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let world = World::new();
            let rotator = world.signed_in().await;
            world.expire().await;
            world.issuer.next(Act::Delay(Duration::from_millis(100)));
            let mut calls = Vec::new();
            for leaves in &plan {
                let rotator = rotator.clone();
                let call = tokio::spawn(async move { rotator.token().await });
                if let Leaves::Unstarted = leaves {
                    call.abort();
                }
                calls.push((call, *leaves));
            }
            let_run().await;
            let started = world.issuer.calls();
            let anybody = plan.iter().any(|leaves| !matches!(leaves, Leaves::Unstarted));
            prop_assert_eq!(started, usize::from(anybody));
            for (call, leaves) in &calls {
                if let Leaves::InTheAir = leaves {
                    call.abort();
                }
            }
            for (call, leaves) in &calls {
                if let Leaves::After(millis) = leaves {
                    let (handle, millis) = (call.abort_handle(), *millis);
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(millis)).await;
                        handle.abort();
                    });
                }
            }
            for (call, leaves) in calls {
                let outcome = call.await;
                if let Leaves::Never = leaves {
                    let token = outcome.expect("nobody aborted it").expect("a token");
                    prop_assert_eq!(secret(&token), "access-2");
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            let token = rotator.token().await.expect("a token");
            prop_assert_eq!(secret(&token), "access-2");
            prop_assert_eq!(world.issuer.calls(), 1);
            prop_assert_eq!(world.issuer.reuse_alarms(), 0);
            Ok(())
        })?;
    }
}
