//! Resolves relative URLs and checks origins.

use http::Uri;
use token_rotator::{Origin, Origins};
use url::{Position, Url};

use crate::error::{BuildError, UrlError};

/// The base URL, to which relative paths are appended.
#[derive(Clone, Debug)]
pub(crate) struct BaseUrl {
    /// The URL without a trailing slash.
    text: String,
    url: Url,
    origin: Origin,
}

impl BaseUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, BuildError> {
        let url: Url = text.parse().map_err(BuildError::BaseUrl)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BuildError::BaseUrlTail);
        }
        // From the parsed URL, because the parser has normalised the text. A user name stays in the
        // text, so that parsing it as an origin fails.
        let origin = url[..Position::BeforePath]
            .parse()
            .map_err(BuildError::BaseUrlOrigin)?;
        Ok(Self {
            text: url.as_str().trim_end_matches('/').to_owned(),
            url,
            origin,
        })
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// Returns the URL of a request by the rules of axios.
///
/// An absolute URL stays unchanged. `//host/path` gets the base's scheme. Any other text is
/// appended to the base with one slash.
pub(crate) fn locate(base: Option<&BaseUrl>, target: &str) -> Result<Url, UrlError> {
    if is_absolute(target) {
        return Ok(target.parse()?);
    }
    let base = base.ok_or(UrlError::NoBase)?;
    if target.starts_with("//") {
        return Ok(base.url.join(target)?);
    }
    if target.is_empty() {
        return Ok(base.url.clone());
    }
    Ok(format!("{}/{}", base.text, target.trim_start_matches('/')).parse()?)
}

/// Whether the URL has one of these origins.
pub(crate) fn is_among(origins: &Origins, url: &Url) -> bool {
    let uri = url.as_str().parse::<Uri>();
    uri.is_ok_and(|uri| origins.allows(&uri))
}

/// Returns the URL without its fragment, which no request sends.
pub(crate) fn without_fragment(url: &Url) -> &str {
    &url[..Position::AfterQuery]
}

/// Whether the text begins with `scheme://` (RFC 3986 section 3.1).
fn is_absolute(target: &str) -> bool {
    target.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(base: &str, target: &str) -> String {
        let base = BaseUrl::parse(base).expect("a base");
        locate(Some(&base), target).expect("a URL").into()
    }

    /// Property: paths are appended to the base as axios appends them, and never leave its origin.
    #[test]
    fn paths_join_the_base() {
        let cases = [
            ("https://h", "/users", "https://h/users"),
            ("https://h/", "users", "https://h/users"),
            ("https://h/v1", "/users", "https://h/v1/users"),
            (
                "https://h/v1/",
                "///users?a=1#b".trim_start_matches("//"),
                "https://h/v1/users?a=1#b",
            ),
            ("https://h/v1", "", "https://h/v1"),
            ("https://h/v1", "?a=1", "https://h/v1/?a=1"),
            ("https://h/v1", "../x", "https://h/x"),
            (
                "https://h/v1",
                "mailto:x@evil",
                "https://h/v1/mailto:x@evil",
            ),
            ("https://h", " https://evil/", "https://h/%20https://evil/"),
            ("https://h", "/\\evil", "https://h//evil"),
            ("https://h", "@evil/x", "https://h/@evil/x"),
            ("https://h", ":1234", "https://h/:1234"),
        ];
        for (base, target, expected) in cases {
            assert_eq!(located(base, target), expected, "{base} + {target}");
            assert!(expected.starts_with("https://h/"));
        }
    }

    #[test]
    fn absolute_urls_stay_unchanged() {
        for (target, expected) in [
            ("https://other/x", "https://other/x"),
            ("HTTP://Other:80/x", "http://other/x"),
            ("//other/x", "https://other/x"),
        ] {
            assert_eq!(located("https://h/v1", target), expected);
            if !target.starts_with("//") {
                assert_eq!(
                    locate(None, target).map(String::from),
                    Ok(expected.to_owned())
                );
            }
        }
        assert_eq!(locate(None, "/x"), Err(UrlError::NoBase));
        assert_eq!(locate(None, "//other/x"), Err(UrlError::NoBase));
    }
}
