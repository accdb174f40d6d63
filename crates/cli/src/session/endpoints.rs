//! Where an issuer is asked for what.

use crate::command_error::CommandError;
use crate::config::{Address, SessionSettings};

/// An issuer's endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) token: Address,
    pub(crate) revocation: Option<Address>,
}

impl Endpoints {
    /// As the settings say.
    pub(crate) fn of(settings: &SessionSettings) -> Result<Self, CommandError> {
        let Some(token) = settings.token_endpoint.clone() else {
            return Err(CommandError::new("the session has no token endpoint").hint(
                "give the issuer's: `--token-endpoint`, or `token_endpoint` in the configuration",
            ));
        };
        Ok(Self {
            token,
            revocation: settings.revocation_endpoint.clone(),
        })
    }
}
