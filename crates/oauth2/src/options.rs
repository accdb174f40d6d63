//! What every builder is told alike: the client, and what its tokens are to be for.

use std::sync::Arc;

use token_rotator::SecretString;

use crate::builder::BuildError;
use crate::checks::{self, Reserved};
use crate::client::Client;
use crate::client_auth::{DynClientAuth, PublicClient};
use crate::transport::Transport;

/// As they were said.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) client_id: String,
    pub(crate) auth: Arc<dyn DynClientAuth>,
    pub(crate) scope: Option<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) audience: Option<String>,
    pub(crate) params: Vec<(String, SecretString)>,
}

/// As they are sent.
pub(crate) struct Sound {
    pub(crate) client: Client,
    pub(crate) scope: Option<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) audience: Option<String>,
    pub(crate) params: Vec<(String, SecretString)>,
}

impl Options {
    pub(crate) fn of(client_id: String) -> Self {
        Self {
            client_id,
            auth: Arc::new(PublicClient),
            scope: None,
            resources: Vec::new(),
            audience: None,
            params: Vec::new(),
        }
    }

    /// Checks them, and leaves out what says nothing.
    pub(crate) fn check(
        self,
        transport: impl Transport,
        reserved: &[Reserved],
    ) -> Result<Sound, BuildError> {
        checks::client_id(&self.client_id)?;
        checks::params(&self.params, reserved)?;
        checks::resources(&self.resources)?;
        Ok(Sound {
            client: Client {
                id: self.client_id.into(),
                auth: self.auth,
                transport: Arc::new(transport),
            },
            scope: self.scope.filter(|scope| !scope.is_empty()),
            resources: self.resources,
            audience: self.audience.filter(|audience| !audience.is_empty()),
            params: self.params,
        })
    }
}
