//! The settings of a session: the `[sessions.NAME]` table and the flags of `login`.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are the program's help, which shows them as they stand"
)]

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::answers::{FieldPaths, SignInParam, TokenTypeChoice};
use super::redirect::RedirectAddress;
use super::values::{DurationText, IssuerUrl, OriginText, ProfileChoice};

/// The settings of a session, from files, the environment or the flags of `login`.
#[derive(Args, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "The session")]
pub(crate) struct SessionSettings {
    /// The issuer, exactly as its metadata writes it; its endpoints are discovered (RFC 8414, OpenID
    /// Connect Discovery)
    #[arg(long, value_name = "URL", env = "TOKEN_ROTATOR_ISSUER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<IssuerUrl>,

    /// The client id that the issuer has registered
    #[arg(long, value_name = "ID", env = "TOKEN_ROTATOR_CLIENT_ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,

    /// The environment variable with the client's secret
    #[arg(long, value_name = "NAME", conflicts_with = "client_secret_file")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret_env: Option<String>,

    /// The file with the client's secret, read anew for each refresh
    #[arg(long, value_name = "FILE", env = "TOKEN_ROTATOR_CLIENT_SECRET_FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret_file: Option<PathBuf>,

    /// How the client authenticates [default: as the issuer's metadata says, else basic if there is a
    /// secret, else none]
    #[arg(long, value_enum, value_name = "METHOD", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_auth: Option<ClientAuthChoice>,

    /// How to sign in [default: authorization-code; with only a token endpoint configured,
    /// refresh-token]
    #[arg(long, value_enum, env = "TOKEN_ROTATOR_GRANT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grant: Option<GrantChoice>,

    /// The scope to request; separate several by spaces
    #[arg(long, env = "TOKEN_ROTATOR_SCOPE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,

    /// Send the scope with each refresh too, as Azure AD B2C needs it [default: only with the profiles
    /// entra and b2c]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope_at_refresh: Option<bool>,

    /// An API that the token is meant for (RFC 8707); may be given several times
    #[arg(long, value_name = "URI", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource: Option<Vec<String>>,

    /// The API that the token is meant for, for issuers with their own `audience` parameter
    #[arg(long, hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audience: Option<String>,

    /// What the issuer does with a used refresh token, and its own error codes: strict, auth0:TIME,
    /// okta, keycloak, hydra:TIME, supabase, fapi2, entra, b2c, google, slack, firebase, glewlwyd,
    /// multi-use, leeway:TIME [default: strict]
    #[arg(long, env = "TOKEN_ROTATOR_PROFILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<ProfileChoice>,

    /// An origin that may receive the token, such as https://api.example.com; the proxy and the git
    /// helper check it; may be given several times
    #[arg(long = "origin", value_name = "ORIGIN", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origins: Option<Vec<OriginText>>,

    /// How long before its expiry a token is refreshed [default: 60s]
    #[arg(long, value_name = "DURATION", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_before: Option<DurationText>,

    /// How long a token lives whose issuer does not say it and that is no JWT, such as `2h` [default: until it is
    /// refused]
    #[arg(long, value_name = "DURATION", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lifetime: Option<DurationText>,

    /// Root certificates (PEM) for the issuer, in addition to those of the system
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,

    /// The redirect address that the client has registered: host, port and path on this machine, such
    /// as http://localhost:8400/callback; port 0 takes a free one [default: http://127.0.0.1:0/callback]
    #[arg(
        long,
        value_name = "URL",
        hide_short_help = true,
        conflicts_with = "redirect_port"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redirect_uri: Option<RedirectAddress>,

    /// The port of the redirect address on this machine, 0 for a free one [default: 0]
    #[arg(long, value_name = "PORT", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redirect_port: Option<u16>,

    /// The issuer's token endpoint; replaces the discovered one
    #[arg(long, value_name = "URL", env = "TOKEN_ROTATOR_TOKEN_ENDPOINT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_endpoint: Option<IssuerUrl>,

    /// The issuer's authorization endpoint; replaces the discovered one
    #[arg(long, value_name = "URL", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authorization_endpoint: Option<IssuerUrl>,

    /// The issuer's device authorization endpoint; replaces the discovered one
    #[arg(long, value_name = "URL", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_authorization_endpoint: Option<IssuerUrl>,

    /// The issuer's revocation endpoint; replaces the discovered one
    #[arg(long, value_name = "URL", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revocation_endpoint: Option<IssuerUrl>,

    /// A further parameter of the sign-in request, such as access_type=offline; may be given several
    /// times
    #[arg(long = "param", value_name = "NAME=VALUE", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) params: Option<Vec<SignInParam>>,

