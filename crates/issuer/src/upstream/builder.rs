//! Options of an upstream, and its start.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::gate::Gate;
use crate::issuer::IssuerShared;
use crate::server::tasks::Tasks;
use crate::server::{BoundListener, StartError};
use crate::upstream::record::RequestLog;
use crate::upstream::{Upstream, UpstreamShared};

/// Options of an [`Upstream`]. [`Upstream::builder`] creates the builder.
#[derive(Clone)]
#[must_use = "an upstream runs after `start().await`"]
pub struct UpstreamBuilder {
    issuer: Arc<IssuerShared>,
    port: u16,
    realm: String,
}

impl UpstreamBuilder {
    /// Sets the port to listen on. 0, the default, selects a free port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets the realm of the `WWW-Authenticate` challenges: printable ASCII without `"` and `\`. Default: `testkit`.
    pub fn realm(mut self, realm: &str) -> Self {
        realm.clone_into(&mut self.realm);
        self
    }

    /// Opens the port and serves it on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if the port is taken, or if the realm does not fit into a header.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime with IO and time enabled.
    #[expect(
        clippy::unused_async,
        reason = "ties the call to the runtime that serves"
    )]
    pub async fn start(self) -> Result<Upstream, StartError> {
        let is_quotable =
            |letter: char| matches!(letter, ' '..='~') && letter != '"' && letter != '\\';
        if !self.realm.chars().all(is_quotable) {
            return Err(StartError::Realm);
        }
        let listener = BoundListener::on(self.port)?;
        let slow_gate = Gate::new();
        slow_gate.close();
        let started = Instant::now();
        let shared = Arc::new(UpstreamShared {
            issuer: self.issuer,
            url: listener.url(),
            realm: self.realm,
            started,
            request_log: RequestLog::default(),
            gate: Gate::new(),
            slow_gate,
            tasks: Tasks::new(),
        });
        listener.serve(Arc::clone(&shared), &shared.tasks);
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
