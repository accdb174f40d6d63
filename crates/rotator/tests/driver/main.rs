//! Tests the driver with an issuer, a store and a coordinator in memory, on a paused clock.

#[path = "../common/mod.rs"]
mod common;

mod adoption;
mod bound;
mod building;
mod clocks;
mod cooling;
mod deadlines;
mod drops;
mod early;
mod ended_runtimes;
mod foreign_intents;
mod hooks;
mod journal;
mod leases;
mod next_session;
mod old_records;
mod refusals;
mod refused_answers;
mod runtimes;
mod saving;
mod session_ends;
mod sessions;
mod shared_failures;
mod shared_store;
mod shared_tokens;
mod sharing;
mod token_sets;
mod unexplained;
mod unsaved;
mod unusable;
mod updates;
mod useful;
