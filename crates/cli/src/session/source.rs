//! The issuer of a session, asked as its settings say.

use std::sync::Arc;

use token_rotator::{Refreshed, SecretString, SourceError, TokenSet, TokenSource};
use token_rotator_oauth2::{self as oauth2, IssuerMetadata, TokenEndpoint};
use token_rotator_reqwest::ReqwestTransport;

use super::endpoints::{Endpoint, Endpoints};
use crate::command_error::CommandError;
use crate::config::{ClientAuthChoice, GrantChoice, SessionSettings};

/// Where a client's secret is if nothing else is said.
const SECRET_VARIABLE: &str = "TOKEN_ROTATOR_CLIENT_SECRET";

/// Refreshes at the session's issuer.
///
/// Secrets are read anew each time, so that they can be exchanged under a program that runs. Endpoints
/// that have to be discovered are when they are needed first.
pub(crate) struct IssuerSource {
    settings: SessionSettings,
    transport: ReqwestTransport,
    endpoints: Endpoints,
}

impl IssuerSource {
    pub(crate) fn new(settings: &SessionSettings, transport: ReqwestTransport) -> Self {
        Self {
            settings: settings.clone(),
            endpoints: Endpoints::new(settings, transport.clone()),
            transport,
        }
    }

    /// Whether tokens can be revoked (RFC 7009).
    pub(crate) async fn can_revoke(&self) -> Result<bool, SourceError> {
        let metadata = self.endpoints.find(&[Endpoint::Revocation]).await?;
        Ok(metadata.revocation_endpoint().is_some())
    }

    async fn endpoint(&self, needed: &[Endpoint]) -> Result<TokenEndpoint, SourceError> {
        let metadata = self.endpoints.find(needed).await?;
        token_endpoint(&self.settings, &metadata, self.transport.clone())
            .map_err(|error| SourceError::misconfigured(error.to_string()))
    }
}

impl TokenSource for IssuerSource {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        let endpoint = self.endpoint(&[Endpoint::Token]).await?;
        endpoint.refresh(last).await
    }

    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        let needed = [Endpoint::Token, Endpoint::Revocation];
        self.endpoint(&needed).await?.revoke(tokens).await
    }
}

/// The token endpoint that these settings lead to.
fn token_endpoint(
    settings: &SessionSettings,
    metadata: &IssuerMetadata,
    transport: ReqwestTransport,
) -> Result<TokenEndpoint, CommandError> {
    let client_id = settings.client_id()?;
    let Some(url) = metadata.token_endpoint().map(ToString::to_string) else {
        return Err(CommandError::new("the issuer names no token endpoint"));
    };
    let mut builder = if settings.is_for_client() {
        oauth2::client_credentials(url, client_id)
    } else {
        oauth2::refresh_token(url, client_id)
    };
    builder = match settings.client_auth()? {
        ClientAuth::None => builder,
        ClientAuth::Basic(secret) => builder.client_secret_basic(secret),
        ClientAuth::Post(secret) => builder.client_secret_post(secret),
    };
    // At a refresh the scope stays what was granted (RFC 6749 section 6).
    if let Some(scope) = settings
        .scope
        .as_deref()
        .filter(|_| settings.is_for_client())
    {
        builder = builder.scope(scope);
    }
    for resource in settings.resource.iter().flatten() {
        builder = builder.resource(resource);
    }
    if let Some(audience) = &settings.audience {
        builder = builder.audience(audience);
    }
    if let Some(url) = metadata.revocation_endpoint() {
        builder = builder.revocation_url(url.to_string());
    }
    builder
        .transport(transport)
        .build()
        .map_err(|error| CommandError::new("the issuer cannot be asked").because(error))
}

/// How a client authenticates, its secret in hand.
pub(crate) enum ClientAuth {
    None,
    Basic(SecretString),
    Post(SecretString),
}

impl SessionSettings {
    /// Whether its tokens are the client's own.
    pub(crate) fn is_for_client(&self) -> bool {
        self.grant() == GrantChoice::ClientCredentials
    }

    pub(crate) fn client_id(&self) -> Result<&str, CommandError> {
        self.client_id.as_deref().ok_or_else(|| {
            CommandError::new("the session has no client id")
                .hint("give the id that the issuer has registered: `--client-id`, or `client_id` in the configuration")
        })
    }

    pub(crate) fn client_auth(&self) -> Result<ClientAuth, CommandError> {
        let secret = self.client_secret()?;
        match (self.client_auth, secret) {
            (Some(ClientAuthChoice::None), _) | (None, None) => Ok(ClientAuth::None),
            (Some(ClientAuthChoice::Post), Some(secret)) => Ok(ClientAuth::Post(secret)),
            (Some(ClientAuthChoice::Basic) | None, Some(secret)) => Ok(ClientAuth::Basic(secret)),
            (Some(_), None) => Err(CommandError::new("the client's secret is missing")
                .why("`client_auth` says that the client authenticates with one")
                .hint(format!(
                    "set {SECRET_VARIABLE}, or name its place with `client_secret_env` or `client_secret_file`"
                ))),
        }
    }

    fn client_secret(&self) -> Result<Option<SecretString>, CommandError> {
        if let Some(path) = &self.client_secret_file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                CommandError::new("the client's secret cannot be read")
                    .why(format!("{}: {error}", path.display()))
                    .hint("check `client_secret_file`, and who may read it")
            })?;
            // Editors and shells end a file with a line break.
            let secret = text.trim_end_matches(['\r', '\n']);
            return Ok(Some(SecretString::from(secret.to_owned())));
        }
        let name = self.client_secret_env.as_deref();
        match std::env::var(name.unwrap_or(SECRET_VARIABLE)) {
            Ok(secret) => Ok(Some(SecretString::from(secret))),
            Err(_) if name.is_none() => Ok(None),
            Err(_) => Err(CommandError::new("the client's secret is missing")
                .why(format!(
                    "the environment variable {} is not set",
                    name.unwrap_or_default()
                ))
                .hint("set it, or name another place with `client_secret_file`")),
        }
    }
}
