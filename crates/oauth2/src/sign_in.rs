//! Parts that all sign-ins share: the builder, the client, and the check of the received tokens.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::SystemTime;

use http::{Response, Uri};
use token_rotator::{SecretString, SourceError, TokenSet};

use crate::answer::{AnswerRules, RequestKind};
use crate::builder::{BuildError, TransportMissing};
use crate::checks::Reserved;
use crate::client::FormRequest;
use crate::client_auth::{ClientAuth, ClientSecretBasic, ClientSecretPost};
use crate::discovery::IssuerMetadata;
use crate::id_token::{ExpectedClaims, IdTokenError};
use crate::options::{CheckedOptions, CommonOptions};
use crate::secrets::Secrets;
use crate::transport::{SecretBytes, Transport};

/// Parameters that have their own builder method, each with the call to use instead of
/// [`param`](SignInBuilder::param).
const RESERVED: [Reserved; 15] = [
    ("response_type", "it is `code`; leave it out"),
    (
        "response_mode",
        "the redirect is read from the query; leave it out",
    ),
    (
        "client_id",
        "give it to the function that begins the builder",
    ),
    (
        "client_secret",
        "call `client_secret_basic` or `client_secret_post`",
    ),
    ("client_assertion", "call `client_auth`"),
    ("client_assertion_type", "call `client_auth`"),
    (
        "redirect_uri",
        "give it to the function that begins the builder",
    ),
    ("scope", "call `scope`"),
    ("resource", "call `resource`"),
    ("audience", "call `audience`"),
    ("state", "each request gets a random value; leave it out"),
    ("nonce", "each request gets a random value; leave it out"),
    (
        "code_challenge",
        "each request gets a random value; leave it out",
    ),
    ("code_challenge_method", "it is `S256`; leave it out"),
    (
        "grant_type",
        "it follows from the way to sign in; leave it out",
    ),
];

/// The options of a sign-in. `G` is the type that the builder builds:
/// [`AuthorizationCodeGrant`](crate::AuthorizationCodeGrant) or
/// [`DeviceGrant`](crate::DeviceGrant). `build` exists once a [`transport`](Self::transport) is
/// set.
#[must_use = "a way to sign in exists after `transport(...)` and `build()`"]
pub struct SignInBuilder<G, T> {
    pub(crate) issuer: IssuerMetadata,
    pub(crate) redirect_uri: String,
    pub(crate) options: CommonOptions,
    transport: T,
    grant: PhantomData<fn() -> G>,
}

impl<G> SignInBuilder<G, TransportMissing> {
    pub(crate) fn new(issuer: &IssuerMetadata, client_id: String, redirect_uri: String) -> Self {
        Self {
            issuer: issuer.clone(),
            redirect_uri,
            options: CommonOptions::new(client_id),
            transport: TransportMissing,
            grant: PhantomData,
        }
    }
}

impl<G, T> SignInBuilder<G, T> {
    /// Sets the transport that sends requests to the issuer.
    pub fn transport<U: Transport>(self, transport: U) -> SignInBuilder<G, U> {
        SignInBuilder {
            issuer: self.issuer,
            redirect_uri: self.redirect_uri,
            options: self.options,
            transport,
            grant: PhantomData,
        }
    }

    /// Sets how the client authenticates. Default: [`PublicClient`](crate::PublicClient), which
    /// sends no secret.
    pub fn client_auth(mut self, auth: impl ClientAuth) -> Self {
        self.options.auth = Arc::new(auth);
        self
    }

    /// Authenticates with a secret in the `Authorization` header (RFC 6749 section 2.3.1).
    pub fn client_secret_basic(self, secret: impl Into<SecretString>) -> Self {
        self.client_auth(ClientSecretBasic::new(secret))
    }

    /// Authenticates with a secret in the form (RFC 6749 section 2.3.1).
    pub fn client_secret_post(self, secret: impl Into<SecretString>) -> Self {
        self.client_auth(ClientSecretPost::new(secret))
    }

