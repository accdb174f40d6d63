//! What is known of a session before anybody signs in.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are the program's help, which shows them as they stand"
)]

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::values::{Address, OriginText, ProfileChoice, Time};

/// Everything about a session but its tokens: in the file, in the environment or as flags of `login`.
#[derive(Args, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "The session")]
pub(crate) struct SessionSettings {
    /// The issuer, letter by letter as it writes itself; its endpoints are discovered (RFC 8414, OpenID
    /// Connect Discovery)
    #[arg(long, value_name = "URL", env = "TOKEN_ROTATOR_ISSUER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<Address>,

    /// The client, as the issuer has registered it
    #[arg(long, value_name = "ID", env = "TOKEN_ROTATOR_CLIENT_ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,

    /// The environment variable that the client's secret is in
    #[arg(long, value_name = "NAME", conflicts_with = "client_secret_file")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret_env: Option<String>,

    /// The file that the client's secret is in, read anew for each refresh
    #[arg(long, value_name = "FILE", env = "TOKEN_ROTATOR_CLIENT_SECRET_FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret_file: Option<PathBuf>,

    /// How the client authenticates [default: basic if there is a secret, else none]
    #[arg(long, value_enum, value_name = "METHOD", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_auth: Option<ClientAuthChoice>,

    /// How to sign in [default: authorization-code; where nothing but a token endpoint is known,
    /// refresh-token]
    #[arg(long, value_enum, env = "TOKEN_ROTATOR_GRANT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grant: Option<GrantChoice>,

    /// The scope to ask for, several separated by blanks
    #[arg(long, env = "TOKEN_ROTATOR_SCOPE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,

    /// An API that the token is for (RFC 8707); may be given several times
    #[arg(long, value_name = "URI", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource: Option<Vec<String>>,

    /// The API that the token is for, where the issuer has its own names for them
    #[arg(long, hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audience: Option<String>,

    /// What the issuer does with a used refresh token: strict, auth0:TIME, okta, keycloak,
    /// hydra:TIME, supabase, fapi2, multi-use, leeway:TIME [default: strict]
    #[arg(long, env = "TOKEN_ROTATOR_PROFILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<ProfileChoice>,

    /// Where the token may go, such as https://api.example.com, for what checks it (git); may be
    /// given several times
    #[arg(long = "origin", value_name = "ORIGIN", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origins: Option<Vec<OriginText>>,

    /// How long before its expiry a token is refreshed [default: 60s]
    #[arg(long, value_name = "DURATION", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_before: Option<Time>,

    /// Certificates (PEM) that the issuer's may be signed by, besides those of the system
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,

    /// The port of the redirect address on this machine, 0 for a free one [default: 0]
    #[arg(long, value_name = "PORT", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redirect_port: Option<u16>,

    /// The issuer's token endpoint, in place of the one that is discovered
    #[arg(long, value_name = "URL", env = "TOKEN_ROTATOR_TOKEN_ENDPOINT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_endpoint: Option<Address>,

    /// Its authorization endpoint, likewise
    #[arg(long, value_name = "URL", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authorization_endpoint: Option<Address>,

    /// Its device authorization endpoint, likewise
    #[arg(long, value_name = "URL", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_authorization_endpoint: Option<Address>,

    /// Its revocation endpoint, likewise
    #[arg(long, value_name = "URL", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revocation_endpoint: Option<Address>,
}

/// How to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GrantChoice {
    /// In the browser, with PKCE
    AuthorizationCode,
    /// With a code to enter on another device
    Device,
    /// As the client itself
    ClientCredentials,
    /// With a refresh token on stdin
    RefreshToken,
}

/// How the client authenticates (RFC 6749 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ClientAuthChoice {
    /// Not at all
    None,
    /// With its secret in the Authorization header
    Basic,
    /// With its secret in the form
    Post,
}

impl SessionSettings {
    /// How to sign in: as is said, or as far as the issuer is known.
    pub(crate) fn grant(&self) -> GrantChoice {
        let with_browser = self.issuer.is_some() || self.authorization_endpoint.is_some();
        match self.grant {
            Some(grant) => grant,
            None if with_browser => GrantChoice::AuthorizationCode,
            None if self.device_authorization_endpoint.is_some() => GrantChoice::Device,
            None if self.token_endpoint.is_some() => GrantChoice::RefreshToken,
            // Which says that there is no issuer.
            None => GrantChoice::AuthorizationCode,
        }
    }

    /// The first key by which the two would send a token elsewhere, or as another client.
    pub(crate) fn goes_elsewhere(&self, other: &Self) -> Option<&'static str> {
        [
            ("issuer", self.issuer == other.issuer),
            ("client_id", self.client_id == other.client_id),
            (
                "token_endpoint",
                self.token_endpoint == other.token_endpoint,
            ),
            (
                "revocation_endpoint",
                self.revocation_endpoint == other.revocation_endpoint,
            ),
        ]
        .into_iter()
        .find_map(|(key, same)| (!same).then_some(key))
    }

    /// With the paths that were typed written so that they are found from any directory.
    pub(crate) fn from_anywhere(mut self) -> Self {
        let paths = [&mut self.client_secret_file, &mut self.ca_file];
        for path in paths.into_iter().flatten() {
            if let Ok(whole) = std::path::absolute(&*path) {
                *path = whole;
            }
        }
        self
    }

    /// These, and from `under` what these leave open.
    ///
    /// With another issuer than below, the endpoints below are another's too: none is taken.
    pub(crate) fn over(self, mut under: Self) -> Self {
        if self.issuer.is_some() && self.issuer != under.issuer {
            under.token_endpoint = None;
            under.authorization_endpoint = None;
            under.device_authorization_endpoint = None;
            under.revocation_endpoint = None;
        }
        // A secret's place is one setting in two spellings.
        let names_secret = self.client_secret_env.is_some() || self.client_secret_file.is_some();
        let (secret_env, secret_file) = if names_secret {
            (self.client_secret_env, self.client_secret_file)
        } else {
            (under.client_secret_env, under.client_secret_file)
        };
        Self {
            issuer: self.issuer.or(under.issuer),
            client_id: self.client_id.or(under.client_id),
            client_secret_env: secret_env,
            client_secret_file: secret_file,
            client_auth: self.client_auth.or(under.client_auth),
            grant: self.grant.or(under.grant),
            scope: self.scope.or(under.scope),
            resource: self.resource.or(under.resource),
            audience: self.audience.or(under.audience),
            profile: self.profile.or(under.profile),
            origins: self.origins.or(under.origins),
            refresh_before: self.refresh_before.or(under.refresh_before),
            ca_file: self.ca_file.or(under.ca_file),
            redirect_port: self.redirect_port.or(under.redirect_port),
            token_endpoint: self.token_endpoint.or(under.token_endpoint),
            authorization_endpoint: self.authorization_endpoint.or(under.authorization_endpoint),
            device_authorization_endpoint: self
                .device_authorization_endpoint
                .or(under.device_authorization_endpoint),
            revocation_endpoint: self.revocation_endpoint.or(under.revocation_endpoint),
        }
    }
}
