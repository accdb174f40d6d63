//! Requests that go on in another protocol, `WebSocket` above all (RFC 9110 section 7.8).

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use token_rotator::Pass;

use crate::body::AnswerBody;
use crate::connection::Slot;
use crate::forward::drain;
use crate::headers;
use crate::prepare::Outgoing;
use crate::problem::Problem;
use crate::tee::Upload;
use crate::tunnel;

impl Outgoing {
    /// Sends the handshake with its token, and once more with the next one if it is refused.
    pub(crate) async fn upgrade(&mut self, pass: &Pass) -> Result<Response<AnswerBody>, Problem> {
        let answer = self.handshake().await?;
        if !self.is_refusal(&answer) {
            return Ok(self.go_on(answer));
        }
        let Some(newer) = self.newer(pass).await else {
            self.target.stats.handed_back();
            return Ok(self.go_on(answer));
        };
        drain(answer.into_body()).await;
        self.renew(Some(&newer), Upload::Empty);
        self.replaying(&newer);
        let answer = self.handshake().await?;
        self.judge_replay(&answer, &newer);
        Ok(self.go_on(answer))
    }

    /// Sends the handshake as it is.
    pub(crate) async fn upgrade_once(&mut self) -> Result<Response<AnswerBody>, Problem> {
        let answer = self.handshake().await?;
        Ok(self.go_on(answer))
    }

    /// On a connection of its own, which is never used for anything else.
    async fn handshake(&mut self) -> Result<Response<Incoming>, Problem> {
        let (stream, http2) = self.connect().await?;
        if http2 {
            return Err(Problem::bad_request(
                "The upstream speaks HTTP/2, where there is no `Upgrade`",
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
            .map_err(|error| self.failed(&error.into()))?;
        tokio::spawn(connection.with_upgrades());
        let answer = sender.send_request(request);
        let answer = match self.answer_timeout() {
            None => answer.await,
            Some(limit) => match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer,
                Err(_) => return Err(Problem::TIMEOUT),
            },
        };
        answer.map_err(|error| self.failed(&error.into()))
    }

    /// Joins both ends once both have switched.
    fn go_on(&mut self, mut answer: Response<Incoming>) -> Response<AnswerBody> {
        let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = answer.headers().get(UPGRADE).cloned();
        headers::strip_hop_by_hop(answer.headers_mut());
        let caller = self.upgrade.take().and_then(|upgrade| upgrade.caller);
        let (Some(caller), true) = (caller, switched) else {
            let mut answer = answer.map(AnswerBody::driven);
            self.limit(&mut answer);
            return answer;
        };
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            headers.insert(UPGRADE, protocol);
        }
        let upstream = hyper::upgrade::on(&mut answer);
        let slot = Slot::keep(&self.worker);
        let idle = self.table.limits.tunnel_idle;
        tokio::spawn(async move {
            let _slot = slot;
            if let (Ok(upstream), Ok(caller)) = (upstream.await, caller.await) {
                tunnel::join(TokioIo::new(upstream), TokioIo::new(caller), idle).await;
            }
        });
        answer.map(|_| AnswerBody::Empty)
    }
}
