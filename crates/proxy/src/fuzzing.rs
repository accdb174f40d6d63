//! What the fuzz targets call: what is done with a request's head, without sockets.

use http::{Request, StatusCode};

use crate::config::{BuildError, Config};
use crate::headers::Seen;
use crate::metrics::{Metrics, Recorder};
use crate::routes::Table;

/// A configuration in force.
pub struct Door(Table);

/// What became of a head that was let in.
pub struct Admitted {
    /// The route it takes.
    pub route: String,
    /// Its head as the upstream is to see it, but for the token; `None`: it was refused after all.
    pub outgoing: Option<Request<()>>,
}

impl Door {
    /// Checks the configuration; listens to nothing.
    pub fn new(config: &Config) -> Result<Self, BuildError> {
        let metrics = Metrics::new(&Recorder::default());
        Table::new(config, 1, &metrics).map(Self)
    }

    /// Lets a request in from TCP or a unix socket, or says as which problem it is answered.
    pub fn admit(
        &self,
        request: &Request<()>,
        unix: bool,
    ) -> Result<Admitted, (&'static str, StatusCode)> {
        let seen = Seen::of(request.headers());
        let target = self.0.admit(request, seen, unix);
        let target = target.map_err(|problem| (problem.name, problem.status))?;
        let mut outgoing = request.clone();
        let rewritten = target.rewrite(&mut outgoing, seen).is_ok();
        Ok(Admitted {
            route: target.name.clone(),
            outgoing: rewritten.then_some(outgoing),
        })
    }
}
