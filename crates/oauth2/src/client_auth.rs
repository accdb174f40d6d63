//! Client authentication: the credentials of each request (RFC 6749 section 2.3).

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderValue, Uri};
use token_rotator::store::Fingerprint;
use token_rotator::{ExposeSecret, SecretString};

/// Why the client could not make credentials. The request is not sent. The text must not contain
/// secrets.
pub type AuthError = Box<dyn StdError + Send + Sync>;

/// Authenticates the client at the issuer (RFC 6749 section 2.3).
///
/// The endpoint calls it once for every request. It may wait, for example for an assertion that
/// another host signs (RFC 7523). If it fails, the request is not sent.
///
/// A closure from a [`CredentialsRequest`] to a future of [`Credentials`] implements this trait:
///
/// ```
/// use token_rotator_oauth2::{CredentialsRequest, AuthError, ClientAuth, Credentials};
///
/// async fn private_key_jwt(request: CredentialsRequest) -> Result<Credentials, AuthError> {
///     let signed = format!("an assertion of {} for {}", request.client_id(), request.url());
///     Ok(Credentials::none()
///         .param("client_id", request.client_id())
///         .param("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
///         .secret_param("client_assertion", signed))
/// }
/// fn takes(_: impl ClientAuth) {}
/// takes(private_key_jwt);
/// ```
pub trait ClientAuth: Send + Sync + 'static {
    /// Makes the credentials for one request.
    fn credentials(
        &self,
        request: CredentialsRequest,
    ) -> impl Future<Output = Result<Credentials, AuthError>> + Send;

    /// Identifies the client's configuration: these parts, the method and the secret. Default:
    /// `None`, for methods whose secret this crate does not have.
    ///
    /// Processes with the same fingerprint share a failure of the configuration.
    fn fingerprint(&self, _parts: &[&str]) -> Option<Fingerprint> {
        None
    }
}

impl<F, Fut> ClientAuth for F
where
    F: Fn(CredentialsRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Credentials, AuthError>> + Send,
{
    fn credentials(
        &self,
        request: CredentialsRequest,
    ) -> impl Future<Output = Result<Credentials, AuthError>> + Send {
        self(request)
    }
}

/// The request that needs credentials.
#[derive(Clone, Debug)]
pub struct CredentialsRequest {
    client_id: Arc<str>,
    url: Uri,
}

impl CredentialsRequest {
    pub(crate) fn new(client_id: Arc<str>, url: Uri) -> Self {
        Self { client_id, url }
    }

    /// Returns the client's identifier (RFC 6749 section 2.2).
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the address of the POST request: the token or the revocation endpoint.
    pub fn url(&self) -> &Uri {
        &self.url
    }
}

/// Headers and form parameters that authenticate the client. Errors contain none of them.
#[derive(Clone, Default)]
pub struct Credentials {
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) params: Vec<(String, SecretString)>,
    pub(crate) secrets: Vec<SecretString>,
}

impl Credentials {
    /// Returns credentials without headers and parameters.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a header and marks its value as sensitive.
    pub fn header(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        if let Ok(text) = value.to_str() {
            // The text before the first space is the scheme, which is not secret.
            let credentials = text.split_once(' ').map_or(text, |(_, rest)| rest);
            self.secrets.push(credentials.into());
        }
        value.set_sensitive(true);
        self.headers.push((name, value));
        self
    }

    /// Adds a form parameter that is not secret.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.push((name.into(), value.into().into()));
        self
    }

    /// Adds a secret form parameter. Errors never contain its value.
    pub fn secret_param(self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        let value = value.into();
        let mut this = self.secret(value.clone());
        this.params.push((name.into(), value));
        this
    }

    /// Adds a secret that a header carries in another encoding. Errors never contain the secret.
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

/// A client without a secret: sends its `client_id` in the form (RFC 6749 sections 2.1 and 3.2.1).
/// This is the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublicClient;

impl ClientAuth for PublicClient {
    async fn credentials(&self, request: CredentialsRequest) -> Result<Credentials, AuthError> {
        Ok(Credentials::none().param("client_id", request.client_id()))
    }

    fn fingerprint(&self, parts: &[&str]) -> Option<Fingerprint> {
        Some(fingerprint("none", parts, None))
    }
}

/// `client_secret_basic`: identifier and secret, each form-urlencoded, in a Basic `Authorization`
/// header (RFC 6749 section 2.3.1). Every issuer that issues client secrets must support it.
#[derive(Clone, Debug)]
pub struct ClientSecretBasic(SecretString);

impl ClientSecretBasic {
    /// Authenticates with this secret.
    pub fn new(secret: impl Into<SecretString>) -> Self {
        Self(secret.into())
    }
}

impl ClientAuth for ClientSecretBasic {
    async fn credentials(&self, request: CredentialsRequest) -> Result<Credentials, AuthError> {
        let encode =
            |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        let (id, secret) = (request.client_id(), self.0.expose_secret());
        let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
        let value = HeaderValue::try_from(format!("Basic {pair}"))?;
        Ok(Credentials::none()
            .header(AUTHORIZATION, value)
            .secret(self.0.clone()))
    }

