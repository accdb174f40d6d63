//! Tests of the vault with a fake keyring, with the Secret Service, and with the kernel's service.
#![cfg(unix)]

mod directory;
mod fake_keyring;
#[cfg(target_os = "linux")]
mod keyutils;
#[cfg(target_os = "linux")]
mod login_session;
mod results;
#[cfg(target_os = "linux")]
mod secret_service;
mod timeouts;

/// Prints why a test is skipped. With `CI=true` the test fails instead, because CI has every keyring.
#[cfg(target_os = "linux")]
fn skip(reason: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|value| value != "true"),
        "CI=true, and {reason}"
    );
    eprintln!("skipped: {reason}");
}
