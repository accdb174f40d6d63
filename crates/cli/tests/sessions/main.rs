//! The commands that have to do with sessions, as a user meets them.

mod attended;
mod browser;
mod certified;
mod configuration;
mod crowds;
mod denied;
mod device;
mod diagnosed;
mod exec;
mod formats;
mod issuers;
mod keys;
mod looking;
mod metadata;
mod mistakes;
mod shared;
mod signing_in;
mod stored;
mod typed;
mod user;
