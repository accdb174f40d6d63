//! What a token endpoint is asked for, checked before the first request.

use std::sync::Arc;

use token_rotator::{OriginError, SecretString};

use crate::checks::{self, Reserved};
use crate::client_auth::{ClientAuth, ClientSecretBasic, ClientSecretPost};
use crate::endpoint::{Grant, TokenEndpoint};
use crate::options::Options;
use crate::transport::Transport;

/// Parameters with a meaning of their own, and what to call instead of
/// [`param`](Builder::param).
const RESERVED: [Reserved; 11] = [
    (
        "grant_type",
        "begin with `refresh_token` or `client_credentials`",
    ),
    ("refresh_token", "sign in with a token set that has it"),
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
    ("scope", "call `scope`"),
    ("resource", "call `resource`"),
    ("audience", "call `audience`"),
    ("token", "call `revocation_url`"),
    ("token_type_hint", "call `revocation_url`"),
];

/// Begins a source that spends the refresh token of the last token set for the next one (RFC 6749
/// section 6). Until somebody has signed in with one it fails as terminal.
///
/// Where an answer brings no refresh token, the old one stays.
pub fn refresh_token(
    token_url: impl Into<String>,
    client_id: impl Into<String>,
) -> Builder<TransportMissing> {
    Builder::new(Grant::RefreshToken, token_url.into(), client_id.into())
}

/// Begins a source of tokens for the client itself (RFC 6749 section 4.4). It needs no sign-in and
/// keeps no refresh token (section 4.4.3).
///
/// Only clients that authenticate may do this: call
/// [`client_secret_basic`](Builder::client_secret_basic) or its like.
pub fn client_credentials(
    token_url: impl Into<String>,
    client_id: impl Into<String>,
) -> Builder<TransportMissing> {
    Builder::new(Grant::ClientCredentials, token_url.into(), client_id.into())
}

/// Options of a [`TokenEndpoint`]. It can be built once it has a
/// [`transport`](Builder::transport).
#[derive(Clone)]
#[must_use = "a token endpoint exists after `transport(...)` and `build()`"]
pub struct Builder<T> {
    transport: T,
    grant: Grant,
    token_url: String,
    revocation_url: Option<String>,
    options: Options,
}

/// Stands where the transport goes: call [`Builder::transport`].
///
/// ```compile_fail,E0599
/// use token_rotator_oauth2::refresh_token;
/// // error: the method `build` exists [...] but [...] `TransportMissing: Transport`
/// refresh_token("https://issuer.example/token", "my-client").build();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TransportMissing;

impl Builder<TransportMissing> {
    fn new(grant: Grant, token_url: String, client_id: String) -> Self {
        Self {
            transport: TransportMissing,
            grant,
            token_url,
            revocation_url: None,
            options: Options::of(client_id),
        }
    }
}

impl<T> Builder<T> {
    /// How requests reach the issuer.
    pub fn transport<U: Transport>(self, transport: U) -> Builder<U> {
        Builder {
            transport,
            grant: self.grant,
            token_url: self.token_url,
            revocation_url: self.revocation_url,
            options: self.options,
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

    /// The scope to ask for, several separated by blanks (RFC 6749 section 3.3); at a refresh no
    /// more than was granted. Default: none is sent, which is all that was granted.
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

    /// The API that the token is for, where the issuer has its own names for them (Auth0; RFC 8693
    /// section 2.1).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.options.audience = Some(audience.into());
        self
    }

    /// One more form parameter. Its value is kept out of errors and `Debug`.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        self.options.params.push((name.into(), value.into()));
        self
    }

    /// Where grants are revoked after a sign-out (RFC 7009). Default: nowhere, the tokens live on
    /// until they expire.
    pub fn revocation_url(mut self, url: impl Into<String>) -> Self {
        self.revocation_url = Some(url.into());
        self
    }
}

impl<T: Transport> Builder<T> {
    /// The token endpoint, if the options are sound.
    pub fn build(self) -> Result<TokenEndpoint, BuildError> {
        let options = self.options.check(self.transport, &RESERVED)?;
        Ok(TokenEndpoint {
            grant: self.grant,
            token_url: checks::url("token URL", &self.token_url)?,
            revocation_url: self
                .revocation_url
                .map(|url| checks::url("revocation URL", &url))
                .transpose()?,
            client: options.client,
            scope: options.scope,
            resources: options.resources,
            audience: options.audience,
            params: options.params,
        })
    }
}

impl<T> std::fmt::Debug for Builder<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Builder")
            .field("grant", &self.grant)
            .field("client_id", &self.options.client_id)
            .finish_non_exhaustive()
    }
}

/// Why there is no token endpoint. It repeats no secret. [`hint`](Self::hint) says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Tokens must not be sent there.
    #[error("the {which} cannot be used: {problem}")]
    Url {
        /// Which address it is.
        which: &'static str,
        /// What is wrong with its origin.
        #[source]
        problem: OriginError,
    },
    /// What follows the host is wrong.
    #[error("the {which} is no URL")]
    NotAUrl {
        /// Which address it is.
        which: &'static str,
    },
    /// RFC 6749 section 3.2 forbids it.
    #[error("the {which} has a fragment")]
    Fragment {
        /// Which address it is.
        which: &'static str,
    },
    /// The issuer has to know the client.
    #[error("the client id is empty")]
    ClientId,
    /// The name of a parameter is empty.
    #[error("a parameter has no name")]
    ParamName,
    /// A parameter that has a call of its own.
    #[error("`{name}` cannot be set with `param`")]
    ReservedParam {
        /// Its name.
        name: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// RFC 8707 section 2 wants an absolute URI.
    #[error("a resource is no absolute URI without fragment")]
    Resource,
    /// The sign-in needs an endpoint that the issuer's metadata does not name.
    #[error("the issuer's metadata names no {which}")]
    Endpoint {
        /// Which endpoint it is.
        which: &'static str,
    },
    /// The issuer's metadata lists other ways to bind a code to its request than S256.
    #[error(
        "the issuer does not offer PKCE with `S256` (RFC 7636), without which a stolen code would be worth a session"
    )]
    CodeChallenge,
    /// A redirect URI that no code may be sent to.
    #[error("the redirect URI cannot be used")]
    RedirectUri,
}

impl BuildError {
    /// What to do about it. Every cause has a hint.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Url { problem, .. } => return problem.hint(),
            Self::NotAUrl { .. } => {
                "write it like `https://issuer.example/token`, with everything but ASCII \
                 percent-encoded"
            }
            Self::Fragment { .. } => "remove everything from the `#` on",
            Self::ClientId => "give the client id that the issuer registered",
            Self::ParamName => "give `param` a name",
            Self::ReservedParam { instead, .. } => instead,
            Self::Resource => {
                "write it like `https://api.example.com`, or call `audience` for other names"
            }
            Self::Endpoint { .. } => {
                "the issuer may not offer this way to sign in; if it does, add the endpoint to the \
                 metadata"
            }
            Self::CodeChallenge => "let the issuer switch PKCE with `S256` on",
            Self::RedirectUri => {
                "register `http://127.0.0.1/callback` or the like (RFC 8252 section 7.3), an \
                 `https://` address, or a scheme of your own with a dot in it, without a fragment"
            }
        })
    }
}
