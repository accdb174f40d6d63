//! Real processes that share one session, killed, stopped and lied to at any moment.
//!
//! A table of contents: `spec` says what a worker is to do, `ground` where its store is, `worker` is
//! the process itself and `steps` the points at which it can die; `said` is what workers tell on
//! their standard output. `herd` starts and torments them, `storm` is a whole run at random and
//! `crash` one death at a chosen step; `witness`, `verdict` and `table` say what came of it.

pub mod crash;
mod ground;
mod herd;
pub mod options;
mod said;
mod spec;
mod steps;
pub mod storm;
pub mod table;
mod verdict;
mod witness;
pub mod worker;

pub use ground::{Bed, Kind, Place};
pub use herd::{Herd, Worker};
pub use said::Said;
pub use spec::{Job, ProfileName, Spec, Timing};
pub use steps::{DieAt, Moment, Step};
pub use verdict::Verdict;
