//! The driver against an issuer, a store and a coordinator in memory, on a clock that stands still.

#[path = "../common/mod.rs"]
mod common;

mod building;
mod cooling;
mod deadlines;
mod drops;
mod early;
mod ended;
mod endings;
mod hooks;
mod journal;
mod journals_of_others;
mod leases;
mod neighbours;
mod news;
mod refusals;
mod runtimes;
mod saving;
mod sessions;
mod sharing;
mod succession;
mod unsaved;
mod unusable;
mod updates;
mod useful;
