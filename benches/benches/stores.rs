//! Durable stores: a fresh token on the disk, and how soon a replica has what another one refreshed.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use token_rotator::{
    DataKey, Event, FileStore, KeyFile, KeySource, RecordCodec, Rotator, SessionKey, SessionStore,
    SourceError, TokenSet,
};
use token_rotator_benches::program;
use token_rotator_benches::table::Table;
use token_rotator_benches::threads::median;
use token_rotator_postgres::PostgresStore;
use token_rotator_redis::RedisStore;
use token_rotator_testkit::{PostgresServer, RedisServer};
use tokio::sync::watch;

const ROUNDS: usize = 200;
/// Of the tokens that replicas hand over.
const LIFETIME: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    if !program::is_asked_to_measure() {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        fresh_on_disk().await;
        replicas().await;
    });
    ExitCode::SUCCESS
}

fn nobody() -> impl token_rotator::TokenSource {
    |_last: Option<Arc<TokenSet>>| async {
        Err::<TokenSet, _>(SourceError::not_sent("nobody asks for it"))
    }
}

/// What a new process does whose session another one keeps fresh: open the store, read the key,
/// open the record, adopt.
async fn fresh_on_disk() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let open = || {
        let key = KeyFile::new(root.path().join("config").join("key"));
        let store = FileStore::builder(root.path().join("state")).vault(key);
        let store = store.open().expect("a store");
        Rotator::builder(nobody())
            .store(store)
            .build()
            .expect("a rotator")
    };
    let tokens = TokenSet::bearer("t".repeat(900))
        .with_refresh_token("r".repeat(64))
        .expires_in(Duration::from_secs(3_600));
    let stored = open().sign_in(tokens).expect("usable tokens");
    stored.await.expect("stored");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        open().token().await.expect("a token");
        times.push(micros(begun.elapsed()));
    }
    println!(
        "### A fresh token on the disk, key file and all: from `FileStore::open` to the token\n"
    );
    let mut table = Table::new(["", "median us"]);
    table.row([
        "open, key, record, token".to_owned(),
        format!("{:.0}", median(&times)),
    ]);
    println!("{table}");
}

async fn replicas() {
    println!(
        "### Two replicas: from the token published at one to its use at the other, which waits\n"
    );
    let mut table = Table::new(["server", "median us", "round trip us", "ratio"]);
    if let Some(server) = RedisServer::start().await {
        let open = || {
            let store = RedisStore::builder().url(server.url()).codec(codec());
            store.build().expect("settings that fit")
        };
        let (one, other) = (open(), open());
        let ping = round_trips(async || one.ping().await.expect("a server")).await;
        row(&mut table, "Redis", &handover(one, other).await, &ping);
    }
    if let Some(server) = PostgresServer::start().await {
        let open = || {
            let store = PostgresStore::builder().url(server.url()).codec(codec());
            store.build().expect("settings that fit")
        };
        let (one, other) = (open(), open());
        one.migrate().await.expect("a new table");
        let ping = round_trips(async || one.ping().await.expect("a server")).await;
        row(&mut table, "PostgreSQL", &handover(one, other).await, &ping);
    }
    println!("{table}");
}

fn row(table: &mut Table, name: &str, handover: &[f64], ping: &[f64]) {
    let (handover, ping) = (median(handover), median(ping));
    table.row([
        name.to_owned(),
        format!("{handover:.0}"),
        format!("{ping:.0}"),
        format!("{:.1}", handover / ping),
    ]);
}

fn codec() -> RecordCodec {
    RecordCodec::sealed(DataKey::new(KeySource::Program, [7; 32]))
}

async fn round_trips(ping: impl AsyncFn()) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        ping().await;
        times.push(micros(begun.elapsed()));
    }
    times
}

/// Both replicas need a new token; one asks the issuer, which answers once the other one waits.
async fn handover(one: impl SessionStore, other: impl SessionStore) -> Vec<f64> {
    let gate = watch::Sender::new(false);
    let asked = watch::Sender::new(0_usize);
    let published = Arc::new(Mutex::new(None));
    let source = {
        let (gate, asked) = (gate.clone(), asked.clone());
        move |_last: Option<Arc<TokenSet>>| {
            let mut gate = gate.subscribe();
            asked.send_modify(|count| *count += 1);
            let number = *asked.borrow();
            async move {
                let _open = gate.wait_for(|open| *open).await;
                let next = TokenSet::bearer(format!("{number:0900}"));
                let next = next.with_refresh_token(format!("{number:064}"));
                Ok::<_, SourceError>(next.expires_in(LIFETIME))
            }
        }
    };
    let first = Rotator::builder(source)
        .store(one)
        .session(SessionKey::new("bench"))
        // Every round is to meet an expired token.
        .refresh_before(Duration::ZERO)
        .on_event({
            let published = Arc::clone(&published);
            move |event| {
                if matches!(event, Event::Refreshed { .. }) {
                    *published.lock().expect("no panic") = Some(Instant::now());
                }
            }
        })
        .build()
        .expect("a rotator");
    let second = Rotator::builder(nobody())
        .store(other)
        .session(SessionKey::new("bench"))
        .refresh_before(Duration::ZERO)
        .build()
        .expect("a rotator");
    let login = TokenSet::bearer("login").with_refresh_token("r");
    let stored = first
        .sign_in(login.expires_in(LIFETIME))
        .expect("usable tokens");
    stored.await.expect("stored");
    let mut times = Vec::new();
    for round in 1..=ROUNDS {
        gate.send_replace(false);
        while first.ready().is_some() || second.ready().is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut asks = asked.subscribe();
        let refresh = {
            let first = first.clone();
            tokio::spawn(async move { first.token().await })
        };
        let _enough = asks.wait_for(|count| *count >= round).await;
        let wait = {
            let second = second.clone();
            tokio::spawn(async move {
                let token = second.token().await;
                (Instant::now(), token.is_ok())
            })
        };
        // Time enough to be waiting for the lease; there is no event for that from outside.
        tokio::time::sleep(Duration::from_millis(5)).await;
        gate.send_replace(true);
        refresh.await.expect("no panic").expect("a token");
        let (used, served) = wait.await.expect("no panic");
        if let (Some(published), true) = (published.lock().expect("no panic").take(), served) {
            times.push(micros(used.saturating_duration_since(published)));
        }
    }
    assert_eq!(
        times.len(),
        ROUNDS,
        "a round in which the other one was not served"
    );
    times
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1_000.0
}
