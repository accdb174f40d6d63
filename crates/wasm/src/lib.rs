//! The state machine for JavaScript: [`Machine`] is a session spoken to in plain numbers, and on
//! wasm32 one of them is exported function by function.
//!
//! `cargo xtask wasm` compiles this, turns it into plain JavaScript and writes it into the npm
//! package. No token and no error ever enters it: the driver keeps them, and the machine speaks of
//! the generation of a token and of an error's number. Every number is an `f64`, the one kind that
//! JavaScript has and that needs no emulation there.
#![cfg_attr(target_arch = "wasm32", no_std)]

#[cfg(target_arch = "wasm32")]
mod exports;
mod machine;

pub use machine::{Machine, flight};
