//! Where an issuer is asked for what: as the settings say, else as the issuer itself does.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use token_rotator::{FailureKind, SourceError};
use token_rotator_oauth2::{BuildError, DiscoveryError, IssuerMetadata};
use token_rotator_reqwest::ReqwestTransport;

use super::failure::LATER;
use crate::command_error::CommandError;
use crate::config::{Address, SessionSettings};

/// How long the issuer may take to say where its endpoints are. Shorter than a flight has, so that a
/// refresh that could not begin is known not to have been sent.
const PATIENCE: Duration = Duration::from_secs(5);

/// An endpoint that somebody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Authorization,
    DeviceAuthorization,
    Token,
    Revocation,
}

/// An issuer's endpoints.
///
/// What the settings say counts. The issuer is asked for the rest when it is needed first; its answer
/// is kept in memory until somebody says that it does not hold any more, and is not written down, so
/// that an issuer may move.
pub(crate) struct Endpoints {
    settings: SessionSettings,
    transport: ReqwestTransport,
    discovered: Mutex<Option<IssuerMetadata>>,
}

impl Endpoints {
    pub(crate) fn new(settings: &SessionSettings, transport: ReqwestTransport) -> Self {
        Self {
            settings: settings.clone(),
            transport,
            discovered: Mutex::new(None),
        }
    }

    /// What is known of the issuer. It is asked if it has a name and one of the endpoints that are
    /// needed is not configured; whether it names that one, the caller sees.
    ///
    /// Waits for the issuer, [`PATIENCE`] at most.
    pub(crate) async fn find(&self, needed: &[Endpoint]) -> Result<IssuerMetadata, NoEndpoint> {
        let settings = &self.settings;
        let is_open = |endpoint: &&Endpoint| self.configured(**endpoint).is_none();
        let metadata = match (&settings.issuer, needed.iter().find(is_open)) {
            (Some(_), Some(_)) => self.discover().await?,
            (Some(issuer), None) => IssuerMetadata::new().with_issuer(issuer.as_str()),
            // Without it an issuer works as well.
            (None, None | Some(Endpoint::Revocation)) => IssuerMetadata::new(),
            (None, Some(endpoint)) => return Err(NoEndpoint::Unnamed(*endpoint)),
        };
        self.with_configured(metadata).map_err(NoEndpoint::Unusable)
    }

    /// What the issuer says of itself.
    pub(crate) async fn discover(&self) -> Result<IssuerMetadata, NoEndpoint> {
        let Some(issuer) = &self.settings.issuer else {
            return Err(NoEndpoint::Unnamed(Endpoint::Token));
        };
        if let Some(known) = self.discovered().clone() {
            return Ok(known);
        }
        let asked = IssuerMetadata::discover(issuer.as_str(), &self.transport);
        let Ok(answered) = tokio::time::timeout(PATIENCE, asked).await else {
            return Err(NoEndpoint::Late(issuer.clone()));
        };
        let metadata = answered.map_err(|error| NoEndpoint::Undiscovered(error.into()))?;
        *self.discovered() = Some(metadata.clone());
        Ok(metadata)
    }

    /// The issuer will be asked again.
    pub(crate) fn forget(&self) {
        *self.discovered() = None;
    }

    fn discovered(&self) -> std::sync::MutexGuard<'_, Option<IssuerMetadata>> {
        // Nothing that is done under the lock can panic halfway.
        let locked = self.discovered.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    fn configured(&self, endpoint: Endpoint) -> Option<&Address> {
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
            let Some(url) = self.configured(endpoint).map(Address::as_str) else {
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

/// Why it is not known where the issuer is to be asked.
#[derive(Debug)]
pub(crate) enum NoEndpoint {
    /// Neither the endpoint is configured nor an issuer that could name it.
    Unnamed(Endpoint),
    /// The issuer did not say.
    Undiscovered(Box<DiscoveryError>),
    /// The issuer took too long.
    Late(Address),
    /// What is configured is no address for tokens.
    Unusable(BuildError),
}

impl NoEndpoint {
    /// Whether it may pass by itself.
    fn may_pass(&self) -> bool {
        match self {
            Self::Late(_) => true,
            Self::Undiscovered(error) => match &**error {
                DiscoveryError::Unreachable { .. } => true,
                DiscoveryError::NoDocument { asked } => {
                    asked.iter().any(|(_, found)| found.may_pass())
                }
                _ => false,
            },
            Self::Unnamed(_) | Self::Unusable(_) => false,
        }
    }
}

impl From<NoEndpoint> for CommandError {
    fn from(error: NoEndpoint) -> Self {
        let passing = error.may_pass();
        let failed = match error {
            NoEndpoint::Unnamed(endpoint) => {
                let (which, key) = match endpoint {
                    Endpoint::Authorization => ("authorization", "--authorization-endpoint"),
                    Endpoint::DeviceAuthorization => {
                        ("device authorization", "--device-authorization-endpoint")
                    }
                    Endpoint::Token => ("token", "--token-endpoint"),
                    Endpoint::Revocation => ("revocation", "--revocation-endpoint"),
                };
                Self::new("it is not known which issuer to ask")
                .why(format!(
                    "the session has neither an issuer nor the {which} endpoint of one"
                ))
                .hint(format!(
                    "give the issuer: `--issuer URL`, or `issuer` in the configuration; where it has no \
                     metadata, its endpoints one by one: `{key}`"
                ))
            }
            NoEndpoint::Undiscovered(error) => Self::new(
                "the issuer's endpoints could not be discovered",
            )
            .because(&*error)
            .hint(match &*error {
                DiscoveryError::IssuerMismatch { .. } => {
                    "if you trust that one, give its name exactly as it writes it: `--issuer`, or \
                             `issuer` in the configuration"
                }
                DiscoveryError::NoDocument { .. } if passing => {
                    "the issuer cannot answer now; try again in a moment"
                }
                _ if passing => "check `--issuer` and the network, or try again in a moment",
                _ => {
                    "check `--issuer`; `--token-endpoint` and the like take the place of what is \
                             discovered"
                }
            }),
            NoEndpoint::Late(issuer) => Self::new("the issuer's endpoints could not be discovered")
                .why(format!("{issuer} did not answer within {PATIENCE:?}"))
                .hint("check `--issuer`, the network and proxies, or try again in a moment"),
            NoEndpoint::Unusable(error) => Self::new("an endpoint of the session cannot be used")
                .because(&error)
                .hint_of(error.hint()),
        };
        if passing { failed.code(LATER) } else { failed }
    }
}

/// Nothing was sent to a token endpoint.
impl From<NoEndpoint> for SourceError {
    fn from(error: NoEndpoint) -> Self {
        let passing = error.may_pass();
        let error = CommandError::from(error);
        error.of_source(if passing {
            FailureKind::NotSent
        } else {
            FailureKind::Misconfigured
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is typed is looked at before, so that no user comes here with today's rules.
    #[test]
    fn an_endpoint_that_cannot_be_used() {
        let metadata = IssuerMetadata::new();
        let error = metadata.with_token_endpoint("http://issuer.example/token");
        let error = NoEndpoint::Unusable(error.expect_err("it is in the clear"));
        insta::assert_snapshot!(CommandError::from(error).text(), @"
        exit code 1
        error: an endpoint of the session cannot be used
          because the token endpoint cannot be used: `http://` would send the token to `issuer.example` in the clear
        hint: use `https://`, or for a server on this machine `http://localhost`, `http://127.0.0.1` or `http://[::1]`
        ");
    }
}
