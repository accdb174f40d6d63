//! The layer and its settings.

use std::marker::PhantomData;
use std::sync::Arc;

use http::response::Parts;
use http::{Request, Response, StatusCode, Uri};
use tower_layer::Layer;

use super::bodies::{JudgeBodies, RefusedByBody};
use super::{CloneBody, Rotation};
use crate::error::BuildError;
use crate::http::challenge::Verdict;
use crate::http::origin::{Origin, Origins};
use crate::http::{BodyRule, Exchange, RefusalRules, Settled};
use crate::middleware::RotatorExt as _;
use crate::rotator::Rotator;

/// Puts tokens on requests and replays what is refused. See the [module](super).
///
/// `A` says what of an answer is judged: [`Heads`] or [`Bodies`].
#[derive(Clone)]
pub struct RotationLayer<C = CloneBody, A = Heads> {
    settings: Settings,
    copy: C,
    judged: PhantomData<A>,
}

/// The layer judges status and headers. Bodies pass as they are.
#[derive(Clone, Copy, Debug)]
pub enum Heads {}

/// The layer judges bodies too. They arrive as [`PeekedBody`](crate::middleware::PeekedBody).
#[derive(Clone, Copy, Debug)]
pub enum Bodies {}

/// What every service made by the layer shares.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) rotator: Rotator,
    origins: Origins,
    /// Where requests go whose URI does not say.
    unsaid: Option<Origin>,
    pub(crate) rules: RefusalRules,
}

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
                rules: RefusalRules::new(),
            },
            copy: CloneBody,
            judged: PhantomData,
        }
    }
}

impl<C, A> RotationLayer<C, A> {
    /// These statuses refuse the token, in place of 401. See [`RefusalRules::status_codes`].
    pub fn status_codes(self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.with_rules(|rules| rules.status_codes(statuses))
    }

    /// These statuses refuse the token too (403, 419).
    ///
    /// A challenge that comes with one means what it means at a 401: `insufficient_scope` and
    /// `invalid_request` are handed back without a refresh, and a step-up (RFC 9470) is typed.
    pub fn also_status_codes(self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.with_rules(|rules| rules.also_status_codes(statuses))
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
    pub fn refused_when(self, refused: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with_rules(|rules| rules.refused_when(refused))
    }

    /// Answers whose body matches the rule refuse the token too, after the match is confirmed. See
    /// [`BodyRule`].
    ///
    /// Bodies of answers then arrive as [`PeekedBody`](crate::middleware::PeekedBody).
    pub fn refused_when_body(self, rule: BodyRule) -> RotationLayer<C, Bodies> {
        let Self { settings, copy, .. } = self.with_rules(|rules| rules.refused_when_body(rule));
        RotationLayer {
            settings,
            copy,
            judged: PhantomData,
        }
    }

    /// Decides which bodies can be sent twice. Default: all, by cloning them ([`CloneBody`]).
    pub fn copy_body<D>(self, copy: D) -> RotationLayer<D, A> {
        RotationLayer {
            settings: self.settings,
            copy,
            judged: PhantomData,
        }
    }

    fn with_rules(mut self, change: impl FnOnce(RefusalRules) -> RefusalRules) -> Self {
        self.settings.rules = change(self.settings.rules);
        self
    }
}

impl<C> RotationLayer<C, Bodies> {
    /// The path that confirms a match of a body rule: `/-/whoami`. See [`BodyRule`].
    pub fn probe(self, path: impl Into<Arc<str>>) -> Self {
        self.with_rules(|rules| rules.probe(path))
    }
}

impl<S, C: Clone> Layer<S> for RotationLayer<C, Bodies> {
    type Service = Rotation<JudgeBodies<S>, C>;

    fn layer(&self, inner: S) -> Rotation<JudgeBodies<S>, C> {
        let settings = Arc::new(self.settings.clone());
        let inner = JudgeBodies::new(inner, Arc::clone(&settings));
        Rotation::new(inner, settings, self.copy.clone())
    }
}

impl<S, C: Clone> Layer<S> for RotationLayer<C> {
    type Service = Rotation<S, C>;

    fn layer(&self, inner: S) -> Rotation<S, C> {
        Rotation::new(inner, Arc::new(self.settings.clone()), self.copy.clone())
    }
}

impl<C, A> std::fmt::Debug for RotationLayer<C, A> {
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

    /// Puts the token on the request.
    pub(crate) fn apply<B>(&self, exchange: &Exchange, request: &mut Request<B>) {
        exchange.apply(&self.rotator, request.headers_mut());
        if self.rules.reads_bodies() {
            request.extensions_mut().insert(exchange.clone());
        }
    }

    /// Judges an answer and does what needs no IO.
    #[inline]
    pub(crate) fn settle<R>(
        &self,
        exchange: &Exchange,
        answer: Response<R>,
    ) -> (Response<R>, Settled) {
        let (mut answer, mut verdict) = self.rules.judge(answer);
        if self.rules.reads_bodies() && answer.extensions_mut().remove::<RefusedByBody>().is_some()
        {
            verdict = Verdict::RefreshToken;
        }
        if verdict == Verdict::None {
            exchange.accepted(&self.rotator, answer.status(), answer.headers());
            return (answer, Settled::Answered);
        }
        let settled = exchange.settle(&self.rotator, verdict, answer.extensions_mut());
        (answer, settled)
    }
}
