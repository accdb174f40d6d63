//! The files of packaging/: systemd and Kubernetes accept them, and the configurations work.
#![cfg(target_os = "linux")]

mod configurations;
mod kubernetes;
#[path = "../proxy/sidecar.rs"]
#[allow(dead_code, reason = "other test targets use the rest")]
mod sidecar;
mod systemd;
#[path = "../sidecar_guide/tools.rs"]
#[allow(dead_code, reason = "other test targets use the rest")]
mod tools;
#[path = "../sessions/user.rs"]
#[allow(dead_code, reason = "other test targets use the rest")]
mod user;

use std::path::PathBuf;

/// Returns the path of a file in packaging/.
fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../packaging")
        .join(name)
}

fn text(name: &str) -> String {
    let path = file(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
