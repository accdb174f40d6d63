//! No token in the server, in a log or in an error.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use token_rotator::store::{Coordinator, RecordCodec, SessionStore};

use super::{ServerGround, canary, key, record, version};

static LOGGED: Mutex<String> = Mutex::new(String::new());

/// Keeps everything that is logged.
struct Everything;

impl log::Log for Everything {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(logged, "{}: {}", record.target(), record.args());
    }

    fn flush(&self) {}
}

/// The bytes of this text in hexadecimal digits.
pub fn hexadecimal(text: &str) -> String {
    let digits: Vec<String> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// The text holds neither the canary nor what the usual ways of writing bytes make of it.
fn assert_silent(what: &str, text: &str) {
    let canary = canary();
    let hexadecimal = hexadecimal(&canary);
    let bytes: Vec<String> = canary.bytes().map(|byte| byte.to_string()).collect();
    for form in [canary, hexadecimal, bytes.join(", ")] {
        let found = text.to_lowercase().contains(&form.to_lowercase());
        assert!(!found, "{what} holds a token");
    }
}

async fn use_everything(store: &(impl SessionStore + Coordinator)) {
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

/// A sealed store holds no token, and no log of a sealed or a plaintext store shows one.
///
/// Call it from a test binary of its own: it keeps what the whole process logs.
pub async fn no_token_gets_out<G: ServerGround>() {
    if let Some(reason) = G::missing() {
        eprintln!("{reason}");
        return;
    }
    let ground = G::new().await;
    log::set_logger(&Everything).expect("the only logger");
    log::set_max_level(log::LevelFilter::Trace);

    use_everything(&ground.open()).await;
    assert_silent("the sealed store", &ground.dump());
    // Proof that the search can find tokens: in a plaintext store it does.
    ground.clear();
    use_everything(&ground.open_with(None, RecordCodec::plaintext())).await;
    let tokens = G::dumped(&canary());
    assert!(ground.dump().contains(&tokens), "where are the tokens?");
    let logged = LOGGED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    assert_silent("the log", &logged);
}
