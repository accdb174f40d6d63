//! The token endpoint as a token source.

use std::fmt;
use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, Uri};
use token_rotator::{ExposeSecret, Refreshed, SecretString, SourceError, TokenSet, TokenSource};

use crate::answer::Exchange;
use crate::client_auth::{Attempt, DynClientAuth};
use crate::form::Form;
use crate::secrets::Secrets;
use crate::transport::{ANSWER_BYTES_MAX, DynTransport, SecretBytes, TransportError};

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
    pub(crate) client_id: Arc<str>,
    pub(crate) auth: Arc<dyn DynClientAuth>,
    pub(crate) scope: Option<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) audience: Option<String>,
    pub(crate) params: Vec<(String, SecretString)>,
    pub(crate) transport: Arc<dyn DynTransport>,
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
                        SourceError::terminal("there is no refresh token; sign in with one")
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
        for uri in &self.resources {
            post.form.param("resource", uri);
        }
        if let Some(audience) = &self.audience {
            post.form.param("audience", audience);
        }
        for (name, value) in &self.params {
            post.secret(name, value);
        }
        let (answer, secrets) = self.send(exchange, post).await?;
        exchange.tokens(&answer, &secrets).map(Refreshed::from)
    }

    /// Revokes the refresh token, and the access token where there is none (RFC 7009 section 2.1).
    /// Does nothing without a revocation URL.
    async fn revoke(&self, tokens: Arc<TokenSet>) -> Result<(), SourceError> {
        let Some(url) = &self.revocation_url else {
            return Ok(());
        };
        let (token, hint) = match tokens.refresh_token() {
            Some(token) => (token, "refresh_token"),
            None => (tokens.access_token(), "access_token"),
        };
        let mut post = Post::to(url);
        post.secrets.push_tokens(&tokens);
        post.form.param("token", token.expose_secret());
        post.form.param("token_type_hint", hint);
        let (answer, secrets) = self.send(Exchange::Revocation, post).await?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(Exchange::Revocation.refusal(&answer, &secrets))
    }
}

impl TokenEndpoint {
    /// One request, with the client's credentials.
    async fn send(
        &self,
        exchange: Exchange,
        mut post: Post,
    ) -> Result<(Response<SecretBytes>, Secrets), SourceError> {
        let attempt = Attempt::new(Arc::clone(&self.client_id), post.url.clone());
        let credentials = self.auth.credentials(attempt).await.map_err(|cause| {
            SourceError::not_sent("the client could not authenticate itself")
                .with_cause(post.secrets.vet(cause.into()))
        })?;
        for secret in &credentials.secrets {
            post.secrets.push(secret);
        }
        for (name, value) in &credentials.params {
            post.form.param(name, value.expose_secret());
        }

        let mut request = Request::new(post.form.into_body());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = post.url;
        let headers = request.headers_mut();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(credentials.headers);

        let answer = self.transport.send(request).await;
        let answer = answer.and_then(|answer| {
            if answer.body().len() > ANSWER_BYTES_MAX {
                return Err(TransportError::answer_too_long());
            }
            Ok(answer)
        });
        match answer {
            Ok(answer) => Ok((answer, post.secrets)),
            Err(error) => Err(exchange.unanswered(error, &post.secrets)),
        }
    }
}

/// A request in the making, and what of it must not come back in an error.
struct Post {
    url: Uri,
    form: Form,
    secrets: Secrets,
}

impl Post {
    fn to(url: &Uri) -> Self {
        Self {
            url: url.clone(),
            form: Form::default(),
            secrets: Secrets::new(),
        }
    }

    fn secret(&mut self, name: &str, value: &SecretString) {
        self.secrets.push(value);
        self.form.param(name, value.expose_secret());
    }
}

/// Without the addresses' queries, in which keys may be hidden.
impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = |url: &Uri| {
            let host = url.authority().map_or("", |authority| authority.as_str());
            format!("{}://{host}{}", url.scheme_str().unwrap_or(""), url.path())
        };
        out.debug_struct("TokenEndpoint")
            .field("grant", &self.grant)
            .field("token_url", &address(&self.token_url))
            .field("revocation_url", &self.revocation_url.as_ref().map(address))
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}
