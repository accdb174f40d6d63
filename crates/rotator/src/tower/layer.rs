//! The layer and its settings.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, Uri};
use tower_layer::Layer;

use super::{CloneBody, Rotation};
use crate::challenge::{self, Verdict};
use crate::error::BuildError;
use crate::origin::{Origin, Origins};
use crate::rotator::Rotator;

/// Puts tokens on requests and replays what is refused. See the [module](super).
#[derive(Clone)]
pub struct RotationLayer<C = CloneBody> {
    settings: Settings,
    copy: C,
}

/// What every service made by the layer shares.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) rotator: Rotator,
    origins: Origins,
    /// Where requests go whose URI does not say.
    unsaid: Option<Origin>,
    statuses: Arc<[StatusCode]>,
    refused_when: Option<Predicate>,
}

type Predicate = Arc<dyn Fn(StatusCode, &HeaderMap) -> bool + Send + Sync>;

impl Rotator {
    /// A layer that puts this rotator's tokens on requests to its declared origins.
    ///
    /// Fails with [`BuildError::NoOrigin`] if there are none.
    pub fn layer(&self) -> Result<RotationLayer, BuildError> {
        if self.origins().is_empty() {
            return Err(BuildError::NoOrigin);
        }
        Ok(RotationLayer::new(self, self.origins().clone(), None))
    }

    /// A layer for a service that goes to this origin alone and whose requests need not say so, as
    /// with tonic's channel.
    pub fn layer_for(&self, origin: impl AsRef<str>) -> Result<RotationLayer, BuildError> {
        let origin: Origin = origin.as_ref().parse()?;
        let origins = std::iter::once(origin.clone()).collect();
        Ok(RotationLayer::new(self, origins, Some(origin)))
    }
}

impl RotationLayer {
    fn new(rotator: &Rotator, origins: Origins, unsaid: Option<Origin>) -> Self {
        Self {
            settings: Settings {
                rotator: rotator.clone(),
                origins,
                unsaid,
                statuses: Arc::from([]),
                refused_when: None,
            },
            copy: CloneBody,
        }
    }
}

impl<C> RotationLayer<C> {
    /// Answers with one of these statuses count as refusals too (403, 419), whatever they say of
    /// the reason.
    pub fn status_codes(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.settings.statuses = statuses.into_iter().collect();
        self
    }

    /// Answers for which this is true count as refusals too. It sees status and headers, of every
    /// answer to a request that the layer put a token on, and should be quick.
    pub fn refused_when(
        mut self,
        refused: impl Fn(StatusCode, &HeaderMap) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.settings.refused_when = Some(Arc::new(refused));
        self
    }

    /// Decides which bodies can be sent twice. Default: all, by cloning them ([`CloneBody`]).
    pub fn copy_body<D>(self, copy: D) -> RotationLayer<D> {
        RotationLayer {
            settings: self.settings,
            copy,
        }
    }
}

impl<S, C: Clone> Layer<S> for RotationLayer<C> {
    type Service = Rotation<S, C>;

    fn layer(&self, inner: S) -> Rotation<S, C> {
        Rotation::new(inner, Arc::new(self.settings.clone()), self.copy.clone())
    }
}

impl<C> std::fmt::Debug for RotationLayer<C> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RotationLayer")
            .field("rotator", &self.settings.rotator)
            .field("origins", &self.settings.origins)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Whether the token may go to where this URI points.
    pub(crate) fn allows(&self, uri: &Uri) -> bool {
        if uri.authority().is_none() {
            return self.unsaid.is_some();
        }
        self.origins.allows(uri)
    }

    /// What the answer says of the token. `bare`: the request went out without one.
    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, bare: bool) -> Verdict {
        match challenge::judge(status, headers) {
            // Whatever the reason given to somebody who sent no token, a token is what is missing.
            Verdict::NotAboutToken { .. } if bare => Verdict::RefreshToken,
            Verdict::None if self.widened(status, headers) => Verdict::RefreshToken,
            verdict => verdict,
        }
    }

    fn widened(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        challenge::judge_grpc(headers)
            || self.statuses.contains(&status)
            || self
                .refused_when
                .as_ref()
                .is_some_and(|refused| refused(status, headers))
    }
}
