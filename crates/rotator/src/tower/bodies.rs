//! The service that judges the bodies of answers, between the rotation and the inner service.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body::Body;
use tower_service::Service;

use super::layer::RotationSettings;
use crate::http::challenge::Verdict;
use crate::http::{Exchange, PeekedBody, ProbePath};

/// An HTTP service that finds refusals in the bodies of answers. See
/// [`RotationLayer::refused_when_body`](super::RotationLayer::refused_when_body).
#[derive(Clone)]
pub struct JudgeBodies<S> {
    inner: S,
    settings: Arc<RotationSettings>,
}

impl<S: std::fmt::Debug> std::fmt::Debug for JudgeBodies<S> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = out.debug_struct("JudgeBodies");
        out.field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// An extension of an answer whose body refuses the token.
#[derive(Clone, Copy)]
pub(crate) struct RefusedByBody;

impl<S> JudgeBodies<S> {
    pub(crate) fn new(inner: S, settings: Arc<RotationSettings>) -> Self {
        Self { inner, settings }
    }
}

impl<S, B, R> Service<Request<B>> for JudgeBodies<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Default + Send + 'static,
    R: Body<Data = Bytes> + Unpin + Send + 'static,
    R::Error: Send,
{
    type Response = Response<PeekedBody<R>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The current service is ready. Its clone may not be, so the clone serves the next request.
        let clone = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, clone);
        let exchange = request.extensions_mut().remove::<Exchange>();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let future = service.call(request);
        let settings = Arc::clone(&self.settings);
        Box::pin(async move {
            let mut answer = future.await?;
            let verdict = settings.rules.judge(&mut answer);
            let Some(exchange) = exchange.filter(|_| verdict == Verdict::None) else {
                return Ok(answer.map(PeekedBody::from));
            };
            let pass_and_replayed = (exchange.pass(), exchange.is_replayed());
            let probe = |path| settings.probe(service, &exchange, uri, path);
            let rules = &settings.rules;
            let judged =
                rules.judge_body(&settings.rotator, pass_and_replayed, &method, answer, probe);
            let (mut answer, refused) = judged.await;
            if refused {
                answer.extensions_mut().insert(RefusedByBody);
            }
            Ok(answer)
        })
    }
}

impl RotationSettings {
    /// Sends a GET to this path of the origin in `uri`, and judges the answer. Returns `None` if the
    /// answer is missing, or is neither a success nor a refusal.
    async fn probe<S, B, R>(
        &self,
        mut service: S,
        exchange: &Exchange,
        uri: Uri,
        path: ProbePath,
    ) -> Option<Verdict>
    where
        S: Service<Request<B>, Response = Response<R>>,
        B: Default,
        R: Body,
    {
        let mut parts = uri.into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(path.as_str()).ok()?);
        let mut request = Request::new(B::default());
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        exchange.apply(&self.rotator, request.headers_mut());
        let ready = std::future::poll_fn(|context| service.poll_ready(context));
        ready.await.ok()?;
        let (head, body) = service.call(request).await.ok()?.into_parts();
        self.rotator.drain(body).await;
        self.rules.judge_probe(head.status, &head.headers, &head)
    }
}
