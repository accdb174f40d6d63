//! No token in a sealed store, and no token in a log.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use token_rotator::store::{Coordinator, RecordCodec, SessionStore};

use super::{ServerFixture, canary, key, record, version};

static LOGGED: Mutex<String> = Mutex::new(String::new());

/// Collects every log message.
struct LogCollector;

impl log::Log for LogCollector {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(logged, "{}: {}", record.target(), record.args());
    }

    fn flush(&self) {}
}

/// Returns the bytes of `text` in hexadecimal digits.
pub fn hexadecimal(text: &str) -> String {
    let digits: Vec<String> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// Asserts that `text` contains the canary neither as text, nor in hexadecimal digits, nor as a list of bytes.
fn assert_no_token(what: &str, text: &str) {
    let canary = canary();
    let hexadecimal = hexadecimal(&canary);
    let bytes: Vec<String> = canary.bytes().map(|byte| byte.to_string()).collect();
    for form in [canary, hexadecimal, bytes.join(", ")] {
        let is_found = text.to_lowercase().contains(&form.to_lowercase());
        assert!(!is_found, "{what} contains a token");
    }
}

async fn call_every_operation(store: &(impl SessionStore + Coordinator)) {
    let saved = store.save(&key(), None, record(1)).await;
    saved.expect("a store that works");
    let conflict = store.save(&key(), None, record(2)).await;
    conflict.expect("a store that works");
    let saved = store.save(&key(), Some(version(1)), record(2)).await;
    saved.expect("a store that works");
    store.load(&key()).await.expect("a store that works");
    store.changed(&key(), Some(version(1))).await;
    let lease = store.acquire(&key(), Duration::from_secs(1)).await;
    lease.expect("a lease").release().await;
}

/// A sealed store contains no token, and neither the log of a sealed store nor the log of a plaintext store shows one.
///
/// Call this function from its own test binary: it installs the logger of the whole process.
pub async fn no_token_leaks<G: ServerFixture>() {
    if let Some(reason) = G::skip_reason() {
        eprintln!("{reason}");
        return;
    }
    let fixture = G::new().await;
    log::set_logger(&LogCollector).expect("the only logger");
    log::set_max_level(log::LevelFilter::Trace);

    call_every_operation(&fixture.open()).await;
    assert_no_token("the sealed store", &fixture.dump());
    // Proves that the search finds tokens: it finds them in a plaintext store.
    fixture.clear();
    call_every_operation(&fixture.open_with(None, RecordCodec::plaintext())).await;
    let tokens = G::as_dumped(&canary());
    assert!(
        fixture.dump().contains(&tokens),
        "the search finds no token in a plaintext store"
    );
    let logged = LOGGED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    assert_no_token("the log", &logged);
}
