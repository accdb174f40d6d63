//! A session store and lease coordinator for `token-rotator`, in Redis.
//!
//! A [`RedisStore`] is session store and coordinator in one. Replicas of a service that share it refresh a session once
//! for all of them. A notification ends the wait of the other replicas.
//!
//! ```no_run
//! use std::sync::Arc;
//! use token_rotator::keys::{DataKey, KeySource};
//! use token_rotator::store::RecordCodec;
//! use token_rotator::{Rotator, SourceError, TokenSet};
//! use token_rotator_redis::RedisStore;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let source = |_: Option<Arc<TokenSet>>| async { Ok::<_, SourceError>(TokenSet::bearer("next")) };
//! let key = DataKey::from_text(KeySource::Environment, &std::env::var("SESSION_KEY")?)?;
//! let store = RedisStore::builder()
//!     .url("redis://127.0.0.1/")
//!     .codec(RecordCodec::sealed(key))
//!     .build()?;
//!
//! // The store is also the coordinator.
//! let rotator = Rotator::builder(source)
//!     .store(store)
//!     .origin("https://api.example.com")
//!     .build()?;
//! let token = rotator.token().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Records are sealed, or plaintext if the program says so ([`RecordCodec`](token_rotator::store::RecordCodec)). Building a
//! store without a codec fails with a [`BuildError`].
//!
//! # Keys in Redis
//!
//! `h` is the SHA-256 of the session key in hexadecimal digits; the prefix is the default one:
//!
//! | key | content |
//! |---|---|
//! | `token-rotator:{h}:record` | a hash of `epoch`, `revision` and `body`: the record, written by compare-and-swap |
//! | `token-rotator:{h}:lease` | the owner of the lease; expires by itself |
//! | `token-rotator:{h}:fence` | the fence of the last lease |
//! | `token-rotator:changes` | the channel for messages: `h:record` after a save, `h:lease` after a release |
//!
//! The braces keep a session's keys in one slot of a cluster. The store itself connects to one server.
//!
//! The store needs Redis 6 or newer, or a compatible server. It uses the commands `EVALSHA`, `SCRIPT LOAD`, `GET`,
//! `SET`, `DEL`, `INCR`, `PEXPIRE`, `PTTL`, `HMGET`, `HGET`, `HSET`, `TIME`, `PUBLISH`, `SUBSCRIBE` and `PING`.
//!
//! # What Redis cannot guarantee
//!
//! - **Eviction** may remove a lease or a record: set `maxmemory-policy noeviction`.
//! - **Replication lags.** A failover may lose the last save and a new lease. A lost record is not a sign-out: a
//!   process that has the session in memory continues to use it. A lost lease may be granted twice. Fences then still
//!   grow, because a fence is never less than the server's clock in milliseconds.
//! - **A lease expires**, by default after 40 s, even if its holder was only paused. The rotator checks the remaining
//!   life directly before a refresh, on a clock that counts suspend. A holder that is paused between this check and the
//!   write to the wire may still refresh. The lease expires by the server's wall clock: slew that clock instead of
//!   stepping it.
//! - **A message may be lost.** Waiting tasks also poll: first after 250 ms, later every second.
//!
//! # Failures
//!
//! Every call ends within [`operation_timeout`](RedisStoreBuilder::operation_timeout). A failure is a
//! [`StoreError`](token_rotator::store::StoreError) or a [`LeaseError::Unavailable`](token_rotator::store::LeaseError::Unavailable)
//! that states what happened. Without a lease the rotator sends no refresh.
//!
//! If a connection turns out to be closed, the store repeats the call once on a new connection. The scripts recognise a
//! write that the server has already made.
//!
//! # TLS
//!
//! `rediss://` needs the feature `rustls`, and the program must install a rustls crypto provider. The platform's
//! authorities are trusted, or those of `RedisStoreBuilder::certificates`. The server's certificate must be for the host
//! name.

mod builder;
mod call_error;
mod connection;
mod scripts;
mod server;
mod store;

pub use builder::{BuildError, RedisStoreBuilder};
pub use redis;
pub use store::RedisStore;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
