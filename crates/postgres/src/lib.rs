//! A session store and lease coordinator for `token-rotator`, in `PostgreSQL`.
//!
//! A [`PostgresStore`] is session store and coordinator in one. Replicas of a service that share it refresh a session
//! once for all of them. A notification ends the wait of the other replicas.
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
//! // Creates the table if it is missing. Any number of replicas may call this at once.
//! store.migrate().await?;
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
//! # The table
//!
//! The table has one row per session key. Its name is `token_rotator_session` unless
//! [`table`](PostgresStoreBuilder::table) sets another. A session may have a lease before it has a record.
//!
//! [`PostgresStore::migrate`] creates the table. [`PostgresStore::migration_sql`] returns the SQL to create it by hand.
//! The program then needs only `SELECT`, `INSERT` and `UPDATE` on the table.
//!
//! # `PgBouncer`
//!
//! All calls work behind a `PgBouncer` in transaction mode. Each call is one statement outside of any transaction, without prepared statements, session locks or session settings.
//!
//! `LISTEN` does not work there, so waiting tasks poll: first after 250 ms, later every second.
//! [`PostgresStoreBuilder::listen_url`] sends the connection for notifications directly to the server.
//! [`PostgresStoreBuilder::without_listening`] opens no such connection.
//!
//! If calls and notifications use the same address, the store reads a record over the connection that received its
//! notification. The server process of that connection is already running, so it responds sooner.
//!
//! # What `PostgreSQL` cannot guarantee
//!
//! - **Asynchronous replication lags.** A failover to a standby may lose the last save and a new lease (see
//!   `synchronous_commit`). A lost record is not a sign-out: a process that has the session in memory continues to use
//!   it. Fences still grow, because a fence is never less than the server's clock in milliseconds.
//! - **A lease expires**, by default after 40 s by the server's clock, even if its holder was only paused. The rotator
//!   checks the remaining life directly before a refresh, on a clock that counts suspend. A holder that is paused
//!   between this check and the write to the wire may still refresh. Slew the server's clock instead of stepping it.
//!
//! # Failures
//!
//! Every call ends within [`operation_timeout`](PostgresStoreBuilder::operation_timeout). A failure is a
//! [`StoreError`](token_rotator::store::StoreError) or a [`LeaseError::Unavailable`](token_rotator::store::LeaseError::Unavailable)
//! that states what happened. Without a lease the rotator sends no refresh.
//!
//! If a connection turns out to be closed, the store repeats the call once on a new connection. It recognises a write
//! that the server has already made.
//!
//! # TLS
//!
//! With the feature `rustls`, an address with `sslmode` decides:
//!
//! | `sslmode` | encrypted | the server proves |
//! |---|---|---|
//! | none, `disable`, `prefer` | no | nothing |
//! | `verify-ca` | yes | a certificate of a trusted authority |
//! | `require`, `verify-full` | yes | a certificate of a trusted authority for the host name |
//!
//! libpq does not check the certificate for `require`; this crate does, because a connection to an unknown server keeps
//! no secret. The platform's authorities are trusted, or those of [`PostgresStoreBuilder::certificates`]. Without the
//! feature, give [`PostgresStoreBuilder::tls`] a connector, such as that of `tokio-postgres-rustls`.

mod builder;
mod call_error;
mod connector;
mod parameter;
mod pool;
#[cfg(feature = "rustls")]
mod rustls;
mod schema;
mod server;
mod statements;
mod store;

#[cfg(feature = "rustls")]
pub use self::rustls::{CertificateProblem, TlsCertificates};
pub use builder::{BuildError, PostgresStoreBuilder};
pub use store::PostgresStore;
pub use tokio_postgres;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
