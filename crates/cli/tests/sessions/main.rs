//! The commands that have to do with sessions, as a user meets them.

mod crowds;
mod exec;
mod formats;
mod keys;
mod looking;
mod mistakes;
mod shared;
mod signing_in;
mod user;
