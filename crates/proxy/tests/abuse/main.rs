//! Tests abuse over real sockets. The proxy answers or closes every connection with an ambiguous
//! request. No part of it reaches an upstream as another request. The proxy keeps running and keeps
//! no resources.
//!
//! `TOKEN_ROTATOR_ABUSES` sets the number of attacks; the default is 2,000.
#![cfg(target_os = "linux")]

mod attack;
mod http2;
mod slow_heads;
mod strict_upstream;

use std::sync::Arc;
use std::time::Duration;

use token_rotator::{Rotator, SourceError, TokenSet};
use token_rotator_proxy::{Config, Handle, Listen, Listener, Route};
use tokio::sync::Semaphore;

use attack::Attack;
use strict_upstream::StrictUpstream;

/// Number of concurrent attacks.
const AT_ONCE: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_abuse_reaches_the_upstream_or_leaks_resources() {
    let count = match std::env::var("TOKEN_ROTATOR_ABUSES") {
        Ok(count) => count.parse().expect("a number of abuses"),
        Err(_) => 2_000,
    };
    let strict_upstream = StrictUpstream::start().await;
    let proxy = proxy(&strict_upstream).await;
    let port = port(&proxy);
    // The first attacks let the proxy allocate its permanent resources.
    attack(port, 0..count / 4).await;
    let (files, memory) = resources_at_rest(port).await;
    attack(port, count / 4..count).await;
    let (files_after, memory_after) = resources_at_rest(port).await;
    assert!(
        files_after <= files + 4,
        "{files} descriptors, then {files_after}"
    );
    let grown = memory_after.saturating_sub(memory);
    assert!(grown < 24 * 1024, "{grown} KiB more after {count} abuses");
    let violations = strict_upstream.violations();
    assert!(
        violations.is_empty(),
        "{} violations: {violations:#?}",
        violations.len()
    );
    assert!(
        strict_upstream.requests() > count / 20,
        "honest parts arrive: {}",
        strict_upstream.requests()
    );
    assert!(proxy.drain(Duration::from_secs(10)).await);
}

async fn proxy(strict_upstream: &StrictUpstream) -> Handle {
    let short = Duration::from_millis(300);
    proxy_with(strict_upstream, |config| {
        config.limits.header_timeout = short;
        config.limits.body_idle = Some(short);
        // Idle connections to the upstream are no leak, but they are descriptors.
        config.limits.idle_timeout = Duration::from_secs(1);
    })
    .await
}

async fn proxy_with(strict_upstream: &StrictUpstream, change: impl FnOnce(&mut Config)) -> Handle {
    let source = |_| async { Ok::<_, SourceError>(TokenSet::bearer("next")) };
    let rotator = Rotator::builder(source)
        .origin(strict_upstream.url())
        .build()
        .expect("a rotator");
    let stored = rotator.sign_in(TokenSet::bearer("the-token"));
    stored.expect("a usable token").await.expect("stored");
    let listener = Listener {
        listen: Listen::Tcp("127.0.0.1:0".parse().expect("an address")),
        public: false,
    };
    let route = Route::new("api", strict_upstream.url(), rotator);
    let mut config = Config::new(vec![listener], vec![route]);
    change(&mut config);
    Handle::start(&config).expect("a proxy")
}

fn port(proxy: &Handle) -> u16 {
    match proxy.listening().first() {
        Some(Listen::Tcp(address)) => address.port(),
        address => panic!("no TCP listener: {address:?}"),
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
        ended.expect("an attack with the expected outcome");
    }
}

/// Returns the number of descriptors and the resident memory (KiB) of this process, after a valid
/// request was answered and all idle connections were closed.
async fn resources_at_rest(port: u16) -> (usize, usize) {
    let answer = attack::send_and_read(
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
        // Timeouts take 300 ms, and pools are cleaned every second.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    }
    (files, resident_kib())
}

/// Returns the resident memory of this process in KiB.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|line| line.trim().strip_suffix(" kB"));
    resident.expect("a size").trim().parse().expect("a number")
}
