//! What the ways to sign in have in common: the client, and what its tokens are to be for.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::SystemTime;

use http::{Response, Uri};
use token_rotator::{SecretString, SourceError, TokenSet};

use crate::answer::Exchange;
use crate::builder::{BuildError, TransportMissing};
use crate::checks::Reserved;
use crate::client::{Client, Post};
use crate::client_auth::{ClientAuth, ClientSecretBasic, ClientSecretPost};
use crate::discovery::IssuerMetadata;
use crate::id_token::{Expected, IdTokenError};
use crate::options::Options;
use crate::secrets::Secrets;
use crate::transport::{SecretBytes, Transport};

/// Parameters with a meaning of their own, and what to call instead of
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
    ("state", "it is drawn anew for each request; leave it out"),
    ("nonce", "it is drawn anew for each request; leave it out"),
    (
        "code_challenge",
        "it is drawn anew for each request; leave it out",
    ),
    ("code_challenge_method", "it is `S256`; leave it out"),
    (
        "grant_type",
        "it follows from the way to sign in; leave it out",
    ),
];

/// Options of a way to sign in. `G` is what it builds:
/// [`AuthorizationCodeGrant`](crate::AuthorizationCodeGrant) or [`DeviceGrant`](crate::DeviceGrant).
/// It can be built once it has a [`transport`](Self::transport).
#[must_use = "a way to sign in exists after `transport(...)` and `build()`"]
pub struct SignInBuilder<G, T> {
    pub(crate) issuer: IssuerMetadata,
    pub(crate) redirect_uri: String,
    pub(crate) options: Options,
    transport: T,
    grant: PhantomData<fn() -> G>,
}

impl<G> SignInBuilder<G, TransportMissing> {
    pub(crate) fn new(issuer: &IssuerMetadata, client_id: String, redirect_uri: String) -> Self {
        Self {
            issuer: issuer.clone(),
            redirect_uri,
            options: Options::of(client_id),
            transport: TransportMissing,
            grant: PhantomData,
        }
    }
}

impl<G, T> SignInBuilder<G, T> {
    /// How requests reach the issuer.
    pub fn transport<U: Transport>(self, transport: U) -> SignInBuilder<G, U> {
        SignInBuilder {
            issuer: self.issuer,
            redirect_uri: self.redirect_uri,
            options: self.options,
            transport,
            grant: PhantomData,
        }
    }

    /// How the client authenticates. Default: [`PublicClient`](crate::PublicClient), not at all.
    pub fn client_auth(mut self, auth: impl ClientAuth) -> Self {
        self.options.auth = Arc::new(auth);
        self
    }

    /// With a secret in the `Authorization` header (RFC 6749 section 2.3.1).
    pub fn client_secret_basic(self, secret: impl Into<SecretString>) -> Self {
        self.client_auth(ClientSecretBasic::new(secret))
    }

    /// With a secret in the form (RFC 6749 section 2.3.1).
    pub fn client_secret_post(self, secret: impl Into<SecretString>) -> Self {
        self.client_auth(ClientSecretPost::new(secret))
    }

    /// The scope to ask for, several separated by blanks (RFC 6749 section 3.3). With `openid` the
    /// issuer brings an `id_token`; many bring a refresh token only with `offline_access`. Default:
    /// none is sent, and the issuer decides.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.options.scope = Some(scope.into());
        self
    }

    /// An API that the token is for, as an absolute URI (RFC 8707 section 2). May be called
    /// several times.
    pub fn resource(mut self, uri: impl Into<String>) -> Self {
        self.options.resources.push(uri.into());
        self
    }

    /// The API that the token is for, where the issuer has its own names for them (Auth0).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.options.audience = Some(audience.into());
        self
    }

    /// One more parameter of the first request: the authorization request or the device
    /// authorization request; such as `prompt`, `login_hint` or `access_type`. Its value is kept out
    /// of errors and `Debug`; in an authorization request it stands in the browser's address all
    /// the same.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        self.options.params.push((name.into(), value.into()));
        self
    }
}

impl<G, T: Transport> SignInBuilder<G, T> {
    pub(crate) fn sign_in(self) -> Result<SignIn, BuildError> {
        let options = self.options.check(self.transport, &RESERVED)?;
        Ok(SignIn {
            token_url: self.issuer.need_token_endpoint()?.clone(),
            issuer: self.issuer.issuer().map(str::to_owned),
            client: options.client,
            scope: options.scope,
            resources: options.resources,
            audience: options.audience,
            params: options.params,
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

/// A way to sign in, whichever it is.
pub(crate) struct SignIn {
    pub(crate) client: Client,
    pub(crate) token_url: Uri,
    pub(crate) issuer: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) audience: Option<String>,
    pub(crate) params: Vec<(String, SecretString)>,
}

impl SignIn {
    /// Whether an `id_token` is asked for (OIDC Core section 3.1.2.1).
    pub(crate) fn is_openid(&self) -> bool {
        let mut scopes = self.scope.as_deref().unwrap_or_default().split(' ');
        scopes.any(|scope| scope == "openid")
    }

    /// A request to the token endpoint.
    pub(crate) fn post(&self) -> Post {
        Post::to(&self.token_url)
    }

    /// The token set of an answer, once its `id_token` is checked.
    pub(crate) fn tokens(
        &self,
        exchange: Exchange,
        answer: &Response<SecretBytes>,
        sent: &Secrets,
        nonce: Option<&SecretString>,
    ) -> Result<TokenSet, NoTokens> {
        let mut tokens = exchange.tokens(answer, sent).map_err(NoTokens::Refused)?;
        if let Some(id_token) = tokens.id_token() {
            let expected = Expected {
                issuer: self.issuer.as_deref(),
                client_id: &self.client.id,
                nonce,
                now: SystemTime::now(),
            };
            expected.check(id_token).map_err(NoTokens::IdToken)?;
        }
        // Left out it is the one that was asked for (RFC 6749 section 5.1).
        if let Some(scope) = &self.scope
            && tokens.scope().is_none()
        {
            tokens = tokens.with_scope(scope);
        }
        Ok(tokens)
    }
}

/// Why an answer brought no tokens that may be used.
pub(crate) enum NoTokens {
    Refused(SourceError),
    IdToken(IdTokenError),
}
