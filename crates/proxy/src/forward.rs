//! A request's way: given its token, sent, and after a refusal sent once more.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use token_rotator::challenge::{self, Verdict};
use token_rotator::{Event, NotReplayed, Pass};
use tokio::time::Instant;

use crate::body::AnswerBody;
use crate::headers::{self, Seen};
use crate::observe::Observed;
use crate::prepare::Outgoing;
use crate::problem::Problem;
use crate::tee::Upload;
use crate::worker::Worker;

/// How much of a refused answer is read so that its connection can be used again, and for how long.
const DRAIN_BYTES: usize = 16 * 1024;
const DRAIN_TIME: Duration = Duration::from_millis(50);

impl Worker {
    /// Answers a request, whatever happens.
    pub(crate) fn serve(
        self: &Arc<Self>,
        request: Request<Incoming>,
        unix: bool,
    ) -> impl Future<Output = Response<AnswerBody>> + use<> {
        let began = Instant::now();
        let seen = Seen::of(request.headers());
        let grpc = headers::is_grpc(request.headers(), seen);
        // Whether it also had a length, by which somebody before might have read on, hyper does not
        // tell: it is the last of its connection (RFC 9112 section 6.3).
        let last = seen.transfer_encoding;
        let mut prepared = self.prepare(request, seen, unix, grpc, began);
        async move {
            let mut answer = match &mut prepared {
                Ok(outgoing) => outgoing.answer(began).await,
                Err(problem) => problem.answer(grpc),
            };
            if last {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            answer
        }
    }
}

impl Outgoing {
    async fn answer(&mut self, began: Instant) -> Response<AnswerBody> {
        let answer = match self.table.limits.total_timeout {
            None => self.forward().await,
            Some(limit) => {
                let forwarded = Box::pin(self.forward());
                let answer = tokio::time::timeout(limit, forwarded).await;
                answer.unwrap_or(Err(Problem::TIMEOUT))
            }
        };
        let answer = answer.unwrap_or_else(|problem| {
            let route = &self.target.name;
            tracing::debug!(route, problem = problem.name, "not forwarded");
            problem.answer(self.grpc)
        });
        let status = answer.status();
        self.watch.tell(Observed::Answered { status });
        self.target.stats.answered(status, began.elapsed());
        answer
    }

    /// What is rare is in boxes of its own: what is awaited here lies in every connection.
    async fn forward(&mut self) -> Result<Response<AnswerBody>, Problem> {
        if self.passed {
            return Box::pin(self.forward_as_it_is()).await;
        }
        let pass = if let Some(pass) = self.ready() {
            pass
        } else {
            let pass = Box::pin(self.wait_for_pass()).await?;
            self.ready_at = Instant::now();
            pass
        };
        self.apply(&pass);
        let generation = pass.token().map(token_rotator::Token::generation);
        self.watch.tell(Observed::Sent { generation });
        if self.upgrade.is_some() {
            return Box::pin(self.upgrade(&pass)).await;
        }
        let answer = self.send(Some(&pass)).await?;
        if !self.is_refusal(&answer) {
            return Ok(answer);
        }
        Box::pin(self.refused(answer, &pass)).await
    }

    /// With the caller's own credentials.
    async fn forward_as_it_is(&mut self) -> Result<Response<AnswerBody>, Problem> {
        if self.upgrade.is_some() {
            self.upgrade_once().await
        } else {
            self.send(None).await
        }
    }

    fn ready(&self) -> Option<Pass> {
        if self.once {
            self.target.rotator.ready_for_once()
        } else {
            self.target.rotator.ready()
        }
    }

    async fn wait_for_pass(&self) -> Result<Pass, Problem> {
        let rotator = &self.target.rotator;
        self.watch.tell(Observed::Waiting);
        let _waiting = self.target.stats.wait();
        let pass = if self.once {
            rotator.pass_for_once().await
        } else {
            rotator.pass().await
        };
        pass.map_err(|error| {
            let hint = error.hint();
            tracing::warn!(route = self.target.name, %error, hint, "no token for a request");
            Problem::no_token(&error)
        })
    }

    pub(crate) fn is_refusal<B>(&self, answer: &Response<B>) -> bool {
        if answer.status() == StatusCode::UNAUTHORIZED {
            return challenge::judge(answer.status(), answer.headers()) == Verdict::RefreshToken;
        }
        self.grpc && challenge::judge_grpc(answer.headers())
    }

    /// Waits for the newer token with the refused answer in hand: back it goes if there is none.
    async fn refused(
        &mut self,
        answer: Response<AnswerBody>,
        pass: &Pass,
    ) -> Result<Response<AnswerBody>, Problem> {
        self.watch.tell(Observed::Refused);
        if self.tee.as_ref().is_some_and(|tee| !tee.replayable()) {
            let rotator = &self.target.rotator;
            rotator.report_refused(pass);
            rotator.tell(&Event::NotReplayed {
                reason: NotReplayed::BodyOnce,
            });
            self.target.stats.handed_back();
            return Ok(answer);
        }
        let Some(newer) = self.newer(pass).await else {
            self.target.stats.handed_back();
            return Ok(answer);
        };
        let upload = match &self.tee {
            None => Some(Upload::Empty),
            Some(tee) => tee.again(),
        };
        let Some(upload) = upload else {
            self.target.stats.handed_back();
            return Ok(answer);
        };
        drain(answer.into_body()).await;
        self.renew(Some(&newer), upload);
        self.replaying(&newer);
        let answer = self.send(Some(&newer)).await?;
        self.judge_replay(&answer, &newer);
        Ok(answer)
    }

    /// The token after this one, if there is one to be had.
    pub(crate) async fn newer(&self, pass: &Pass) -> Option<Pass> {
        self.watch.tell(Observed::Waiting);
        let _waiting = self.target.stats.wait();
        match self.target.rotator.refused(pass).await {
            Ok(token) => Some(Pass::from(token)),
            Err(error) => {
                tracing::warn!(route = self.target.name, %error, "a refusal is handed back");
                None
            }
        }
    }

    pub(crate) fn replaying(&self, pass: &Pass) {
        let generation = pass.token().map(token_rotator::Token::generation);
        self.target.stats.replayed();
        self.watch.tell(Observed::Replayed);
        self.watch.tell(Observed::Sent { generation });
    }

    /// The second answer is the caller's, whatever it says; but that a new token is refused as well
    /// has to be known, or a wrong audience would have it refreshed again and again.
    pub(crate) fn judge_replay<B>(&self, answer: &Response<B>, pass: &Pass) {
        if self.is_refusal(answer) {
            self.watch.tell(Observed::Refused);
            self.target.stats.handed_back();
            self.target.rotator.report_refused(pass);
        }
    }
}

/// Reads the rest of an answer nobody wants, within bounds, so that its connection can be used
/// again.
pub(crate) async fn drain<B: Body>(body: B) {
    let mut body = pin!(body);
    let rest = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) =
            std::future::poll_fn(|context| Pin::as_mut(&mut body).poll_frame(context)).await
        {
            let read = frame.data_ref().map_or(0, bytes::Buf::remaining);
            match left.checked_sub(read) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, rest).await;
}
