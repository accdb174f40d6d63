//! The options of a token endpoint, checked before the first request.

use std::sync::Arc;

use token_rotator::{OriginError, SecretString};

use crate::answer::AnswerRules;
use crate::checks::{self, Reserved};
use crate::client_auth::{ClientAuth, ClientSecretBasic, ClientSecretPost};
use crate::endpoint::{GrantType, TokenEndpoint};
use crate::options::CommonOptions;
use crate::transport::Transport;

/// Parameters that have their own builder method, each with the call to use instead of
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

/// Begins a source that exchanges the refresh token of the last token set for the next token set
/// (RFC 6749 section 6). A refresh fails as terminal until a user has signed in with a refresh
/// token.
///
/// If an answer contains no refresh token, the previous refresh token stays in use.
pub fn refresh_token(
    token_url: impl Into<String>,
    client_id: impl Into<String>,
) -> Builder<TransportMissing> {
    Builder::new(GrantType::RefreshToken, token_url.into(), client_id.into())
}

/// Begins a source of tokens for the client itself (RFC 6749 section 4.4). The source needs no
/// sign-in and keeps no refresh token (section 4.4.3).
///
/// Only clients that authenticate may use this grant: call
/// [`client_secret_basic`](Builder::client_secret_basic),
/// [`client_secret_post`](Builder::client_secret_post) or [`client_auth`](Builder::client_auth).
pub fn client_credentials(
    token_url: impl Into<String>,
    client_id: impl Into<String>,
) -> Builder<TransportMissing> {
    Builder::new(
        GrantType::ClientCredentials,
        token_url.into(),
        client_id.into(),
    )
}

/// The options of a [`TokenEndpoint`]. `build` exists once a [`transport`](Builder::transport) is set.
#[derive(Clone)]
#[must_use = "a token endpoint exists after `transport(...)` and `build()`"]
pub struct Builder<T> {
    transport: T,
    grant: GrantType,
    token_url: String,
    revocation_url: Option<String>,
    options: CommonOptions,
}

/// Type parameter of a builder without a transport. Call [`Builder::transport`] to replace it.
///
/// ```compile_fail,E0599
/// use token_rotator_oauth2::refresh_token;
/// // error: the method `build` exists [...] but [...] `TransportMissing: Transport`
/// refresh_token("https://issuer.example/token", "my-client").build();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TransportMissing;

impl Builder<TransportMissing> {
    fn new(grant: GrantType, token_url: String, client_id: String) -> Self {
        Self {
            transport: TransportMissing,
            grant,
            token_url,
            revocation_url: None,
            options: CommonOptions::new(client_id),
        }
    }
}

impl<T> Builder<T> {
    /// Sets the transport that sends requests to the issuer.
    pub fn transport<U: Transport>(self, transport: U) -> Builder<U> {
        Builder {
            transport,
            grant: self.grant,
            token_url: self.token_url,
            revocation_url: self.revocation_url,
            options: self.options,
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

    /// Sets the scope to request: scope names separated by spaces (RFC 6749 section 3.3). A refresh
    /// may request at most the granted scope. Default: no `scope` parameter, which requests the
    /// whole granted scope.
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

    /// Sets the API that the token is for, by the issuer's own name for the API (Auth0; RFC 8693
    /// section 2.1).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.options.audience = Some(audience.into());
        self
    }

    /// Adds a form parameter. Errors and `Debug` never contain its value.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        self.options.params.push((name.into(), value.into()));
        self
    }

    /// Sets how the issuer's answers differ from the standard. Default: not at all.
    pub fn answer_rules(mut self, rules: AnswerRules) -> Self {
        self.options.rules = rules;
        self
    }

    /// Sets the endpoint that revokes tokens after a sign-out (RFC 7009). Default: none; tokens
    /// stay valid until they expire.
    pub fn revocation_url(mut self, url: impl Into<String>) -> Self {
        self.revocation_url = Some(url.into());
        self
    }
}

