//! Secret texts and sensitive header values, which no output shows.

use http::HeaderValue;
pub use secrecy::{ExposeSecret, SecretString};

/// Makes a header value that is sensitive: no `Debug` output and no HPACK table shows it. Returns
/// `None` if the text is not a valid header value.
///
/// Called once per token; each request clones the value.
pub(crate) fn header_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    // The first clone moves the bytes behind a shared count. Later clones do not allocate.
    let shared = value.clone();
    drop(value);
    Some(shared)
}
