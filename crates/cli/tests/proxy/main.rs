//! The program as a sidecar.
#![cfg(unix)]

mod documented;
mod ends;
mod mistakes;
mod refusal_rules;
mod serves;
mod sidecar;
#[path = "../sessions/user.rs"]
#[allow(dead_code, reason = "another part of it is used there")]
mod user;
