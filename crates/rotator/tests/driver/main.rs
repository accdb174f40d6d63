//! The driver against an issuer, a store and a coordinator in memory, on a clock that stands still.

#[path = "../common/mod.rs"]
mod common;

mod cooling;
mod deadlines;
mod drops;
mod early;
mod hooks;
mod leases;
mod neighbours;
mod refusals;
mod runtimes;
mod saving;
mod sessions;
mod sharing;
mod unsaved;
