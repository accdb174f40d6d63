//! The metadata of an issuer.

use http::Uri;

use super::DiscoveryError;
use super::tenant;
use crate::answer::Fields;
use crate::builder::BuildError;
use crate::checks;

/// Metadata of an issuer (RFC 8414 section 2): its endpoints and capabilities.
///
/// [`discover`](Self::discover) requests it. For an issuer that publishes no metadata, a caller
/// enters the endpoints:
///
/// ```
/// use token_rotator_oauth2::IssuerMetadata;
///
/// let issuer = IssuerMetadata::new()
///     .with_authorization_endpoint("https://issuer.example/authorize")?
///     .with_token_endpoint("https://issuer.example/token")?;
/// assert!(issuer.issuer().is_none());
/// # Ok::<_, token_rotator_oauth2::BuildError>(())
/// ```
///
/// `Debug` shows addresses without their queries.
#[derive(Clone, Default)]
pub struct IssuerMetadata {
    issuer: Option<String>,
    /// The authority of many tenants that the caller asked for, such as `common`.
    authority: Option<String>,
    authorization_endpoint: Option<Uri>,
    token_endpoint: Option<Uri>,
    device_authorization_endpoint: Option<Uri>,
    revocation_endpoint: Option<Uri>,
    introspection_endpoint: Option<Uri>,
    /// Endpoints whose address must not receive tokens. They are left out.
    unusable: Vec<(&'static str, DiscoveryError)>,
    iss_parameter: bool,
    code_challenge_methods: Option<Vec<String>>,
    token_endpoint_auth_methods: Option<Vec<String>>,
    scopes: Option<Vec<String>>,
    grant_types: Option<Vec<String>>,
}

impl IssuerMetadata {
    /// Returns metadata without any endpoint.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn read(fields: &Fields, issuer: &str, address: &str) -> Self {
        let https = issuer
            .get(..6)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
        let usable = |name: &str, which| -> Result<Option<Uri>, DiscoveryError> {
            let Some(text) = fields.text(name) else {
                return Ok(None);
            };
            let url = checks::url(which, &text).map_err(|problem| DiscoveryError::Endpoint {
                url: address.to_owned(),
                problem,
            })?;
            if https && url.scheme_str() != Some("https") {
                return Err(DiscoveryError::Downgrade {
                    url: address.to_owned(),
                    which,
                });
            }
            Ok(Some(url))
        };
        let mut unusable = Vec::new();
        let mut endpoint = |name: &str, which| {
            usable(name, which).unwrap_or_else(|problem| {
                unusable.push((which, problem));
                None
            })
        };
        Self {
            issuer: Some(issuer.to_owned()),
            authority: None,
            authorization_endpoint: endpoint("authorization_endpoint", AUTHORIZATION),
            token_endpoint: endpoint("token_endpoint", TOKEN),
            device_authorization_endpoint: endpoint(
                "device_authorization_endpoint",
                DEVICE_AUTHORIZATION,
            ),
            revocation_endpoint: endpoint("revocation_endpoint", REVOCATION),
            introspection_endpoint: endpoint("introspection_endpoint", INTROSPECTION),
            unusable,
            iss_parameter: fields.raw("authorization_response_iss_parameter_supported")
                == Some("true"),
            code_challenge_methods: fields.list("code_challenge_methods_supported"),
            token_endpoint_auth_methods: fields.list("token_endpoint_auth_methods_supported"),
            scopes: fields.list("scopes_supported"),
            grant_types: fields.list("grant_types_supported"),
        }
    }

    pub(super) fn with_authority(mut self, authority: Option<&str>) -> Self {
        self.authority = authority.map(str::to_owned);
        self
    }

    pub(crate) fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// Sets the issuer's identifier. A sign-in compares the redirect and the `id_token` with it.
    pub fn with_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Sets the authorization endpoint. It replaces a discovered endpoint.
    pub fn with_authorization_endpoint(mut self, url: impl AsRef<str>) -> Result<Self, BuildError> {
        self.authorization_endpoint = Some(checks::url(AUTHORIZATION, url.as_ref())?);
        Ok(self)
    }

    /// Sets the token endpoint. It replaces a discovered endpoint.
    pub fn with_token_endpoint(mut self, url: impl AsRef<str>) -> Result<Self, BuildError> {
        self.token_endpoint = Some(checks::url(TOKEN, url.as_ref())?);
        Ok(self)
    }

    /// Sets the device authorization endpoint. It replaces a discovered endpoint.
    pub fn with_device_authorization_endpoint(
        mut self,
        url: impl AsRef<str>,
    ) -> Result<Self, BuildError> {
        self.device_authorization_endpoint = Some(checks::url(DEVICE_AUTHORIZATION, url.as_ref())?);
        Ok(self)
    }

    /// Sets the revocation endpoint. It replaces a discovered endpoint.
    pub fn with_revocation_endpoint(mut self, url: impl AsRef<str>) -> Result<Self, BuildError> {
        self.revocation_endpoint = Some(checks::url(REVOCATION, url.as_ref())?);
        Ok(self)
    }

