//! Checks that every builder makes before the first request.

use http::Uri;
use token_rotator::{Origin, SecretString};

use crate::builder::BuildError;

/// A parameter that has its own builder method, and the call to use instead of `param`.
pub(crate) type Reserved = (&'static str, &'static str);

pub(crate) fn client_id(client_id: &str) -> Result<(), BuildError> {
    if client_id.is_empty() {
        return Err(BuildError::ClientId);
    }
    Ok(())
}

pub(crate) fn params(
    params: &[(String, SecretString)],
    reserved: &[Reserved],
) -> Result<(), BuildError> {
    for (name, _) in params {
        if name.is_empty() {
            return Err(BuildError::ParamName);
        }
        if let Some((name, instead)) = reserved
            .iter()
            .copied()
            .find(|(reserved, _)| reserved == name)
        {
            return Err(BuildError::ReservedParam { name, instead });
        }
    }
    Ok(())
}

/// Requires absolute URIs without a fragment (RFC 8707 section 2).
pub(crate) fn resources(resources: &[String]) -> Result<(), BuildError> {
    let absolute = |uri: &String| {
        let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && !uri.contains(|c: char| c == '#' || c.is_whitespace())
    };
    if resources.iter().all(absolute) {
        return Ok(());
    }
    Err(BuildError::Resource)
}

/// Parses an address that may receive tokens: https, or loopback.
pub(crate) fn url(which: &'static str, text: &str) -> Result<Uri, BuildError> {
    if text.contains('#') {
        return Err(BuildError::Fragment { which });
    }
    let authority = text.find("://").map_or(0, |at| at + 3);
    let path = text[authority..].find(['/', '?']);
    let origin = &text[..path.map_or(text.len(), |at| authority + at)];
    let origin: Origin = origin
        .parse()
        .map_err(|problem| BuildError::Url { which, problem })?;
    text.parse()
        .ok()
        // `Uri` accepts bytes beyond ASCII unchanged.
        .filter(|uri| text.is_ascii() && Origin::of(uri) == Some(origin))
        .ok_or(BuildError::NotAUrl { which })
}

/// Requires a redirect URI that may receive a code: https, loopback (RFC 8252 section 7.3), or a
/// private-use scheme with a dot in its name (section 7.1).
pub(crate) fn redirect_uri(text: &str) -> Result<(), BuildError> {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let private_use = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.contains('.')
        && scheme.chars().all(legal)
        && text.chars().all(|c| c.is_ascii_graphic() && c != '#');
    if private_use || (web && url("redirect URI", text).is_ok()) {
        return Ok(());
    }
    Err(BuildError::RedirectUri)
}

/// Returns the address without its query, because a query may contain keys.
pub(crate) fn without_query(url: &Uri) -> String {
    let host = url.authority().map_or("", |authority| authority.as_str());
    format!("{}://{host}{}", url.scheme_str().unwrap_or(""), url.path())
}