    /// The client was registered dynamically (RFC 7591): `invalid_client` then ends the session,
    /// because its refresh token is bound to that registration
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dynamic_client: Option<bool>,

    /// The user of this session at git hosts; the git helper answers for no other user [default: the
    /// user that the tokens name]
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,

    /// How the token is sent, whatever `token_type` the issuer gives it
    #[arg(long, value_enum, value_name = "TYPE", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_type: Option<TokenTypeChoice>,

    /// Fields of the issuer's answers with other names, separated by commas, such as
    /// access_token=authed_user.access_token
    #[arg(long, value_name = "NAME=PATH", hide_short_help = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fields: Option<FieldPaths>,
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
    /// Returns the configured grant, or else the grant that the configured endpoints allow.
    pub(crate) fn grant(&self) -> GrantChoice {
        let with_browser = self.issuer.is_some() || self.authorization_endpoint.is_some();
        match self.grant {
            Some(grant) => grant,
            None if with_browser => GrantChoice::AuthorizationCode,
            None if self.device_authorization_endpoint.is_some() => GrantChoice::Device,
            None if self.token_endpoint.is_some() => GrantChoice::RefreshToken,
            // This grant reports the missing issuer.
            None => GrantChoice::AuthorizationCode,
        }
    }

    /// Returns the first key in which both settings name another issuer, client or endpoint.
    ///
    /// Returns `None` if both send tokens to the same endpoints as the same client.
    pub(crate) fn conflicting_key(&self, other: &Self) -> Option<&'static str> {
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

    /// Makes the paths absolute, so that they are found from any directory.
    pub(crate) fn with_absolute_paths(mut self) -> Self {
        let paths = [&mut self.client_secret_file, &mut self.ca_file];
        for path in paths.into_iter().flatten() {
            if let Ok(absolute_path) = std::path::absolute(&*path) {
                *path = absolute_path;
            }
        }
        self
    }

    /// Fills unset settings from `fallback`.
    ///
    /// If both name different issuers, the endpoints of `fallback` belong to the other issuer and are
    /// ignored.
    pub(crate) fn with_fallback(self, mut fallback: Self) -> Self {
        if self.issuer.is_some() && self.issuer != fallback.issuer {
            fallback.token_endpoint = None;
            fallback.authorization_endpoint = None;
            fallback.device_authorization_endpoint = None;
            fallback.revocation_endpoint = None;
        }
        // The two secret keys are one setting: the location of the secret.
        let names_secret = self.client_secret_env.is_some() || self.client_secret_file.is_some();
        let (secret_env, secret_file) = if names_secret {
            (self.client_secret_env, self.client_secret_file)
        } else {
            (fallback.client_secret_env, fallback.client_secret_file)
        };
        // The two redirect keys are one setting: the redirect address.
        let names_redirect = self.redirect_uri.is_some() || self.redirect_port.is_some();
        let (redirect_uri, redirect_port) = if names_redirect {
            (self.redirect_uri, self.redirect_port)
        } else {
            (fallback.redirect_uri, fallback.redirect_port)
        };
        Self {
            issuer: self.issuer.or(fallback.issuer),
            client_id: self.client_id.or(fallback.client_id),
            client_secret_env: secret_env,
            client_secret_file: secret_file,
            client_auth: self.client_auth.or(fallback.client_auth),
            grant: self.grant.or(fallback.grant),
            scope: self.scope.or(fallback.scope),
            scope_at_refresh: self.scope_at_refresh.or(fallback.scope_at_refresh),
            resource: self.resource.or(fallback.resource),
            audience: self.audience.or(fallback.audience),
            profile: self.profile.or(fallback.profile),
            origins: self.origins.or(fallback.origins),
            refresh_before: self.refresh_before.or(fallback.refresh_before),
            lifetime: self.lifetime.or(fallback.lifetime),
            ca_file: self.ca_file.or(fallback.ca_file),
            redirect_uri,
            redirect_port,
            token_endpoint: self.token_endpoint.or(fallback.token_endpoint),
            authorization_endpoint: self
                .authorization_endpoint
                .or(fallback.authorization_endpoint),
            device_authorization_endpoint: self
                .device_authorization_endpoint
                .or(fallback.device_authorization_endpoint),
            revocation_endpoint: self.revocation_endpoint.or(fallback.revocation_endpoint),
            params: self.params.or(fallback.params),
            dynamic_client: self.dynamic_client.or(fallback.dynamic_client),
            username: self.username.or(fallback.username),
            token_type: self.token_type.or(fallback.token_type),
            fields: self.fields.or(fallback.fields),
        }
    }
}
