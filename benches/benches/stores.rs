//! Durable stores: the time to read a good token from the disk, and the time until a replica adopts
//! a token that another replica refreshed.

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
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

const ROUNDS: usize = 200;
/// The lifetime of the tokens.
const LIFETIME: Duration = Duration::from_millis(50);
/// The rest before each measurement, without requests to the server.
const REST: Duration = Duration::from_millis(5);

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

fn never_refreshes() -> impl token_rotator::TokenSource {
    |_last: Option<Arc<TokenSet>>| async {
        Err::<TokenSet, _>(SourceError::not_sent("no case refreshes"))
    }
}

/// The work of a new process whose session another process refreshes: open the store, read the key,
/// open the record, adopt the token.
async fn fresh_on_disk() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let open = || {
        let key = KeyFile::new(root.path().join("config").join("key"));
        let store = FileStore::builder(root.path().join("state")).vault(key);
        let store = store.open().expect("a store");
        Rotator::builder(never_refreshes())
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
        "### A good token on the disk, key file included: from `FileStore::open` to the token\n"
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
    let mut table = Table::new([
        "server",
        "median us",
        "round trip us",
        "ratio",
        "in a loop us",
    ]);
    if let Some(server) = RedisServer::start().await {
        let open = || {
            let store = RedisStore::builder().url(server.url()).codec(codec());
            store.build().expect("settings that fit")
        };
        let (one, other) = (open(), open());
        let asked = other.clone();
        let ping = move || {
            let store = asked.clone();
            async move { store.ping().await.expect("a server") }
        };
        row(&mut table, "Redis", &handover(one, other, ping).await);
    }
    if let Some(server) = PostgresServer::start().await {
        let open = || {
            let store = PostgresStore::builder().url(server.url()).codec(codec());
            store.build().expect("settings that fit")
        };
        let (one, other) = (open(), open());
        open().migrate().await.expect("a new table");
        let asked = other.clone();
        let ping = move || {
            let store = asked.clone();
            async move { store.ping().await.expect("a server") }
        };
        row(&mut table, "PostgreSQL", &handover(one, other, ping).await);
    }
    println!("{table}");
}

fn row(table: &mut Table, name: &str, times: &Times) {
    let (handover, rested) = (median(&times.handover), median(&times.rested));
    table.row([
        name.to_owned(),
        format!("{handover:.0}"),
        format!("{rested:.0}"),
        format!("{:.1}", handover / rested),
        format!("{:.0}", median(&times.looped)),
    ]);
}

/// Times in microseconds.
#[derive(Default)]
struct Times {
    /// From the publication of a token at one replica to its use at the other replica.
    handover: Vec<f64>,
    /// A round trip after a rest as long as the rest before a handover.
    rested: Vec<f64>,
    /// Round trips without rests, with threads awake and caches warm.
    looped: Vec<f64>,
}

fn codec() -> RecordCodec {
    RecordCodec::sealed(DataKey::new(KeySource::Program, [7; 32]))
}

/// A replica on a thread of its own with all its connections, like a process of its own.
struct Replica {
    runtime: Option<Runtime>,
}

impl Replica {
    fn start() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build();
        Self {
            runtime: Some(runtime.expect("a runtime")),
        }
    }

    fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("until it is dropped").handle()
    }

    /// Runs this call on the thread of the replica, and returns its duration in microseconds.
    async fn time(&self, work: impl Future<Output = ()> + Send + 'static) -> f64 {
        let timed = self.handle().spawn(async move {
            let begun = Instant::now();
            work.await;
            micros(begun.elapsed())
        });
        timed.await.expect("no panic")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not wait for the last tasks, because the value is dropped in an async context.
            runtime.shutdown_background();
        }
    }
}

/// Both replicas need a new token. One replica asks the issuer, which answers after the other
/// replica waits.
async fn handover<P>(
    one: impl SessionStore,
    other: impl SessionStore,
    ping: impl Fn() -> P,
) -> Times
where
    P: Future<Output = ()> + Send + 'static,
{
    let (here, there) = (Replica::start(), Replica::start());
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
        .runtime(here.handle().clone())
        .session(SessionKey::new("bench"))
        // Every round begins with an expired token.
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
    let second = Rotator::builder(never_refreshes())
        .store(other)
        .runtime(there.handle().clone())
        .session(SessionKey::new("bench"))
        .refresh_before(Duration::ZERO)
        .build()
        .expect("a rotator");
    let login = TokenSet::bearer("login").with_refresh_token("r");
    let stored = first
        .sign_in(login.expires_in(LIFETIME))
        .expect("usable tokens");
    stored.await.expect("stored");
    let mut times = Times::default();
    for _ in 0..ROUNDS {
        times.looped.push(there.time(ping()).await);
    }
    for round in 1..=ROUNDS {
        gate.send_replace(false);
        while first.ready().is_some() || second.ready().is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut asks = asked.subscribe();
        let refresh = {
            let first = first.clone();
            here.handle().spawn(async move { first.token().await })
        };
        let _enough = asks.wait_for(|count| *count >= round).await;
        let wait = {
            let second = second.clone();
            there.handle().spawn(async move {
                let token = second.token().await;
                (Instant::now(), token.is_ok())
            })
        };
        // The other replica waits for the lease after this time. No event reports that it waits.
        tokio::time::sleep(REST).await;
        times.rested.push(there.time(ping()).await);
        tokio::time::sleep(REST).await;
        gate.send_replace(true);
        // Joined first, so that this thread sleeps until both replicas are served.
        let (used, served) = wait.await.expect("no panic");
        refresh.await.expect("no panic").expect("a token");
        let published = published.lock().expect("no panic").take();
        times.handover.push(match published {
            Some(published) if served => micros(used.saturating_duration_since(published)),
            // The token expired before its use, because the machine has other work.
            _ => micros(LIFETIME),
        });
    }
    times
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1_000.0
}
