//! The token endpoint as a token source.

use std::fmt;
use std::sync::Arc;

use http::Uri;
use token_rotator::{ExposeSecret, Refreshed, SecretString, SourceError, TokenSet, TokenSource};

use crate::answer::Exchange;
use crate::answer::refusal::UNSUPPORTED;
use crate::checks;
use crate::client::{Client, Post};

/// An OAuth 2 token endpoint (RFC 6749 section 3.2), and the revocation endpoint beside it.
///
/// Each refresh is one request; it is never repeated here. Begun with
/// [`refresh_token`](crate::refresh_token) or [`client_credentials`](crate::client_credentials);
/// [`Exchange::refusal`] says what follows from which answer. Cheap to clone.
#[derive(Clone)]
pub struct TokenEndpoint {
    pub(crate) grant: Grant,
    pub(crate) token_url: Uri,
    pub(crate) revocation_url: Option<Uri>,
    pub(crate) client: Client,
    pub(crate) scope: Option<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) audience: Option<String>,
    pub(crate) params: Vec<(String, SecretString)>,
}

/// What is exchanged for a token set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    RefreshToken,
    ClientCredentials,
}

impl TokenSource for TokenEndpoint {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        let mut post = Post::to(&self.token_url);
        if let Some(last) = &last {
            post.secrets.push_tokens(last);
        }
        let exchange = match self.grant {
            Grant::RefreshToken => {
                let token = last
                    .as_deref()
                    .and_then(TokenSet::refresh_token)
                    .filter(|token| !token.expose_secret().is_empty())
                    .ok_or_else(|| {
                        SourceError::terminal("there is no refresh token")
                            .with_hint("sign in with a refresh token")
                    })?;
                post.form.param("grant_type", "refresh_token");
                post.form.param("refresh_token", token.expose_secret());
                Exchange::RefreshToken
            }
            Grant::ClientCredentials => {
                post.form.param("grant_type", "client_credentials");
                Exchange::ClientCredentials
            }
        };
        if let Some(scope) = &self.scope {
            post.form.param("scope", scope);
        }
        post.audience(&self.resources, self.audience.as_deref());
        for (name, value) in &self.params {
            post.secret(name, value);
        }
        let (answer, secrets) = self.client.post(exchange, post).await?;
        exchange.tokens(&answer, &secrets).map(Refreshed::from)
    }

    /// Revokes the refresh token, and the access token where there is none (RFC 7009 section 2.1).
    /// Where the issuer revokes no refresh tokens it revokes the access token, and that the refresh
    /// token lives on is the error, with the code `unsupported_token_type` (section 2.2.1). Does
    /// nothing without a revocation URL.
    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        let Some(url) = &self.revocation_url else {
            return Ok(());
        };
        let refresh_token = tokens
            .refresh_token()
            .filter(|token| !token.expose_secret().is_empty());
        let Some(refresh_token) = refresh_token else {
            let token = (tokens.access_token(), "access_token");
            return self.revoke_one(url, &tokens, token).await;
        };
        let token = (refresh_token, "refresh_token");
        let revoked = self.revoke_one(url, &tokens, token).await;
        if let Err(error) = &revoked
            && error.code() == Some(UNSUPPORTED)
        {
            let token = (tokens.access_token(), "access_token");
            // What is left to tell is worse than this one's failure.
            let _ = self.revoke_one(url, &tokens, token).await;
        }
        revoked
    }
}

impl TokenEndpoint {
    async fn revoke_one(
        &self,
        url: &Uri,
        tokens: &TokenSet,
        (token, hint): (&SecretString, &str),
    ) -> Result<(), SourceError> {
        let mut post = Post::to(url);
        post.secrets.push_tokens(tokens);
        post.form.param("token", token.expose_secret());
        post.form.param("token_type_hint", hint);
        let (answer, secrets) = self.client.post(Exchange::Revocation, post).await?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(Exchange::Revocation.refusal(&answer, &secrets))
    }
}

/// Without the addresses' queries, in which keys may be hidden.
impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revocation_url = self.revocation_url.as_ref().map(checks::shown);
        out.debug_struct("TokenEndpoint")
            .field("grant", &self.grant)
            .field("token_url", &checks::shown(&self.token_url))
            .field("revocation_url", &revocation_url)
            .field("client_id", &self.client.id)
            .finish_non_exhaustive()
    }
}
