//! The path whose answer confirms a verdict by body.

use std::str::FromStr;
use std::sync::Arc;

use http::uri::PathAndQuery;

use crate::error::BuildError;

/// The path of a [probe](super::RefusalRules::probe): `/-/whoami`.
///
/// A probe carries the token, so the path must not lead to another origin. The path begins with one
/// `/`. It is visible ASCII without `\`, `#`, empty segments and dot segments. A query may follow.
///
/// ```
/// use token_rotator::middleware::ProbePath;
///
/// assert!("/-/whoami".parse::<ProbePath>().is_ok());
/// assert!("//other.example/whoami".parse::<ProbePath>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePath(Arc<str>);

impl ProbePath {
    /// The path with its query.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProbePath {
    type Err = BuildError;

    fn from_str(text: &str) -> Result<Self, BuildError> {
        let legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#');
        let path = text.split_once('?').map_or(text, |(path, _)| path);
        let rooted = path.starts_with('/') && !path.contains("//");
        // URL parsers read `%2e` as a dot.
        let plain = path.to_ascii_lowercase().replace("%2e", ".");
        let dots = plain
            .split('/')
            .any(|segment| matches!(segment, "." | ".."));
        if rooted && !dots && text.bytes().all(legal) && PathAndQuery::try_from(text).is_ok() {
            Ok(Self(text.into()))
        } else {
            Err(BuildError::Probe)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_a_path_of_the_upstream() {
        for path in [
            "/",
            "/-/whoami",
            "/a/b/",
            "/a?next=//b/../c",
            "/..a/b..",
            "/%20",
        ] {
            let parsed: Result<ProbePath, _> = path.parse();
            assert_eq!(parsed.as_ref().map(ProbePath::as_str), Ok(path));
        }
    }

    #[test]
    fn a_path_that_may_lead_to_another_origin_is_refused() {
        for path in [
            "",
            "whoami",
            "?a",
            "*",
            "//other.example/whoami",
            "/a//b",
            "///",
            "/\\other.example",
            "\\\\other.example",
            "/\t/other.example",
            "/\n/other.example",
            "/a\r\nhost: other.example",
            "/a\0",
            "/a b",
            "/a#b",
            "/é",
            "https://other.example/whoami",
            "other.example:443",
            "/..//other.example",
            "/.//other.example",
            "/a/../b",
            "/a/.",
            "/%2e%2E/b",
            "/.%2e",
        ] {
            let refused = path.parse::<ProbePath>().expect_err(path);
            assert_eq!(refused, BuildError::Probe);
            assert!(
                refused
                    .hint()
                    .is_some_and(|hint| hint.contains("/-/whoami"))
            );
        }
    }
}
