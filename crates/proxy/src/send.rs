//! One exchange with an upstream, over a connection that is free or a new one.

use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version};

use crate::body::AnswerBody;
use crate::forward::{Exchange, Head};
use crate::headers;
use crate::problem::Problem;
use crate::tee::{Broken, Tee, Upload};
use crate::upstream::{Channel, ConnectError, Http1, Http2, Lease, Pool, SendError, Stream};

impl Exchange<'_> {
    /// Sends a request. Over a connection that was kept and turns out to be closed nothing has been
    /// sent, or nothing that may not be sent again: then it goes out over a new one.
    pub(crate) async fn send(
        &self,
        mut request: Request<Upload>,
        tee: Option<&Arc<Tee>>,
    ) -> Result<Response<AnswerBody>, Problem> {
        let pool = &self.target.pools[self.worker.id];
        if let Some(channel) = pool.kept() {
            let repeatable = tee.is_none() && is_safe(request.method());
            let again = repeatable.then(|| Head::of(&request));
            match (self.attempt(channel, request).await, again) {
                (Ok(answer), _) => return Ok(answer),
                (Err(SendError::Unsent(unsent)), _) => request = *unsent,
                (Err(SendError::Failed), Some(head)) => request = head.request(Upload::Empty),
                (Err(error), _) => return Err(Self::broken(&error, tee)),
            }
        }
        let channel = self.open(pool).await?;
        let sent = self.attempt(channel, request).await;
        sent.map_err(|error| Self::broken(&error, tee))
    }

    async fn attempt(
        &self,
        channel: Channel,
        request: Request<Upload>,
    ) -> Result<Response<AnswerBody>, SendError> {
        let mut answer = match channel {
            Channel::Http1(connection) => self.over_http1(connection, request).await?,
            Channel::Http2(sender) => self.over_http2(sender, request).await?,
        };
        // Nobody asked for another protocol here; that is in `upgrade`.
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(SendError::Failed);
        }
        headers::strip_hop_by_hop(answer.headers_mut());
        *answer.version_mut() = Version::HTTP_11;
        Ok(answer)
    }

    async fn over_http1(
        &self,
        mut connection: Box<Http1>,
        request: Request<Upload>,
    ) -> Result<Response<AnswerBody>, SendError> {
        let answer = connection.send(request, self.answer_timeout()).await?;
        let lease = Lease {
            connection,
            pool: Arc::clone(&self.target.pools[self.worker.id]),
            first: None,
        };
        Ok(answer.map(|body| AnswerBody::http1(body, lease)))
    }

    async fn over_http2(
        &self,
        sender: hyper::client::conn::http2::SendRequest<Upload>,
        mut request: Request<Upload>,
    ) -> Result<Response<AnswerBody>, SendError> {
        if request.uri().authority().is_none() {
            let path = request
                .uri()
                .path_and_query()
                .map_or("/", PathAndQuery::as_str);
            if let Ok(uri) = format!("{}{path}", self.target.base).parse() {
                *request.uri_mut() = uri;
            }
        }
        request.headers_mut().remove(HOST);
        *request.version_mut() = Version::HTTP_2;
        let answer = Http2::send(sender, request, self.answer_timeout()).await?;
        Ok(answer.map(AnswerBody::Http2))
    }

    async fn open(&self, pool: &Pool) -> Result<Channel, Problem> {
        let _turn = pool.http2.turn().await;
        if let Some(sender) = pool.http2.ready() {
            return Ok(Channel::Http2(sender));
        }
        let (stream, http2) = self.connect().await?;
        pool.http2.chose(http2);
        let opened = if http2 {
            pool.http2.open(stream).await.map(Channel::Http2)
        } else {
            Http1::open(stream).await.map(Channel::Http1)
        };
        opened.map_err(|error| self.failed(&error))
    }

    /// A stream to the upstream. True: HTTP/2 is spoken on it.
    pub(crate) async fn connect(&self) -> Result<(Stream, bool), Problem> {
        let limit = self.table.limits.connect_timeout;
        let opened = self.target.connector.connect(limit).await;
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
    fn broken(error: &SendError, tee: Option<&Arc<Tee>>) -> Problem {
        if matches!(error, SendError::TimedOut) {
            return Problem::TIMEOUT;
        }
        match tee.and_then(|tee| tee.broken()) {
            Some(Broken::Idle) => Problem::BODY_TIMEOUT,
            Some(Broken::TooLarge) => Problem::TOO_LARGE,
            _ => Problem::UPSTREAM,
        }
    }

    pub(crate) fn answer_timeout(&self) -> Option<Duration> {
        self.table.limits.answer_timeout.filter(|_| !self.grpc)
    }
}

/// Whether a request may be repeated though nobody knows what came of it (RFC 9110 section 9.2.1).
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
