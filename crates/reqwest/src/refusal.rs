//! Judges whether an answer refuses the token.

use http::Method;
use reqwest::{Body, Response, ResponseBuilderExt as _};
use token_rotator::middleware::challenge::Verdict;
use token_rotator::middleware::{Exchange, ProbePath};

use crate::client::Core;

impl Core {
    /// Judges an answer. If a rule reads the body, the returned answer has the body again.
    pub(crate) async fn judge<F>(
        &self,
        response: Response,
        method: &Method,
        exchange: &Exchange,
        probe: impl FnOnce(ProbePath) -> F,
    ) -> (Response, Verdict)
    where
        F: Future<Output = Option<Verdict>>,
    {
        let (rules, headers) = (&self.refusals, response.headers());
        let verdict = rules.judge_head(response.status(), headers, &response);
        if verdict != Verdict::None || !rules.reads_body_of(method, headers) {
            return (response, verdict);
        }
        let url = response.url().clone();
        let token_use = (exchange.pass(), exchange.is_replayed());
        let answer = http::Response::<Body>::from(response);
        let judged = rules.judge_body(&self.rotator, token_use, method, answer, probe);
        let (mut answer, refused) = judged.await;
        // reqwest reads the URL from an extension that only this builder creates.
        if let Ok(carrier) = http::Response::builder().url(url).body(()) {
            answer
                .extensions_mut()
                .extend(carrier.into_parts().0.extensions);
        }
        let verdict = if refused {
            Verdict::RefreshToken
        } else {
            verdict
        };
        (answer.map(Body::wrap).into(), verdict)
    }
}
