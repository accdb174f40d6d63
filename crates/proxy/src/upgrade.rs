//! Requests with an upgrade to another protocol, mostly `WebSocket` (RFC 9110 section 7.8).

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use http_body::Body as _;
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;

use crate::body::AnswerBody;
use crate::connection::ConnectionPermit;
use crate::headers;
use crate::prepare::OutgoingRequest;
use crate::problem::Problem;
use crate::tunnel;

impl OutgoingRequest {
    /// Sends the upgrade request over a new connection, which serves only this upgrade.
    pub(crate) async fn handshake(&mut self) -> Result<Response<AnswerBody>, Problem> {
        let (stream, http2) = self.connect_for_upgrade().await?;
        if http2 {
            return Err(Problem::bad_request(
                "The upstream speaks HTTP/2, which has no `Upgrade`",
            ));
        }
        let (Some(mut request), Some(upgrade)) = (self.request.take(), &self.upgrade) else {
            return Err(Problem::UPSTREAM);
        };
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade.protocol.clone());
        let (mut sender, connection) = Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.connect_problem(&error.into()))?;
        tokio::spawn(connection.with_upgrades());
        let answer = sender.send_request(request);
        let answer = match self.answer_timeout() {
            None => answer.await,
            Some(limit) => match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer,
                Err(_) => return Err(Problem::TIMEOUT),
            },
        };
        let mut answer = answer.map_err(|error| self.connect_problem(&error.into()))?;
        if answer.body().is_end_stream() && !headers::unify_length(answer.headers_mut()) {
            return Err(Problem::UPSTREAM);
        }
        Ok(answer.map(AnswerBody::driven))
    }

    /// Joins both connections after a 101, and returns the answer for the caller.
    pub(crate) fn complete_upgrade(
        &mut self,
        mut answer: Response<AnswerBody>,
    ) -> Response<AnswerBody> {
        let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = answer.headers().get(UPGRADE).cloned();
        headers::strip_hop_by_hop(answer.headers_mut());
        let caller = self.upgrade.take().and_then(|upgrade| upgrade.caller);
        let (Some(caller), true) = (caller, switched) else {
            self.limit_idle(&mut answer);
            return answer;
        };
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            headers.insert(UPGRADE, protocol);
        }
        let upstream = hyper::upgrade::on(&mut answer);
        let permit = ConnectionPermit::for_upgrade(&self.worker);
        let idle = self.table.limits.tunnel_idle;
        tokio::spawn(async move {
            let _permit = permit;
            if let (Ok(upstream), Ok(caller)) = (upstream.await, caller.await) {
                tunnel::join(TokioIo::new(upstream), TokioIo::new(caller), idle).await;
            }
        });
        answer.map(|_| AnswerBody::Empty)
    }
}
