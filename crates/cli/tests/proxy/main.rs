//! `token-rotator proxy` and `token-rotator reload`.
#![cfg(unix)]

mod company_proxies;
mod documented;
mod errors;
mod refusal_rules;
mod serving;
mod shutdown;
mod sidecar;
#[path = "../sessions/user.rs"]
#[allow(dead_code, reason = "other test targets use the rest")]
mod user;
