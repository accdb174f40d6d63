//! No token in a sealed store or in a log, and no password in any output. These tests need their own binary, because
//! they collect the log of the whole process.

mod support;

use std::time::Duration;

use support::Postgres;
use token_rotator_postgres::{BuildError, PostgresStore};
use token_rotator_testkit::conformance::server::{codec, secrecy};

#[tokio::test]
async fn no_token_leaks() {
    secrecy::no_token_leaks::<Postgres>().await;
}

#[test]
fn no_password_leaks() {
    let address = "postgres://me:pa55word@127.0.0.1:1/app";
    let builder = PostgresStore::builder().url(address).codec(codec());
    let store = builder.clone().build().expect("settings that fit");
    let output = format!("{builder:?} {store:?}");
    assert!(!output.contains("pa55word"), "{output}");
    for address in [
        "postgres://me:pa55word@host:x/",
        "http://me:pa55word@host",
        "host=a pa55word=b",
        "password=pa55word",
    ] {
        let error = PostgresStore::builder().url(address).codec(codec());
        let error = error.build().expect_err("no address");
        assert_eq!(error, BuildError::Url("url"));
        assert!(!format!("{error} {error:?}").contains("pa55word"));
    }
}

#[test]
fn a_missing_or_invalid_setting_is_named() {
    let address = "postgres://127.0.0.1/app";
    let builder = PostgresStore::builder;
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
    for (broken, error) in [
        (
            valid.clone().table("a b"),
            BuildError::Table("a b".to_owned()),
        ),
        (valid.clone().connections(0), BuildError::NoConnections),
        (
            valid.clone().listen_url("no"),
            BuildError::Url("listen_url"),
        ),
        #[cfg(not(feature = "rustls"))]
        (
            valid.clone().url(format!("{address}?sslmode=require")),
            BuildError::NoTls,
        ),
    ] {
        assert_eq!(broken.build().expect_err("settings that do not fit"), error);
    }
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
    valid.build().expect("settings that fit");
}
