//! Tests how a session ends, in this process and in another, and what remains (rule 4).

use std::time::Duration;

use token_rotator::Event;
use token_rotator::middleware::RotatorExt as _;
use token_rotator::store::Epoch;

use crate::common::store::next_record;
use crate::common::{Fixture, Requests as _, ScriptedStore, run_ready_tasks, secret};
use crate::next_session::{SessionFixture, assert_session_changed};

/// A sign-out in a new process revokes the stored tokens. A sign-out in a process with stale memory
/// revokes the stored and its own tokens, once each.
#[tokio::test(start_paused = true)]
async fn a_sign_out_revokes_the_stored_tokens() {
    for (is_new_process, expected) in [
        (true, vec!["refresh-2"]),
        (false, vec!["refresh-1", "refresh-2"]),
    ] {
        let fixture = Fixture::new();
        let store = ScriptedStore::new();
        let build = || {
            let builder = fixture.builder().store(store.clone());
            builder.build().expect("a rotator")
        };
        let (first, second) = (build(), build());
        let stored = first.sign_in(fixture.issuer.login()).expect("usable");
        stored.await.expect("stored");
        if !is_new_process {
            second.token().await.expect("adopted");
        }
        first.refresh_now().await.expect("a token");
        second.sign_out().await.expect("a tombstone");
        assert!(second.shutdown(Duration::from_secs(1)).await);
        assert_eq!(fixture.issuer.revoked(), expected);
        assert!(store.record().await.expect("a record").tokens().is_none());
    }
    // Tokens that are in memory and in the store are revoked once.
    let fixture = SessionFixture::new().await;
    fixture.rotator.sign_out().await.expect("a tombstone");
    assert!(fixture.rotator.shutdown(Duration::from_secs(1)).await);
    assert_eq!(fixture.base.issuer.revoked(), ["refresh-1"]);
}

/// Another process has begun a cookie session. A sign-out as the first operation takes effect, and
/// the next refusal does not sign in again.
#[tokio::test(start_paused = true)]
async fn a_sign_out_as_first_operation_takes_effect() {
    let fixture = Fixture::new();
    fixture.issuer.without_grant();
    let store = ScriptedStore::new();
    let login = fixture.issuer.login();
    store
        .put(next_record(None, Some(Epoch::random()), Some(login)))
        .await;
    let rotator = fixture
        .builder()
        .store(store.clone())
        .anonymous()
        .build()
        .expect("a rotator");
    let pass = rotator.pass().await.expect("no token");
    assert!(pass.token().is_none());
    rotator.sign_out().await.expect("a tombstone");
    assert!(store.record().await.expect("a record").tokens().is_none());
    run_ready_tasks().await;
    assert_eq!(fixture.issuer.revoked(), ["refresh-1"]);
    let after = rotator.pass().await.expect("no token");
    for pass in [pass, after] {
        let error = rotator.refused(&pass).await;
        assert!(error.is_err(), "{error:?}");
    }
    assert_eq!(fixture.issuer.refresh_calls(), 0);
}

/// A result that arrives after a sign-out is revoked, even if another user has signed in since.
#[tokio::test(start_paused = true)]
async fn a_result_after_a_sign_out_is_revoked() {
    for (signs_out, revoked) in [(true, vec!["refresh-1", "refresh-3"]), (false, vec![])] {
        let fixture = SessionFixture::new().await;
        fixture.base.issuer.hold();
        let alices = fixture.refresh();
        fixture.base.issuer.wait_for_calls(1).await;
        if signs_out {
            fixture.rotator.sign_out().await.expect("a tombstone");
        }
        let stored = fixture
            .rotator
            .sign_in(fixture.base.issuer.login())
            .expect("usable");
        stored.await.expect("stored");
        fixture.base.issuer.release();
        assert!(alices.await.expect("no panic").is_err());
        assert!(fixture.rotator.shutdown(Duration::from_secs(5)).await);
        let late =
            |event: &Event| matches!(event, Event::LateTokens { revoked } if *revoked == signs_out);
        assert_eq!(fixture.base.events.count(late), 1);
        assert_eq!(fixture.base.issuer.revoked(), revoked);
        assert_eq!(
            fixture.store.access_token().await.as_deref(),
            Some("access-2")
        );
    }
}

/// A sign-in of another process counts even if its access token cannot be sent. The previous
/// session is not served, and the next refresh uses the new session.
#[tokio::test(start_paused = true)]
async fn a_sign_in_elsewhere_counts_without_a_usable_access_token() {
    let fixture = SessionFixture::new().await;
    fixture.base.expire().await;
    let found = fixture.store.record().await;
    let bobs = fixture.base.issuer.login().with_token_type("DPoP");
    fixture
        .store
        .put(next_record(
            found.as_ref(),
            Some(Epoch::random()),
            Some(bobs),
        ))
        .await;
    assert_session_changed(&fixture.rotator.token().await);
    assert!(fixture.rotator.ready().is_none());
    assert!(fixture.rotator.access_token().is_none());
    let signed_out = |event: &Event| matches!(event, Event::SignedOut);
    assert_eq!(fixture.base.events.count(signed_out), 0);
    let token = fixture.rotator.token().await.expect("bob's next");
    assert_eq!(secret(&token), "access-3");
    assert_eq!(fixture.base.issuer.reuse_alarms(), 0);
}

/// A rotator whose record was lost while a save failed does not overwrite another process's
/// sign-in.
#[tokio::test(start_paused = true)]
async fn a_lost_record_does_not_overwrite_a_sign_in_elsewhere() {
    let fixture = Fixture::new();
    let store = ScriptedStore::new();
    let rotator = fixture
        .signed_in_with(|builder| builder.store(store.clone()))
        .await;
    store.clear();
    store.fail_saves(1);
    store.fail_intents(0);
    // The intent finds no record and writes a new record, which is then lost too.
    fixture.issuer.hold();
    let call = {
        let rotator = rotator.clone();
        tokio::spawn(async move { rotator.refresh_now().await })
    };
    fixture.issuer.wait_for_calls(1).await;
    store.clear();
    store.fail_saves(1);
    fixture.issuer.release();
    call.await.expect("no panic").expect("from memory");
    let bobs = fixture.issuer.login();
    store
        .put(next_record(None, Some(Epoch::random()), Some(bobs)))
        .await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(store.access_token().await.as_deref(), Some("access-3"));
    assert_eq!(secret(&rotator.token().await.expect("bob's")), "access-3");
}
