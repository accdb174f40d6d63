//! Sends one request to an upstream, over an idle connection or a new one.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use http::{Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::client::conn::http2::SendRequest;
use tokio::time::Instant;

use crate::body::AnswerBody;
use crate::headers;
use crate::prepare::OutgoingRequest;
use crate::problem::Problem;
use crate::tee::{Upload, UploadError};
use crate::upstream::{
    Channel, ConnectError, Http1, Http2, Pool, PooledConnection, Purpose, SendError, Stream,
};

impl OutgoingRequest {
    /// Sends the request. An idle connection may turn out to be closed. If nothing was sent, or the
    /// request is repeatable, a new connection sends it.
    pub(crate) async fn send(&mut self) -> Result<Response<AnswerBody>, Problem> {
        if let Some(channel) = self.pool().take_idle() {
            match self.attempt(channel).await {
                Ok(answer) => return Ok(answer),
                Err(SendError::Unsent) => {}
                Err(SendError::Failed) if self.is_repeatable() => self.renew(Upload::Empty),
                Err(error) => return Err(self.send_problem(&error)),
            }
        }
        Box::pin(self.send_over_new_connection()).await
    }

    async fn send_over_new_connection(&mut self) -> Result<Response<AnswerBody>, Problem> {
        let channel = self.open().await?;
        self.ready_at = Instant::now();
        let sent = self.attempt(channel).await;
        sent.map_err(|error| self.send_problem(&error))
    }

