//! Reads and checks the redirect (RFC 6749 section 4.1.2; RFC 9207).

use std::collections::BTreeMap;

use token_rotator::{ExposeSecret, SecretString};

use crate::answer::is_code;
use crate::discovery::IssuerMetadata;
use crate::secrets::Secrets;

/// The parameters of a redirect. Keeps every value of a repeated parameter.
pub(super) struct RedirectParameters(BTreeMap<String, Vec<String>>);

impl RedirectParameters {
    /// Reads the query, or the whole address that contains it.
    pub(super) fn read(text: &str, redirect_uri: &str) -> Self {
        let text = text.trim();
        let address = text.strip_prefix(redirect_uri);
        let address = address.or_else(|| text.starts_with('/').then_some(text));
        // Without an address before it, a `?` may be part of a value.
        let query = match address {
            Some(address) => address
                .split_once(['?', '&'])
                .map_or("", |(_, query)| query),
            None => text.strip_prefix('?').unwrap_or(text),
        };
        let query = query.split_once('#').map_or(query, |(query, _)| query);
        let mut parameters = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let values = parameters.entry(name.into_owned()).or_default();
            values.push(value.into_owned());
        }
        Self(parameters)
    }

    /// Returns the code if the redirect belongs to this sign-in.
    pub(super) fn code(
        &self,
        state: &SecretString,
        issuer: Option<&str>,
        iss_required: bool,
        mut secrets: Secrets,
    ) -> Result<SecretString, RedirectError> {
        match self.0.get("state").map(Vec::as_slice) {
            Some([received]) if received == state.expose_secret() => {}
            _ => return Err(RedirectError::Foreign),
        }
        if let Some(code) = self.first("code") {
            secrets.push(&code.into());
        }
        if let Some((name, _)) = self.0.iter().find(|(_, values)| values.len() > 1) {
            return Err(RedirectError::Repeated {
                name: secrets.scrub(name),
            });
        }
        if let Some(issuer) = issuer {
            match self.first("iss") {
                Some(received) if !IssuerMetadata::is_issuer(issuer, received) => {
                    return Err(RedirectError::OtherIssuer {
                        issuer: issuer.to_owned(),
                    });
                }
                None if iss_required => {
                    return Err(RedirectError::NoIssuer {
                        issuer: issuer.to_owned(),
                    });
                }
                _ => {}
            }
        }
        if let Some(error) = self.first("error") {
            return Err(self.refusal(error, &secrets));
        }
        self.first("code")
            .filter(|code| !code.is_empty())
            .map(SecretString::from)
            .ok_or(RedirectError::NoCode)
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str)
    }

    fn refusal(&self, error: &str, secrets: &Secrets) -> RedirectError {
        let description = self.first("error_description");
        let description = description
            .map(|text| secrets.scrub(text))
            .filter(|text| !text.is_empty());
        let shown = !error.is_empty() && is_code(error) && !secrets.occur_in(error);
        match error {
            "access_denied" => RedirectError::AccessDenied { description },
            _ => RedirectError::Refused {
                code: if shown { error } else { "unreadable" }.to_owned(),
                description,
            },
        }
    }
}

/// Why a redirect brought no code. [`hint`](Self::hint) returns the action for the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedirectError {
    /// The redirect does not carry the `state` of this sign-in. It comes from an old tab, or from
    /// an attacker who wants to replace the user's session (RFC 6749 section 10.12).
    #[error("the redirect belongs to another sign-in (`state`)")]
    Foreign,
    /// The redirect repeats a parameter (RFC 6749 section 3.1).
    #[error("the redirect has the parameter `{name}` more than once")]
    Repeated {
        /// Name of the parameter.
        name: String,
    },
    /// The redirect comes from a different issuer: a mix-up attack (RFC 9207), or a second issuer
    /// behind the same sign-in page.
    #[error("the redirect does not come from `{issuer}` (`iss`)")]
    OtherIssuer {
        /// The issuer of this sign-in.
        issuer: String,
    },
    /// The redirect has no `iss`, although the issuer's metadata promises it (RFC 9207 section
    /// 2.4).
    #[error(
        "the redirect does not say that it comes from `{issuer}` (`iss`), as that issuer promises"
    )]
    NoIssuer {
        /// The issuer of this sign-in.
        issuer: String,
    },
    /// The user or the issuer denied the sign-in.
    #[error("the sign-in was denied (access_denied){}", after_colon(description.as_deref()))]
    AccessDenied {
        /// The issuer's description.
        description: Option<String>,
    },
    /// The issuer refused the request (RFC 6749 section 4.1.2.1; OIDC Core section 3.1.2.6).
    #[error("the issuer refused the sign-in ({code}){}", after_colon(description.as_deref()))]
    Refused {
        /// The error code, or `unreadable` if it must not be shown.
        code: String,
        /// The issuer's description.
        description: Option<String>,
    },
    /// The redirect has neither a code nor an error.
    #[error("the redirect brought neither a code nor an error")]
    NoCode,
}

impl RedirectError {
    /// Returns whether the redirect belongs to a different sign-in. The redirect of this sign-in
    /// may still come.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign)
    }

    /// Returns the action for the cause. Every cause has a hint.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Foreign => "ignore it, and wait for the redirect that belongs to this sign-in",
            Self::OtherIssuer { .. } => "sign in again, and check the issuer URL",
            Self::AccessDenied { .. } => "sign in again, and allow it",
            Self::Refused { code, .. } => advice(code),
            Self::Repeated { .. } | Self::NoIssuer { .. } | Self::NoCode => "sign in again",
        })
    }

    /// Returns the issuer's error code.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::AccessDenied { .. } => Some("access_denied"),
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

fn after_colon(description: Option<&str>) -> String {
    description.map_or_else(String::new, |text| format!(": {text}"))
}

fn advice(code: &str) -> &'static str {
    match code {
        "invalid_scope" => "ask for another scope",
        "invalid_target" => "ask for another resource or audience",
        "unauthorized_client" | "unsupported_response_type" => {
            "let the issuer allow this client the authorization code grant"
        }
        "server_error" | "temporarily_unavailable" => "try again later",
        "login_required"
        | "interaction_required"
        | "consent_required"
        | "account_selection_required" => "sign in without `prompt=none`",
        _ => "check how the client is registered at the issuer",
    }
}
