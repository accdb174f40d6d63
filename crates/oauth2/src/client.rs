//! The client of an issuer, and the requests that it sends.

use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, Uri};
use token_rotator::{ExposeSecret, SecretString, SourceError};

use crate::answer::RequestKind;
use crate::client_auth::{CredentialsRequest, DynClientAuth};
use crate::form::FormBody;
use crate::options::CheckedOptions;
use crate::secrets::Secrets;
use crate::transport::{DynTransport, SecretBytes};

/// Holds client id, authentication and transport: all that a request to the issuer needs.
#[derive(Clone)]
pub(crate) struct IssuerClient {
    pub(crate) id: Arc<str>,
    pub(crate) auth: Arc<dyn DynClientAuth>,
    pub(crate) transport: Arc<dyn DynTransport>,
}

impl IssuerClient {
    /// Sends the form with the client's credentials. Returns the answer and the secrets that the
    /// request carried.
    pub(crate) async fn post(
        &self,
        kind: RequestKind,
        mut post: FormRequest,
    ) -> Result<(Response<SecretBytes>, Secrets), SourceError> {
        let credentials_request = CredentialsRequest::new(Arc::clone(&self.id), post.url.clone());
        let credentials = self
            .auth
            .credentials(credentials_request)
            .await
            .map_err(|cause| {
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

        match self.transport.send(request).await {
            Ok(answer) => Ok((answer, post.secrets)),
            Err(error) => Err(kind.unanswered(error, &post.secrets)),
        }
    }
}

/// A form request before it is sent, and the secrets that must not appear in an error.
pub(crate) struct FormRequest {
    pub(crate) url: Uri,
    pub(crate) form: FormBody,
    pub(crate) secrets: Secrets,
}

impl FormRequest {
    pub(crate) fn to(url: &Uri) -> Self {
        Self {
            url: url.clone(),
            form: FormBody::default(),
            secrets: Secrets::new(),
        }
    }

    pub(crate) fn secret(&mut self, name: &str, value: &SecretString) {
        self.secrets.push(value);
        self.form.param(name, value.expose_secret());
    }

    /// Adds the scope, the APIs that the token is for, and the caller's own parameters.
    pub(crate) fn options(&mut self, options: &CheckedOptions) {
        if let Some(scope) = &options.scope {
            self.form.param("scope", scope);
        }
        self.resources(&options.resources);
        // RFC 8693 section 2.1.
        if let Some(audience) = &options.audience {
            self.form.param("audience", audience);
        }
        for (name, value) in &options.params {
            self.secret(name, value);
        }
    }

    /// Adds the APIs that the token is for (RFC 8707 section 2).
    pub(crate) fn resources(&mut self, resources: &[String]) {
        for uri in resources {
            self.form.param("resource", uri);
        }
    }
}
