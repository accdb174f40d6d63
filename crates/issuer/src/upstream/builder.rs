//! Options of an upstream, and its start.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::gate::Gate;
use crate::issuer::IssuerShared;
use crate::server::tasks::Tasks;
use crate::server::{Listening, StartError};
use crate::upstream::record::Ledger;
use crate::upstream::{Upstream, UpstreamShared};

/// Options of an [`Upstream`]; made by [`Upstream::builder`].
#[derive(Clone)]
#[must_use = "an upstream runs after `start().await`"]
pub struct UpstreamBuilder {
    issuer: Arc<IssuerShared>,
    port: u16,
    realm: String,
}

impl UpstreamBuilder {
    /// The port to listen on; 0, the default, takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The realm in challenges: printable ASCII without `"` and `\`. Default: `testkit`.
    pub fn realm(mut self, realm: &str) -> Self {
        realm.clone_into(&mut self.realm);
        self
    }

    /// Opens the port and serves it on the current tokio runtime.
    ///
    /// Fails if the port is taken or the realm does not fit into a header.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO and time enabled.
    #[expect(
        clippy::unused_async,
        reason = "ties the call to the runtime that serves"
    )]
    pub async fn start(self) -> Result<Upstream, StartError> {
        let quotable =
            |letter: char| matches!(letter, ' '..='~') && letter != '"' && letter != '\\';
        if !self.realm.chars().all(quotable) {
            return Err(StartError::Realm);
        }
        let listening = Listening::on(self.port)?;
        let slow = Gate::new();
        slow.close();
        let started = Instant::now();
        let shared = Arc::new(UpstreamShared {
            issuer: self.issuer,
            url: listening.url(),
            realm: self.realm,
            started,
            ledger: Ledger::default(),
            gate: Gate::new(),
            slow,
            tasks: Tasks::new(),
        });
        listening.serve(Arc::clone(&shared), &shared.tasks);
        Ok(Upstream { shared })
    }

    pub(super) fn new(issuer: Arc<IssuerShared>) -> Self {
        Self {
            issuer,
            port: 0,
            realm: "testkit".to_owned(),
        }
    }
}

impl fmt::Debug for UpstreamBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("UpstreamBuilder");
        shown
            .field("port", &self.port)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}
