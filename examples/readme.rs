//! Compiles the examples of the README: `cargo test --doc` runs them.

/// The README of the project.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
