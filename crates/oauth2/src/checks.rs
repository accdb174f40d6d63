//! What every builder checks before the first request.

use http::Uri;
use token_rotator::{Origin, SecretString};

use crate::builder::BuildError;

/// A parameter with a meaning of its own, and what to call instead of `param`.
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
        if let Some((name, instead)) = reserved.iter().copied().find(|(own, _)| own == name) {
            return Err(BuildError::ReservedParam { name, instead });
        }
    }
    Ok(())
}

/// RFC 8707 section 2: absolute, without a fragment.
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

/// An address that tokens may be sent to: https, or this machine.
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
        // `Uri` takes bytes beyond ASCII as they are.
        .filter(|uri| text.is_ascii() && Origin::of(uri) == Some(origin))
        .ok_or(BuildError::NotAUrl { which })
}

/// Where a code may be sent: https, this machine (RFC 8252 section 7.3), or a scheme of the
/// program's own, which has a dot in it (section 7.1).
pub(crate) fn redirect_uri(text: &str) -> Result<(), BuildError> {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let own = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.contains('.')
        && scheme.chars().all(legal)
        && text.chars().all(|c| c.is_ascii_graphic() && c != '#');
    if own || (web && url("redirect URI", text).is_ok()) {
        return Ok(());
    }
    Err(BuildError::RedirectUri)
}

/// An address without its query, in which keys may be hidden.
pub(crate) fn shown(url: &Uri) -> String {
    let host = url.authority().map_or("", |authority| authority.as_str());
    format!("{}://{host}{}", url.scheme_str().unwrap_or(""), url.path())
}
