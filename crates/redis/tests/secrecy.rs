//! No token in the store, in a log or in an error; no password anywhere. A binary of its own, for it
//! listens to all that is logged.

mod support;

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use support::{canary, key, record, version};
use token_rotator::{Coordinator as _, RecordCodec, SessionStore as _};
use token_rotator_redis::{BuildError, RedisStore};
use token_rotator_testkit::RedisServer;

static SAID: Mutex<String> = Mutex::new(String::new());

struct Everything;

impl log::Log for Everything {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(said, "{}: {}", record.target(), record.args());
    }

    fn flush(&self) {}
}

fn hexadecimal(text: &str) -> String {
    let digits: Vec<String> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// The canary, and what the usual ways of writing bytes make of it.
fn assert_silent(what: &str, text: &str) {
    let canary = canary();
    let hexadecimal = hexadecimal(&canary);
    let bytes: Vec<String> = canary.bytes().map(|byte| byte.to_string()).collect();
    for form in [canary, hexadecimal, bytes.join(", ")] {
        let found = text.to_lowercase().contains(&form.to_lowercase());
        assert!(!found, "{what} holds a token");
    }
}

async fn use_everything(store: &RedisStore) {
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

#[tokio::test]
async fn no_token_gets_out() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    log::set_logger(&Everything).expect("the only logger");
    log::set_max_level(log::LevelFilter::Trace);

    use_everything(&support::store(&server)).await;
    assert_silent("the sealed store", &server.dump());
    // The search can fail: here they are.
    server.command(&["FLUSHALL"]);
    let plain = support::builder(&server).codec(RecordCodec::plaintext());
    use_everything(&plain.build().expect("settings that fit")).await;
    assert!(server.dump().contains(&canary()), "where are the tokens?");
    let said = SAID.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_silent("the log", &said);
}

#[test]
fn no_password_gets_out() {
    let address = "redis://me:pa55word@127.0.0.1:1/0";
    let builder = RedisStore::builder().url(address).codec(support::codec());
    let store = builder.clone().build().expect("settings that fit");
    let said = format!("{builder:?} {store:?}");
    assert!(!said.contains("pa55word"), "{said}");
    for address in [
        "redis://me:pa55word@:x:/",
        "http://me:pa55word@host",
        "pa55word",
    ] {
        let error = RedisStore::builder().url(address).codec(support::codec());
        let error = error.build().expect_err("no address");
        assert_eq!(error, BuildError::Url);
        assert!(!format!("{error} {error:?}").contains("pa55word"));
    }
}

#[test]
fn what_is_forgotten_is_said() {
    let address = "redis://127.0.0.1";
    let builder = RedisStore::builder;
    assert_eq!(
        builder().codec(support::codec()).build().err(),
        Some(BuildError::NoServer)
    );
    let error = builder().url(address).build().expect_err("no codec");
    assert_eq!(error, BuildError::NoCodec);
    assert!(error.to_string().contains("RecordCodec::sealed"));
    let sound = builder().url(address).codec(support::codec());
    let error = sound.clone().key_prefix("a{b}").build();
    assert_eq!(error.err(), Some(BuildError::Prefix("a{b}".to_owned())));
    for (life, limit, setting) in [
        (40, 0, "operation_timeout"),
        (3, 3, "lease_life"),
        (90_000, 3, "lease_life"),
    ] {
        let builder = sound
            .clone()
            .lease_life(Duration::from_secs(life))
            .operation_timeout(Duration::from_secs(limit));
        let error = builder.build().expect_err("settings that do not fit");
        assert!(error.to_string().starts_with(setting), "{error}");
    }
    #[cfg(not(feature = "rustls"))]
    assert_eq!(
        builder()
            .url("rediss://127.0.0.1")
            .codec(support::codec())
            .build()
            .err(),
        Some(BuildError::NoTls)
    );
    sound.build().expect("settings that fit");
}
