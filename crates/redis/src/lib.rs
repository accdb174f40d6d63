//! Keeps the sessions of `token-rotator` in Redis, and takes their leases there.
//!
//! A [`RedisStore`] is session store and coordinator in one: replicas of a service that share it
//! refresh a session once for all of them. A notification ends the wait of the other replicas.
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
//! // The store brings its coordinator along.
//! let rotator = Rotator::builder(source)
//!     .store(store)
//!     .origin("https://api.example.com")
//!     .build()?;
//! let token = rotator.token().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Records are sealed or, asked for by name, plaintext ([`RecordCodec`](token_rotator::store::RecordCodec));
//! forgetting to say which is a [`BuildError`].
//!
//! # What is in Redis
//!
//! With the default prefix, and `h` the SHA-256 of the session's name in hexadecimal digits:
//!
//! | key | what |
//! |---|---|
//! | `token-rotator:{h}:record` | a hash of `epoch`, `revision` and `body`: the record, written by compare-and-swap |
//! | `token-rotator:{h}:lease` | whose lease it is; runs out by itself |
//! | `token-rotator:{h}:fence` | the number of the last lease |
//! | `token-rotator:changes` | the channel for messages: `h:record` after a save, `h:lease` after a release |
//!
//! The braces keep a session's keys in one slot of a cluster; the store itself speaks to one
//! server. It needs Redis 6 or newer, or a server that is like it, and the commands `EVALSHA`,
//! `SCRIPT LOAD`, `GET`, `SET`, `DEL`, `INCR`, `PEXPIRE`, `PTTL`, `HMGET`, `HGET`, `HSET`, `TIME`,
//! `PUBLISH`, `SUBSCRIBE` and `PING`.
//!
//! # What Redis cannot promise
//!
//! - **Eviction** may take a lease or a record away: set `maxmemory-policy noeviction`.
//! - **Replication lags.** A failover may lose the last save and a lease that was just taken. A
//!   lost record is a lost store and no sign-out: a process that has the session in memory goes on
//!   with it. A lost lease may be given out twice; fences then still grow, for they are never less than
//!   the server's clock in milliseconds.
//! - **A lease runs out**, by default after 40 s, also when its holder was only paused. The rotator
//!   checks what is left of it right before a refresh, on a clock that counts suspend; what remains
//!   is a holder that is paused between that and the write to the wire. It runs out by the server's
//!   wall clock: let that be slewed and not stepped.
//! - **A message may be lost.** Waiting tasks also poll: every 250 ms at first, every second later.
//!
//! # Failures
//!
//! Every call ends within [`operation_timeout`](RedisStoreBuilder::operation_timeout), and every
//! failure says what happened and what to do about it, as a
//! [`StoreError`](token_rotator::store::StoreError) or
//! [`LeaseError::Unavailable`](token_rotator::store::LeaseError::Unavailable). No lease, no refresh.
//! A call on a connection that turns out to be closed is made once more on a new one; the scripts
//! recognise a write of theirs that has arrived already.
//!
//! # TLS
//!
//! `rediss://` needs the feature `rustls`, and that the program installs a rustls crypto provider.
//! A [`redis::Client`] of your own may bring certificates ([`RedisStoreBuilder::client`]).

mod builder;
mod fault;
mod link;
mod scripts;
mod server;
mod store;

pub use builder::{BuildError, RedisStoreBuilder};
pub use redis;
pub use store::RedisStore;

/// The README of this crate: its example must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
