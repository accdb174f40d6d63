//! The token source of a session: refreshes and revokes at the session's issuer.

use std::sync::Arc;

use token_rotator::store::{Binding, Fingerprint};
use token_rotator::{
    FailureKind, Refreshed, SecretString, SessionKey, SourceError, TokenSet, TokenSource,
};
use token_rotator_oauth2::{self as oauth2, IssuerMetadata, TokenEndpoint};
use token_rotator_reqwest::ReqwestTransport;

use super::endpoints::{DiscoveryCache, Endpoint, Endpoints};
use crate::command_error::CommandError;
use crate::config::{ClientAuthChoice, GrantChoice, SessionSettings};
use crate::secret_file::{read_secret, secret_file_hint};

/// The default environment variable of the client's secret.
pub(super) const SECRET_VARIABLE: &str = "TOKEN_ROTATOR_CLIENT_SECRET";

/// Refreshes at the session's issuer.
///
/// Reads the client's secret anew for each refresh, so that it can change while the program runs.
/// Discovers endpoints at their first use, and again after a refresh was misconfigured or not sent.
pub(crate) struct IssuerSource {
    settings: SessionSettings,
    transport: ReqwestTransport,
    endpoints: Endpoints,
}

impl IssuerSource {
    pub(crate) fn new(
        settings: &SessionSettings,
        transport: ReqwestTransport,
        cache: DiscoveryCache,
    ) -> Self {
        Self {
            settings: settings.clone(),
            endpoints: Endpoints::new(settings, transport.clone(), cache),
            transport,
        }
    }

    /// Returns whether the issuer can revoke tokens (RFC 7009).
    pub(crate) async fn can_revoke(&self) -> Result<bool, SourceError> {
        let metadata = self.endpoints.find(&[Endpoint::Revocation]).await?;
        Ok(metadata.revocation_endpoint().is_some())
    }

    async fn endpoint(&self, needed: &[Endpoint]) -> Result<TokenEndpoint, SourceError> {
        let metadata = self.endpoints.find(needed).await?;
        token_endpoint(&self.settings, &metadata, self.transport.clone())
            .map_err(|error| error.to_source_error(FailureKind::Misconfigured))
    }
}

impl TokenSource for IssuerSource {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        let endpoint = self.endpoint(&[Endpoint::Token]).await?;
        let outcome = endpoint.refresh(last).await;
        if let Err(error) = &outcome
            && matches!(
                error.kind(),
                FailureKind::Misconfigured | FailureKind::NotSent
            )
        {
            // The endpoint may have moved while the program runs.
            self.endpoints.clear_cache();
        }
        outcome
    }

    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        self.endpoint(&TO_REVOKE).await?.revoke(tokens).await
    }

    async fn binding(&self, _session: &SessionKey) -> Result<Option<Binding>, SourceError> {
        let metadata = self.endpoints.find(&[Endpoint::Token]).await?;
        Ok(Some(self.endpoints.binding(&metadata)))
    }

    async fn binding_to_revoke(
        &self,
        _session: &SessionKey,
    ) -> Result<Option<Binding>, SourceError> {
        let metadata = self.endpoints.find(&TO_REVOKE).await?;
        Ok(Some(self.endpoints.binding(&metadata)))
    }

    fn known_binding(&self, _session: &SessionKey) -> Option<Binding> {
        self.endpoints.known_binding()
    }

    /// Hashes the settings that a request to the token endpoint depends on. The client's secret is
    /// the key of the hash. Settings that cannot be used have no fingerprint.
    fn fingerprint(&self, _session: &SessionKey) -> Option<Fingerprint> {
        let settings = SessionSettings {
            // Settings of the sign-in and of this program change no refresh.
            origins: None,
            refresh_before: None,
            profile: None,
            redirect_uri: None,
            redirect_port: None,
            authorization_endpoint: None,
            device_authorization_endpoint: None,
            params: None,
            username: None,
            // The secret itself counts, and not its place.
            client_secret_env: None,
            client_secret_file: None,
            ..self.settings.clone()
        };
        let settings = serde_json::to_string(&settings).ok()?;
        let secret = self.settings.client_secret().ok()?;
        Some(Fingerprint::of([settings.as_str()], secret.as_ref()))
    }
}