    /// Sets the scope to request: scope names separated by spaces (RFC 6749 section 3.3). With
    /// `openid` the issuer sends an `id_token`. Many issuers send a refresh token only with
    /// `offline_access`. Default: no `scope` parameter; the issuer decides.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.options.scope = Some(scope.into());
        self
    }

    /// Adds an API that the token is for, as an absolute URI (RFC 8707 section 2). A caller may add
    /// several.
    pub fn resource(mut self, uri: impl Into<String>) -> Self {
        self.options.resources.push(uri.into());
        self
    }

    /// Sets how the issuer's answers differ from the standard. Default: not at all.
    pub fn answer_rules(mut self, rules: AnswerRules) -> Self {
        self.options.rules = rules;
        self
    }

    /// Sets the API that the token is for, by the issuer's own name for the API (Auth0).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.options.audience = Some(audience.into());
        self
    }

    /// Adds a parameter to the authorization request or the device authorization request, such as
    /// `prompt`, `login_hint` or `access_type`. Errors and `Debug` never contain its value. In an
    /// authorization request the browser's address contains the value.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        self.options.params.push((name.into(), value.into()));
        self
    }
}

impl<G, T: Transport> SignInBuilder<G, T> {
    pub(crate) fn sign_in(self) -> Result<SignInSettings, BuildError> {
        Ok(SignInSettings {
            options: self.options.check(self.transport, &RESERVED)?,
            token_url: self.issuer.require_token_endpoint()?.clone(),
            issuer: self.issuer.issuer().map(str::to_owned),
            authority: self.issuer.authority().map(str::to_owned),
        })
    }
}

impl<G, T> std::fmt::Debug for SignInBuilder<G, T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SignInBuilder")
            .field("issuer", &self.issuer)
            .field("client_id", &self.options.client_id)
            .finish_non_exhaustive()
    }
}

/// The checked settings of a sign-in, for every grant.
pub(crate) struct SignInSettings {
    pub(crate) options: CheckedOptions,
    pub(crate) token_url: Uri,
    pub(crate) issuer: Option<String>,
    pub(crate) authority: Option<String>,
}

impl SignInSettings {
    /// Returns whether the request asks for an `id_token` (OIDC Core section 3.1.2.1).
    pub(crate) fn is_openid(&self) -> bool {
        let mut scopes = self.options.scope.as_deref().unwrap_or_default().split(' ');
        scopes.any(|scope| scope == "openid")
    }

    /// Returns an empty form request to the token endpoint.
    pub(crate) fn post(&self) -> FormRequest {
        FormRequest::to(&self.token_url)
    }

    /// Returns the token set of an answer after checking its `id_token`.
    pub(crate) fn tokens(
        &self,
        kind: RequestKind,
        answer: &Response<SecretBytes>,
        sent: &Secrets,
        nonce: Option<&SecretString>,
    ) -> Result<TokenSet, TokensError> {
        let mut tokens = kind
            .tokens_by(&self.options.rules, answer, sent)
            .map_err(TokensError::Refused)?;
        if let Some(id_token) = tokens.id_token() {
            let expected = ExpectedClaims {
                issuer: self.issuer.as_deref(),
                authority: self.authority.as_deref(),
                client_id: &self.options.client.id,
                nonce,
                now: SystemTime::now(),
            };
            expected.check(id_token).map_err(TokensError::IdToken)?;
        }
        // If the answer has no `scope`, the granted scope is the requested scope (RFC 6749 section
        // 5.1).
        if let Some(scope) = &self.options.scope
            && tokens.scope().is_none()
        {
            tokens = tokens.with_scope(scope);
        }
        Ok(tokens)
    }
}

/// Why an answer brought no usable tokens.
pub(crate) enum TokensError {
    Refused(SourceError),
    IdToken(IdTokenError),
}
