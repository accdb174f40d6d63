//! Query parameters of a request.

use http::Uri;

/// Returns the first value of a parameter.
pub(super) fn first(uri: &Uri, name: &str) -> Option<String> {
    all(uri, name).next()
}

/// Returns every value of a parameter, in order.
pub(super) fn all(uri: &Uri, name: &str) -> impl Iterator<Item = String> {
    let query = uri.query().unwrap_or_default().as_bytes();
    let matches = form_urlencoded::parse(query).filter(move |(key, _)| key == name);
    matches.map(|(_, value)| value.into_owned())
}
