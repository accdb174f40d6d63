//! What is in packaging/: read by those it is for, and its configurations run.
#![cfg(target_os = "linux")]

mod configurations;
mod kubernetes;
#[path = "../proxy/sidecar.rs"]
#[allow(dead_code, reason = "another part of it is used there")]
mod sidecar;
mod systemd;
#[path = "../walk/tools.rs"]
#[allow(dead_code, reason = "another part of it is used there")]
mod tools;
#[path = "../sessions/user.rs"]
#[allow(dead_code, reason = "another part of it is used there")]
mod user;

use std::path::PathBuf;

/// A file of packaging/.
fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../packaging")
        .join(name)
}

fn text(name: &str) -> String {
    let path = file(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
