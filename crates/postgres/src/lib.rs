//! Keeps the sessions of `token-rotator` in `PostgreSQL`, and takes their leases there.
//!
//! A [`PostgresStore`] is session store and coordinator in one: replicas of a service that share it
//! refresh a session once for all of them. A notification ends the wait of the other replicas.
//!
//! ```no_run
//! use std::sync::Arc;
//! use token_rotator::keys::{DataKey, KeySource};
//! use token_rotator::store::RecordCodec;
//! use token_rotator::{Rotator, SourceError, TokenSet};
//! use token_rotator_postgres::PostgresStore;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let source = |_: Option<Arc<TokenSet>>| async { Ok::<_, SourceError>(TokenSet::bearer("next")) };
//! let key = DataKey::from_text(KeySource::Environment, &std::env::var("SESSION_KEY")?)?;
//! let store = PostgresStore::builder()
//!     .url("postgres://app@127.0.0.1/app")
//!     .codec(RecordCodec::sealed(key))
//!     .build()?;
//! // Makes the table where it is missing; as many replicas at once as like to.
//! store.migrate().await?;
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
//! # The table
//!
//! One row per session, by its name, in `token_rotator_session` unless
//! [`table`](PostgresStoreBuilder::table) says otherwise. A session may have a lease before it has
//! a record. [`PostgresStore::migrate`] makes the table. [`PostgresStore::migration_sql`] returns the
//! SQL to do so by hand; the program then needs no more than `SELECT`, `INSERT` and `UPDATE` on it.
//!
//! # `PgBouncer`
//!
//! Everything works behind `PgBouncer` in transaction mode: each call is one statement outside of
//! any transaction, without prepared statements, session locks or settings. `LISTEN` does not
//! work there: waiting tasks poll, every 250 ms at first, every second later.
//! [`PostgresStoreBuilder::listen_url`] gives the one listening connection a way
//! around `PgBouncer`; [`PostgresStoreBuilder::without_listening`] does without it. Where calls and
//! listening go to the same address, the record that a notification tells of is read over the
//! listening connection: that spares a replica the wait for one that has to wake up first.
//!
//! # What Postgres cannot promise
//!
//! - **Asynchronous replication lags.** A failover to a standby may lose the last save and a lease
//!   that was just taken (see `synchronous_commit`). A lost record is a lost store and no sign-out:
//!   a process that has the session in memory goes on with it. Fences still grow, for they are never less
//!   than the server's clock in milliseconds.
//! - **A lease runs out**, by default after 40 s by the server's clock, also when its holder was only
//!   paused. The rotator checks what is left of it right before a refresh, on a clock that counts
//!   suspend; what remains is a holder that is paused between that and the write to the wire. Let the
//!   server's clock be slewed and not stepped.
//!
//! # Failures
//!
//! Every call ends within [`operation_timeout`](PostgresStoreBuilder::operation_timeout), and every
//! failure says what happened and what to do about it, as a
//! [`StoreError`](token_rotator::store::StoreError) or
//! [`LeaseError::Unavailable`](token_rotator::store::LeaseError::Unavailable). No lease, no refresh.
//! A call on a connection that turns out to be closed is made once more on a new one; a write that
//! has arrived already is recognised.
//!
//! # TLS
//!
//! This crate brings none: give [`PostgresStoreBuilder::tls`] a connector such as that of
//! `tokio-postgres-rustls`.

mod builder;
mod connector;
mod fault;
mod link;
mod parameter;
mod schema;
mod server;
mod statements;
mod store;

pub use builder::{BuildError, PostgresStoreBuilder};
pub use store::PostgresStore;
pub use tokio_postgres;

/// The README of this crate: its example must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
