//! What must never be shown.

use http::HeaderValue;
pub use secrecy::{ExposeSecret, SecretString};

/// A header value made once per token and cloned for every request, marked sensitive so that no
/// `Debug` output and no HPACK table shows it. `None` if the text cannot stand in a header.
pub(crate) fn header_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    // The first clone of fresh bytes moves them behind a shared count; every later one is free.
    let shared = value.clone();
    drop(value);
    Some(shared)
}
