//! The state machine of token rotation.
//!
//! [`Session`] decides, for every event in the life of a session, the one [`Step`] its driver
//! takes next: send bare, use this token, start a refresh, wait for the one in the air, or fail.
//! It holds no clock, no waiters, no sockets and no memory of its own: time is an argument
//! ([`Now`]), waiting is the driver's, and tokens and errors are whatever the driver clones.
//! That makes every interleaving of callers a plain list of events, which is how it is tested.
//!
//! ```
//! use token_rotator_core::{Failure, Now, Policy, Session, Step, Validity};
//!
//! let now = Now { wall: 1_000, steady: 0 };
//! let mut session = Session::<&str, &str, u64>::new(Policy::required());
//! session.sign_in("first", Validity::until(2_000), now);
//!
//! // The token expired at 2 000: the first caller starts the flight, the second waits for it.
//! let later = Now { wall: 2_000, steady: 1_000 };
//! let Step::Refresh { flight } = session.acquire(later) else { unreachable!() };
//! assert_eq!(session.acquire(later), Step::Wait { flight });
//!
//! session.refreshed(flight, "second", Validity::until(9_000), later);
//! let Step::Use { token, .. } = session.settle(flight, later) else { unreachable!() };
//! assert_eq!(token, "second");
//! ```
#![no_std]

mod number;
mod policy;
mod session;
mod step;

pub use number::Number;
pub use policy::{Access, Policy, Validity};
pub use session::{Current, Session};
pub use step::{Ending, Failure, Flight, Kind, Landing, Now, Purpose, Stamp, Step};

/// The README of this crate: its example must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
