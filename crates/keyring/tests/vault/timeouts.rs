//! A keyring that does not respond.

use std::time::{Duration, Instant};

use token_rotator::keys::{DataKey, KeySource, KeyVault as _};
use token_rotator::store::StoreErrorKind;
use token_rotator_keyring::Keyring;

use super::directory::{TestDirectory, read, sealed_from, sign_in, text};
use super::fake_keyring::{Behaviour, FakeKeyring};

const SHORT: Duration = Duration::from_millis(50);
/// Longer than any test takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

fn key() -> DataKey {
    DataKey::new(KeySource::Keyring, [1; 32])
}

async fn assert_responds_without_key(keyring: &Keyring) {
    let loaded = keyring.load().await.expect("the keyring responds");
    assert!(loaded.is_none());
}

/// An operation without a response fails after its timeout, with a hint.
#[tokio::test]
async fn an_unanswered_prompt_is_an_error() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let keyring = fake.keyring(&directory).timeout(SHORT);
    fake.set_behaviour(Behaviour::Hangs);
    let error = keyring.load().await.expect_err("no response");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(text(&error).contains("50ms"), "{error}");
    assert!(text(&error).contains("hint: answer the prompt"), "{error}");
    fake.set_behaviour(Behaviour::Responds);
}

/// One thread waits for a keyring that hangs, however many operations and clones there are. The vault works again once
/// the keyring responds.
#[tokio::test]
async fn one_thread_waits_for_a_keyring_that_hangs() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let keyring = fake.keyring(&directory).timeout(SHORT);
    fake.set_behaviour(Behaviour::Hangs);
    keyring.load().await.expect_err("no response");
    for _ in 0..5 {
        let error = keyring.clone().load().await.expect_err("no turn");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(text(&error).contains("earlier request"), "{error}");
    }
    assert_eq!(fake.read_count(), 1);
    fake.set_behaviour(Behaviour::Responds);
    let keyring = keyring.timeout(LONG);
    assert_responds_without_key(&keyring).await;
    assert_eq!(fake.read_count(), 2);
}

/// Operations that wait behind the same prompt complete once the prompt is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_operations_complete_after_the_prompt() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let keyring = fake.keyring(&directory).timeout(LONG);
    fake.put("data-key", &[b'a'; 64]);
    fake.set_behaviour(Behaviour::Hangs);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let keyring = keyring.clone();
        tasks.spawn(async move { keyring.load().await });
    }
    while fake.read_count() == 0 {
        tokio::task::yield_now().await;
    }
    fake.set_behaviour(Behaviour::Responds);
    for loaded in tasks.join_all().await {
        assert!(loaded.expect("the keyring responds").is_some());
    }
}

/// After a timeout the operation does not store its key.
#[tokio::test]
async fn a_key_is_not_stored_after_the_timeout() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let keyring = fake.keyring(&directory).timeout(SHORT);
    fake.set_behaviour(Behaviour::Hangs);
    let error = keyring.keep(&key()).await.expect_err("no response");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    fake.set_behaviour(Behaviour::Responds);
    // This operation waits behind the timed-out one.
    let keyring = keyring.timeout(LONG);
    assert_responds_without_key(&keyring).await;
    assert_eq!(fake.write_count(), 0);
}

/// After its future was dropped, the operation does not store its key.
#[tokio::test]
async fn a_key_is_not_stored_after_the_future_was_dropped() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let keyring = fake.keyring(&directory).timeout(LONG);
    fake.set_behaviour(Behaviour::Hangs);
    let key = key();
    let mut keep = Box::pin(keyring.keep(&key));
    while fake.read_count() == 0 {
        std::future::poll_fn(|context| {
            let polled = keep.as_mut().poll(context);
            assert!(polled.is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    }
    drop(keep);
    fake.set_behaviour(Behaviour::Responds);
    assert_responds_without_key(&keyring).await;
    assert_eq!(fake.write_count(), 0);
}

/// A runtime ends while a prompt is open, without waiting for it. The vault works on a runtime without a timer.
#[test]
fn a_runtime_ends_while_a_prompt_is_open() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    let keyring = fake.keyring(&directory).timeout(LONG);
    fake.set_behaviour(Behaviour::Hangs);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    let started = Instant::now();
    runtime.spawn(async move { keyring.load().await });
    while fake.read_count() == 0 {
        std::thread::yield_now();
    }
    drop(runtime);
    assert!(started.elapsed() < LONG / 2);
    fake.set_behaviour(Behaviour::Responds);
}

/// At the first sign-in a store uses its next vault if the keyring hangs. Later a keyring that hangs is an error; the
/// store neither creates a key nor uses another vault.
#[tokio::test]
async fn a_store_does_not_wait_without_a_limit() {
    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    fake.set_behaviour(Behaviour::Hangs);
    let store = directory.open(&fake.keyring(&directory).timeout(SHORT));
    sign_in(&store).await;
    assert_eq!(sealed_from(&store).await, Some(KeySource::File));
    fake.set_behaviour(Behaviour::Responds);

    let (directory, fake) = (TestDirectory::empty(), FakeKeyring::default());
    sign_in(&directory.open(&fake.keyring(&directory))).await;
    let before = directory.data();
    fake.set_behaviour(Behaviour::Hangs);
    let store = directory.open(&fake.keyring(&directory).timeout(SHORT));
    let error = read(&store).await.expect_err("no key");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(text(&error).contains("`timeout`"), "{error}");
    assert_eq!(directory.data(), before);
    assert!(!directory.key_file().exists());
    fake.set_behaviour(Behaviour::Responds);
    let store = directory.open(&fake.keyring(&directory));
    assert!(read(&store).await.expect("readable").is_some());
}
