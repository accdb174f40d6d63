//! The state machine of token rotation.
//!
//! [`Session`] returns one [`Step`] for every event of a session: send without a token, use the
//! token, start a refresh, wait for the flight, or fail. The driver carries out the step.
//!
//! A session holds no clock, no waiters, no sockets, no token and no error. Time is an argument
//! ([`Now`]). The driver waits, and keeps the token and the error. So every interleaving of callers
//! is a list of events, and the tests run such lists.
//!
//! - `session.rs`: the events, one method each.
//! - `session/transitions.rs`: the transitions that several events share.
//! - `session/state.rs`: the states.
//! - `session/endpoints.rs`: the endpoints that refused a replay.
//! - `policy.rs`: windows, cool-downs and limits.
//! - `step.rs`: the types of events and steps.
//!
//! ```
//! use token_rotator_core::{Now, Policy, Session, Step, Validity};
//!
//! let now = Now { wall: 1_000, steady: 0 };
//! let mut session = Session::new(Policy::required());
//! session.sign_in(Validity::until(2_000), now);
//!
//! // The token expired at 2 000. The first caller starts the flight, and the second caller waits
//! // for it.
//! let later = Now { wall: 2_000, steady: 1_000 };
//! assert_eq!(session.acquire(later), Step::Refresh);
//! assert_eq!(session.acquire(later), Step::Wait);
//!
//! let flight = session.flight().expect("a flight");
//! session.refreshed(flight, Validity::until(9_000), later);
//! assert_eq!(session.settle(flight, later), Step::Use);
//! ```
#![no_std]

mod policy;
mod session;
mod step;

pub use policy::{Access, NEVER, Policy, Validity};
pub use session::Session;
pub use step::{Attempt, Ending, Failure, Flight, Landing, Now, Purpose, Stamp, Step};

/// The README of this crate: its example must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
