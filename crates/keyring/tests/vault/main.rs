//! The vault against a keyring that does as it is told.
#![cfg(unix)]

mod answers;
mod fake;
mod place;
mod waits;
