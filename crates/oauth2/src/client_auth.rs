//! Who the client is, said anew with every request.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderValue, Uri};
use token_rotator::{ExposeSecret, SecretString};

/// Why credentials could not be made. Nothing is sent then. Its text must not contain secrets.
pub type AuthError = Box<dyn StdError + Send + Sync>;

/// How the client authenticates at the issuer (RFC 6749 section 2.3).
///
/// It is asked once for every request, and may take its time: an assertion can be signed anew each
/// time, by a key that lives elsewhere (RFC 7523). A failure means that nothing was sent.
///
/// A closure from an [`Attempt`] to a future of [`Credentials`] is one:
///
/// ```
/// use token_rotator_oauth2::{Attempt, AuthError, ClientAuth, Credentials};
///
/// async fn private_key_jwt(attempt: Attempt) -> Result<Credentials, AuthError> {
///     let signed = format!("an assertion of {} for {}", attempt.client_id(), attempt.url());
///     Ok(Credentials::none()
///         .param("client_id", attempt.client_id())
///         .param("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
///         .secret_param("client_assertion", signed))
/// }
/// fn takes(_: impl ClientAuth) {}
/// takes(private_key_jwt);
/// ```
pub trait ClientAuth: Send + Sync + 'static {
    /// The credentials for one request.
    fn credentials(
        &self,
        attempt: Attempt,
    ) -> impl Future<Output = Result<Credentials, AuthError>> + Send;
}

impl<F, Fut> ClientAuth for F
where
    F: Fn(Attempt) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, AuthError>> + Send,
{
    fn credentials(
        &self,
        attempt: Attempt,
    ) -> impl Future<Output = Result<Credentials, AuthError>> + Send {
        self(attempt)
    }
}

/// The request that credentials are wanted for.
#[derive(Clone, Debug)]
pub struct Attempt {
    client_id: Arc<str>,
    url: Uri,
}

impl Attempt {
    pub(crate) fn new(client_id: Arc<str>, url: Uri) -> Self {
        Self { client_id, url }
    }

    /// The client's identifier (RFC 6749 section 2.2).
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The endpoint that the request goes to: the token or the revocation endpoint. The request is
    /// a POST.
    pub fn url(&self) -> &Uri {
        &self.url
    }
}

/// What a request carries to say who the client is. All of it is kept out of every error.
#[derive(Clone, Default)]
pub struct Credentials {
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) params: Vec<(String, SecretString)>,
    pub(crate) secrets: Vec<SecretString>,
}

impl Credentials {
    /// Nothing yet.
    pub fn none() -> Self {
        Self::default()
    }

    /// With this header. It is marked sensitive.
    pub fn header(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        if let Ok(text) = value.to_str() {
            // After the scheme comes what is secret.
            let credentials = text.split_once(' ').map_or(text, |(_, rest)| rest);
            self.secrets.push(credentials.into());
        }
        value.set_sensitive(true);
        self.headers.push((name, value));
        self
    }

    /// With this form parameter, which anybody may see.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.push((name.into(), value.into().into()));
        self
    }

    /// With this form parameter, which nobody may see.
    pub fn secret_param(self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        let value = value.into();
        let mut this = self.secret(value.clone());
        this.params.push((name.into(), value));
        this
    }

    /// With a secret that a header carries in another form: it is kept out of errors too.
    pub fn secret(mut self, secret: impl Into<SecretString>) -> Self {
        self.secrets.push(secret.into());
        self
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        let params: Vec<_> = self.params.iter().map(|(name, _)| name).collect();
        out.debug_struct("Credentials")
            .field("headers", &headers)
            .field("params", &params)
            .finish_non_exhaustive()
    }
}

/// A client without a secret: its `client_id` in the form (RFC 6749 sections 2.1 and 3.2.1). The
/// default.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublicClient;

impl ClientAuth for PublicClient {
    async fn credentials(&self, attempt: Attempt) -> Result<Credentials, AuthError> {
        Ok(Credentials::none().param("client_id", attempt.client_id()))
    }
}

