//! The addresses that a session is bound to.

/// The issuer and the endpoints of a session's sign-in. The record seals them, so that another
/// address in a configuration or environment gets no refresh token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Binding {
    /// The issuer's identifier (RFC 8414), if the configuration names an issuer.
    pub issuer: Option<String>,
    /// The address that refresh tokens are sent to.
    pub token_endpoint: Option<String>,
    /// The address that tokens are revoked at (RFC 7009).
    pub revocation_endpoint: Option<String>,
}

impl Binding {
    /// Binds to this token endpoint.
    pub fn new(token_endpoint: impl Into<String>) -> Self {
        Self {
            token_endpoint: Some(token_endpoint.into()),
            ..Self::default()
        }
    }

    /// Adds the issuer's identifier.
    pub fn with_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Adds the revocation endpoint.
    pub fn with_revocation_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.revocation_endpoint = Some(endpoint.into());
        self
    }
}
