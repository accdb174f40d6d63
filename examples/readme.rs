//! The README of the project as documentation: `cargo test --doc` compiles what the README shows.

/// The README of the project.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
