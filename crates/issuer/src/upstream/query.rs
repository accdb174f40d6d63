//! Query parameters of a request.

use http::Uri;

/// The first value of a parameter.
pub(super) fn first(uri: &Uri, name: &str) -> Option<String> {
    all(uri, name).next()
}

/// Every value of a parameter, in order.
pub(super) fn all(uri: &Uri, name: &str) -> impl Iterator<Item = String> {
    let query = uri.query().unwrap_or_default().as_bytes();
    let named = form_urlencoded::parse(query).filter(move |(found, _)| found == name);
    named.map(|(_, value)| value.into_owned())
}
