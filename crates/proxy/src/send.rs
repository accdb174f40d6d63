//! One exchange with an upstream, over a connection that is free or a new one.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::client::conn::http2::SendRequest;
use tokio::time::Instant;

use crate::body::AnswerBody;
use crate::headers;
use crate::prepare::Outgoing;
use crate::problem::Problem;
use crate::tee::{Broken, Upload};
use crate::upstream::{Channel, ConnectError, Http1, Http2, Lease, Pool, SendError, Stream};

impl Outgoing {
    /// Sends the request. Over a connection that was kept and turns out to be closed nothing has
    /// been sent, or nothing that may not be sent again: then it goes out over a new one.
    pub(crate) async fn send(&mut self) -> Result<Response<AnswerBody>, Problem> {
        if let Some(channel) = self.pool().kept() {
            match self.attempt(channel).await {
                Ok(answer) => return Ok(answer),
                Err(SendError::Unsent) => {}
                Err(SendError::Failed) if self.is_repeatable() => self.renew(Upload::Empty),
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Box::pin(self.send_fresh()).await
    }

    async fn send_fresh(&mut self) -> Result<Response<AnswerBody>, Problem> {
        let channel = self.open().await?;
        self.ready_at = Instant::now();
        let sent = self.attempt(channel).await;
        sent.map_err(|error| self.broken(&error))
    }

    async fn attempt(&mut self, channel: Channel) -> Result<Response<AnswerBody>, SendError> {
        let mut answer = match channel {
            Channel::Http1(connection) => self.over_http1(connection).await?,
            Channel::Http2(sender) => Box::pin(self.over_http2(sender)).await?,
        };
        // Nobody asked for another protocol here; that is in `upgrade`.
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(SendError::Failed);
        }
        self.limit(&mut answer);
        headers::strip_hop_by_hop(answer.headers_mut());
        *answer.version_mut() = Version::HTTP_11;
        Ok(answer)
    }

    async fn over_http1(
        &mut self,
        mut connection: Box<Http1>,
    ) -> Result<Response<AnswerBody>, SendError> {
        // Made ready for HTTP/2, which the upstream no longer speaks.
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
            // Without it hyper would leave the body of a GET out, and its end with it.
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
        let deadline = self.answer_timeout().map(|limit| self.ready_at + limit);
        let answer = connection.send(&mut self.request, deadline).await?;
        let lease = Lease {
            connection,
            pool: Arc::clone(self.pool()),
            first: None,
        };
        let (head, body) = answer.into_parts();
        let body = AnswerBody::http1(body, lease).map_err(|_| SendError::Failed)?;
        Ok(Response::from_parts(head, body))
    }

    async fn over_http2(
        &mut self,
        sender: SendRequest<Upload>,
    ) -> Result<Response<AnswerBody>, SendError> {
        if let Some(request) = &mut self.request {
            let uri = request.uri();
            if uri.authority().is_none() {
                let mut whole = self.target.base.clone().into_parts();
                whole.path_and_query = uri.path_and_query().cloned();
                if let Ok(whole) = Uri::from_parts(whole) {
                    *request.uri_mut() = whole;
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
        // Who waits for another's attempt has no more time than who makes one.
        let deadline = Instant::now() + self.table.limits.connect_timeout;
        let turn = tokio::time::timeout_at(deadline, pool.http2.turn()).await;
        let _turn = turn.map_err(|_| self.failed(&ConnectError::TimedOut))?;
        if let Some(sender) = pool.http2.ready(pool.now()) {
            return Ok(Channel::Http2(sender));
        }
        let (stream, http2) = self.connect_by(deadline).await?;
        pool.http2.chose(http2);
        let opened = if http2 {
            pool.http2
                .open(stream, pool.now())
                .await
                .map(Channel::Http2)
        } else {
            Http1::open(stream).await.map(Channel::Http1)
        };
        opened.map_err(|error| self.failed(&error))
    }

    fn pool(&self) -> &Arc<Pool> {
        &self.target.pools[self.worker.id]
    }

    /// A stream to the upstream. True: HTTP/2 is spoken on it.
    pub(crate) async fn connect(&self) -> Result<(Stream, bool), Problem> {
        let deadline = Instant::now() + self.table.limits.connect_timeout;
        self.connect_by(deadline).await
    }

    async fn connect_by(&self, deadline: Instant) -> Result<(Stream, bool), Problem> {
        let opened = self.target.connector.connect(deadline).await;
        opened.map_err(|error| self.failed(&error))
    }

    pub(crate) fn failed(&self, error: &ConnectError) -> Problem {
        tracing::warn!(route = self.target.name, %error, "no connection to the upstream");
        match error {
            ConnectError::TimedOut => Problem::TIMEOUT,
            ConnectError::Io(_) | ConnectError::Http(_) => Problem::UPSTREAM,
        }
    }

    /// What the caller is told: that its own body broke off, if that was the reason.
    fn broken(&self, error: &SendError) -> Problem {
        if matches!(error, SendError::TimedOut) {
            return Problem::TIMEOUT;
        }
        match self.tee.as_ref().and_then(|tee| tee.broken()) {
            Some(Broken::Idle) => Problem::BODY_TIMEOUT,
            Some(Broken::TooLarge) => Problem::TOO_LARGE,
            _ => Problem::UPSTREAM,
        }
    }

    /// Sees to it that the body of an answer does not stand still for ever, unless that is its
    /// nature. Of one that is all there nothing is looked at.
    pub(crate) fn limit(&self, answer: &mut Response<AnswerBody>) {
        if self.grpc || !matches!(answer.body(), AnswerBody::Streamed(_)) {
            return;
        }
        let events = headers::is_event_stream(answer.headers());
        if let (AnswerBody::Streamed(body), false) = (answer.body_mut(), events) {
            body.limit(self.table.limits.answer_idle);
        }
    }

    pub(crate) fn answer_timeout(&self) -> Option<Duration> {
        self.table.limits.answer_timeout.filter(|_| !self.grpc)
    }
}