/// `client_secret_basic`: identifier and secret, each form-urlencoded, in a basic `Authorization`
/// header (RFC 6749 section 2.3.1). Every issuer that gives secrets must take this.
#[derive(Clone, Debug)]
pub struct ClientSecretBasic(SecretString);

impl ClientSecretBasic {
    /// With this secret.
    pub fn new(secret: impl Into<SecretString>) -> Self {
        Self(secret.into())
    }
}

impl ClientAuth for ClientSecretBasic {
    async fn credentials(&self, attempt: Attempt) -> Result<Credentials, AuthError> {
        let encode =
            |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        let (id, secret) = (attempt.client_id(), self.0.expose_secret());
        let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
        let value = HeaderValue::try_from(format!("Basic {pair}"))?;
        Ok(Credentials::none()
            .header(AUTHORIZATION, value)
            .secret(self.0.clone()))
    }
}

/// `client_secret_post`: identifier and secret in the form (RFC 6749 section 2.3.1), for issuers
/// that do not read the header.
#[derive(Clone, Debug)]
pub struct ClientSecretPost(SecretString);

impl ClientSecretPost {
    /// With this secret.
    pub fn new(secret: impl Into<SecretString>) -> Self {
        Self(secret.into())
    }
}

impl ClientAuth for ClientSecretPost {
    async fn credentials(&self, attempt: Attempt) -> Result<Credentials, AuthError> {
        Ok(Credentials::none()
            .param("client_id", attempt.client_id())
            .secret_param("client_secret", self.0.clone()))
    }
}

/// A client authentication whose type the endpoint has forgotten.
pub(crate) trait DynClientAuth: Send + Sync + 'static {
    fn credentials(&self, attempt: Attempt) -> BoxFuture<'_, Result<Credentials, AuthError>>;
}

impl<A: ClientAuth> DynClientAuth for A {
    fn credentials(&self, attempt: Attempt) -> BoxFuture<'_, Result<Credentials, AuthError>> {
        Box::pin(ClientAuth::credentials(self, attempt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(auth: impl ClientAuth) -> Credentials {
        let url = Uri::from_static("https://issuer.example/token");
        let attempt = Attempt::new("client: é".into(), url);
        auth.credentials(attempt).await.unwrap()
    }

    fn params(credentials: &Credentials) -> Vec<(&str, &str)> {
        let params = credentials.params.iter();
        params
            .map(|(name, value)| (name.as_str(), value.expose_secret()))
            .collect()
    }

    #[tokio::test]
    async fn a_public_client_says_its_name() {
        let credentials = of(PublicClient).await;
        assert_eq!(params(&credentials), [("client_id", "client: é")]);
        assert!(credentials.headers.is_empty());
    }

    #[tokio::test]
    async fn basic_encodes_both_parts_before_the_colon_joins_them() {
        let credentials = of(ClientSecretBasic::new("s3:cr et%+ü")).await;
        let (name, value) = &credentials.headers[0];
        assert_eq!(name, AUTHORIZATION);
        let pair = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = String::from_utf8(STANDARD.decode(pair).unwrap()).unwrap();
        assert_eq!(pair, "client%3A+%C3%A9:s3%3Acr+et%25%2B%C3%BC");
        assert!(params(&credentials).is_empty());
    }

    #[tokio::test]
    async fn post_puts_both_into_the_form() {
        let credentials = of(ClientSecretPost::new("s3cret")).await;
        let expected = [("client_id", "client: é"), ("client_secret", "s3cret")];
        assert_eq!(params(&credentials), expected);
        assert!(credentials.headers.is_empty());
    }

    #[tokio::test]
    async fn debug_shows_no_secret() {
        let basic = of(ClientSecretBasic::new("CANARY")).await;
        let post = of(ClientSecretPost::new("CANARY")).await;
        let shown = format!(
            "{basic:?} {post:?} {:?} {:?} {:?}",
            basic.headers,
            ClientSecretBasic::new("CANARY"),
            ClientSecretPost::new("CANARY")
        );
        assert!(!shown.contains("CANARY"), "{shown}");
        assert!(!shown.contains("Basic "), "{shown}");
    }
}
