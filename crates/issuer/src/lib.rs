//! An OAuth issuer and a protected API on loopback sockets. `token-rotator demo` and `token-rotator issuer` run them.
//!
//! The [`Issuer`] signs users in by code (RFC 6749, with PKCE) and by device code (RFC 8628). It has a token endpoint
//! and a cookie-based refresh endpoint. It rotates refresh tokens, detects reuse and revokes families. A [`Fault`]
//! makes it fail as issuers fail in the field.
//!
//! The [`Upstream`] is a protected API (RFC 6750). It asks the issuer for the validity of every token, and counts the
//! requests of each token generation.
//!
//! Both speak HTTP/1.1, and HTTP/2 over cleartext with prior knowledge, on `127.0.0.1` only.
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
//! If `TOKEN_ROTATOR_TEST_LOG` is set in the environment, [`Issuer::builder`] turns debug logging on and starts every
//! secret with a fixed prefix. A search of the output of a whole test run then finds leaked secrets.
//!
//! **For tests and demonstrations only**: any password but `wrong` signs in, and the randomness is not cryptographic.

mod clock;
mod gate;
mod issuer;
mod leak_search;
mod response;
mod server;
mod upstream;

pub use gate::Gate;
pub use issuer::Issuer;
pub use issuer::builder::{IssuerBuilder, TokenFormat};
pub use issuer::counters::Counters;
pub use issuer::event::{IssuerEvent, RevocationCause};
pub use issuer::fault::{Fault, FaultRule, Faults};
pub use issuer::grant::Grant;
pub use issuer::policy::RefreshPolicy;
#[doc(hidden)]
pub use leak_search::begin as begin_leak_search;
pub use server::StartError;
pub use upstream::Upstream;
pub use upstream::builder::UpstreamBuilder;
pub use upstream::record::{RequestRecord, UpstreamCounters};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
