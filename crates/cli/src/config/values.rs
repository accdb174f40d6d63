//! Value types that files, environment variables and flags share.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use serde::{Deserialize, Serialize};
use token_rotator::{Origin, Profile};

use crate::arguments::values::parse_duration;

/// Implements the conversions of a value that is written as text and serialised as that text.
macro_rules! text_value {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}
pub(super) use text_value;

/// The name of a session: letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct SessionName(String);

impl SessionName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let valid = (1..=64).contains(&text.len())
            && text.chars().all(allowed)
            && !text.starts_with(['.', '-']);
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(
                "a session's name has 1 to 64 letters, digits, `.`, `_` or `-`, and begins with \
                 neither `.` nor `-`"
                    .to_owned(),
            )
        }
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

text_value!(SessionName);

/// The URL of an issuer or of one of its endpoints: https, or http on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct IssuerUrl(String);

impl IssuerUrl {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IssuerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Option<Uri> = text.parse().ok().filter(|_| text.is_ascii());
        let Some(uri) = uri.filter(|_| !text.contains('#')) else {
            return Err("it is not a URL; write it like https://issuer.example".to_owned());
        };
        // A user name, or the end of a password whose special characters are not encoded.
        if text.contains('@') {
            return Err("it has an `@`; write it without user name and password, like https://issuer.example".to_owned());
        }
        match Origin::of(&uri) {
            Some(_) => Ok(Self(text.to_owned())),
            None if uri.scheme_str() == Some("http") => Err(
                "http would send tokens unencrypted; use https (http is only for this machine: \
                 127.0.0.1, [::1], localhost)"
                    .to_owned(),
            ),
            None => Err(
                "it is not the URL of a server; write it like https://issuer.example".to_owned(),
            ),
        }
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

text_value!(IssuerUrl);

/// An origin that may receive a token: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct OriginText(pub(crate) Origin);

impl FromStr for OriginText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let origin: Result<Origin, _> = text.parse();
        // The parsers of flags and of files take one text.
        origin.map(Self).map_err(|error| match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        })
    }
}

impl fmt::Display for OriginText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

text_value!(OriginText);

/// A duration and the text it was written as.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct DurationText {
    text: String,
    pub(crate) duration: Duration,
}

impl FromStr for DurationText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let duration = parse_duration(text)?;
        Ok(Self {
            text: text.to_owned(),
            duration,
        })
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

text_value!(DurationText);

/// The profile of an issuer: its name, and the grace period if the profile has one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ProfileChoice {
    text: String,
    pub(crate) profile: Profile,
}

/// Microsoft Entra ID.
const ENTRA: &str = "entra";
/// Azure AD B2C.
const B2C: &str = "b2c";

impl ProfileChoice {
    /// Returns whether the issuer gives an access token only to a refresh with a scope.
    pub(crate) fn needs_scope(&self) -> bool {
        self.text == ENTRA || self.text == B2C
    }

    /// Returns whether the issuer's metadata may have the placeholder `{tenantid}` in its name.
    pub(crate) fn has_tenants(&self) -> bool {
        self.text == ENTRA
    }
}

impl FromStr for ProfileChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, time) = match text.split_once(':') {
            Some((name, time)) => (name, Some(parse_duration(time)?)),
            None => (text, None),
        };
        let profile = match (name, time) {
            ("strict", None) => Profile::strict(),
            ("keycloak", None) => Profile::keycloak(),
            ("supabase", None) => Profile::supabase(),
            ("slack", None) => Profile::slack(),
            ("firebase", None) => Profile::firebase(),
            ("glewlwyd", None) => Profile::glewlwyd(),
            ("fapi2", None) => Profile::fapi2(),
            (ENTRA | B2C | "google" | "multi-use", None) => Profile::multi_use(),
            ("okta", None) => Profile::okta(),
            ("okta" | "leeway", Some(time)) => Profile::leeway(time),
            ("auth0", Some(time)) => Profile::auth0(time),
            ("hydra", Some(time)) => Profile::hydra(time),
            ("auth0" | "hydra" | "leeway", None) => {
                return Err(format!(
                    "add for how long the issuer accepts a used refresh token again: {name}:30s"
                ));
            }
            _ => {
                return Err(
                    "write one of strict, auth0:TIME, okta, keycloak, hydra:TIME, supabase, fapi2, \
                     entra, b2c, google, slack, firebase, glewlwyd, multi-use, leeway:TIME"
                        .to_owned(),
                );
            }
        };
        Ok(Self {
            text: text.to_owned(),
            profile,
        })
    }
}

impl fmt::Display for ProfileChoice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

text_value!(ProfileChoice);
