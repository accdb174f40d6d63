//! Real processes share one session. They are killed and stopped at random, and the issuer fails.
//!
//! - `spec`: the job of a worker. `store`: the stores and their addresses.
//! - `worker`: the process. `steps`: the points at which it can die. `report`: its standard output.
//! - `workers`: starts, stops and kills workers and receives their reports.
//! - `storm`: a run with random disturbances. `crash`: one death at a chosen step.
//! - `timeline`, `verdict`, `table`: the judgement of a storm.

pub mod crash;
pub mod options;
mod report;
mod spec;
mod steps;
mod store;
pub mod storm;
pub mod table;
mod timeline;
mod verdict;
pub mod worker;
mod workers;

pub use report::Report;
pub use spec::{Job, ProfileName, Spec, Timing};
pub use steps::{DieAt, Moment, Step};
pub use store::{Kind, OpenStore, StoreAddress, TestStore};
pub use verdict::Verdict;
pub use workers::{Worker, Workers};
