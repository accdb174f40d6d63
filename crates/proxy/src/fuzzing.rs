//! Entry points of the fuzz targets: the checks and rewrites of a request's head, without sockets.

use http::{Request, StatusCode};

use crate::admit;
use crate::config::{BuildError, Config};
use crate::cors::Cors;
use crate::headers::HeaderSummary;
use crate::metrics::{Metrics, Recorder};
use crate::routes::RouteTable;

/// A checked configuration.
pub struct ActiveConfig(RouteTable);

/// Result for a head that has a route.
pub struct Admitted {
    /// Name of the route.
    pub route: String,
    /// The head for the upstream, without the token. `None` if the rewrite refused the head.
    pub outgoing: Option<Request<()>>,
}

impl ActiveConfig {
    /// Checks the configuration and opens no socket.
    pub fn new(config: &Config) -> Result<Self, BuildError> {
        let metrics = Metrics::new(&Recorder::default());
        RouteTable::new(config, 1, &metrics).map(Self)
    }

    /// Checks a request from TCP or a unix socket. Returns the name and status of its problem if
    /// the proxy refuses the request.
    pub fn admit(
        &self,
        request: &Request<()>,
        unix: bool,
    ) -> Result<Admitted, (&'static str, StatusCode)> {
        let summary = HeaderSummary::of(request.headers());
        let admitted = self.0.admit(request, summary, unix, &mut Cors::Off);
        let target = match admitted.map_err(|problem| (problem.name, problem.status))? {
            admit::Admitted::To(target) => target,
            admit::Admitted::Preflight => return Err(("preflight", StatusCode::NO_CONTENT)),
        };
        let mut outgoing = request.clone();
        let rewritten = target.rewrite(&mut outgoing, summary).is_ok();
        Ok(Admitted {
            route: target.name.clone(),
            outgoing: rewritten.then_some(outgoing),
        })
    }
}
