//! Forwards a request: adds the token, sends the request, and after a refusal sends it once more.

use std::future::Future;
use std::sync::Arc;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use token_rotator::middleware::challenge::Verdict;
use token_rotator::middleware::{Exchange, Next, ProbePath, drain, endpoint};
use token_rotator::{NotReplayed, Token, TokenError};
use tokio::time::Instant;

use crate::body::AnswerBody;
use crate::cors::Cors;
use crate::headers::{self, HeaderSummary};
use crate::observe::Observed;
use crate::prepare::OutgoingRequest;
use crate::problem::Problem;
use crate::tee::Upload;
use crate::worker::Worker;

impl Worker {
    /// Answers a request; every error becomes a problem answer.
    pub(crate) fn serve(
        self: &Arc<Self>,
        request: Request<Incoming>,
        unix: bool,
    ) -> impl Future<Output = Response<AnswerBody>> + use<> {
        let began = Instant::now();
        let summary = HeaderSummary::of(request.headers());
        let grpc = headers::is_grpc(request.headers(), summary);
        // hyper does not report whether such a request also had a `Content-Length`, by which
        // another proxy might have framed it. So the connection closes afterwards (RFC 9112 section
        // 6.3).
        let is_last = summary.transfer_encoding;
        let mut cors = Cors::Off;
        let mut prepared = self.prepare(request, summary, unix, grpc, began, &mut cors);
        async move {
            let mut answer = match &mut prepared {
                Ok(outgoing) => outgoing.answer(began).await,
                Err(answer) => std::mem::replace(&mut **answer, Response::new(AnswerBody::Empty)),
            };
            cors.apply(answer.headers_mut());
            if is_last {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            answer
        }
    }
}

impl OutgoingRequest {
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
            tracing::debug!(route, problem = problem.name, "request not forwarded");
            problem.answer(self.grpc)
        });
        let status = answer.status();
        self.events.report(Observed::Answered { status });
        self.target.stats.answered(status, began.elapsed());
        answer
    }

    /// Rare paths are boxed so that their futures do not enlarge every connection.
    async fn forward(&mut self) -> Result<Response<AnswerBody>, Problem> {
        if !self.has_own_credentials {
            let ready = Exchange::ready(&self.target.rotator, self.repeatable);
            if ready.is_none() {
                Box::pin(self.wait_for_token()).await?;
            } else {
                self.exchange = ready;
            }
            self.apply();
            self.report_sent();
        }
        let mut answer = self.transmit().await?;
        let verdict = self.target.refusals.judge(&mut answer);
        let mut answer = if verdict != Verdict::None || self.target.refusals.reads_bodies() {
            Box::pin(self.follow_verdict(answer, verdict)).await?
        } else {
            if let Some(exchange) = &self.exchange {
                exchange.accepted(&self.target.rotator, answer.status(), answer.headers());
            }
            answer
        };
        if self.upgrade.is_some() {
            answer = self.complete_upgrade(answer);
        }
        Ok(answer)
    }

    async fn transmit(&mut self) -> Result<Response<AnswerBody>, Problem> {
        if self.upgrade.is_some() {
            Box::pin(self.handshake()).await
        } else {
            self.send().await
        }
    }

    async fn wait_for_token(&mut self) -> Result<(), Problem> {
        self.events.report(Observed::Waiting);
        let _waiting = self.target.stats.wait();
        let exchange = Exchange::begin(&self.target.rotator, self.repeatable).await;
        let exchange = exchange.map_err(|error| {
            let (limit, hint) = (&self.target.log.no_token, error.hint());
            if limit.permits(&error.to_string()) {
                tracing::warn!(route = self.target.name, %error, hint, "{}", limit.line);
            }
            Problem::no_token(&error)
        })?;
        self.exchange = Some(exchange);
        self.ready_at = Instant::now();
        Ok(())
    }

    fn report_sent(&self) {
        let token = self.exchange.as_ref().and_then(|sent| sent.pass().token());
        let generation = token.map(Token::generation);
        self.events.report(Observed::Sent { generation });
    }

    /// Follows the request protocol for an answer that a rule refuses, or whose body a rule reads.
    async fn follow_verdict(
        &mut self,
        answer: Response<AnswerBody>,
        verdict: Verdict,
    ) -> Result<Response<AnswerBody>, Problem> {
        let Some(mut exchange) = self.exchange.take() else {
            return Ok(answer);
        };
        let target = Arc::clone(&self.target);
        let (mut answer, verdict) = self.judge_body(&exchange, answer, verdict).await;
        if self.tee.as_ref().is_none_or(|tee| tee.is_replayable()) {
            exchange.set_repeatable(Ok(()));
        } else {
            exchange.set_repeatable(Err(NotReplayed::BodyOnce));
        }
        if self.settle(&exchange, &mut answer, verdict) != Next::Replay {
            return Ok(answer);
        }
        if !self.wait_for_newer_token(&mut exchange, &mut answer).await {
            target.stats.handed_back();
            return Ok(answer);
        }
        let upload = match &self.tee {
            None => Some(Upload::Empty),
            Some(tee) => tee.second_upload(),
        };
        let Some(upload) = upload else {
            target.stats.handed_back();
            return Ok(answer);
        };
        drain(&target.rotator, answer.into_body()).await;
        self.exchange = Some(exchange.clone());
        self.renew(upload);
        target.stats.replayed();
        self.events.report(Observed::Replayed);
        self.report_sent();
        let mut answer = self.transmit().await?;
        let verdict = target.refusals.judge(&mut answer);
        self.settle(&exchange, &mut answer, verdict);
        Ok(answer)
    }

    fn settle(
        &self,
        exchange: &Exchange,
        answer: &mut Response<AnswerBody>,
        verdict: Verdict,
    ) -> Next {
        let rotator = &self.target.rotator;
        if verdict == Verdict::None {
            exchange.accepted(rotator, answer.status(), answer.headers());
            return Next::HandBack;
        }
        let next = exchange.settle(rotator, verdict, answer.extensions_mut());
        if matches!(next, Next::Replay | Next::Report(_)) {
            self.events.report(Observed::Refused);
        }
        if matches!(next, Next::Report(_)) {
            self.target.stats.handed_back();
        }
        next
    }

    /// Waits for a newer token while it keeps the refused answer. Returns whether the request may
    /// be replayed.
    async fn wait_for_newer_token(
        &self,
        exchange: &mut Exchange,
        answer: &mut Response<AnswerBody>,
    ) -> bool {
        self.events.report(Observed::Waiting);
        let _waiting = self.target.stats.wait();
        let extensions = answer.extensions_mut();
        let target = self.head.target();
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let endpoint = endpoint(&[&self.target.name], path);
        let renewed = exchange.renew(&self.target.rotator, endpoint, extensions);
        let renewed = renewed.await;
        if !renewed {
            let error = extensions.get::<TokenError>();
            let error = error.map(ToString::to_string).unwrap_or_default();
            let limit = &self.target.log.handed_back;
            if limit.permits(&error) {
                tracing::warn!(route = self.target.name, error, "{}", limit.line);
            }
        }
        renewed
    }

    /// Judges the body of an answer if its head does not decide.
    async fn judge_body(
        &self,
        exchange: &Exchange,
        answer: Response<AnswerBody>,
        verdict: Verdict,
    ) -> (Response<AnswerBody>, Verdict) {
        let (rules, method) = (&self.target.refusals, self.head.method());
        let reads = rules.reads_body_of(method, answer.headers()) && self.upgrade.is_none();
        if verdict != Verdict::None || !reads {
            return (answer, verdict);
        }
        let token_use = (exchange.pass(), exchange.is_replayed());
        let probe = |path: ProbePath| self.probe(exchange, path);
        let judged = rules.judge_body(&self.target.rotator, token_use, method, answer, probe);
        let (answer, refused) = judged.await;
        let verdict = if refused {
            Verdict::RefreshToken
        } else {
            verdict
        };
        (answer.map(AnswerBody::peeked), verdict)
    }

    /// Sends a GET to this path of the upstream. Returns `None` if the answer proves nothing.
    async fn probe(&self, exchange: &Exchange, path: ProbePath) -> Option<Verdict> {
        let mut probe = self.probe_request(Uri::try_from(path.as_str()).ok()?);
        probe.exchange = Some(exchange.clone());
        probe.apply();
        let (head, body) = probe.send().await.ok()?.into_parts();
        drain(&self.target.rotator, body).await;
        let rules = &self.target.refusals;
        rules.judge_probe(head.status, &head.headers, &head)
    }
}
