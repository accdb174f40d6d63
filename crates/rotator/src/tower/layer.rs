//! The layer and its settings.

use std::sync::Arc;

use http::response::Parts;
use http::{HeaderMap, Response, StatusCode, Uri};
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

type Predicate = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

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
    /// Answers with one of these statuses count as refusals too (403, 419).
    ///
    /// A challenge that comes with one means what it means at a 401: `insufficient_scope` and
    /// `invalid_request` are handed back without a refresh, and a step-up (RFC 9470) is typed.
    pub fn status_codes(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.settings.statuses = statuses.into_iter().collect();
        self
    }

    /// Answers for which this is true count as refusals too. It is asked of every answer that
    /// status and challenges leave open, to a request that the layer put a token on, and should be
    /// quick. Its word is final: a challenge that comes with a status not listed decides nothing.
    ///
    /// It sees all of the answer but the body: status, headers, extensions. Where the body says that
    /// the token was refused, an inner service reads it and leaves what it found in the extensions:
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::{BodyExt, Full};
    /// use token_rotator::{Rotator, SourceError, TokenSet};
    /// use tower::{BoxError, ServiceBuilder, ServiceExt};
    ///
    /// /// The code in the body of an answer.
    /// #[derive(Clone)]
    /// struct Code(String);
    ///
    /// /// Reads bodies that are short, as this API's are, and puts them back.
    /// async fn read_code<B>(answer: Response<B>) -> Result<Response<Full<Bytes>>, BoxError>
    /// where
    ///     B: http_body::Body<Error: Into<BoxError>>,
    /// {
    ///     let (mut parts, body) = answer.into_parts();
    ///     let body = body.collect().await.map_err(Into::into)?.to_bytes();
    ///     let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    ///     if let Some(code) = json["code"].as_str() {
    ///         parts.extensions.insert(Code(code.to_owned()));
    ///     }
    ///     Ok(Response::from_parts(parts, Full::new(body)))
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let source = |_| async { Ok::<_, SourceError>(TokenSet::bearer("token")) };
    /// # let http_client = tower::service_fn(|_: Request<Full<Bytes>>| async {
    /// #     Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
    /// # });
    /// let rotator = Rotator::builder(source).origin("https://api.example.com").build()?;
    /// let expired = |parts: &http::response::Parts| {
    ///     parts.extensions.get::<Code>().is_some_and(|code| code.0 == "TOKEN_EXPIRED")
    /// };
    /// let client = ServiceBuilder::new()
    ///     .layer(rotator.layer()?.refused_when(expired))
    ///     .service(http_client.and_then(read_code));
    /// # drop(client.oneshot(Request::new(Full::default())));
    /// # Ok(()) }
    /// ```
    pub fn refused_when(
        mut self,
        refused: impl Fn(&Parts) -> bool + Send + Sync + 'static,
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

    /// What the answer says of the token; the answer comes back as it was. `bare`: the request went
    /// out without one.
    pub(crate) fn judge<R>(&self, answer: Response<R>, bare: bool) -> (Response<R>, Verdict) {
        match self.by_challenge(answer.status(), answer.headers()) {
            // Whatever the reason given to somebody who sent no token, a token is what is missing.
            Verdict::NotAboutToken { .. } if bare => (answer, Verdict::RefreshToken),
            Verdict::None => self.widened(answer),
            verdict => (answer, verdict),
        }
    }

    fn by_challenge(&self, status: StatusCode, headers: &HeaderMap) -> Verdict {
        if self.statuses.contains(&status) {
            challenge::judge_refusal(headers)
        } else {
            challenge::judge(status, headers)
        }
    }

    /// The verdict on an answer that neither its status nor its challenges decide.
    fn widened<R>(&self, answer: Response<R>) -> (Response<R>, Verdict) {
        if challenge::judge_grpc(answer.headers()) {
            return (answer, Verdict::RefreshToken);
        }
        let Some(refused) = &self.refused_when else {
            return (answer, Verdict::None);
        };
        let (parts, body) = answer.into_parts();
        let verdict = if refused(&parts) {
            Verdict::RefreshToken
        } else {
            Verdict::None
        };
        (Response::from_parts(parts, body), verdict)
    }
}
