//! Settings for issuers whose answers differ from the standard.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use token_rotator_oauth2::AnswerRules;

use super::session::SessionSettings;
use super::values::{ProfileChoice, text_value};

/// How a token is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TokenTypeChoice {
    /// In the Authorization header, as a Bearer token
    Bearer,
}

/// Fields of the issuer's answers with other names: standard names and the paths of the values.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(
    try_from = "BTreeMap<String, String>",
    into = "BTreeMap<String, String>"
)]
pub(crate) struct FieldPaths(BTreeMap<String, String>);

impl TryFrom<BTreeMap<String, String>> for FieldPaths {
    type Error = String;

    fn try_from(fields: BTreeMap<String, String>) -> Result<Self, String> {
        for (name, path) in &fields {
            if !AnswerRules::reads(name, path) {
                return Err(format!(
                    "`{name} = {path:?}` is no field with a path; the fields are {}, and a path is \
                     written like authed_user.access_token",
                    AnswerRules::FIELDS.join(", ")
                ));
            }
        }
        Ok(Self(fields))
    }
}

impl From<FieldPaths> for BTreeMap<String, String> {
    fn from(fields: FieldPaths) -> Self {
        fields.0
    }
}

impl FromStr for FieldPaths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pairs: Option<BTreeMap<_, _>> = text
            .split(',')
            .map(|pair| {
                let (name, path) = pair.split_once('=')?;
                Some((name.trim().to_owned(), path.trim().to_owned()))
            })
            .collect();
        let pairs = pairs.ok_or("write NAME=PATH, several separated by commas")?;
        pairs.try_into()
    }
}

impl fmt::Display for FieldPaths {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<_> = self
            .0
            .iter()
            .map(|(name, path)| format!("{name}={path}"))
            .collect();
        out.write_str(&pairs.join(","))
    }
}

/// A parameter of the sign-in request: a name and a value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct SignInParam {
    name: String,
    value: String,
}

impl SignInParam {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn value(&self) -> &str {
        &self.value
    }
}

impl FromStr for SignInParam {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or("write NAME=VALUE, such as access_type=offline")?;
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

impl fmt::Display for SignInParam {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}={}", self.name, self.value)
    }
}

text_value!(SignInParam);

impl SessionSettings {
    /// Returns how the issuer's answers differ from the standard.
    pub(crate) fn answer_rules(&self) -> AnswerRules {
        let mut rules = AnswerRules::new();
        if let Some(choice) = &self.profile {
            rules = rules.profile(choice.profile);
        }
        if self.dynamic_client == Some(true) {
            rules = rules.dynamic_client();
        }
        if self.token_type == Some(TokenTypeChoice::Bearer) {
            rules = rules.assume_bearer();
        }
        for (name, path) in self.fields.iter().flat_map(|fields| &fields.0) {
            rules = rules.field(name, path);
        }
        rules
    }

    /// Returns whether a refresh sends the scope. By RFC 6749 section 6 a refresh without scope keeps
    /// the granted scope, but Azure AD B2C then gives no access token.
    pub(crate) fn sends_scope_at_refresh(&self) -> bool {
        self.is_for_client()
            || self.scope_at_refresh.unwrap_or_else(|| {
                let profile = self.profile.as_ref();
                profile.is_some_and(ProfileChoice::needs_scope)
            })
    }
}
