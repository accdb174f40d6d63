//! Migrations of the table: by many replicas at once, by hand, and by a newer version.

mod support;

use support::builder;
use token_rotator::store::{Saved, SessionStore as _, StoreErrorKind};
use token_rotator_postgres::PostgresStore;
use token_rotator_testkit::PostgresServer;
use token_rotator_testkit::conformance::server::{key, record, within_ten_seconds};

async fn assert_works(store: &PostgresStore) {
    let saved = store.save(&key(), None, record(1)).await;
    assert!(matches!(saved, Ok(Saved::Stored)), "{saved:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_together_migrate_once() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let store = builder(&server).build().expect("settings that fit");
        tasks.spawn(async move { store.migrate().await });
    }
    for migrated in within_ten_seconds("the migrations", tasks.join_all()).await {
        migrated.expect("a table");
    }
    let store = builder(&server).build().expect("settings that fit");
    store.migrate().await.expect("nothing to do");
    assert_works(&store).await;
    let versions = server.sql("SELECT version FROM token_rotator_session_migrations");
    assert_eq!(versions.trim(), "1");
}

#[tokio::test]
async fn the_table_can_be_created_by_hand() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    server.sql("CREATE SCHEMA auth");
    let store = builder(&server).table("auth.Sessions");
    let store = store.build().expect("settings that fit");
    for _ in 0..2 {
        server.sql(&store.migration_sql());
    }
    assert_works(&store).await;
    store.migrate().await.expect("nothing to do");
    let rows = server.sql("SELECT count(*) FROM auth.\"Sessions\"");
    assert_eq!(rows.trim(), "1");
}

#[tokio::test]
async fn a_table_of_a_newer_version_is_not_changed() {
    let Some(server) = PostgresServer::start().await else {
        return;
    };
    let store = support::store(&server).await;
    server.sql("INSERT INTO token_rotator_session_migrations (version) VALUES (99)");
    let error = store.migrate().await.expect_err("a newer table");
    assert_eq!(error.kind(), StoreErrorKind::Newer, "{error}");
    assert_eq!(error.hint(), Some("upgrade this program"), "{error}");
}
