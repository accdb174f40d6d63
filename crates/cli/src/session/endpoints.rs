//! The endpoints of an issuer: from the settings, or else discovered (RFC 8414).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use token_rotator::store::Binding;
use token_rotator::{FailureKind, SourceError};
use token_rotator_oauth2::{BuildError, DiscoveryError, IssuerMetadata};
use token_rotator_reqwest::ReqwestTransport;

use super::failure::EXIT_TRY_LATER;
use crate::command_error::CommandError;
use crate::config::{IssuerUrl, ProfileChoice, SessionSettings};

/// How long the discovery may take. It is shorter than the deadline of a flight, so that a refresh
/// that fails here counts as not sent.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// An endpoint of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Authorization,
    DeviceAuthorization,
    Token,
    Revocation,
}

impl Endpoint {
    /// Returns the endpoint's name in metadata and errors.
    fn name(self) -> &'static str {
        match self {
            Self::Authorization => "authorization endpoint",
            Self::DeviceAuthorization => "device authorization endpoint",
            Self::Token => "token endpoint",
            Self::Revocation => "revocation endpoint",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Authorization => "--authorization-endpoint",
            Self::DeviceAuthorization => "--device-authorization-endpoint",
            Self::Token => "--token-endpoint",
            Self::Revocation => "--revocation-endpoint",
        }
    }
}

/// Returns the problem of an endpoint in the issuer's document.
fn unusable(metadata: &IssuerMetadata, endpoint: Endpoint) -> Option<DiscoveryError> {
    let mut unusable = metadata.unusable_endpoints();
    unusable
        .find(|(which, _)| *which == endpoint.name())
        .map(|(_, problem)| problem.clone())
}

/// An issuer's endpoints.
///
/// Configured endpoints win. The rest is discovered when an endpoint is first needed. The metadata is
/// cached in memory until [`Endpoints::clear_cache`], and never on disk, so that an issuer can move.
pub(crate) struct Endpoints {
    settings: SessionSettings,
    transport: ReqwestTransport,
    discovered: DiscoveryCache,
}

/// The metadata that was discovered last. The parts of one command share it.
pub(crate) type DiscoveryCache = Arc<Mutex<Option<IssuerMetadata>>>;

impl Endpoints {
    /// Creates endpoints that share what others have discovered.
    pub(crate) fn new(
        settings: &SessionSettings,
        transport: ReqwestTransport,
        discovered: DiscoveryCache,
    ) -> Self {
        Self {
            settings: settings.clone(),
            transport,
            discovered,
        }
    }

    /// Returns the addresses that this metadata, from [`find`](Self::find), sends tokens to.
    pub(crate) fn binding(&self, metadata: &IssuerMetadata) -> Binding {
        let mut binding = Binding::default();
        binding.token_endpoint = metadata.token_endpoint().map(ToString::to_string);
        binding.revocation_endpoint = metadata.revocation_endpoint().map(ToString::to_string);
        let Some(issuer) = &self.settings.issuer else {
            return binding;
        };
        let announced = |endpoint| self.configured(endpoint).is_none();
        let over_tls = issuer.as_str().starts_with("https:");
        binding.with_issuer(issuer.as_str()).with_announced(
            announced(Endpoint::Token),
            announced(Endpoint::Revocation),
            over_tls,
        )
    }

    /// Returns the addresses that are known without a request.
    pub(crate) fn known_binding(&self) -> Option<Binding> {
        let metadata = self.discovered().clone().unwrap_or_default();
        Some(self.binding(&self.with_configured(metadata).ok()?))
    }

