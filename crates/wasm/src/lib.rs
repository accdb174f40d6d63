//! The state machine for JavaScript: `Machine` is a session behind plain numbers. On wasm32, one
//! machine is exported function by function.
//!
//! `cargo xtask wasm` compiles this crate with `--cfg token_rotator_f64`, turns it into plain
//! JavaScript and writes it into the npm package. Without that option the crate is empty, since
//! times and counters are 64-bit integers then. No token and no error enters the machine: the driver
//! keeps them. Every place in the memory becomes a variable in JavaScript, so each address has to
//! be a constant, and nothing may lie on the stack.
#![cfg_attr(target_arch = "wasm32", no_std)]

#[cfg(all(target_arch = "wasm32", token_rotator_f64))]
mod exports;
#[cfg(token_rotator_f64)]
mod machine;

#[cfg(token_rotator_f64)]
pub use machine::{Machine, flight};