    fn fingerprint(&self, parts: &[&str]) -> Option<Fingerprint> {
        Some(fingerprint("client_secret_basic", parts, Some(&self.0)))
    }
}

/// `client_secret_post`: identifier and secret in the form (RFC 6749 section 2.3.1), for issuers
/// that do not read the header.
#[derive(Clone, Debug)]
pub struct ClientSecretPost(SecretString);

impl ClientSecretPost {
    /// Authenticates with this secret.
    pub fn new(secret: impl Into<SecretString>) -> Self {
        Self(secret.into())
    }
}

impl ClientAuth for ClientSecretPost {
    async fn credentials(&self, request: CredentialsRequest) -> Result<Credentials, AuthError> {
        Ok(Credentials::none()
            .param("client_id", request.client_id())
            .secret_param("client_secret", self.0.clone()))
    }

    fn fingerprint(&self, parts: &[&str]) -> Option<Fingerprint> {
        Some(fingerprint("client_secret_post", parts, Some(&self.0)))
    }
}

fn fingerprint(method: &str, parts: &[&str], secret: Option<&SecretString>) -> Fingerprint {
    Fingerprint::of([method].into_iter().chain(parts.iter().copied()), secret)
}

/// Object-safe form of [`ClientAuth`].
pub(crate) trait DynClientAuth: Send + Sync + 'static {
    fn credentials(
        &self,
        request: CredentialsRequest,
    ) -> BoxFuture<'_, Result<Credentials, AuthError>>;
    fn fingerprint(&self, parts: &[&str]) -> Option<Fingerprint>;
}

impl<A: ClientAuth> DynClientAuth for A {
    fn credentials(
        &self,
        request: CredentialsRequest,
    ) -> BoxFuture<'_, Result<Credentials, AuthError>> {
        Box::pin(ClientAuth::credentials(self, request))
    }

    fn fingerprint(&self, parts: &[&str]) -> Option<Fingerprint> {
        ClientAuth::fingerprint(self, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn credentials_of(auth: impl ClientAuth) -> Credentials {
        let url = Uri::from_static("https://issuer.example/token");
        let request = CredentialsRequest::new("client: é".into(), url);
        auth.credentials(request).await.unwrap()
    }

    fn params(credentials: &Credentials) -> Vec<(&str, &str)> {
        let params = credentials.params.iter();
        params
            .map(|(name, value)| (name.as_str(), value.expose_secret()))
            .collect()
    }

    #[tokio::test]
    async fn a_public_client_sends_its_client_id() {
        let credentials = credentials_of(PublicClient).await;
        assert_eq!(params(&credentials), [("client_id", "client: é")]);
        assert!(credentials.headers.is_empty());
    }

    #[tokio::test]
    async fn basic_encodes_identifier_and_secret_before_joining_them() {
        let credentials = credentials_of(ClientSecretBasic::new("s3:cr et%+ü")).await;
        let (name, value) = &credentials.headers[0];
        assert_eq!(name, AUTHORIZATION);
        let pair = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = String::from_utf8(STANDARD.decode(pair).unwrap()).unwrap();
        assert_eq!(pair, "client%3A+%C3%A9:s3%3Acr+et%25%2B%C3%BC");
        assert!(params(&credentials).is_empty());
    }

    #[tokio::test]
    async fn post_sends_identifier_and_secret_in_the_form() {
        let credentials = credentials_of(ClientSecretPost::new("s3cret")).await;
        let expected = [("client_id", "client: é"), ("client_secret", "s3cret")];
        assert_eq!(params(&credentials), expected);
        assert!(credentials.headers.is_empty());
    }

    #[test]
    fn method_and_secret_change_the_fingerprint() {
        let parts = ["https://issuer.example/token", "client"];
        let all = [
            ClientAuth::fingerprint(&PublicClient, &parts),
            ClientAuth::fingerprint(&ClientSecretBasic::new("one"), &parts),
            ClientAuth::fingerprint(&ClientSecretBasic::new("two"), &parts),
            ClientAuth::fingerprint(&ClientSecretPost::new("one"), &parts),
            ClientAuth::fingerprint(&ClientSecretPost::new("one"), &parts[..1]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(one.is_some() && !all[..index].contains(one), "{index}");
        }
        let again = ClientAuth::fingerprint(&ClientSecretBasic::new("one"), &parts);
        assert_eq!(again, all[1]);
        let closure = |_: CredentialsRequest| async { Ok(Credentials::none()) };
        assert_eq!(ClientAuth::fingerprint(&closure, &parts), None);
    }

    #[tokio::test]
    async fn debug_shows_no_secret() {
        let basic = credentials_of(ClientSecretBasic::new("CANARY")).await;
        let post = credentials_of(ClientSecretPost::new("CANARY")).await;
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
