//! A real issuer and a real upstream on loopback sockets: what `token-rotator demo` and `token-rotator issuer` run.
//!
//! The [`Issuer`] signs users in by code (RFC 6749, with PKCE) and by device code (RFC 8628). It has a token endpoint
//! and a cookie-based refresh endpoint over one ledger of refresh tokens. It rotates refresh tokens, detects reuse,
//! revokes families, and fails on demand as issuers fail in the field.
//! The [`Upstream`] is a protected API (RFC 6750). It judges the token of every request against the issuer's ledger and
//! counts what it served per token generation.
//!
//! The issuer and the upstream speak HTTP/1.1 and HTTP/2 over cleartext with prior knowledge, on `127.0.0.1` only.
//!
//! ```no_run
//! use std::time::Duration;
//! use token_rotator_issuer::{Fault, Issuer, RefreshPolicy, Upstream};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let issuer = Issuer::builder()
//!     .refresh_policy(RefreshPolicy::SingleUse)
//!     .access_lifetime(Duration::from_secs(60))
//!     .start()
//!     .await?;
//! let upstream = Upstream::start(&issuer).await?;
//! let grant = issuer.sign_in("alice");
//!
//! issuer.faults().push(Fault::AnswerLost.once());
//! issuer.expire_access_tokens();
//! // ... send requests to upstream.url(), refresh at issuer.token_url() ...
//! assert!(issuer.session_alive(&grant));
//! assert_eq!(issuer.counters().reuses, 0);
//! # Ok(())
//! # }
//! ```
//!
//! No test needs to sleep: a [`Gate`] holds requests until the test opens the gate, [`Issuer::advance_clock`] ages
//! tokens, and [`Upstream::release_slow`] times late refusals.
//!
//! With `TOKEN_ROTATOR_TEST_LOG` in the environment, the start of an issuer turns debug logging on and gives every
//! secret a recognisable beginning. The output of a whole test run can then be searched for leaks.
//!
//! **For tests and demonstrations only**: any password but `wrong` signs in, and randomness is not cryptographic.

mod answer;
mod clock;
mod gate;
mod issuer;
mod server;
mod upstream;
mod watch;

pub use gate::Gate;
pub use issuer::Issuer;
pub use issuer::builder::{IssuerBuilder, TokenFormat};
pub use issuer::counters::Counters;
pub use issuer::event::{IssuerEvent, RevocationCause};
pub use issuer::fault::{Fault, FaultRule, Faults};
pub use issuer::grant::Grant;
pub use issuer::policy::RefreshPolicy;
pub use server::StartError;
pub use upstream::Upstream;
pub use upstream::builder::UpstreamBuilder;
pub use upstream::record::{RequestRecord, UpstreamCounters};
#[doc(hidden)]
pub use watch::begin as begin_watch;

/// The README of this crate: its example must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
