//! Abuse over real sockets: what cannot be read in one way only is answered or cut off, nothing of
//! it reaches an upstream as another request, and the proxy lives on and keeps nothing.
//!
//! `TOKEN_ROTATOR_ABUSES` says how many; 2,000 without it.
#![cfg(target_os = "linux")]

mod attack;
mod http2;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use token_rotator::{Rotator, SourceError, TokenSet};
use token_rotator_proxy::{Config, Handle, Listen, Listener, Route};
use tokio::sync::Semaphore;

use attack::Attack;
use witness::Witness;

/// How many attack at one time.
const AT_ONCE: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_abuse_gets_through_or_leaves_anything_behind() {
    let count = match std::env::var("TOKEN_ROTATOR_ABUSES") {
        Ok(count) => count.parse().expect("a number of abuses"),
        Err(_) => 2_000,
    };
    let witness = Witness::start().await;
    let proxy = proxy(&witness).await;
    let port = port(&proxy);
    // First a part of them, so that what is kept for good is there.
    attack(port, 0..count / 4).await;
    let (files, memory) = settled(port).await;
    attack(port, count / 4..count).await;
    let (files_after, memory_after) = settled(port).await;
    assert!(
        files_after <= files + 4,
        "{files} descriptors, then {files_after}"
    );
    let grown = memory_after.saturating_sub(memory);
    assert!(grown < 24 * 1024, "{grown} KiB more after {count} abuses");
    let violations = witness.violations();
    assert!(
        violations.is_empty(),
        "{} violations: {violations:#?}",
        violations.len()
    );
    assert!(
        witness.requests() > count / 20,
        "honest parts arrive: {}",
        witness.requests()
    );
    assert!(proxy.drain(Duration::from_secs(10)).await);
}

async fn proxy(witness: &Witness) -> Handle {
    let source = |_| async { Ok::<_, SourceError>(TokenSet::bearer("next")) };
    let rotator = Rotator::builder(source)
        .origin(witness.url())
        .build()
        .expect("a rotator");
    let stored = rotator.sign_in(TokenSet::bearer("the-token"));
    stored.expect("a usable token").await.expect("stored");
    let short = Duration::from_millis(300);
    let listener = Listener {
        listen: Listen::Tcp("127.0.0.1:0".parse().expect("an address")),
        public: false,
    };
    let route = Route::new("api", witness.url(), rotator);
    let mut config = Config::new(vec![listener], vec![route]);
    config.limits.header_timeout = short;
    config.limits.body_idle = Some(short);
    Handle::start(&config).expect("a proxy")
}

fn port(proxy: &Handle) -> u16 {
    match proxy.listening().first() {
        Some(Listen::Tcp(address)) => address.port(),
        other => panic!("no TCP listener: {other:?}"),
    }
}

async fn attack(port: u16, numbers: std::ops::Range<usize>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut attacks = tokio::task::JoinSet::new();
    for number in numbers {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("open");
        attacks.spawn(async move {
            Attack::number(number).run(port).await;
            drop(slot);
        });
    }
    while let Some(ended) = attacks.join_next().await {
        ended.expect("an attack that went as it should");
    }
}

/// Descriptors and resident memory (KiB) of this process once an honest request is answered and
/// nothing is left open that closes by itself.
async fn settled(port: u16) -> (usize, usize) {
    let answer = attack::ask(
        port,
        b"GET /honest HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    );
    let answer = String::from_utf8_lossy(&answer.await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut files = usize::MAX;
    loop {
        let now = std::fs::read_dir("/proc/self/fd").expect("proc").count();
        if now >= files {
            break;
        }
        files = now;
        // What times out does so after 300 ms, and pools are swept every second.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|line| line.trim().strip_suffix(" kB"));
    let resident = resident.expect("a size").trim().parse().expect("a number");
    (files, resident)
}