impl<T: Transport> Builder<T> {
    /// Builds the token endpoint.
    ///
    /// *Errors*: a [`BuildError`] for the first option that cannot be used.
    pub fn build(self) -> Result<TokenEndpoint, BuildError> {
        Ok(TokenEndpoint {
            options: self.options.check(self.transport, &RESERVED)?,
            grant: self.grant,
            token_url: checks::url("token URL", &self.token_url)?,
            revocation_url: self
                .revocation_url
                .map(|url| checks::url("revocation URL", &url))
                .transpose()?,
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

/// Why the options cannot be used. The message contains no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The address must not receive tokens.
    #[error("the {which} cannot be used: {problem}")]
    Url {
        /// Name of the address, such as `token URL`.
        which: &'static str,
        /// What is wrong with the origin of the address.
        #[source]
        problem: OriginError,
    },
    /// The part after the host cannot be read.
    #[error("the {which} is not a URL")]
    NotAUrl {
        /// Name of the address, such as `token URL`.
        which: &'static str,
    },
    /// The address has a fragment, which RFC 6749 section 3.2 forbids.
    #[error("the {which} has a fragment")]
    Fragment {
        /// Name of the address, such as `token URL`.
        which: &'static str,
    },
    /// The client id is empty.
    #[error("the client id is empty")]
    ClientId,
    /// A parameter has an empty name.
    #[error("a parameter has no name")]
    ParamName,
    /// The parameter has its own builder method.
    #[error("`{name}` cannot be set with `param`")]
    ReservedParam {
        /// Name of the parameter.
        name: &'static str,
        /// The call to use instead.
        instead: &'static str,
    },
    /// A resource is not an absolute URI (RFC 8707 section 2).
    #[error("a resource is not an absolute URI without a fragment")]
    Resource,
    /// The sign-in needs an endpoint that the issuer's metadata does not name.
    #[error("the issuer's metadata names no {which}")]
    Endpoint {
        /// Name of the endpoint.
        which: &'static str,
    },
    /// The document of an https issuer names a loopback address for the endpoint.
    #[error("the issuer's metadata leads from an https issuer to a {which} without TLS")]
    Downgrade {
        /// Name of the endpoint.
        which: &'static str,
    },
    /// The issuer's metadata lists PKCE methods, but not `S256`.
    #[error(
        "the issuer does not offer PKCE with `S256` (RFC 7636), so a stolen code could be exchanged for tokens"
    )]
    CodeChallenge,
    /// A field of the answer rules has no standard name, or its path has an empty name.
    #[error("the answer's field `{name}` cannot be read from another place")]
    Field {
        /// Name of the field, as the caller wrote it.
        name: String,
    },
    /// The redirect URI must not receive a code.
    #[error("the redirect URI cannot be used")]
    RedirectUri,
}

impl BuildError {
    /// Returns the action for this cause.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Url { problem, .. } => return problem.hint(),
            Self::NotAUrl { .. } => {
                "write the URL like `https://issuer.example/token`, with all characters outside \
                 ASCII percent-encoded"
            }
            Self::Fragment { .. } => "remove the `#` and the text after it",
            Self::ClientId => "give the client id that the issuer registered",
            Self::ParamName => "give `param` a name",
            Self::ReservedParam { instead, .. } => instead,
            Self::Resource => {
                "write the resource like `https://api.example.com`, or set `audience` for other names"
            }
            Self::Endpoint { .. } => {
                "the issuer may not offer this way to sign in; if it does, add the endpoint to the \
                 metadata"
            }
            Self::Downgrade { .. } => "let the issuer correct its document",
            Self::CodeChallenge => "enable PKCE with `S256` at the issuer",
            Self::Field { .. } => {
                "name one of access_token, token_type, refresh_token, refresh_token_expires_in, \
                 id_token, scope or expires_in, and the path to its value like \
                 `authed_user.access_token`"
            }
            Self::RedirectUri => {
                "register an address without a fragment: `http://127.0.0.1/callback` (RFC 8252 \
                 section 7.3), an `https://` address, or a private scheme with a dot"
            }
        })
    }
}
