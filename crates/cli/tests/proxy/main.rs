//! `token-rotator proxy` and `token-rotator reload`.
#![cfg(unix)]

mod company_proxies;
mod documented;
mod errors;
mod programs;
mod refusal_rules;
mod serving;
mod shutdown;
mod sidecar;
#[path = "../sidecar_guide/tools.rs"]
#[allow(dead_code, reason = "other test targets use the rest")]
mod tools;
#[path = "../sessions/user.rs"]
#[allow(dead_code, reason = "other test targets use the rest")]
mod user;