    /// Returns the issuer's metadata, overridden by the configured endpoints.
    ///
    /// Discovers them if an issuer is configured and one of `needed` is not. The caller checks whether
    /// the metadata names the endpoint.
    ///
    /// *Waits* for the issuer, [`DISCOVERY_TIMEOUT`] at most.
    pub(crate) async fn find(&self, needed: &[Endpoint]) -> Result<IssuerMetadata, EndpointError> {
        let settings = &self.settings;
        let is_open = |endpoint: &&Endpoint| self.configured(**endpoint).is_none();
        let metadata = match (&settings.issuer, needed.iter().find(is_open)) {
            (Some(_), Some(_)) => self.discover().await?,
            (Some(issuer), None) => IssuerMetadata::new().with_issuer(issuer.as_str()),
            // Revocation is optional.
            (None, None | Some(Endpoint::Revocation)) => IssuerMetadata::new(),
            (None, Some(endpoint)) => return Err(EndpointError::NotConfigured(*endpoint)),
        };
        let metadata = self
            .with_configured(metadata)
            .map_err(EndpointError::Invalid)?;
        let unusable = needed.iter().find_map(|endpoint| {
            let problem = unusable(&metadata, *endpoint)?;
            is_open(&endpoint).then_some((*endpoint, problem))
        });
        match unusable {
            // Revocation is optional.
            Some((endpoint, problem)) if endpoint != Endpoint::Revocation => {
                Err(EndpointError::Unusable(endpoint, Box::new(problem)))
            }
            _ => Ok(metadata),
        }
    }

    /// Returns the discovered metadata, from the cache or from the issuer.
    ///
    /// *Waits* for the issuer, [`DISCOVERY_TIMEOUT`] at most.
    pub(crate) async fn discover(&self) -> Result<IssuerMetadata, EndpointError> {
        let Some(issuer) = &self.settings.issuer else {
            return Err(EndpointError::NotConfigured(Endpoint::Token));
        };
        if let Some(cached) = self.discovered().clone() {
            return Ok(cached);
        }
        let profile = self.settings.profile.as_ref();
        let has_tenants = profile.is_some_and(ProfileChoice::has_tenants);
        let request = async {
            if has_tenants {
                IssuerMetadata::discover_tenants(issuer.as_str(), &self.transport).await
            } else {
                IssuerMetadata::discover(issuer.as_str(), &self.transport).await
            }
        };
        let Ok(answer) = tokio::time::timeout(DISCOVERY_TIMEOUT, request).await else {
            return Err(EndpointError::TimedOut(issuer.clone()));
        };
        let metadata = answer.map_err(|error| EndpointError::Discovery(error.into()))?;
        *self.discovered() = Some(metadata.clone());
        Ok(metadata)
    }

    /// Drops the cached metadata. The next use discovers it again.
    pub(crate) fn clear_cache(&self) {
        *self.discovered() = None;
    }

    fn discovered(&self) -> std::sync::MutexGuard<'_, Option<IssuerMetadata>> {
        // No code under the lock can panic halfway, so a poisoned value is intact.
        let locked = self.discovered.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    fn configured(&self, endpoint: Endpoint) -> Option<&IssuerUrl> {
        let settings = &self.settings;
        match endpoint {
            Endpoint::Authorization => settings.authorization_endpoint.as_ref(),
            Endpoint::DeviceAuthorization => settings.device_authorization_endpoint.as_ref(),
            Endpoint::Token => settings.token_endpoint.as_ref(),
            Endpoint::Revocation => settings.revocation_endpoint.as_ref(),
        }
    }

    fn with_configured(&self, mut metadata: IssuerMetadata) -> Result<IssuerMetadata, BuildError> {
        use Endpoint::{Authorization, DeviceAuthorization, Revocation, Token};
        for endpoint in [Authorization, DeviceAuthorization, Token, Revocation] {
            let Some(url) = self.configured(endpoint).map(IssuerUrl::as_str) else {
                continue;
            };
            metadata = match endpoint {
                Authorization => metadata.with_authorization_endpoint(url),
                DeviceAuthorization => metadata.with_device_authorization_endpoint(url),
                Token => metadata.with_token_endpoint(url),
                Revocation => metadata.with_revocation_endpoint(url),
            }?;
        }
        Ok(metadata)
    }
}

/// Why an endpoint is not known.
#[derive(Debug)]
pub(crate) enum EndpointError {
    /// Neither the endpoint nor an issuer is configured.
    NotConfigured(Endpoint),
    /// The discovery failed.
    Discovery(Box<DiscoveryError>),
    /// The issuer's document names an address that must not receive tokens.
    Unusable(Endpoint, Box<DiscoveryError>),
    /// The issuer did not answer in time.
    TimedOut(IssuerUrl),
    /// A configured endpoint cannot receive tokens, for example `http` to another machine.
    Invalid(BuildError),
}

