//! The vault against a keyring that does as it is told, the Secret Service, and the kernel's.
#![cfg(unix)]

mod answers;
mod fake;
#[cfg(target_os = "linux")]
mod keyutils;
mod place;
#[cfg(target_os = "linux")]
mod secret_service;
#[cfg(target_os = "linux")]
mod session;
mod waits;

/// Says why a test does nothing here. Where `CI=true` everything has to be there, and it fails.
#[cfg(target_os = "linux")]
fn skip(why: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|value| value != "true"),
        "CI=true, and {why}"
    );
    eprintln!("skipped: {why}");
}
