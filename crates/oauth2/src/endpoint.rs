//! The token endpoint as a token source.

use std::fmt;
use std::sync::Arc;

use http::Uri;
use token_rotator::store::Fingerprint;
use token_rotator::{
    ExposeSecret, Refreshed, SecretString, SessionKey, SourceError, TokenSet, TokenSource,
};

use crate::answer::RequestKind;
use crate::answer::refusal::UNSUPPORTED;
use crate::checks;
use crate::client::FormRequest;
use crate::options::CheckedOptions;

/// An OAuth 2 token endpoint (RFC 6749 section 3.2), with an optional revocation endpoint.
///
/// Each refresh sends one request and never repeats it. [`refresh_token`](crate::refresh_token) and
/// [`client_credentials`](crate::client_credentials) begin its builder. [`RequestKind::refusal`]
/// lists what follows from each answer. A clone is cheap.
#[derive(Clone)]
pub struct TokenEndpoint {
    pub(crate) grant: GrantType,
    pub(crate) token_url: Uri,
    pub(crate) revocation_url: Option<Uri>,
    pub(crate) options: CheckedOptions,
}

/// The grant that the endpoint exchanges for a token set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantType {
    RefreshToken,
    ClientCredentials,
}

impl TokenSource for TokenEndpoint {
    async fn refresh(&self, last: Option<Arc<TokenSet>>) -> Result<Refreshed, SourceError> {
        let mut post = FormRequest::to(&self.token_url);
        if let Some(last) = &last {
            post.secrets.push_tokens(last);
        }
        let kind = match self.grant {
            GrantType::RefreshToken => {
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
                RequestKind::RefreshToken
            }
            GrantType::ClientCredentials => {
                post.form.param("grant_type", "client_credentials");
                RequestKind::ClientCredentials
            }
        };
        post.options(&self.options);
        let (answer, secrets) = self.options.client.post(kind, post).await?;
        let rules = &self.options.rules;
        kind.tokens_by(rules, &answer, &secrets)
            .map(Refreshed::from)
    }

    /// Revokes the refresh token, or the access token if there is no refresh token (RFC 7009
    /// section 2.1). Does nothing without a revocation URL.
    ///
    /// *Errors*: an issuer that revokes no refresh tokens answers `unsupported_token_type` (section
    /// 2.2.1). Then this method revokes the access token and still returns that error, because the
    /// refresh token stays valid.
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
            // The caller gets the error of the refresh token: it matters more than a failure here.
            let _ = self.revoke_one(url, &tokens, token).await;
        }
        revoked
    }

    /// Hashes token endpoint, grant, client id, authentication method, what the request asks for,
    /// and how its answer is read. The client's secret is the key of the hash.
    fn fingerprint(&self, _session: &SessionKey) -> Option<Fingerprint> {
        let options = &self.options;
        let url = self.token_url.to_string();
        let asked = format!(
            "{:?} {:?} {:?} {:?} {:?}",
            self.grant, options.scope, options.resources, options.audience, options.rules
        );
        let client = &options.client;
        client.auth.fingerprint(&[&url, &client.id, &asked])
    }
}

impl TokenEndpoint {
    async fn revoke_one(
        &self,
        url: &Uri,
        tokens: &TokenSet,
        (token, hint): (&SecretString, &str),
    ) -> Result<(), SourceError> {
        let mut post = FormRequest::to(url);
        post.secrets.push_tokens(tokens);
        post.form.param("token", token.expose_secret());
        post.form.param("token_type_hint", hint);
        let kind = RequestKind::Revocation;
        let (answer, secrets) = self.options.client.post(kind, post).await?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(kind.refusal(&answer, &secrets))
    }
}

/// Shows addresses without their queries, because a query may contain keys.
impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revocation_url = self.revocation_url.as_ref().map(checks::without_query);
        out.debug_struct("TokenEndpoint")
            .field("grant", &self.grant)
            .field("token_url", &checks::without_query(&self.token_url))
            .field("revocation_url", &revocation_url)
            .field("client_id", &self.options.client.id)
            .finish_non_exhaustive()
    }
}
