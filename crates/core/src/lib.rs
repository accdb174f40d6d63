//! The state machine of token rotation.
//!
//! [`Session`] decides, for every event in the life of a session, the one [`Step`] that its driver
//! takes next: send bare, use the token, start a refresh, wait for the flight in the air, or fail.
//! It holds no clock, no waiters, no sockets, no token and no error. Time is an argument ([`Now`]).
//! The driver waits, and keeps the token and the error. So every interleaving of callers is a list
//! of events, and the tests play such lists.
//!
//! ```
//! use token_rotator_core::{Arithmetic as _, Now, Number, Policy, Session, Step, Validity};
//!
//! let at = Number::of;
//! let now = Now { wall: at(1_000), steady: at(0) };
//! let mut session = Session::new(Policy::required());
//! session.sign_in(Validity::until(at(2_000)), now);
//!
//! // The token expired at 2 000: the first caller starts the flight, the second waits for it.
//! let later = Now { wall: at(2_000), steady: at(1_000) };
//! assert_eq!(session.acquire(later), Step::Refresh);
//! assert_eq!(session.acquire(later), Step::Wait);
//!
//! let flight = session.flight().expect("a flight");
//! session.refreshed(flight, Validity::until(at(9_000)), later);
//! assert_eq!(session.settle(flight, later), Step::Use);
//! ```
#![no_std]
// Times and counters are whole numbers in the build for JavaScript too.
#![cfg_attr(token_rotator_f64, allow(clippy::float_cmp))]

mod number;
mod policy;
mod session;
mod step;

pub use number::{Arithmetic, NEVER, Number};
pub use policy::{Access, Policy, Validity};
pub use session::Session;
pub use step::{Attempt, Ending, Failure, Flight, Landing, Now, Purpose, Stamp, Step};

/// The README of this crate: its example must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
