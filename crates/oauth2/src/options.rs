//! The options that all builders of this crate share: the client, and the APIs that its tokens are for.

use std::sync::Arc;

use token_rotator::SecretString;

use crate::answer::AnswerRules;
use crate::builder::BuildError;
use crate::checks::{self, Reserved};
use crate::client::IssuerClient;
use crate::client_auth::{DynClientAuth, PublicClient};
use crate::transport::Transport;

/// The options as the caller gave them.
#[derive(Clone)]
pub(crate) struct CommonOptions {
    pub(crate) client_id: String,
    pub(crate) auth: Arc<dyn DynClientAuth>,
    pub(crate) scope: Option<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) audience: Option<String>,
    pub(crate) params: Vec<(String, SecretString)>,
    pub(crate) rules: AnswerRules,
}

/// The options after all checks, as requests carry them.
#[derive(Clone)]
pub(crate) struct CheckedOptions {
    pub(crate) client: IssuerClient,
    pub(crate) scope: Option<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) audience: Option<String>,
    pub(crate) params: Vec<(String, SecretString)>,
    pub(crate) rules: Arc<AnswerRules>,
}

impl CommonOptions {
    pub(crate) fn new(client_id: String) -> Self {
        Self {
            client_id,
            auth: Arc::new(PublicClient),
            scope: None,
            resources: Vec::new(),
            audience: None,
            params: Vec::new(),
            rules: AnswerRules::new(),
        }
    }

    /// Checks the options and removes an empty scope and an empty audience.
    pub(crate) fn check(
        self,
        transport: impl Transport,
        reserved: &[Reserved],
    ) -> Result<CheckedOptions, BuildError> {
        checks::client_id(&self.client_id)?;
        checks::params(&self.params, reserved)?;
        checks::resources(&self.resources)?;
        self.rules.check()?;
        Ok(CheckedOptions {
            client: IssuerClient {
                id: self.client_id.into(),
                auth: self.auth,
                transport: Arc::new(transport),
            },
            scope: self.scope.filter(|scope| !scope.is_empty()),
            resources: self.resources,
            audience: self.audience.filter(|audience| !audience.is_empty()),
            params: self.params,
            rules: Arc::new(self.rules),
        })
    }
}
