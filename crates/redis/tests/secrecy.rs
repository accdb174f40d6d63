//! No token in a sealed store or in a log, and no password in any output. These tests need their own binary, because
//! they collect the log of the whole process.

mod support;

use std::time::Duration;

use support::Redis;
use token_rotator_redis::{BuildError, RedisStore};
use token_rotator_testkit::conformance::server::{codec, secrecy};

#[tokio::test]
async fn no_token_leaks() {
    secrecy::no_token_leaks::<Redis>().await;
}

#[test]
fn no_password_leaks() {
    let address = "redis://me:pa55word@127.0.0.1:1/0";
    let builder = RedisStore::builder().url(address).codec(codec());
    let store = builder.clone().build().expect("settings that fit");
    let output = format!("{builder:?} {store:?}");
    assert!(!output.contains("pa55word"), "{output}");
    for address in [
        "redis://me:pa55word@:x:/",
        "http://me:pa55word@host",
        "pa55word",
    ] {
        let error = RedisStore::builder().url(address).codec(codec());
        let error = error.build().expect_err("no address");
        assert_eq!(error, BuildError::Url);
        assert!(!format!("{error} {error:?}").contains("pa55word"));
    }
}

#[test]
fn a_missing_or_invalid_setting_is_named() {
    let address = "redis://127.0.0.1";
    let builder = RedisStore::builder;
    assert_eq!(
        builder().codec(codec()).build().err(),
        Some(BuildError::NoServer)
    );
    let error = builder().url(address).build().expect_err("no codec");
    assert_eq!(error, BuildError::NoCodec);
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("RecordCodec::sealed"))
    );
    let valid = builder().url(address).codec(codec());
    let error = valid.clone().key_prefix("a{b}").build();
    assert_eq!(error.err(), Some(BuildError::Prefix("a{b}".to_owned())));
    for (life, limit, setting) in [
        (40, 0, "operation_timeout"),
        (3, 3, "lease_life"),
        (90_000, 3, "lease_life"),
    ] {
        let builder = valid
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
            .codec(codec())
            .build()
            .err(),
        Some(BuildError::NoTls)
    );
    valid.build().expect("settings that fit");
}
