//! A request's way: given its token, sent, and after a refusal sent once more.

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
use crate::headers::{self, Seen};
use crate::observe::Observed;
use crate::prepare::Outgoing;
use crate::problem::Problem;
use crate::tee::Upload;
use crate::worker::Worker;

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

    /// Rare paths are boxed so that their futures do not enlarge every connection.
    async fn forward(&mut self) -> Result<Response<AnswerBody>, Problem> {
        if !self.passed {
            let ready = Exchange::ready(&self.target.rotator, self.repeatable);
            if ready.is_none() {
                Box::pin(self.wait_for_token()).await?;
            } else {
                self.exchange = ready;
            }
            self.apply();
            self.tell_sent();
        }
        let mut answer = self.transmit().await?;
        let verdict = self.target.refusals.judge(&mut answer);
        let mut answer = if verdict != Verdict::None || self.target.refusals.reads_bodies() {
            Box::pin(self.judged(answer, verdict)).await?
        } else {
            if let Some(exchange) = &self.exchange {
                exchange.accepted(&self.target.rotator, answer.status(), answer.headers());
            }
            answer
        };
        if self.upgrade.is_some() {
            answer = self.go_on(answer);
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
        self.watch.tell(Observed::Waiting);
        let _waiting = self.target.stats.wait();
        let begun = Exchange::begin(&self.target.rotator, self.repeatable).await;
        let begun = begun.map_err(|error| {
            let hint = error.hint();
            tracing::warn!(route = self.target.name, %error, hint, "no token for a request");
            Problem::no_token(&error)
        })?;
        self.exchange = Some(begun);
        self.ready_at = Instant::now();
        Ok(())
    }

    fn tell_sent(&self) {
        let token = self.exchange.as_ref().and_then(|sent| sent.pass().token());
        let generation = token.map(Token::generation);
        self.watch.tell(Observed::Sent { generation });
    }

    /// Applies the request protocol to an answer that the headers or the body predicate must judge.
    async fn judged(
        &mut self,
        answer: Response<AnswerBody>,
        verdict: Verdict,
    ) -> Result<Response<AnswerBody>, Problem> {
        let Some(mut exchange) = self.exchange.take() else {
            return Ok(answer);
        };
        let target = Arc::clone(&self.target);
        let (mut answer, verdict) = self.judge_body(&exchange, answer, verdict).await;
        if self.tee.as_ref().is_none_or(|tee| tee.replayable()) {
            exchange.set_repeatable(Ok(()));
        } else {
            exchange.set_repeatable(Err(NotReplayed::BodyOnce));
        }
        if self.settle(&exchange, &mut answer, verdict) != Next::Replay {
            return Ok(answer);
        }
        if !self.renewed(&mut exchange, &mut answer).await {
            target.stats.handed_back();
            return Ok(answer);
        }
        let upload = match &self.tee {
            None => Some(Upload::Empty),
            Some(tee) => tee.again(),
        };
        let Some(upload) = upload else {
            target.stats.handed_back();
            return Ok(answer);
        };
        drain(&target.rotator, answer.into_body()).await;
        self.exchange = Some(exchange.clone());
        self.renew(upload);
        target.stats.replayed();
        self.watch.tell(Observed::Replayed);
        self.tell_sent();
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
            self.watch.tell(Observed::Refused);
        }
        if matches!(next, Next::Report(_)) {
            self.target.stats.handed_back();
        }
        next
    }

    /// Waits for the newer token with the refused answer in hand.
    async fn renewed(&self, exchange: &mut Exchange, answer: &mut Response<AnswerBody>) -> bool {
        self.watch.tell(Observed::Waiting);
        let _waiting = self.target.stats.wait();
        let extensions = answer.extensions_mut();
        let endpoint = endpoint(&[&self.target.name], self.head.uri().path());
        let renewed = exchange.renew(&self.target.rotator, endpoint, extensions);
        let renewed = renewed.await;
        if !renewed {
            let error = extensions.get::<TokenError>();
            let error = error.map(ToString::to_string).unwrap_or_default();
            tracing::warn!(route = self.target.name, error, "a refusal is handed back");
        }
        renewed
    }

    /// Judges the body of an answer that its head leaves open.
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
        let carried = (exchange.pass(), exchange.is_replayed());
        let probe = |path: ProbePath| self.probe(exchange, path);
        let judged = rules.judge_body(&self.target.rotator, carried, method, answer, probe);
        let (answer, refused) = judged.await;
        let verdict = if refused {
            Verdict::RefreshToken
        } else {
            verdict
        };
        (answer.map(AnswerBody::peeked), verdict)
    }

    /// Sends a GET to this path of the upstream. `None` if nothing can be said.
    async fn probe(&self, exchange: &Exchange, path: ProbePath) -> Option<Verdict> {
        let mut probe = self.another(Uri::try_from(path.as_str()).ok()?);
        probe.exchange = Some(exchange.clone());
        probe.apply();
        let (head, body) = probe.send().await.ok()?.into_parts();
        drain(&self.target.rotator, body).await;
        let rules = &self.target.refusals;
        rules.judge_probe(head.status, &head.headers, &head)
    }
}