    async fn attempt(&mut self, channel: Channel) -> Result<Response<AnswerBody>, SendError> {
        let mut answer = match channel {
            Channel::Http1(connection) => self.over_http1(connection).await?,
            Channel::Http2(sender) => Box::pin(self.over_http2(sender)).await?,
        };
        // This request asked for no upgrade; `upgrade` handles requests that do.
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(SendError::Failed);
        }
        // hyper checks the length of a body, but not that of an answer without one (HEAD, 304).
        if answer.body().is_end_stream() && !headers::unify_length(answer.headers_mut()) {
            return Err(SendError::Failed);
        }
        if answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && self.target.connector.forwarding_proxy().is_some()
        {
            return Err(SendError::ProxyCredentials);
        }
        self.limit_idle(&mut answer);
        headers::strip_hop_by_hop(answer.headers_mut());
        *answer.version_mut() = Version::HTTP_11;
        Ok(answer)
    }

    async fn over_http1(
        &mut self,
        mut connection: Box<Http1>,
    ) -> Result<Response<AnswerBody>, SendError> {
        // An earlier attempt prepared the request for HTTP/2, and the upstream now speaks HTTP/1.1.
        if let Some(request) = &mut self.request
            && request.version() == Version::HTTP_2
        {
            *request.version_mut() = Version::HTTP_11;
            let authority = self.target.authority.clone();
            request.headers_mut().insert(HOST, authority);
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
        }
        if let Some(request) = &mut self.request
            && request.body().size_hint().exact().is_none()
            && !request.headers().contains_key(CONTENT_LENGTH)
        {
            // Without the header hyper would omit the body of a GET.
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
        self.address_to_proxy();
        let deadline = self.answer_timeout().map(|limit| self.ready_at + limit);
        let answer = connection.send(&mut self.request, deadline).await?;
        let pooled = PooledConnection {
            connection,
            pool: Arc::clone(self.pool()),
            first: None,
        };
        let (head, body) = answer.into_parts();
        let body = AnswerBody::http1(body, pooled).map_err(|_| SendError::Failed)?;
        Ok(Response::from_parts(head, body))
    }

    /// Gives the request the form that a proxy of the network wants: an absolute URI, and the credentials
    /// for that proxy.
    fn address_to_proxy(&mut self) {
        let proxy = self.target.connector.forwarding_proxy();
        let (Some(proxy), Some(request)) = (proxy, &mut self.request) else {
            return;
        };
        let mut absolute = self.target.base.clone().into_parts();
        absolute.path_and_query = request.uri().path_and_query().cloned();
        if let Ok(absolute) = Uri::from_parts(absolute) {
            *request.uri_mut() = absolute;
        }
        if let Some(value) = &proxy.authorization {
            let value = value.clone();
            request.headers_mut().insert(PROXY_AUTHORIZATION, value);
        }
    }

    async fn over_http2(
        &mut self,
        sender: SendRequest<Upload>,
    ) -> Result<Response<AnswerBody>, SendError> {
        if let Some(request) = &mut self.request {
            let uri = request.uri();
            if uri.authority().is_none() {
                let mut absolute = self.target.base.clone().into_parts();
                absolute.path_and_query = uri.path_and_query().cloned();
                if let Ok(absolute) = Uri::from_parts(absolute) {
                    *request.uri_mut() = absolute;
                }
            }
            request.headers_mut().remove(HOST);
            request.headers_mut().remove(TRANSFER_ENCODING);
            *request.version_mut() = Version::HTTP_2;
        }
        let limit = self.answer_timeout();
        let answer = Http2::send(sender, &mut self.request, limit).await?;
        Ok(answer.map(AnswerBody::driven))
    }

    async fn open(&self) -> Result<Channel, Problem> {
        let pool = self.pool();
        // The deadline includes the wait for another request that opens a connection.
        let deadline = Instant::now() + self.table.limits.connect_timeout;
        let guard = tokio::time::timeout_at(deadline, pool.http2.lock_opening()).await;
        let _guard = guard.map_err(|_| self.connect_problem(&ConnectError::TimedOut))?;
        if let Some(sender) = pool.http2.ready(pool.now()) {
            return Ok(Channel::Http2(sender));
        }
        let (stream, http2) = self.connect_by(deadline, Purpose::Requests).await?;
        pool.http2.set_support(http2);
        let opened = if http2 {
            pool.http2
                .open(stream, pool.now())
                .await
                .map(Channel::Http2)
        } else {
            Http1::open(stream).await.map(Channel::Http1)
        };
        opened.map_err(|error| self.connect_problem(&error))
    }

    fn pool(&self) -> &Arc<Pool> {
        &self.target.pools[self.worker.id]
    }

    /// Opens a stream to the upstream for an upgrade. Returns the stream and whether it speaks HTTP/2.
    pub(crate) async fn connect_for_upgrade(&self) -> Result<(Stream, bool), Problem> {
        let deadline = Instant::now() + self.table.limits.connect_timeout;
        self.connect_by(deadline, Purpose::Upgrade).await
    }

    async fn connect_by(
        &self,
        deadline: Instant,
        purpose: Purpose,
    ) -> Result<(Stream, bool), Problem> {
        let stream = self.target.connector.connect(deadline, purpose).await;
        stream.map_err(|error| self.connect_problem(&error))
    }

    pub(crate) fn connect_problem(&self, error: &ConnectError) -> Problem {
        let limit = &self.target.log.no_connection;
        if limit.permits(&error.to_string()) {
            let hint = error
                .hint()
                .or_else(|| token_rotator::middleware::certificate_hint(error));
            tracing::warn!(route = self.target.name, %error, hint, "{}", limit.line);
        }
        match error {
            ConnectError::TimedOut => Problem::TIMEOUT,
            ConnectError::Proxy(..) | ConnectError::ProxyStatus(..) => Problem::COMPANY_PROXY,
            ConnectError::ProxyCredentials(_) => Problem::PROXY_CREDENTIALS,
            ConnectError::Io(_) | ConnectError::Http(_) => Problem::UPSTREAM,
        }
    }

    /// Returns the problem for a failed send. If the caller's body failed, the problem says so.
    fn send_problem(&self, error: &SendError) -> Problem {
        if matches!(error, SendError::TimedOut) {
            return Problem::TIMEOUT;
        }
        if let (SendError::ProxyCredentials, Some(proxy)) =
            (error, self.target.connector.forwarding_proxy())
        {
            return self.connect_problem(&proxy.wants_credentials());
        }
        match self.tee.as_ref().and_then(|tee| tee.error()) {
            Some(UploadError::Idle) => Problem::BODY_TIMEOUT,
            Some(UploadError::TooLarge) => Problem::TOO_LARGE,
            _ => Problem::UPSTREAM,
        }
    }

    /// Limits how long the body of an answer may make no progress. gRPC answers, event streams and
    /// complete bodies get no limit.
    pub(crate) fn limit_idle(&self, answer: &mut Response<AnswerBody>) {
        if self.grpc || !matches!(answer.body(), AnswerBody::Streamed(_)) {
            return;
        }
        let events = headers::is_event_stream(answer.headers());
        if let (AnswerBody::Streamed(body), false) = (answer.body_mut(), events) {
            body.limit_idle(self.table.limits.answer_idle);
        }
    }

    pub(crate) fn answer_timeout(&self) -> Option<Duration> {
        self.table.limits.answer_timeout.filter(|_| !self.grpc)
    }
}
