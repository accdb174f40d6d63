//! The commands that have to do with sessions, as a user meets them.

mod attended;
mod browser;
mod certified;
mod crowds;
mod device;
mod exec;
mod formats;
mod keys;
mod looking;
mod metadata;
mod mistakes;
mod shared;
mod signing_in;
mod user;