/// The endpoints that a revocation needs.
const TO_REVOKE: [Endpoint; 2] = [Endpoint::Token, Endpoint::Revocation];

/// Builds the client of the token endpoint.
fn token_endpoint(
    settings: &SessionSettings,
    metadata: &IssuerMetadata,
    transport: ReqwestTransport,
) -> Result<TokenEndpoint, CommandError> {
    let client_id = settings.client_id()?;
    let Some(url) = metadata.token_endpoint().map(ToString::to_string) else {
        return Err(CommandError::new("the issuer names no token endpoint")
            .hint("give it: `token_endpoint` in the configuration, or `--token-endpoint`"));
    };
    let mut builder = if settings.is_for_client() {
        oauth2::client_credentials(url, client_id)
    } else {
        oauth2::refresh_token(url, client_id)
    };
    let methods = metadata.token_endpoint_auth_methods_supported();
    builder = match settings.client_auth(methods)? {
        ClientAuthentication::None => builder,
        ClientAuthentication::Basic(secret) => builder.client_secret_basic(secret),
        ClientAuthentication::Post(secret) => builder.client_secret_post(secret),
    };
    builder = builder.answer_rules(settings.answer_rules());
    if let Some(scope) = settings
        .scope
        .as_deref()
        .filter(|_| settings.sends_scope_at_refresh())
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
    builder.transport(transport).build().map_err(|error| {
        CommandError::new("no request to the token endpoint can be made")
            .because(&error)
            .hint_of(error.hint())
    })
}

/// How the client authenticates, with its secret.
pub(crate) enum ClientAuthentication {
    None,
    Basic(SecretString),
    Post(SecretString),
}

impl SessionSettings {
    /// Returns whether the client gets tokens for itself, without a user.
    pub(crate) fn is_for_client(&self) -> bool {
        self.grant() == GrantChoice::ClientCredentials
    }

    pub(crate) fn client_id(&self) -> Result<&str, CommandError> {
        self.client_id.as_deref().ok_or_else(|| {
            CommandError::new("the session has no client id")
                .why("no flag, environment variable, configuration or earlier login names one")
                .hint("give the id that the issuer has registered: `--client-id`, or `client_id` in the configuration")
        })
    }

    /// Returns how the client authenticates: as the settings say, else by the first method of the
    /// issuer's metadata that the program has, else in the header.
    pub(crate) fn client_auth(
        &self,
        methods: Option<&[String]>,
    ) -> Result<ClientAuthentication, CommandError> {
        let secret = self.client_secret()?;
        let offers = |method: &str| methods.is_some_and(|all| all.iter().any(|one| one == method));
        let by_metadata = if offers("client_secret_post") && !offers("client_secret_basic") {
            ClientAuthChoice::Post
        } else {
            ClientAuthChoice::Basic
        };
        let choice = self.client_auth.or(secret.is_some().then_some(by_metadata));
        match (choice, secret) {
            (Some(ClientAuthChoice::None) | None, _) => Ok(ClientAuthentication::None),
            (Some(ClientAuthChoice::Post), Some(secret)) => Ok(ClientAuthentication::Post(secret)),
            (Some(ClientAuthChoice::Basic), Some(secret)) => Ok(ClientAuthentication::Basic(secret)),
            (Some(_), None) => Err(CommandError::new("the client's secret is missing")
                .why("`client_auth` says that the client authenticates with one")
                .hint(format!(
                    "set {SECRET_VARIABLE}, or name its location with `client_secret_env` or `client_secret_file`"
                ))),
        }
    }

    /// Remembers that the secret was in the environment at the login, so that its absence later has a
    /// name. The secret itself is not kept.
    pub(crate) fn with_secret_variable(mut self) -> Self {
        let is_set = std::env::var_os(SECRET_VARIABLE).is_some_and(|secret| !secret.is_empty());
        let names_secret = self.client_secret_env.is_some() || self.client_secret_file.is_some();
        if is_set && !names_secret && self.client_auth != Some(ClientAuthChoice::None) {
            self.client_secret_env = Some(SECRET_VARIABLE.to_owned());
        }
        self
    }

