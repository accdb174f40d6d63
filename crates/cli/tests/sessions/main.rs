//! The commands that use sessions, run as a user runs them.
//!
//! - `user.rs`, `login.rs`, `metadata.rs`, `fake_issuer.rs`: a user with an issuer, a waiting login, a
//!   metadata server, an issuer with scripted answers
//! - `real_issuers.rs real_sign_ins.rs real_findings.rs`: what real issuers answer, how users sign in at
//!   them, and what `doctor` finds
//! - `signing_in.rs browser.rs device.rs certified_issuer.rs`: logins; `sign_out.rs`: logouts
//! - `binding.rs`: the addresses of a session; `core_dumps.rs`: aborted processes
//! - `files.rs`: files that other users can change; `security_messages.rs`: their texts
//! - `exec.rs formats.rs inspection.rs doctor.rs`: the other commands
//! - `clocks.rs`: clocks that were set
//! - `many_processes.rs`, `shared_store.rs`: several processes and machines; `store_tls.rs`: servers with TLS
//! - `environment_proxy.rs`: proxies of the environment
//! - `user_errors.rs invalid_arguments.rs configuration.rs keys.rs store_failures.rs refusals.rs
//!   issuer_failures.rs`: errors and their texts

mod binding;
mod browser;
mod certified_issuer;
mod clocks;
mod configuration;
mod core_dumps;
mod device;
mod doctor;
mod environment_proxy;
mod exec;
mod fake_issuer;
mod files;
mod formats;
mod inspection;
mod invalid_arguments;
mod issuer_failures;
mod keys;
mod login;
mod many_processes;
mod metadata;
mod real_findings;
mod real_issuers;
mod real_sign_ins;
mod refusals;
mod replicas;
mod security_messages;
mod shared_failures;
mod shared_store;
mod sign_out;
mod signing_in;
mod store_failures;
mod store_tls;
mod user;
mod user_errors;
