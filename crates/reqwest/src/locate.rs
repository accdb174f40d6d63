//! Which URL a path means.

use http::Uri;
use token_rotator::{Origin, Origins};
use url::Url;

use crate::error::{BuildError, UrlError};

/// What relative paths are joined to.
#[derive(Clone, Debug)]
pub(crate) struct BaseUrl {
    /// Without a slash at its end.
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
        // Not from the text: that would bring back what the parser has normalised.
        let origin = origin_text(&url)
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

/// Scheme, host and port of a URL, with the user name that an origin must not have.
fn origin_text(url: &Url) -> String {
    let end = url[..url::Position::BeforePath].len();
    url.as_str()[..end].to_owned()
}

/// The URL of a request.
///
/// As axios does it: an absolute URL stands for itself, and so does `//host/path`, with the base's
/// scheme. Everything else is appended to the base, with one slash between.
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

/// Whether the URL lies at one of these origins.
pub(crate) fn is_among(origins: &Origins, url: &Url) -> bool {
    let uri = url.as_str().parse::<Uri>();
    uri.is_ok_and(|uri| origins.allows(&uri))
}

/// Whether it begins with `scheme://` (RFC 3986 section 3.1).
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
    fn absolute_urls_stand_for_themselves() {
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
