//! A keyring that does not answer.

use std::time::{Duration, Instant};

use token_rotator::keys::{DataKey, KeySource, KeyVault as _};
use token_rotator::store::StoreErrorKind;

use super::fake::{Fake, Mood};
use super::place::{Place, read, sealed_from, sign_in, text};

const SHORT: Duration = Duration::from_millis(50);
/// Longer than anything here should take, on a busy machine too.
const LONG: Duration = Duration::from_secs(60);

fn key() -> DataKey {
    DataKey::new(KeySource::Keyring, [1; 32])
}

/// A question without an answer ends with its time, and says what to do.
#[tokio::test]
async fn a_prompt_that_nobody_answers_is_an_error() {
    let (place, fake) = (Place::empty(), Fake::default());
    let keyring = fake.keyring(&place).timeout(SHORT);
    fake.becomes(Mood::Hangs);
    let error = keyring.load().await.expect_err("no answer");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(text(&error).contains("50ms"), "{error}");
    assert!(
        text(&error).contains("hint: it may be showing a prompt"),
        "{error}"
    );
    fake.becomes(Mood::Answers);
}

/// However often a keyring that hangs is asked, by whichever clone, one thread waits for it; and it
/// works again as soon as it answers.
#[tokio::test]
async fn a_keyring_that_hangs_is_asked_once() {
    let (place, fake) = (Place::empty(), Fake::default());
    let keyring = fake.keyring(&place).timeout(SHORT);
    fake.becomes(Mood::Hangs);
    keyring.load().await.expect_err("no answer");
    for _ in 0..5 {
        let error = keyring.clone().load().await.expect_err("no turn");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(text(&error).contains("earlier question"), "{error}");
    }
    assert_eq!(fake.asked(), 1);
    fake.becomes(Mood::Answers);
    let keyring = keyring.timeout(LONG);
    assert!(keyring.load().await.expect("it answers").is_none());
    assert_eq!(fake.asked(), 2);
}

/// Questions that wait for the same prompt are all answered when it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_wait_in_line() {
    let (place, fake) = (Place::empty(), Fake::default());
    let keyring = fake.keyring(&place).timeout(LONG);
    fake.put("data-key", &[b'a'; 64]);
    fake.becomes(Mood::Hangs);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let keyring = keyring.clone();
        tasks.spawn(async move { keyring.load().await });
    }
    while fake.asked() == 0 {
        tokio::task::yield_now().await;
    }
    fake.becomes(Mood::Answers);
    for loaded in tasks.join_all().await {
        assert!(loaded.expect("it answers").is_some());
    }
}

/// Once its caller has heard that it failed, a key is not kept any more.
#[tokio::test]
async fn a_key_is_not_kept_after_the_timeout() {
    let (place, fake) = (Place::empty(), Fake::default());
    let keyring = fake.keyring(&place).timeout(SHORT);
    fake.becomes(Mood::Hangs);
    let error = keyring.keep(&key()).await.expect_err("no answer");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    fake.becomes(Mood::Answers);
    // In line behind it.
    let keyring = keyring.timeout(LONG);
    assert!(keyring.load().await.expect("it answers").is_none());
    assert_eq!(fake.set(), 0);
}

/// Nor after its caller has gone.
#[tokio::test]
async fn a_key_is_not_kept_for_a_caller_that_has_gone() {
    let (place, fake) = (Place::empty(), Fake::default());
    let keyring = fake.keyring(&place).timeout(LONG);
    fake.becomes(Mood::Hangs);
    let key = key();
    let mut keep = Box::pin(keyring.keep(&key));
    while fake.asked() == 0 {
        std::future::poll_fn(|context| {
            let polled = keep.as_mut().poll(context);
            assert!(polled.is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    }
    drop(keep);
    fake.becomes(Mood::Answers);
    assert!(keyring.load().await.expect("it answers").is_none());
    assert_eq!(fake.set(), 0);
}

/// A program can end while a prompt is open: its runtime does not wait for the answer. Nor does the
/// vault need one that has a clock.
#[test]
fn a_runtime_ends_without_the_answer() {
    let (place, fake) = (Place::empty(), Fake::default());
    let keyring = fake.keyring(&place).timeout(LONG);
    fake.becomes(Mood::Hangs);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    let started = Instant::now();
    runtime.spawn(async move { keyring.load().await });
    while fake.asked() == 0 {
        std::thread::yield_now();
    }
    drop(runtime);
    assert!(started.elapsed() < LONG / 2);
    fake.becomes(Mood::Answers);
}

/// A store goes on to its next vault at the first sign-in. Afterwards a keyring that hangs is an
/// error, and neither a new key nor another place.
#[tokio::test]
async fn a_store_does_not_wait_for_ever() {
    let (place, fake) = (Place::empty(), Fake::default());
    fake.becomes(Mood::Hangs);
    let store = place.open(&fake.keyring(&place).timeout(SHORT));
    sign_in(&store).await;
    assert_eq!(sealed_from(&store).await, Some(KeySource::File));
    fake.becomes(Mood::Answers);

    let (place, fake) = (Place::empty(), Fake::default());
    sign_in(&place.open(&fake.keyring(&place))).await;
    let before = place.data();
    fake.becomes(Mood::Hangs);
    let store = place.open(&fake.keyring(&place).timeout(SHORT));
    let error = read(&store).await.expect_err("no key");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(text(&error).contains("`timeout`"), "{error}");
    assert_eq!(place.data(), before);
    assert!(!place.key_file().exists());
    fake.becomes(Mood::Answers);
    let store = place.open(&fake.keyring(&place));
    assert!(read(&store).await.expect("readable").is_some());
}
