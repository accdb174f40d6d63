//! `token-rotator issuer` as a program: every flag does what its help says, tested over HTTP.

mod faults;
mod flags;
mod running;
