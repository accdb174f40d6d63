//! Tests that dropped callers disturb no other caller (rule 2), for any set of callers and any
//! moment.

use std::time::Duration;

use proptest::prelude::*;

use crate::common::{Fixture, IssuerAction, run_ready_tasks, secret};

/// When a caller is dropped.
#[derive(Clone, Copy, Debug)]
enum DropMoment {
    Never,
    /// Before its first poll.
    Unstarted,
    /// While the refresh runs.
    DuringRefresh,
    /// This many milliseconds into a refresh of 100 ms.
    After(u64),
}

fn drop_moment() -> impl Strategy<Value = DropMoment> {
    prop_oneof![
        Just(DropMoment::Never),
        Just(DropMoment::Unstarted),
        Just(DropMoment::DuringRefresh),
        (0_u64..120).prop_map(DropMoment::After),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Property: any callers are dropped at any time, including the caller that started the
    /// refresh. At most one refresh runs, every remaining caller is served, and the refresh
    /// completes without waiters.
    #[test]
    fn any_subset_of_callers_may_be_dropped(plan in prop::collection::vec(drop_moment(), 1..20)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let fixture = Fixture::new();
            let rotator = fixture.signed_in().await;
            fixture.expire().await;
            fixture.issuer.push_action(IssuerAction::Delay(Duration::from_millis(100)));
            let mut tasks = Vec::new();
            for drop_moment in &plan {
                let rotator = rotator.clone();
                let call = tokio::spawn(async move { rotator.token().await });
                if let DropMoment::Unstarted = drop_moment {
                    call.abort();
                }
                tasks.push((call, *drop_moment));
            }
            run_ready_tasks().await;
            let started = fixture.issuer.refresh_calls();
            let any_started = plan.iter().any(|drop_moment| !matches!(drop_moment, DropMoment::Unstarted));
            prop_assert_eq!(started, usize::from(any_started));
            for (call, drop_moment) in &tasks {
                if let DropMoment::DuringRefresh = drop_moment {
                    call.abort();
                }
            }
            for (call, drop_moment) in &tasks {
                if let DropMoment::After(millis) = drop_moment {
                    let (handle, millis) = (call.abort_handle(), *millis);
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(millis)).await;
                        handle.abort();
                    });
                }
            }
            for (call, drop_moment) in tasks {
                let outcome = call.await;
                if let DropMoment::Never = drop_moment {
                    let token = outcome.expect("a caller that was not aborted").expect("a token");
                    prop_assert_eq!(secret(&token), "access-2");
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            let token = rotator.token().await.expect("a token");
            prop_assert_eq!(secret(&token), "access-2");
            prop_assert_eq!(fixture.issuer.refresh_calls(), 1);
            prop_assert_eq!(fixture.issuer.reuse_alarms(), 0);
            Ok(())
        })?;
    }
}