    /// Returns the endpoints of the document that must not receive tokens, each with its problem. A
    /// request that needs such an endpoint fails; all other requests work without it.
    pub fn unusable_endpoints(&self) -> impl Iterator<Item = (&'static str, &DiscoveryError)> {
        let unusable = self.unusable.iter();
        unusable.map(|(which, problem)| (*which, problem))
    }

    /// Returns the issuer's identifier, or `None` if it was neither discovered nor set. It may have
    /// the placeholder `{tenantid}`, see [`discover_tenants`](Self::discover_tenants).
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Returns the endpoint where the user signs in (RFC 6749 section 3.1).
    pub fn authorization_endpoint(&self) -> Option<&Uri> {
        self.authorization_endpoint.as_ref()
    }

    /// Returns the endpoint that issues tokens (RFC 6749 section 3.2).
    pub fn token_endpoint(&self) -> Option<&Uri> {
        self.token_endpoint.as_ref()
    }

    /// Returns the endpoint that issues device codes (RFC 8628 section 3.1).
    pub fn device_authorization_endpoint(&self) -> Option<&Uri> {
        self.device_authorization_endpoint.as_ref()
    }

    /// Returns the endpoint that revokes tokens (RFC 7009).
    pub fn revocation_endpoint(&self) -> Option<&Uri> {
        self.revocation_endpoint.as_ref()
    }

    /// Returns the endpoint that describes tokens (RFC 7662).
    pub fn introspection_endpoint(&self) -> Option<&Uri> {
        self.introspection_endpoint.as_ref()
    }

    /// Returns `authorization_response_iss_parameter_supported`: whether every redirect names the
    /// issuer (RFC 9207 section 3). If so, a sign-in refuses a redirect without `iss`.
    pub fn authorization_response_iss_parameter_supported(&self) -> bool {
        self.iss_parameter
    }

    /// Returns `code_challenge_methods_supported` (RFC 7636), or `None` if the metadata does not
    /// list them.
    pub fn code_challenge_methods_supported(&self) -> Option<&[String]> {
        self.code_challenge_methods.as_deref()
    }

    /// Returns `token_endpoint_auth_methods_supported`. `None` means `client_secret_basic` (RFC
    /// 8414 section 2).
    pub fn token_endpoint_auth_methods_supported(&self) -> Option<&[String]> {
        self.token_endpoint_auth_methods.as_deref()
    }

    /// Returns `scopes_supported`, or `None` if the metadata does not list them. An issuer may omit
    /// scopes from the list.
    pub fn scopes_supported(&self) -> Option<&[String]> {
        self.scopes.as_deref()
    }

    /// Returns `grant_types_supported`. `None` means `authorization_code` and `implicit` (RFC 8414
    /// section 2).
    pub fn grant_types_supported(&self) -> Option<&[String]> {
        self.grant_types.as_deref()
    }

    pub(crate) fn require_authorization_endpoint(&self) -> Result<&Uri, BuildError> {
        self.require(AUTHORIZATION, self.authorization_endpoint.as_ref())
    }

    pub(crate) fn require_token_endpoint(&self) -> Result<&Uri, BuildError> {
        self.require(TOKEN, self.token_endpoint.as_ref())
    }

    pub(crate) fn require_device_authorization_endpoint(&self) -> Result<&Uri, BuildError> {
        let endpoint = self.device_authorization_endpoint.as_ref();
        self.require(DEVICE_AUTHORIZATION, endpoint)
    }

    fn require<'a>(
        &self,
        which: &'static str,
        endpoint: Option<&'a Uri>,
    ) -> Result<&'a Uri, BuildError> {
        let problem = || self.unusable.iter().find(|(name, _)| *name == which);
        endpoint.ok_or_else(|| match problem() {
            Some((_, DiscoveryError::Endpoint { problem, .. })) => problem.clone(),
            Some(_) => BuildError::Downgrade { which },
            None => BuildError::Endpoint { which },
        })
    }

    /// Returns whether this is the name of the issuer. A name with the placeholder `{tenantid}`
    /// matches the name of every tenant.
    pub(crate) fn is_issuer(expected: &str, name: &str) -> bool {
        expected == name || tenant::of(expected, name).is_some()
    }
}

const AUTHORIZATION: &str = "authorization endpoint";
const TOKEN: &str = "token endpoint";
const DEVICE_AUTHORIZATION: &str = "device authorization endpoint";
const REVOCATION: &str = "revocation endpoint";
const INTROSPECTION: &str = "introspection endpoint";

impl std::fmt::Debug for IssuerMetadata {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let endpoints = [
            ("authorization_endpoint", &self.authorization_endpoint),
            ("token_endpoint", &self.token_endpoint),
            (
                "device_authorization_endpoint",
                &self.device_authorization_endpoint,
            ),
            ("revocation_endpoint", &self.revocation_endpoint),
            ("introspection_endpoint", &self.introspection_endpoint),
        ];
        let mut debug = out.debug_struct("IssuerMetadata");
        debug.field("issuer", &self.issuer);
        for (name, url) in endpoints {
            debug.field(name, &url.as_ref().map(checks::without_query));
        }
        debug.finish_non_exhaustive()
    }
}
