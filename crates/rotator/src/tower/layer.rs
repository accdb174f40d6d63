//! The layer and its settings.

use std::marker::PhantomData;
use std::sync::Arc;

use http::header::Entry;
use http::response::Parts;
use http::{Request, Response, StatusCode, Uri};
use tower_layer::Layer;

use super::bodies::{JudgeBodies, RefusedByBody};
use super::{CloneBody, Rotation};
use crate::error::BuildError;
use crate::http::challenge::Verdict;
use crate::http::origin::{Origin, Origins};
use crate::http::{BodyRule, Exchange, Next, RefusalRules};
use crate::middleware::RotatorExt as _;
use crate::rotator::Rotator;

/// Puts tokens on requests and replays refused requests. See the [module](super).
///
/// `A` names the judged part of an answer: [`Heads`] or [`Bodies`].
#[derive(Clone)]
pub struct RotationLayer<C = CloneBody, A = Heads> {
    settings: RotationSettings,
    copy: C,
    judged: PhantomData<A>,
}

/// The layer judges status and headers. Bodies pass unchanged.
#[derive(Clone, Copy, Debug)]
pub enum Heads {}

/// The layer judges bodies too. Callers get them as [`PeekedBody`](crate::middleware::PeekedBody).
#[derive(Clone, Copy, Debug)]
pub enum Bodies {}

/// The settings that all services of a layer share.
#[derive(Clone)]
pub(crate) struct RotationSettings {
    pub(crate) rotator: Rotator,
    origins: Origins,
    /// The origin of requests whose URI has no authority.
    default_origin: Option<Origin>,
    pub(crate) rules: RefusalRules,
}

impl Rotator {
    /// A layer that puts this rotator's tokens on requests to its declared origins.
    ///
    /// Fails with [`BuildError::NoOrigin`] if the rotator has no declared origin.
    pub fn layer(&self) -> Result<RotationLayer, BuildError> {
        if self.origins().is_empty() {
            return Err(BuildError::NoOrigin);
        }
        Ok(RotationLayer::new(self, self.origins().clone(), None))
    }

    /// A layer for a service that sends every request to this origin, such as tonic's channel. The
    /// URIs of the requests need no authority.
    ///
    /// Fails with [`BuildError::Origin`] if this is not an origin for tokens.
    pub fn layer_for(&self, origin: impl AsRef<str>) -> Result<RotationLayer, BuildError> {
        let origin: Origin = origin.as_ref().parse()?;
        let origins = std::iter::once(origin.clone()).collect();
        Ok(RotationLayer::new(self, origins, Some(origin)))
    }
}

impl RotationLayer {
    fn new(rotator: &Rotator, origins: Origins, default_origin: Option<Origin>) -> Self {
        Self {
            settings: RotationSettings {
                rotator: rotator.clone(),
                origins,
                default_origin,
                rules: RefusalRules::new(),
            },
            copy: CloneBody,
            judged: PhantomData,
        }
    }
}

impl<C, A> RotationLayer<C, A> {
    /// Replaces 401 by these statuses. See [`RefusalRules::status_codes`].
    pub fn status_codes(self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.with_rules(|rules| rules.status_codes(statuses))
    }

    /// Adds statuses: answers with one of them (403, 419) refuse the token too.
    ///
    /// The challenge of such an answer is judged like the challenge of a 401. After
    /// `insufficient_scope` and `invalid_request` the caller gets the answer without a refresh. A
    /// step-up (RFC 9470) becomes a typed error.
    pub fn also_status_codes(self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.with_rules(|rules| rules.also_status_codes(statuses))
    }

    /// Adds a predicate: answers for which it returns true refuse the token too.
    ///
    /// The predicate runs for every answer that its status does not decide, if the layer put a
    /// token on the request. It should be quick. If it returns true, the challenges of the answer
    /// do not matter, because the answer has no listed status.
    ///
    /// The predicate gets status, headers and extensions, and not the body. If the body tells that
    /// the token was refused, an inner service can read the body and write an extension:
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
    /// /// Reads the body, which is short in this API, and puts it back.
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

    /// Adds a rule for bodies: answers whose body matches it refuse the token too, after the match
    /// is confirmed. See [`BodyRule`].
    ///
    /// Callers then get bodies as [`PeekedBody`](crate::middleware::PeekedBody).
    pub fn refused_when_body(self, rule: BodyRule) -> RotationLayer<C, Bodies> {
        let Self { settings, copy, .. } = self.with_rules(|rules| rules.refused_when_body(rule));
        RotationLayer {
            settings,
            copy,
            judged: PhantomData,
        }
    }

    /// Sets the rule for bodies that can be sent twice. Default: [`CloneBody`] clones every body.
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
    /// Sets the path that confirms a match of a body rule: `/-/whoami`. See [`BodyRule`].
    ///
    /// Fails with [`BuildError::Probe`] if this is not a [path](crate::middleware::ProbePath) of the
    /// upstream.
    pub fn probe(self, path: impl AsRef<str>) -> Result<Self, BuildError> {
        let path = path.as_ref().parse()?;
        Ok(self.with_rules(|rules| rules.probe(path)))
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

impl RotationSettings {
    /// Whether the token may go to this URI.
    pub(crate) fn allows(&self, uri: &Uri) -> bool {
        if uri.authority().is_none() {
            return self.default_origin.is_some();
        }
        self.origins.allows(uri)
    }

    /// Whether the request already carries the token header.
    pub(crate) fn has_own_token<B>(&self, request: &Request<B>) -> bool {
        request.headers().contains_key(self.rotator.header_name())
    }

    /// Puts the token on the request. If the request [has its own](Self::has_own_token), returns
    /// false and leaves it unchanged. One lookup of the header does both.
    pub(crate) fn apply<B>(&self, exchange: &Exchange, request: &mut Request<B>) -> bool {
        if let Some(token) = exchange.pass().token() {
            match request.headers_mut().entry(self.rotator.header_name()) {
                Entry::Occupied(_) => return false,
                Entry::Vacant(entry) => entry.insert(token.header().clone()),
            };
        } else if self.has_own_token(request) {
            return false;
        }
        if self.rules.reads_bodies() {
            request.extensions_mut().insert(exchange.clone());
        }
        true
    }

    /// Judges an answer and decides the next step. Does the part of it that needs no IO.
    #[inline]
    pub(crate) fn settle<R>(&self, exchange: &Exchange, answer: &mut Response<R>) -> Next {
        let mut verdict = self.rules.judge(answer);
        if self.rules.reads_bodies() && answer.extensions_mut().remove::<RefusedByBody>().is_some()
        {
            verdict = Verdict::RefreshToken;
        }
        if verdict == Verdict::None {
            exchange.accepted(&self.rotator, answer.status(), answer.headers());
            return Next::HandBack;
        }
        exchange.settle(&self.rotator, verdict, answer.extensions_mut())
    }
}