    fn client_secret(&self) -> Result<Option<SecretString>, CommandError> {
        if let Some(path) = &self.client_secret_file {
            let secret = read_secret(path).map_err(|error| {
                CommandError::new("the client's secret cannot be read")
                    .why(format!("{}: {error}", path.display()))
                    .hint_of(secret_file_hint(&error))
                    .or_hint("name a file with the secret that you may read: `client_secret_file`")
            })?;
            return Ok(Some(secret));
        }
        let name = self.client_secret_env.as_deref();
        match std::env::var(name.unwrap_or(SECRET_VARIABLE)) {
            Ok(secret) if !secret.is_empty() => Ok(Some(SecretString::from(secret))),
            _ if name.is_none() => Ok(None),
            _ => Err(CommandError::new("the client's secret is missing")
                .why(match name.unwrap_or_default() {
                    SECRET_VARIABLE => format!(
                        "the environment variable {SECRET_VARIABLE} is not set, and it was set at the login"
                    ),
                    name => format!("the environment variable {name} is not set"),
                })
                .hint("set it, or name a file with `client_secret_file`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use token_rotator_issuer::Issuer;

    use super::*;

    /// A server of issuer metadata whose token endpoint the test can change.
    struct Metadata {
        url: String,
        token_endpoint: Mutex<String>,
        requests: AtomicUsize,
    }

    impl Metadata {
        async fn serve(token_endpoint: String) -> Arc<Self> {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let metadata = Arc::new(Self {
                url: format!("http://{}", listener.local_addr().unwrap()),
                token_endpoint: Mutex::new(token_endpoint),
                requests: AtomicUsize::new(0),
            });
            let served = Arc::clone(&metadata);
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let served = Arc::clone(&served);
                    let service = service_fn(move |_| {
                        let document = served.document();
                        async { Ok::<_, std::convert::Infallible>(http::Response::new(document)) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
                }
            });
            metadata
        }

        fn document(&self) -> String {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let endpoint = self.token_endpoint.lock().unwrap();
            serde_json::json!({"issuer": self.url, "token_endpoint": *endpoint}).to_string()
        }

        fn requests(&self) -> usize {
            self.requests.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn endpoints_are_discovered_once_and_again_after_a_failure() {
        let issuer = Issuer::builder().start().await.unwrap();
        let metadata = Metadata::serve(format!("{}/elsewhere", issuer.url())).await;
        let settings = SessionSettings {
            issuer: Some(metadata.url.parse().unwrap()),
            client_id: Some("demo".to_owned()),
            ..SessionSettings::default()
        };
        let source = IssuerSource::new(
            &settings,
            ReqwestTransport::new().unwrap(),
            DiscoveryCache::default(),
        );
        let grant = issuer.sign_in("alice");
        let mut last = Arc::new(TokenSet::bearer("a").with_refresh_token(grant.refresh_token));

        let refused = source.refresh(Some(Arc::clone(&last))).await.unwrap_err();
        assert_eq!(refused.kind(), FailureKind::Misconfigured, "{refused}");
        assert_eq!(metadata.requests(), 1);
        issuer
            .token_url()
            .clone_into(&mut metadata.token_endpoint.lock().unwrap());
        for _ in 0..3 {
            last = Arc::new(source.refresh(Some(last)).await.unwrap().tokens);
        }
        assert_eq!(metadata.requests(), 2);
        assert_eq!(issuer.counters().refreshes, 3);
        // A refused refresh token is no reason to discover again.
        let unknown = TokenSet::bearer("a").with_refresh_token("unknown");
        let refused = source.refresh(Some(Arc::new(unknown))).await.unwrap_err();
        assert_eq!(refused.kind(), FailureKind::Terminal, "{refused}");
        source.refresh(Some(last)).await.unwrap();
        assert_eq!(metadata.requests(), 2);
    }
}