impl EndpointError {
    /// Returns whether a later attempt may succeed.
    fn is_temporary(&self) -> bool {
        match self {
            Self::TimedOut(_) => true,
            Self::Discovery(error) => match &**error {
                DiscoveryError::Unreachable { .. } => true,
                DiscoveryError::NoDocument { asked } => {
                    asked.iter().any(|(_, found)| found.may_pass())
                }
                _ => false,
            },
            Self::NotConfigured(_) | Self::Unusable(..) | Self::Invalid(_) => false,
        }
    }
}

impl From<EndpointError> for CommandError {
    fn from(error: EndpointError) -> Self {
        let is_temporary = error.is_temporary();
        let failed = match error {
            EndpointError::NotConfigured(endpoint) => {
                let which = endpoint.name();
                let key = endpoint.flag();
                Self::new("the session has no issuer")
                .why(format!(
                    "neither an issuer nor its {which} is configured"
                ))
                .hint(format!(
                    "give the issuer: `--issuer URL`, or `issuer` in the configuration; if it has no \
                     metadata, give each endpoint: `{key}`"
                ))
            }
            EndpointError::Unusable(endpoint, error) => Self::new(format!(
                "the issuer's {} cannot be used",
                endpoint.name()
            ))
            .because(&*error)
            .hint(format!(
                "let the issuer correct its document, or give the endpoint: `{}`",
                endpoint.flag()
            )),
            EndpointError::Discovery(error) => Self::new(
                "the issuer's endpoints could not be discovered",
            )
            .because(&*error)
            .hint(match &*error {
                DiscoveryError::IssuerMismatch { named, .. } if named.contains("{tenantid}") => {
                    "this document is for every tenant of Microsoft Entra ID: add `--profile entra` and an \
                     issuer like https://login.microsoftonline.com/common/v2.0, or write your tenant's id \
                     in place of `common`"
                }
                DiscoveryError::IssuerMismatch { .. } => {
                    "if you trust that issuer, write its name exactly as it does: `--issuer`, or \
                             `issuer` in the configuration"
                }
                DiscoveryError::NoDocument { .. } if is_temporary => {
                    "the issuer cannot answer now; try again in a moment"
                }
                _ if is_temporary => "check `--issuer` and the network, or try again in a moment",
                _ => {
                    "check `--issuer`; `--token-endpoint` and the other endpoint flags replace the \
                             discovery"
                }
            }),
            EndpointError::TimedOut(issuer) => {
                Self::new("the issuer's endpoints could not be discovered")
                    .why(format!(
                        "{issuer} did not answer within {DISCOVERY_TIMEOUT:?}"
                    ))
                    .hint("check `--issuer`, the network and proxies, or try again in a moment")
            }
            EndpointError::Invalid(error) => Self::new("an endpoint of the session cannot be used")
                .because(&error)
                .hint_of(error.hint()),
        };
        if is_temporary {
            failed.code(EXIT_TRY_LATER)
        } else {
            failed
        }
    }
}

/// A temporary failure counts as not sent: the token endpoint received nothing.
impl From<EndpointError> for SourceError {
    fn from(error: EndpointError) -> Self {
        let is_temporary = error.is_temporary();
        let error = CommandError::from(error);
        error.to_source_error(if is_temporary {
            FailureKind::NotSent
        } else {
            FailureKind::Misconfigured
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments are checked earlier, so this error cannot be reached through the program today.
    #[test]
    fn an_endpoint_that_cannot_be_used() {
        let metadata = IssuerMetadata::new();
        let error = metadata.with_token_endpoint("http://issuer.example/token");
        let error = EndpointError::Invalid(error.expect_err("plain http"));
        insta::assert_snapshot!(CommandError::from(error).text(), @"
        exit code 1
        error: an endpoint of the session cannot be used
          because the token endpoint cannot be used: `http://` would send the token to `issuer.example` in the clear
        hint: use `https://`, or for a server on this machine `http://localhost`, `http://127.0.0.1` or `http://[::1]`
        ");
    }
}
